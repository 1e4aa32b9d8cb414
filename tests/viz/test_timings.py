"""Bars of time: what is written is what was measured, and the scale holds it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from figure_samples import all_texts as texts
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.errors import InputError

FOUR = {
    "three loops": 0.0231,
    "a dot product per number": 664e-6,
    "einsum": 18e-6,
    "linear": 2.9e-6,
}
PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "four": lambda: viz.time_bars(FOUR),
    "one": lambda: viz.time_bars({"it": 1e-6}),
    "equal": lambda: viz.time_bars({"a": 0.3, "b": 0.3}),
    "far apart": lambda: viz.time_bars({"n" * 24: 999.0, "one": 1.04e-3}),
    "seven": lambda: viz.time_bars({f"way {n}": 10.0**-n for n in range(7)}),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_bars_end_where_their_time_is() -> None:
    picture = viz.time_bars(FOUR)
    assert "three loops 23 ms, 8,000 × the fastest; " in picture.alt
    assert "a dot product per number 660 µs, 230 × the fastest; einsum 18 µs, 6.2 ×" in picture.alt
    assert picture.alt.endswith("linear 2.9 µs, 1 × the fastest.")
    assert {"23 ms, 8,000 ×", "2.9 µs, 1 ×", "1 µs", "10 ms"} <= set(texts(picture))
    ax = picture.figure.axes[1]
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert ends == pytest.approx(list(FOUR.values()))
    low, high = ax.get_xlim()
    assert (low, high) == pytest.approx((1e-6, 0.1))


def test_even_the_fastest_has_a_bar() -> None:
    for seconds in (1e-6, 9.99e-7, 1.01e-6):
        ax = viz.time_bars({"it": seconds, "other": 2 * seconds}).figure.axes[1]
        low, high = ax.get_xlim()
        assert low < seconds
        assert 2 * seconds <= high


def test_a_time_is_a_time() -> None:
    with pytest.raises(InputError, match="expected 1 to 8 times, got 0"):
        viz.time_bars({})
    with pytest.raises(InputError, match="expected 1 to 8 times, got 9"):
        viz.time_bars({str(n): 1.0 for n in range(9)})
    with pytest.raises(InputError, match="expected a name of at most 24 characters"):
        viz.time_bars({"n" * 25: 1.0})
    for wrong in (0.0, -1.0, float("nan"), float("inf"), 1e-10):
        with pytest.raises(InputError, match="expected 1e-09 to 1000 seconds for 'it'"):
            viz.time_bars({"it": wrong})
    with pytest.raises(InputError, match="expected times at most 1,000,000 apart, got 1e-06 and 2"):
        viz.time_bars({"it": 1e-6, "other": 2.0})
