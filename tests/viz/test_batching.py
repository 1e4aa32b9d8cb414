"""Batching as a picture: every step of every request is where it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from figure_samples import all_texts as texts
from picture_checks import CHECKS

from llama_edu import viz
from llama_edu.errors import InputError

FED = [{"a": 16}, {"a": 5, "b": 11}, {"b": 3}, {}, {}, {}]
GREW = [set(), {"a"}, {"a", "b"}, {"a", "b"}, {"b"}, {"b"}]
PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "two requests": lambda: viz.batch_steps(["a", "b"], FED, GREW),
    "many steps": lambda: viz.batch_steps(["a long name", "b"], [{"b": 9}] * 40, [{"b"}] * 40),
    "one step": lambda: viz.batch_steps(["a"], [{"a": 7}], [set()]),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(PICTURES[name]())


def test_it_says_who_was_fed_and_who_grew() -> None:
    picture = viz.batch_steps(["a", "b"], FED, GREW)
    assert "2 requests over 6 steps; at most 2 texts share a step" in picture.alt
    assert "a: prompt in 2 steps of [16, 5] tokens, 3 shared steps, from step 2 to step 4" in (
        picture.alt
    )
    assert "b: prompt in 2 steps of [11, 3] tokens, 4 shared steps, from step 3 to step 6" in (
        picture.alt
    )
    assert [t for t in texts(picture) if t.isdigit()] == ["16", "5", "11", "3"]


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
