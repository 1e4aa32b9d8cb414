"""Every check tells right from wrong: it accepts each correct version and rejects each mistake."""

import ast
import functools
import inspect
import itertools
import json
import re
import textwrap
import time
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
from docutils.nodes import make_id

from llama_edu.chapters import BOOK, CHAPTER_FILES, anchor
from llama_edu.exercises import check
from llama_edu.exercises.framework import progress
from llama_edu.exercises.framework.answer import called
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant

BOOK_SOURCES = Path(__file__).resolve().parents[2] / "book"

EXERCISES = [item.exercise for item in check]
each = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
MUTANTS = [(exercise, mutant) for exercise in EXERCISES for mutant in exercise.mutants]


pytestmark = pytest.mark.usefixtures("own_progress")


@each
def test_accepts_every_correct_version(exercise):
    assert len(exercise.correct) >= 2
    for answer in exercise.correct:
        verdict = exercise(answer)
        assert verdict.ok, verdict
        n = len(exercise.mutants)
        assert f"rejects {n} of {n} known" in verdict.message


def steps(function):
    """What a function does, as the kinds of its syntax: names and constants left out."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    body = definition.body[1:] if ast.get_docstring(definition) else definition.body
    nodes = [node for statement in body for node in ast.walk(statement)]
    return [
        node.attr if isinstance(node, ast.Attribute) else type(node).__name__
        for node in nodes
        if not isinstance(node, ast.expr_context)
    ]


@each
def test_correct_versions_are_of_different_structure(exercise):
    alike = [
        SequenceMatcher(None, steps(one), steps(other), autojunk=False).ratio()
        for one, other in itertools.combinations(exercise.correct, 2)
    ]
    assert max(alike) < 0.9, "two correct versions say the same in other words"
    assert min(alike) < 0.8, "no two correct versions go different ways"


@pytest.mark.parametrize(
    ("exercise", "mutant"), MUTANTS, ids=[f"{e.name}-{m.name}" for e, m in MUTANTS]
)
def test_rejects_every_mistake_and_names_it(exercise, mutant):
    verdict = exercise(mutant.function)
    assert not verdict.ok
    assert mutant.when in verdict.message, verdict.message
    if mutant.link:
        assert mutant.link in verdict.message
    section = mutant.section or exercise.section
    assert f"Read again: chapter {exercise.chapter}, {section}\n" in verdict.message
    assert repr(verdict).splitlines()[-1] == address(exercise.topic, section)


@each
def test_is_described(exercise):
    assert exercise.stars in (1, 2, 3)
    assert re.fullmatch(r"[a-z][a-z0-9_]+", exercise.name)
    assert exercise.task.endswith(".")
    assert len(exercise.mutants) >= 2
    names = [mutant.name for mutant in exercise.mutants]
    assert len(names) == len(set(names))
    for mutant in exercise.mutants:
        assert mutant.when.startswith(("when ", "if ", "from ", "with ", "without "))
        assert not mutant.link or re.match(r"https://github\.com/[\w.-]+/[\w.-]+/", mutant.link)


@functools.cache
def headings(topic):
    """The headings of a chapter, without markup, in order."""
    notebook = json.loads((BOOK_SOURCES / f"{CHAPTER_FILES[topic]}.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    prose = "\n".join("".join(cell["source"]) for cell in cells)
    prose = re.sub(r"^(`{3,}|~{3,}).*?^\1", "", prose, flags=re.MULTILINE | re.DOTALL)
    return [title.replace("`", "") for title in re.findall(r"^##+ (.+)$", prose, re.MULTILINE)]


def address(topic, section):
    return f"{BOOK}/{CHAPTER_FILES[topic]}.html#{make_id(section)}"


@each
def test_every_mistake_leads_to_the_section_that_explains_it(exercise):
    titles = headings(exercise.topic)
    for section in {exercise.section, *(mutant.section for mutant in exercise.mutants)} - {""}:
        assert titles.count(section) == 1, f"chapter {exercise.chapter}: no heading {section!r}"
        assert "★" not in section, "an exercise does not explain itself"
        # Of two headings with one anchor, the second gets a number for an id.
        first = next(title for title in titles if make_id(title) == make_id(section))
        assert first == section
    for mutant in exercise.mutants:
        assert mutant.section != exercise.section, f"{mutant.name} need not say so again"


def test_anchors_are_those_of_the_builder():
    titles = [title for topic in CHAPTER_FILES for title in headings(topic)]
    assert [anchor(title) for title in titles] == [make_id(title) for title in titles]
    assert (
        anchor("16 bits, déjà vu: x Wᵀ") == make_id("16 bits, déjà vu: x Wᵀ") == "bits-deja-vu-x-w"
    )


def test_names_are_used_once():
    names = [exercise.name for exercise in EXERCISES]
    assert len(names) == len(set(names))


def test_inputs_are_made_fresh_and_the_same_each_time():
    for exercise in EXERCISES:
        once, again = exercise.cases(), exercise.cases()
        assert [case.label for case in once] == [case.label for case in again]
        assert len({case.label for case in once}) == len(once)


def _double(x):
    return x * 2


def _toy(**changes):
    fields = {
        "name": "toy",
        "topic": "bytes",
        "stars": 1,
        "task": "Double it.",
        "section": "By hand",
        "cases": lambda: [Case("a 2 × 3 array", (np.arange(6, dtype=np.float32).reshape(2, 3),))],
        "correct": (_double, lambda x: x + x),
        "mutants": (
            Mutant(
                "square",
                lambda x: x * x,
                "when it is squared",
                "https://github.com/a/b/",
                "The wrong end",
            ),
        ),
        "axes": "seq hidden_size",
    }
    return Exercise(**fields | changes)


def _in_place(x):
    x *= 2
    return x


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: 1 / 0, "got ZeroDivisionError"),
        (lambda x: None, "expected an array, got nothing (None)"),
        (lambda x: x.T * 2, "expected shape (2, 3) (seq, hidden_size), got (3, 2)"),
        (lambda x: (x * 2).astype(np.float64), "expected float32, got float64"),
        (lambda x: x * np.float32(np.nan), "got NaN at seq 0, hidden_size 0"),
        (lambda x: x * x, "this is what you get when it is squared"),
        (lambda x: x * 2 + (x == 4), "expected 8 at seq 1, hidden_size 1, got 9; 1 of 6"),
        (_in_place, "changed its argument x"),
        (lambda x: np.ma.masked_array(x, mask=True), "expected an array, got a MaskedArray"),
        (lambda x: 3, "expected an array, got an int"),
    ],
)
def test_says_the_first_thing_that_is_wrong(answer, message):
    verdict = _toy()(answer)
    assert not verdict
    assert message in verdict.message
    assert len(repr(verdict)) < 2000
    assert repr(verdict).startswith("✗ toy")
    assert repr(verdict).split() == ["✗", *verdict.message.split()]
    *lines, read_again, link = repr(verdict).splitlines()
    assert max(map(len, lines)) <= 72
    section = "The wrong end" if "squared" in message else "By hand"
    assert read_again == f"  Read again: chapter 1, {section}"
    assert link == address("bytes", section)


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("go_on_from", lambda *args: None, "expected a list of runs, got nothing (None)"),
        ("go_on_from", lambda *args: 7, "expected a list of runs, got an int"),
        ("fork_cache", lambda *args: None, "expected a KVCache, got nothing (None)"),
        ("fork_cache", lambda *args: {}, "expected a KVCache, got a dict"),
        ("stream_request", lambda *args: ("", {}, "{}"), "expected a body of bytes, got a str"),
        ("frames", lambda pieces: None, "expected bytes, got nothing (None)"),
    ],
)
def test_another_kind_of_answer_is_named(name, answer, message):
    verdict = getattr(check, name)(answer)
    assert not verdict
    assert message in " ".join(repr(verdict).split())


def _changes_both(left, right):
    left[0], right[0] = 1, 2
    return left


def test_changed_arguments_are_told_by_their_names():
    two = [Case("two lists", ([0], [0]))]
    right = (lambda left, right: [1], lambda left, right: list(range(1, 2)))
    toy = _toy(cases=lambda: two, correct=right, mutants=())
    assert "your function changed its argument left, right" in toy(_changes_both).message
    judged = _toy(
        cases=lambda: two,
        correct=right,
        mutants=(),
        harness=lambda answer, given, *more: answer(given, *more),
    )
    assert "argument given, number 2" in judged(_changes_both).message


def _forever(x):
    while True:
        x = x + 0


def test_an_answer_that_does_not_end_is_told_so_once():
    toy = _toy(
        seconds=0.3, cases=lambda: [Case(str(i), (np.ones((2, 3), np.float32),)) for i in range(9)]
    )
    start = time.monotonic()
    verdict = toy(_forever)
    assert time.monotonic() - start < 2.5  # one input of nine
    assert "toy, on 0: it was still running after 0.3 s" in verdict.message


def test_several_mistakes_that_fit_are_all_named():
    def tripled(x):
        return x * 3

    mutants = (
        Mutant("square", lambda x: x * x, "when it is squared"),
        Mutant("triple", tripled, "when it is tripled"),
        Mutant("thrice", lambda x: x + x + x, "when it is added thrice", "https://github.com/a/b/"),
    )
    message = _toy(mutants=mutants)(tripled).message
    assert "what you get when it is tripled, or when it is added thrice." in message
    assert "  Somebody else's: https://github.com/a/b/" in message
    assert "squared" not in message


def test_an_answer_that_damages_the_check_is_not_right():
    shared = np.ones(3, dtype=np.float32)
    wrong = Mutant("too_much", lambda x: x + 1 + shared, "when too much is added")

    def damages(x):
        shared[:] = 0
        return x + 1

    toy = _toy(
        cases=lambda: [Case("three ones", (np.zeros(3, dtype=np.float32),))],
        correct=(lambda x: x + 1, _double),
        mutants=(wrong,),
        axes="",
    )
    assert toy(lambda x: x + 1)
    verdict = toy(damages)
    assert not verdict
    assert "this check rejects only 0 of 1 known mistake" in verdict.message


def test_blanks_that_matter_are_kept():
    toy = _toy(
        cases=lambda: [Case("a text", ("a",))],
        correct=(lambda x: "one  two   three " + x, lambda x: f"one  two   three {x}"),
        mutants=(),
        axes="",
    )
    shown = repr(toy(lambda x: "one two   three " + x))
    assert "expected 'one··two···three·a', got 'one·two···three·a'" in shown
    assert "(· is a blank)" in shown


def test_different_things_in_a_list_have_names():
    """Or a verdict would speak of item 0 of something that the learner never made."""
    for exercise in EXERCISES:
        outcomes = [
            called(exercise.correct[0], case.args, exercise.harness, 10.0)
            for case in exercise.cases()
        ]
        several = [o.value for o in outcomes if isinstance(o.value, list | tuple)]
        if exercise.parts:
            assert {len(value) for value in several} == {len(exercise.parts)}, exercise.name
        else:
            kinds = [{type(item) for item in value} for value in several]
            assert all(len(found) <= 1 for found in kinds), exercise.name


def test_an_expected_error_must_be_raised():
    def refuse(x):
        raise ValueError("no")

    broken = _toy(correct=(refuse, refuse), mutants=())(refuse)
    assert not broken  # an exercise that breaks is not one that refuses
    assert "this could not be judged: ValueError: no" in broken.message
    toy = _toy(correct=(refuse, refuse), mutants=(), refuses=(ValueError,))
    assert toy(refuse)
    assert "expected ValueError to be raised, got a result" in toy(_double).message
    assert "got ZeroDivisionError" in toy(lambda x: 1 / 0).message


def _length_mine(data):
    return int.from_bytes(data[:8], "little")


def test_a_right_answer_is_remembered_and_a_wrong_one_is_not(monkeypatch):
    first = next(iter(check))
    first(first.broken)
    assert progress.solved() == set()
    first(_length_mine)
    assert progress.solved() == {first.exercise.name}
    progress.path().write_text("not json", "utf-8")
    assert progress.solved() == set()
    monkeypatch.setenv("LLAMA_EDU_PROGRESS", "off")
    first(_length_mine)
    assert progress.solved() == set()


def test_check_lists_what_there_is():
    assert "check.decode_loop: " in repr(check)
    assert "decode_loop" in dir(check)
    with pytest.raises(AttributeError, match="got 'decode_lop'"):
        check.decode_lop  # noqa: B018


@pytest.mark.parametrize("answer", [lambda m, c: None, lambda m, c: [c]])
def test_a_fork_that_is_no_cache_is_called_so(answer):
    verdict = check.fork_cache(answer)
    assert not verdict
    assert "TypeError: expected a KVCache, got " in verdict.message
    assert "this is what you get" not in verdict.message


def test_outputs_that_were_learnt_by_heart_are_not_enough():
    exercise = check.position.exercise
    known = {repr(case.args): exercise.correct[0](*case.args) for case in exercise.cases()}
    verdict = exercise(lambda *args: known.get(repr(args), 0), seed=3)
    assert not verdict
    assert "check.position(…, seed=3)" in verdict.message
    assert verdict == check.position(lambda *args: known.get(repr(args), 0), seed=3)


@pytest.mark.parametrize("seed", [0, 7, 12345])
def test_right_answers_are_right_on_whatever_is_drawn(seed):
    for exercise in (check.stream, check.encode_word, check.draw, check.bf16_rms_norm):
        for answer in exercise.exercise.correct[1:]:
            assert exercise.exercise(answer, seed).ok or exercise.exercise.forbids


def test_what_is_no_function_is_told_so():
    assert "expected a function, got an int" in check.position(3).message
