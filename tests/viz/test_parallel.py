"""Figures of a split model: what they draw is the split, the sum and the model they are given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from figure_samples import texts
from helpers import tiny_config
from matplotlib.patches import Rectangle
from picture_checks import CHECKS

from llama_edu import viz
from llama_edu.errors import InputError
from llama_edu.parallel.threads import run_threads
from llama_edu.viz.parallel.ring import ring_states
from llama_edu.viz.parallel.split import RANKS

SMOLLM2 = tiny_config(
    hidden_size=576,
    intermediate_size=1536,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
)
STORY = tiny_config(
    hidden_size=128,
    intermediate_size=384,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=16,
)
PARTS = [[1, 2, 3], [10, 20, 30], [100, 200, 300]]
RATES = {"1 Gbit/s": [10, 12, 8.0], "10 Gbit/s": [10, 15.5, 16], "100 Gbit/s": [10, 18, 30]}
PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "split 3": lambda: viz.layer_split(SMOLLM2, 3),
    "split padded": lambda: viz.layer_split(SMOLLM2, 2),
    "split story": lambda: viz.layer_split(STORY, 4),
    "split alone": lambda: viz.layer_split(STORY, 1),
    "ring of 2": lambda: viz.ring_sum([[1, 2], [30, 40]]),
    "ring of 3": lambda: viz.ring_sum(PARTS),
    "pays": lambda: viz.split_pays([1, 2, 4], RATES),
    "pays groups": lambda: viz.split_pays([1, 2, 4, 8], {"a": [2, 4, 8, 9]}, groups=2),
    "pays one": lambda: viz.split_pays([1, 2], {"a wire": [2, 1]}),
}


@cache
def drawn(name: str) -> viz.Picture:
    return PICTURES[name]()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", PICTURES)
def test_words_are_on_the_page_large_enough_and_apart(name, check) -> None:
    check(drawn(name))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_drawn_steps_are_those_of_the_real_sum(size: int) -> None:
    parts = np.random.default_rng(size).integers(1, 50, (size, size)).astype(np.float32)
    states = ring_states(parts.tolist())
    totals = run_threads(size, lambda world: world.summed(parts[world.rank]))
    assert len(states) == 2 * (size - 1) + 1
    assert np.array_equal(states[-1], np.stack(totals))
    # Halfway round, each rank has finished one piece: the one above its own.
    for rank in range(size):
        piece = (rank + 1) % size
        assert states[size - 1][rank, piece] == totals[0][piece]
    assert "rank 1 10, 20, 30" in viz.ring_sum(PARTS).alt
    frames = [p for p in viz.ring_sum(PARTS).figure.axes[0].patches if p.get_linewidth() > 2]
    assert len({frame.get_edgecolor() for frame in frames}) == 1, "what came, whoever got it"
    assert texts(viz.ring_sum(PARTS)).count("222") == 1 + 2 + 3, "found once, then handed on twice"


def test_what_a_split_says_is_what_it_draws() -> None:
    picture = viz.layer_split(SMOLLM2, 2)
    assert "2 of 4 KV groups a rank" in picture.alt
    assert "1 of 4 groups are zeros" in picture.alt
    assert "512 of 1536 rows a rank" in viz.layer_split(SMOLLM2, 3).alt
    assert {f"rank {i}" for i in range(2)} <= set(texts(picture))
    colors = [color for color, _ in RANKS]
    drawn = [patch.get_facecolor() for patch in picture.figure.axes[0].patches]
    assert len(drawn) == 2 + 7 * 2, "a key, and two parts of each of seven matrices"
    assert len(set(drawn)) == 2 < len(colors)


def test_the_numbers_at_the_edges_are_those_of_the_slices() -> None:
    picture = viz.layer_split(STORY, 2)
    said = texts(picture)
    rows = STORY.num_attention_heads * STORY.head_dim
    for count in (0, rows // 2, rows):
        assert said.count(str(count)) >= 2, "left of q_proj, and below o_proj"
    assert {f"group {i}" for i in range(STORY.num_key_value_heads)} <= set(said)
    assert f"up to each cut: 0, {rows // 2}, {rows}." in picture.alt


def test_a_peak_is_marked_where_a_curve_turns() -> None:
    picture = viz.split_pays([1, 2, 4], RATES)
    assert "1 Gbit/s: 10 on 1, at most 12 on 2, 8 on 4" in picture.alt
    marks = [
        line.get_xdata()[0] for line in picture.figure.axes[1].lines if len(line.get_xdata()) == 1
    ]
    assert marks == [2], "the other two are fastest at their end"
    assert "Circles" in picture.caption
    assert "Circles" not in viz.split_pays([1, 2, 4], {"a": [2, 4, 8]}).caption


def test_a_line_stands_where_each_machine_has_one_group() -> None:
    picture = PICTURES["pays groups"]()
    lines = [line.get_xdata() for line in picture.figure.axes[1].lines]
    assert [2, 2] in [list(line) for line in lines]
    assert "2 KV groups:\none a machine" in texts(picture)
    assert "marks 2 machines" in picture.alt


def test_a_straight_line_is_twice_as_fast_on_twice_as_many() -> None:
    panel = viz.split_pays([1, 2, 4], RATES).figure.axes[1]
    ends = [panel.transData.transform((n, 10 * n)) for n in (1, 2, 4)]
    assert ends[1] == pytest.approx((ends[0] + ends[2]) / 2), "straight, on axes that double"
    assert [10, 20, 40] in [list(line.get_ydata()) for line in panel.lines]


def test_every_cut_of_attention_lies_on_a_border_of_a_group() -> None:
    page = viz.layer_split(STORY, 2).figure.axes[0]
    borders = [line for line in page.lines if line.get_linewidth() > 2]
    assert len(borders) == 4 * 3, "q, k, v and o have four groups each"
    ends = [np.asarray(line.get_xdata(), dtype=float) for line in borders]
    upright = sorted(float(x[0]) for x in ends if x[0] == x[1])
    assert len(upright) == 3, "those of o_proj stand between its columns"
    starts = [box.get_x() for box in page.patches if isinstance(box, Rectangle)]
    assert any(start == pytest.approx(upright[1]) for start in starts), "rank 1's columns"


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.layer_split(STORY, 5), "at most 4 ranks, got 5"),
        (lambda: viz.ring_sum([[1, 2, 3], [1, 2, 3]]), r"as many pieces, got \(2, 3\)"),
        (lambda: viz.split_pays([1, 2], {}), r"1 to 3 curves of 2 points, got \[\]"),
        (lambda: viz.split_pays([1, 2], {"a": [1]}), r"got \[1\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words) -> None:
    with pytest.raises(InputError, match=words):
        draw()
