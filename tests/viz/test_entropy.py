"""The figure of entropy over temperature: what it draws and says is what is drawn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from picture_checks import CHECKS, drawn

from llama_edu import Sampling, viz
from llama_edu.errors import InputError

LOGITS = np.random.default_rng(5).standard_normal(300, dtype=np.float32) * np.float32(3)
FILTERS = {"no filter": Sampling(), "top_k 4": Sampling(top_k=4), "top_p 0.5": Sampling(top_p=0.5)}
PICTURES = {
    "three": lambda: viz.entropy_curve(LOGITS, FILTERS),
    "one": lambda: viz.entropy_curve(LOGITS, {"no filter": Sampling()}, temperatures=(0.5, 4.0)),
    "two tokens": lambda: viz.entropy_curve(np.ones(2, dtype=np.float32), FILTERS),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_is_fit_for_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_the_curve_is_the_entropy_of_a_softmax() -> None:
    picture = viz.entropy_curve(LOGITS, FILTERS, temperatures=(0.5, 1.0, 2.0))
    p = np.exp(LOGITS.astype(np.float64) / 2.0)
    p /= p.sum()
    entropy = -(p * np.log(p)).sum()
    marks = [line for line in picture.figure.axes[1].lines if line.get_marker() == "o"]
    assert [np.asarray(line.get_xdata()).tolist() for line in marks] == [[0.5, 1.0, 2.0]]
    assert np.asarray(marks[0].get_ydata())[-1] == pytest.approx(entropy, abs=1e-4)
    assert f"{np.exp(entropy):,.0f} at 2;" in picture.alt


def test_a_filter_bounds_what_is_told() -> None:
    alt = viz.entropy_curve(LOGITS, FILTERS, temperatures=(1.0, 100.0)).alt
    assert "“top_k 4”: " in alt
    assert "4 at 100; " in alt
    assert "“top_p 0.5”: " in alt


def test_equal_logits_are_the_upper_line() -> None:
    picture = viz.entropy_curve(np.zeros(64, dtype=np.float32), {"no filter": Sampling()})
    assert "64 at 0.3, 64 at 0.7, 64 at 1" in picture.alt


@pytest.mark.parametrize(
    ("logits", "filters", "temperatures"),
    [
        (LOGITS, {}, (0.5, 1.0)),
        (LOGITS, {str(i): Sampling() for i in range(4)}, (0.5, 1.0)),
        (LOGITS[None], FILTERS, (0.5, 1.0)),
        (LOGITS, FILTERS, (1.0,)),
        (LOGITS, FILTERS, (0.0, 1.0)),
        (LOGITS, FILTERS, (1.0, 0.5)),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    logits: np.ndarray, filters: dict[str, Sampling], temperatures: tuple[float, ...]
) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.entropy_curve(logits, filters, temperatures=temperatures)
