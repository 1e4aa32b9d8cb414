"""Bytes, operations and the roof: what is drawn is what was counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from figure_samples import all_texts as texts
from helpers import tiny_config
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.analysis.roofline import Cost, forward_costs, total_cost
from llama_edu.errors import InputError

DECODE = forward_costs(tiny_config(), 1, 7)
PASSES = {
    "one token": total_cost(DECODE),
    "a prompt of 16": total_cost(forward_costs(tiny_config(), 16)),
    "a prompt of 512": total_cost(forward_costs(tiny_config(), 512)),
}
PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "bars": lambda: viz.cost_bars(DECODE),
    "one bar": lambda: viz.cost_bars(DECODE[:1]),
    "large bars": lambda: viz.cost_bars([Cost("lm_head", 3 * 10**12, 2 * 10**9)]),
    "roof": lambda: viz.roofline(PASSES, 30e9, 100e9),
    "measured": lambda: viz.roofline(PASSES, 30e9, 100e9, measured={"one token": 1e-3}),
    "four under a roof": lambda: viz.roofline(
        {
            "write, 32 bits": Cost("x", 276, 543),
            "write, 16 bits": Cost("x", 276, 272),
            "write, 8 bits": Cost("x", 276, 145),
            "prompt of 512": Cost("x", 126_900, 562),
        },
        34,
        185,
        measured={"write, 32 bits": 17.5, "prompt of 512": 880},
    ),
    "one under a roof": lambda: viz.roofline({"it": PASSES["one token"]}, 1e9, 1e9),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_bars_are_shares_of_what_was_counted() -> None:
    costs = [Cost("a", 30, 25), Cost("b", 70, 65, 10)]
    picture = viz.cost_bars(costs)
    assert "a 25.0% and 30.0%, b 75.0% and 70.0%" in picture.alt
    assert {"25.0%", "30.0%", "75.0%", "70.0%"} <= set(texts(picture))


def test_the_roof_says_which_wall_holds_whom() -> None:
    costs = {"slow memory": Cost("x", 100, 50), "busy": Cost("y", 4000, 40)}
    alt = viz.roofline(costs, bytes_per_s=10, flops_per_s=100).alt
    assert "rises until 10 operations a byte" in alt
    assert "slow memory: 2 operations a byte, memory is its wall, 5 s at least" in alt
    assert "busy: 100 operations a byte, arithmetic is its wall, 40 s at least" in alt
    ax = viz.roofline(costs, 10, 100).figure.axes[1]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines[2:]}
    assert drawn == {"slow memory": [[2.0, 20.0]], "busy": [[100.0, 100.0]]}


def test_what_was_measured_hangs_below_what_the_roof_allows() -> None:
    costs = {"slow memory": Cost("x", 100, 50), "busy": Cost("y", 4000, 40)}
    picture = viz.roofline(costs, 10, 100, measured={"busy": 50.0})
    assert "40 s at least, measured 50 s: 80% of what the roof allows" in picture.alt
    assert {"busy: 80%", "slow memory"} <= set(texts(picture))
    assert picture.alt.count("measured") == 1
    *_, hollow = picture.figure.axes[1].lines
    assert hollow.get_xydata().tolist() == [[100.0, 80.0]]


@pytest.mark.parametrize("measured", [{"nobody": 1.0}, {"it": 0.0}])
def test_a_time_of_no_pass_or_of_no_length_is_refused(measured: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected seconds above 0 for passes among it"):
        viz.roofline({"it": PASSES["one token"]}, 1e9, 1e9, measured=measured)


def test_there_is_something_to_draw() -> None:
    with pytest.raises(InputError, match="expected at least one part, got none"):
        viz.cost_bars([])
    with pytest.raises(InputError, match="expected 1 to 6 passes, got 0"):
        viz.roofline({}, 1, 1)
