"""What every figure owes the page: words that fit and can be read, and a text that says it.

A module that draws keeps a dictionary of pictures and runs each through `CHECKS`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import cache
from html import unescape
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from llama_edu import viz

__all__ = ["CHECKS", "drawn", "shown_texts"]


DPI = 175  # hinting moves letters less than at 100
# What measures words, in pixels, of the font whose letters are widest. How large a picture it
# could hold makes no difference to that.
RENDERER = RendererAgg(1, 1, DPI)


@cache
def drawn(draw: Callable[[], viz.Picture]) -> viz.Picture:
    """A picture of a module's dictionary, drawn once for all that is asked of it."""
    return draw()


@cache
def renderer_of(figure: Figure) -> RendererAgg:
    """What measures the words of a figure, which is laid out for it once."""
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    return RENDERER


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
    renderer = renderer_of(figure)
    width, height = figure.bbox.size
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
    renderer = renderer_of(figure)
    width, height = figure.bbox.size
    for ax in figure.axes:
        squares = [c for c in ax.collections if isinstance(c, PatchCollection)]
        areas = [c.get_datalim(ax.transData).transformed(ax.transData) for c in squares]
        areas += [a.get_window_extent(renderer) for a in (*ax.patches, *ax.lines, ax.patch)]
        for area in areas:
            assert -2 <= area.xmin <= area.xmax <= width + 2
            assert -2 <= area.ymin <= area.ymax <= height + 2


def no_words_run_into_each_other(picture: viz.Picture) -> None:
    renderer = renderer_of(picture.figure)
    areas = [(t.get_text(), t.get_window_extent(renderer)) for t in shown_texts(picture.figure)]
    for (one, a), (two, b) in itertools.combinations(areas, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        # A text's box has air around the letters; two boxes may share that.
        assert not (across > 2 and down > 5), (one, two)


def it_is_small_and_has_a_dark_twin(picture: viz.Picture) -> None:
    assert len(picture.svg) < 130_000
    assert "\n" not in picture.svg
    root = ElementTree.fromstring(picture.svg)
    width, height = picture.figure.get_size_inches() * 72
    assert [float(n) for n in root.get("viewBox", "").split()[2:]] == pytest.approx([width, height])
    assert width <= 520
    bare = re.sub(r"light-dark\(#[0-9a-f]{6},#[0-9a-f]{6}\)", "", picture.svg)
    assert not re.search(r"(?:fill|stroke): *#", bare), "a colour that is the same on a dark page"
    least = float(re.search(r"min-width:(\d+)px", picture.svg)[1])
    smallest = min(text.get_fontsize() for text in shown_texts(picture.figure))
    # A size that is drawn only for ticks out of view may be smaller still.
    assert smallest * least / width >= 10.9, "words under 11 pixels on a phone"


def it_says_what_it_shows(picture: viz.Picture) -> None:
    assert repr(picture) == picture.alt
    assert len(picture.alt) > 60
    assert not re.search(r"\bnan\b|\s\s|\n|None", picture.alt)
    assert picture.caption.endswith(".")
    html = picture._repr_html_()
    alt = re.search(r'aria-label="([^"]*)"', html)
    assert alt
    assert unescape(alt[1]) == picture.alt
    assert picture.svg in html
    assert "<figcaption>" in html
    assert not re.search(r'(?:src|href)="http', html)


CHECKS = (
    all_words_are_on_the_page_and_large_enough,
    nothing_is_drawn_beyond_the_page,
    no_words_run_into_each_other,
    it_is_small_and_has_a_dark_twin,
    it_says_what_it_shows,
)
