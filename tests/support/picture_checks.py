"""What every figure owes the page: words that fit and can be read, and a text that says it.

A module that draws keeps a dictionary of pictures and runs each through `CHECKS`.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
from html import unescape

import pytest
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from llama_edu import viz

__all__ = ["CHECKS", "shown_texts"]


def shown_texts(figure: Figure) -> list[Text]:
    """All words of a figure, without the labels of ticks beyond the ends of their axis."""
    beyond = set()
    for axis in itertools.chain.from_iterable((ax.xaxis, ax.yaxis) for ax in figure.axes):
        low, high = sorted(axis.get_view_interval())
        ticks = axis.get_major_ticks()
        beyond |= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}
    every = [text for text in figure.findobj(Text) if text.get_text().strip()]
    return [text for text in every if text.get_visible() and text not in beyond]


def all_words_are_on_the_page_and_large_enough(picture: viz.Picture) -> None:
    figure = picture.figure
    width, height = figure.bbox.size
    renderer = figure.canvas.get_renderer()
    for text in shown_texts(figure):
        area = text.get_window_extent(renderer)
        said = repr(text.get_text())
        assert text.get_fontsize() >= 8, said
        assert area.x0 >= -1, f"{said} falls off the left"
        assert area.x1 <= width + 1, f"{said} falls off the right"
        assert area.y0 >= -1, f"{said} falls off the bottom"
        assert area.y1 <= height + 1, f"{said} falls off the top"


def nothing_is_drawn_beyond_the_page(picture: viz.Picture) -> None:
    figure = picture.figure
    width, height = figure.bbox.size
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        squares = [c for c in ax.collections if isinstance(c, PatchCollection)]
        areas = [c.get_datalim(ax.transData).transformed(ax.transData) for c in squares]
        areas += [a.get_window_extent(renderer) for a in (*ax.patches, *ax.lines, ax.patch)]
        for area in areas:
            assert -2 <= area.xmin <= area.xmax <= width + 2
            assert -2 <= area.ymin <= area.ymax <= height + 2


def no_words_run_into_each_other(picture: viz.Picture) -> None:
    renderer = picture.figure.canvas.get_renderer()
    areas = [(t.get_text(), t.get_window_extent(renderer)) for t in shown_texts(picture.figure)]
    for (one, a), (two, b) in itertools.combinations(areas, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        # A text's box has air around the letters; two boxes may share that.
        assert not (across > 2 and down > 5), (one, two)


def it_is_small_sharp_and_on_white(picture: viz.Picture) -> None:
    assert len(picture.png) < 80_000
    image = Image.open(io.BytesIO(picture.png))
    width, height = picture.figure.get_size_inches() * 100
    assert image.width == pytest.approx(1.75 * width, abs=1)
    assert image.height == pytest.approx(1.75 * height, abs=1)
    assert image.convert("RGB").getpixel((1, image.height - 2)) == (255, 255, 255)
    assert width <= 720


def it_says_what_it_shows(picture: viz.Picture) -> None:
    assert repr(picture) == picture.alt
    assert len(picture.alt) > 60
    assert not re.search(r"\bnan\b|\s\s|\n|None", picture.alt)
    assert picture.caption.endswith(".")
    html = picture._repr_html_()
    alt = re.search(r'<img alt="([^"]*)"', html)
    assert alt
    assert unescape(alt[1]) == picture.alt
    data = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    assert data
    assert base64.b64decode(data[1]) == picture.png
    assert "<figcaption>" in html
    assert "http" not in html


CHECKS = (
    all_words_are_on_the_page_and_large_enough,
    nothing_is_drawn_beyond_the_page,
    no_words_run_into_each_other,
    it_is_small_sharp_and_on_white,
    it_says_what_it_shows,
)
