"""Figures as SVG: light and dark in one drawing, words as they were written."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from llama_edu.viz.parts.axes import AXES
from llama_edu.viz.parts.svg import dark_twin, to_svg


def lightness(color: str) -> float:
    """WCAG's relative luminance."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_words_are_kept_to_the_last_digit_and_coordinates_are_not() -> None:
    figure = Figure()
    figure.add_axes((0, 0, 1, 1)).plot([0, 1 / 3], [0, 1 / 7])
    figure.text(1 / 3, 0.5, "bound 0.00012345")
    drawn = to_svg(figure)
    assert "bound 0.00012345" in drawn
    tags = "".join(re.findall(r"<[^>]*>", drawn))
    assert not re.search(r"\d\.\d{3}", tags)
    assert drawn == to_svg(figure)


@pytest.mark.parametrize("color", ["#1b1f24", "#56606b", "#c9d1d9", "#ffffff", "#f4f5f7"])
def test_light_becomes_dark_and_dark_becomes_light(color: str) -> None:
    assert (lightness(color) > 0.5) == (lightness(dark_twin(color)) < 0.3)


def test_ink_can_be_read_on_paper_in_both() -> None:
    for ink in ("#1b1f24", "#56606b"):
        for one, other in ((ink, "#ffffff"), (dark_twin(ink), dark_twin("#ffffff"))):
            high, low = sorted((lightness(one), lightness(other)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_an_axis_has_the_twin_that_its_badge_has() -> None:
    for axis in AXES.values():
        assert dark_twin(axis.color) == axis.dark
