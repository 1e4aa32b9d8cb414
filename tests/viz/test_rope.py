"""The figures of rotation: clocks, distance curves, layouts and scaled frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from helpers import tiny_config
from matplotlib.patches import Circle
from picture_checks import CHECKS, drawn, shown_texts

from llama_edu import viz
from llama_edu.errors import InputError
from llama_edu.formats.config import RopeScaling
from llama_edu.ops.rope import interleaved_to_half_split, inverse_frequencies

TURNS = inverse_frequencies(tiny_config(head_dim=16, rope_theta=10000.0))
LLAMA3 = RopeScaling("llama3", 32.0, 1.0, 4.0, 8192)
PLAIN = inverse_frequencies(tiny_config(head_dim=64, rope_theta=500000.0))
SCALED = inverse_frequencies(tiny_config(head_dim=64, rope_theta=500000.0, rope_scaling=LLAMA3))
WAVE = np.cos(np.arange(50) / 5)

PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "clock": lambda: viz.rope_clock(TURNS, range(8)),
    "clock of two": lambda: viz.rope_clock(TURNS, [1000], pairs=[7, 0]),
    "clock of twelve": lambda: viz.rope_clock(PLAIN, range(16), pairs=range(20, 32)),
    "curve": lambda: viz.distance_curve({"key at 0": WAVE}),
    "curves": lambda: viz.distance_curve({f"key at {i}": WAVE for i in (0, 7, 1000)}),
    "arrows": lambda: viz.turned_arrows((3, 4), (2, -1), 0.3, [(5, 3), (105, 103), (5, 4)]),
    "layouts": lambda: viz.rope_layouts(8),
    "layouts of 4": lambda: viz.rope_layouts(4),
    "layouts of 16": lambda: viz.rope_layouts(16),
    "scaling": lambda: viz.frequency_scaling(PLAIN, SCALED, 8192),
    "no scaling": lambda: viz.frequency_scaling(TURNS, TURNS, 512),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_is_fit_for_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def texts(picture: viz.Picture) -> list[str]:
    return [text.get_text() for text in shown_texts(picture.figure)]


def test_arrows_keep_their_angle_where_they_keep_their_distance() -> None:
    """Two arrows and a dot product, worked out apart: 5 · √5 · cos of the angle between."""
    places = [(5, 3), (105, 103), (5, 4)]
    shown = texts(viz.turned_arrows((3, 4), (2, -1), 0.3, places))
    between = [math.atan2(4, 3) - math.atan2(-1, 2) + 0.3 * (q - k) for q, k in places]
    scores = [5 * math.sqrt(5) * math.cos(angle) for angle in between]
    assert [t for t in shown if "°" in t] == [f"{math.degrees(a):.0f}° between" for a in between]
    assert [t for t in shown if "score" in t] == [f"score −{-score:.2f}" for score in scores]
    for wrong in ([], [(0, 0)] * 4):
        with pytest.raises(InputError):
            viz.turned_arrows((3, 4), (2, -1), 0.3, wrong)
    with pytest.raises(InputError):
        viz.turned_arrows((0, 0), (2, -1), 0.3, places)


def test_a_hand_points_where_its_pair_has_turned() -> None:
    positions = [0, 3, 5]
    ax = viz.rope_clock(TURNS, positions, pairs=[1, 4]).figure.axes[0]
    dials = [patch for patch in ax.patches if isinstance(patch, Circle)]
    hands = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert (len(dials), len(hands)) == (2, 6)
    turns = [position * float(TURNS[pair]) for pair in (1, 4) for position in positions]
    for hand, angle in zip(hands, turns, strict=True):
        (x0, x1), (y0, y1) = hand.get_xdata(), hand.get_ydata()
        # The board counts downwards; a positive angle turns counter-clockwise.
        got = math.atan2(y0 - y1, x1 - x0)
        assert math.cos(got - angle) == pytest.approx(1)


def test_a_clock_says_its_speeds() -> None:
    picture = viz.rope_clock(TURNS, range(8))
    assert {"pair 0", "pair 7", "a turn in\n6.3", "a turn in\n19,869"} <= set(texts(picture))
    assert "pair 1 makes a turn in 19.9 positions and has turned 127°" in picture.alt


@pytest.mark.parametrize(
    ("positions", "pairs", "message"),
    [
        ([], None, "1 to 16 positions"),
        (range(17), None, "1 to 16 positions"),
        ([0], [8], "pairs from 0 to 7, got 8"),
        ([0], [], "1 to 12 pairs"),
    ],
)
def test_clocks_that_cannot_be_drawn(positions: list, pairs: list | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.rope_clock(TURNS, positions, pairs=pairs)


def test_curves_that_agree_are_said_to() -> None:
    same = viz.distance_curve({"one": WAVE, "two": WAVE + 1e-6})
    assert "The others (two) lie on it" in same.alt
    apart = viz.distance_curve({"one": WAVE, "two": 2 * WAVE})
    assert "“two” goes from 2.00" in apart.alt
    assert "lie on it" not in apart.alt
    drawn = [line.get_ydata() for line in apart.figure.axes[1].lines if len(line.get_xdata()) == 50]
    np.testing.assert_array_equal(drawn, [WAVE, 2 * WAVE])


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"a": WAVE, "b": WAVE[1:]},
        {str(i): WAVE for i in range(4)},
        {"a": np.ones(1)},
        {"a": np.array([1.0, np.nan])},
    ],
)
def test_curves_that_cannot_be_drawn(curves: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.distance_curve(curves)


@pytest.mark.parametrize("head_dim", [4, 8, 16])
def test_a_line_leads_each_row_to_its_place(head_dim: int) -> None:
    ax = viz.rope_layouts(head_dim).figure.axes[0]
    moves = sorted((line.get_xdata()[1], line.get_xdata()[0]) for line in ax.lines)
    order = np.argsort(np.argsort([start for _, start in moves]))  # row that stands at each place
    back = interleaved_to_half_split(order, 1)
    np.testing.assert_array_equal(back, np.arange(head_dim))


@pytest.mark.parametrize("head_dim", [2, 7, 18])
def test_a_head_that_has_no_picture(head_dim: int) -> None:
    with pytest.raises(InputError, match=f"got {head_dim}"):
        viz.rope_layouts(head_dim)


def test_scaling_counts_what_is_kept_blended_and_slowed() -> None:
    ratio = PLAIN / SCALED
    kept, slowed = int((ratio < 1.0001).sum()), int((ratio > 31.99).sum())
    alt = viz.frequency_scaling(PLAIN, SCALED, 8192).alt
    assert kept > 0
    assert slowed > 0
    assert f"{kept} pairs are unchanged, {slowed} turn 32 times more slowly" in alt
    assert f"{32 - kept - slowed} lie between" in alt
    assert "8 pairs are unchanged, 0 turn" in viz.frequency_scaling(TURNS, TURNS, 512).alt


@pytest.mark.parametrize(
    ("plain", "scaled", "context"),
    [
        (PLAIN, SCALED[1:], 8192),
        (PLAIN, -SCALED, 8192),
        (PLAIN, SCALED, 0),
        (np.ones(1), np.ones(1), 9),
    ],
)
def test_frequencies_that_cannot_be_drawn(plain: object, scaled: object, context: int) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.frequency_scaling(plain, scaled, context)
