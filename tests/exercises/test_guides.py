"""Every exercise has minutes, importance and three hints, and its solution comes after a try."""

import ast
import inspect
import json
import math
import re
from itertools import pairwise

import numpy as np
import pytest

from llama_edu.exercises import check
from llama_edu.exercises.framework import progress
from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, STEPS, USEFUL
from llama_edu.exercises.framework.printed import fingerprint, printed
from llama_edu.exercises.guides import GUIDES
from llama_edu.formats.precision import DTYPES

ITEMS = list(check)
each = pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.exercise.name)


pytestmark = pytest.mark.usefixtures("own_progress")


def test_every_exercise_has_a_guide_and_no_guide_is_left_over():
    assert GUIDES
    assert set(GUIDES) == {item.exercise.name for item in ITEMS}


@each
def test_hints_go_from_a_question_to_almost_the_code(item):
    guide, name = item.guide, item.exercise.name
    assert guide.question.endswith("?")
    assert guide.idea.endswith(".")
    assert 40 < len(guide.question) < 300
    assert 40 < len(guide.idea) < 500
    (sketch,) = ast.parse(guide.sketch).body
    (solution,) = ast.parse(printed(name)).body
    assert isinstance(sketch, ast.FunctionDef)
    assert isinstance(solution, ast.FunctionDef)
    assert sketch.name == solution.name == f"{name}_mine"
    assert ast.unparse(sketch.args) == ast.unparse(solution.args)
    assert re.search(r"(?<![\w\"])\.\.\.", guide.sketch), "nothing is left to do"
    assert fingerprint(guide.sketch) != fingerprint(printed(name))


@each
def test_the_sketch_is_no_answer(item):
    assert not item.exercise(_made(item.guide.sketch, f"{item.exercise.name}_mine"), seed=0)


def _made(source, name):
    """The function of a sketch as it stands, with what most of them need."""
    space = {"np": np, "json": json, "math": math, "DTYPES": DTYPES, "pairwise": pairwise}
    exec(source, space)
    return space[name]


def test_time_and_importance_are_spread():
    found = [item.guide for item in ITEMS]
    for importance in (ESSENTIAL, USEFUL, EXTRA):
        assert sum(guide.importance == importance for guide in found) >= 10
    assert {guide.importance for guide in found} == {ESSENTIAL, USEFUL, EXTRA}
    assert all(5 <= guide.minutes <= 45 for guide in found)
    by_stars = {
        stars: [item.guide.minutes for item in ITEMS if item.exercise.stars == stars]
        for stars in (1, 2, 3)
    }
    means = [sum(minutes) / len(minutes) for minutes in by_stars.values()]
    assert means == sorted(means)


def test_a_terminal_gives_one_hint_after_another():
    item = type(check.clean)(check.clean.exercise)
    first, second, third, fourth = (repr(item.hint()) for _ in range(4))
    assert first.startswith("Hint 1 of 3, a question:\n  How can")
    assert "`<s>`" in first
    assert second.startswith("Hint 2 of 3, the idea:")
    assert third.startswith(
        "Hint 3 of 3, almost the code:\n  def clean_mine(pieces):\n      return"
    )
    assert fourth == third
    assert repr(item.hint(1)) == first
    for step in (0, 4, "1"):
        with pytest.raises(ValueError, match=f"expected a step from 1 to 3, got {step!r}"):
            item.hint(step)
    assert "2 * np.pi" in repr(check.scaled_turns.hint(2))  # a star in code is no mark
    assert "the ones before it" not in repr(check.nucleus.hint(2))
    assert "likelier ones before it" in repr(check.nucleus.hint(2))


def test_the_solution_comes_after_a_try():
    item = type(check.clean)(check.clean.exercise)

    def stub(pieces):
        raise NotImplementedError("your turn")

    refusal = "The solution comes after a try: give check.clean a function of yours"
    for no_try in (stub, item.broken, item.exercise.correct[0], 3):
        assert not item(no_try)
        assert item.solution().startswith(refusal)
    assert not item(lambda pieces: "".join(pieces))
    assert repr(item.solution()) == printed("clean")
    solved = type(check.clean)(check.clean.exercise)
    assert solved.solution().startswith(refusal)
    progress.record("clean")
    assert solved.solution() == printed("clean")


@each
def test_the_page_shows_what_the_terminal_says(item):
    html = item._repr_html_()
    assert html.count("<details>") == len(STEPS) == 3
    assert f"{item.exercise.stars} of 3 stars" in html
    assert f"about {item.guide.minutes} minutes" in html
    assert item.guide.importance in html
    assert item.guide.facts(item.exercise.stars) in repr(item)
    assert "<script" not in html
    assert re.sub(r"<[^>]+>", "", html).count("`") == 0


def test_what_is_shown_is_a_solution():
    space = {}
    exec(printed("merge_pair"), space)
    assert check.merge_pair.exercise(space["merge_pair_mine"])
    assert inspect.signature(space["merge_pair_mine"])
