"""Batching as a picture: every step of every request is where it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from figure_samples import all_texts as texts
from helpers import tiny_model
from matplotlib.colors import to_hex, to_rgba
from picture_checks import CHECKS, drawn

from llama_edu import Trace, viz
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import WEIGHTS_MAP, axis

FED = [{"a": 16}, {"a": 5, "b": 11}, {"b": 3}, {}, {}, {}]
CHOSEN = [set(), {"a"}, {"a", "b"}, {"a", "b"}, {"b"}, {"b"}]
NAMES = ["Ana", "Ben", "Eva"]


@cache
def traced() -> Trace:
    """A step of one newest token, a piece of a prompt, and a whole one."""
    model = tiny_model()
    caches = [model.new_cache() for _ in NAMES]
    model.forward([3, 1, 4], caches[0])
    model.forward([1, 5], caches[1])
    with Trace() as trace:
        model.forward_chunks([[9], [2, 6, 5, 3], [5, 8]], caches, trace=trace)
    return trace


PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "two requests": lambda: viz.batch_steps(["a", "b"], FED, CHOSEN),
    "many steps": lambda: viz.batch_steps(["a long name", "b"], [{"b": 9}] * 40, [{"b"}] * 40),
    "one step": lambda: viz.batch_steps(["a"], [{"a": 7}], [set()]),
    "rows of a step": lambda: viz.batch_rows(traced(), NAMES),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_it_says_who_was_fed_and_who_grew() -> None:
    picture = viz.batch_steps(["a", "b"], FED, CHOSEN)
    assert (
        "2 requests in 6 steps, each one pass through the weights; 7 new tokens; "
        "at most 2 requests share a step" in picture.alt
    )
    assert "a: prompt in 2 steps of [16, 5] tokens, 3 new tokens, from step 2 to step 4" in (
        picture.alt
    )
    assert "b: prompt in 2 steps of [11, 3] tokens, 4 new tokens, from step 3 to step 6" in (
        picture.alt
    )
    numbers = [t for t in texts(picture) if t.isdigit()]
    assert numbers == ["16", "5", "11", "3", *"123456"]  # what was fed, then the steps


def squares(picture: viz.Picture, color: object) -> int:
    """How many boxes have this colour, the key's among them."""
    (axes,) = picture.figure.axes
    return sum(patch.get_facecolor() == to_rgba(color) for patch in axes.patches)


def test_every_new_token_is_a_box_and_every_piece_of_a_prompt() -> None:
    picture = viz.batch_steps(["a", "b"], FED, CHOSEN)
    assert squares(picture, axis("vocab_size").color) == 1 + 7
    assert squares(picture, axis("seq").color) == 1 + 4


def test_the_rows_of_a_step_are_what_was_computed() -> None:
    picture = viz.batch_rows(traced(), NAMES, layer=1)
    assert picture.alt.startswith(
        "One step of 7 rows. Ana: 1 row over 3 cached and 1 new positions; "
        "Ben: 4 rows over 2 cached and 4 new positions; Eva: 2 rows over 0 cached and 2 new"
    )
    (axes,) = picture.figure.axes
    drawn = [
        to_hex(patch.get_facecolor()) for patch in axes.patches if patch.get_linewidth() == 0.4
    ]
    want = []
    for n in range(3):
        weights = traced()[f"layers.1.self_attn.spans.{n}.weights"].array
        seq, total_seq = weights.shape[-2:]
        for i in range(seq):
            row = weights[:, :, i].max(axis=(0, 1))
            want += [to_hex(WEIGHTS_MAP(float(w))) for w in row[: total_seq - seq + i + 1]]
    assert drawn == want
    assert "7 rows go through every product together" in picture.caption
    assert "layer 1." in picture.caption
    assert "Layer 1; of all query heads, the largest weight." in picture.alt
    masked = [patch for patch in axes.patches if patch.get_hatch() == "///"]
    assert len(masked) == 1 + (3 + 2 + 1) + 1  # the key's, then those of a chunk of 4 and of 2


@pytest.mark.parametrize(("names", "layer"), [(["Ana"], 0), (NAMES, 7), (NAMES[:2], 1)])
def test_rows_of_others_than_those_in_the_step_are_refused(names: list[str], layer: int) -> None:
    with pytest.raises(InputError, match=f"pass of {len(names)} sequences, at least two"):
        viz.batch_rows(traced(), names, layer)


def test_a_pass_of_one_sequence_has_no_rows_to_tell_apart() -> None:
    model = tiny_model()
    with Trace() as trace:
        model.forward([1, 2], model.new_cache(), trace=trace)
    with pytest.raises(InputError, match="got 0 sequences"):
        viz.batch_rows(trace, ["Ana"])


@pytest.mark.parametrize(
    ("names", "fed", "grew", "message"),
    [
        (["a"], [{}], [], "1 and 0 steps"),
        ([], [{}], [set()], "got 0 names"),
        (["a"], [{}] * 41, [set()] * 41, "1 to 40 steps"),
        (["a"], [{"x": 1}], [set()], "expected requests of a, got 'x'"),
    ],
)
def test_what_does_not_fit_is_refused(
    names: list[str], fed: list[dict[str, int]], grew: list[set[str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        viz.batch_steps(names, fed, grew)
