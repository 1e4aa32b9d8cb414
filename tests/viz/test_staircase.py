"""The mask as a staircase, and row sums: what they draw is counted from what they were given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_samples import all_texts as texts
from figure_samples import scores, weights, words
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.errors import InputError
from llama_edu.ops.attention import causal_mask, softmax

PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "mask": lambda: viz.mask_staircase(np.tri(4, 9, 5, dtype=bool), words(9)),
    "wrong mask": lambda: viz.mask_staircase(np.tri(11, 24, 15, dtype=bool)),
    "mask of one row": lambda: viz.mask_staircase(np.ones((1, 2), dtype=bool)),
    "row sums": lambda: viz.row_sums(weights(1, 1, 4, 9)[0, 0], words(9)),
    "wrong row sums": lambda: viz.row_sums(softmax(scores(9, 4)).T.copy(), words(9)),
    "many row sums": lambda: viz.row_sums(weights(1, 1, 60, 60)[0, 0], words(60)),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_a_right_mask_has_a_staircase_and_no_marks() -> None:
    picture = viz.mask_staircase(causal_mask(4, 2))
    assert "see 3, 4, 5, 6 keys; 6 of 24 entries are masked" in picture.alt
    assert "first step is 3 wide" in picture.alt
    said = texts(picture)
    assert not {"!", "?"} & set(said)
    assert [t for t in said if t.startswith("sees")] == ["sees 3", "sees 4", "sees 5", "sees 6"]
    assert {"p  past = 2", "s  seq = 4", "position 2", "position 5"} <= set(said)


def test_every_wrong_entry_is_marked() -> None:
    mask = causal_mask(4, 2)
    mask[0, 4:] = True  # 2 of the future
    mask[2, :3] = False  # 3 of the past
    picture = viz.mask_staircase(mask)
    assert "2 too many are seen (the future), and 3 too few" in picture.alt
    said = texts(picture)
    assert said.count("!") == 2
    assert said.count("?") == 3


def test_rows_are_named_by_their_tokens() -> None:
    said = texts(viz.mask_staircase(causal_mask(1, 2), ["a", " b", "c"]))
    assert "2 c" in said
    assert "0 a" not in said


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 3), np.float32), r"got \(2, 3\) of float32"),
        (np.ones((3, 2), np.bool_), r"seq ≤ total_seq, got \(3, 2\)"),
        (np.ones(3, np.bool_), r"got \(3,\)"),
        (np.ones((2, 25), np.bool_), "at most 24 positions to draw, got 25"),
    ],
)
def test_what_is_no_mask_is_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.mask_staircase(mask)


def test_labels_must_fit() -> None:
    with pytest.raises(InputError, match="expected 6 token labels, one per position, got 4"):
        viz.mask_staircase(causal_mask(4, 2), list("abcd"))
    with pytest.raises(InputError, match="expected 3 token labels, one per position, got 1"):
        viz.row_sums(np.ones((1, 3), np.float32) / 3, ["a"])


def test_the_legend_explains_the_marks_that_are_there() -> None:
    causal = causal_mask(4, 2)
    narrow = np.tri(4, 6, dtype=bool)
    signs = {"hatched: masked", "! sees the future", "? hides what it may see"}
    for mask, wanted in (
        (causal, set()),
        (narrow, signs - {"! sees the future"}),
        (np.ones((4, 6), bool), signs - {"? hides what it may see"}),
    ):
        assert signs & set(texts(viz.mask_staircase(mask))) == wanted


def test_row_sums_tell_past_present_and_future_apart() -> None:
    weights = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.25]], np.float32)
    picture = viz.row_sums(weights, ["x", "y", "z"])
    assert "from 0.50 to 1.00; furthest from 1: “z”, 0.50" in picture.alt
    assert "“z”, gives 0.12 to the past and 0.38 to this call" in picture.alt
    assert "“y” gives 0.25 to its future." in picture.alt
    said = texts(picture)
    assert {"1.00", "0.50", "its future", "p  past"} <= set(said)


def test_rows_that_are_right_end_at_one() -> None:
    scores = np.random.default_rng(0).standard_normal((5, 5), dtype=np.float32)
    picture = viz.row_sums(softmax(np.where(causal_mask(5, 0), scores, -np.inf)), list("abcde"))
    assert "5 rows of attention weights, each summing to 1." in picture.alt
    assert "No row gives anything to the future." in picture.alt
    said = texts(picture)
    assert said.count("1.00") == 5
    assert "p  past" not in said
    ends = [patch.get_x() + patch.get_width() for patch in picture.figure.axes[0].patches]
    line = picture.figure.axes[0].lines[0].get_xdata()[0]
    assert line == pytest.approx(max(ends))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((3, 2), np.float32), r"seq ≤ total_seq, got \(3, 2\)"),
        (np.array([[np.nan]], np.float32), "weights ≥ 0, got nan"),
        (np.array([[-1.0]], np.float32), r"weights ≥ 0, got -1"),
    ],
)
def test_what_is_no_weights_is_refused(weights: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.row_sums(weights, ["a"] * weights.shape[1])
