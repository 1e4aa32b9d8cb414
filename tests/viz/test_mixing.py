"""Mixing bars and the row of heads: numbers and places are those of the arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_samples import scores, texts, weights, words
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.errors import InputError
from llama_edu.ops.attention import merge_heads

PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "mixing": lambda: viz.mixing_bars(weights(1, 1, 4, 9)[0, 0, -1], scores(9, 16), words(9)),
    "mixing small": lambda: viz.mixing_bars(np.ones(1, np.float32), scores(1, 1), ["a"]),
    "mixing large": lambda: viz.mixing_bars(
        weights(1, 1, 24, 24)[0, 0, -1], scores(24, 32), words(24)
    ),
    "concat story": lambda: viz.head_concat(4, 2, 16),
    "concat wrong": lambda: viz.head_concat(2, 3, 5, [0, 3, 1, 4, 2, 5]),
    "concat many": lambda: viz.head_concat(4, 4, 128, list(range(16))[::-1]),
    "concat one": lambda: viz.head_concat(1, 1, 2),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_eighths_are_said_exactly() -> None:
    shares = np.array([0.375, 0.125, 0.5], np.float32)
    picture = viz.mixing_bars(shares, np.eye(3, dtype=np.float32), list("abc"), plain=True)
    assert {"37.5%", "12.5%", "50%"} <= set(texts(picture))


def test_the_last_strip_is_the_weighted_sum() -> None:
    shares = np.array([0.5, 0.25, 0.25], np.float32)
    values = np.array([[4, 0], [0, 8], [8, -8]], np.float32)
    picture = viz.mixing_bars(shares, values, ["a", " b", "c"])
    assert "The largest: “a” 50%, “·b” 25%, “c” 25%; all together 100%" in picture.alt
    assert "from 0.00 to 4.00" in picture.alt
    strips = [np.asarray(ax.images[0].get_array()) for ax in picture.figure.axes if ax.images]
    assert np.array_equal(strips[0], values)
    assert np.array_equal(strips[1], shares[:, None] * values)
    assert np.array_equal(strips[2], (shares @ values)[None])


@pytest.mark.parametrize(
    ("shares", "values", "message"),
    [
        (np.ones((1, 2)), np.ones((2, 3)), r"got \(1, 2\) and \(2, 3\)"),
        (np.ones(2), np.ones((3, 3)), r"got \(2,\) and \(3, 3\)"),
        (np.ones(2), np.ones((2, 33)), r"at most 24 × 32 values to draw, got \(2, 33\)"),
        (np.ones(25), np.ones((25, 2)), r"at most 24 × 32 values to draw, got \(25, 2\)"),
        (-np.ones(2), np.ones((2, 3)), "weights ≥ 0"),
        (np.ones(2), np.full((2, 3), np.inf), "finite"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    shares: np.ndarray, values: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        viz.mixing_bars(shares, values, words(len(values)))


def test_labels_must_fit() -> None:
    with pytest.raises(InputError, match="expected 2 token labels, one per position, got 1"):
        viz.mixing_bars(np.ones(2), np.ones((2, 3)), ["a"])


def test_heads_stand_where_merge_heads_puts_them() -> None:
    n_kv_heads, n_groups, head_dim = 2, 3, 5
    heads = np.arange(6, dtype=np.float32).reshape(n_kv_heads, n_groups, 1, 1)
    row = merge_heads(np.broadcast_to(heads, (n_kv_heads, n_groups, 1, head_dim)))[0]
    alt = viz.head_concat(n_kv_heads, n_groups, head_dim).alt
    for head in range(6):
        assert f"head {head} at {int(np.argmax(row == head))}" in alt
    assert "Every head is in its own place." in alt


def test_heads_in_a_wrong_place_are_counted_and_marked() -> None:
    picture = viz.head_concat(2, 3, 5, [0, 3, 1, 4, 2, 5])
    assert "head 0 at 0, head 3 at 5, head 1 at 10" in picture.alt
    assert "4 heads are in another head's place." in picture.alt
    assert "4 of 6 heads stand where o_proj expects another one" in " ".join(texts(picture))
    assert "o_proj" not in " ".join(texts(viz.head_concat(2, 3, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 4), "sizes ≥ 1"),
        ((4, 5, 4), "at most 16 heads to draw, got 4 × 5"),
        ((1, 3, 4, [0, 1]), r"an order of the heads 0 to 2, got \[0, 1\]"),
        ((1, 3, 4, [0, 1, 1]), r"got \[0, 1, 1\]"),
    ],
)
def test_what_is_no_row_of_heads_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.head_concat(*arguments)
