"""How the checks judge answers that were written before anybody read their lists of mistakes.

Each answer of a topic's file is marked right or wrong, and a wrong one with the known mistakes
that may be said of it. Nothing is hidden by an average: every right one must be accepted, every
wrong one refused, and no name be wrong. How many are named is a rate, and only that may sink a
little when answers are added.
"""

import importlib.util
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from llama_edu.exercises import check

FOLDER = Path(__file__).resolve().parent
TOPICS = sorted(
    path.stem for path in FOLDER.glob("*.py") if path.stem not in ("answers", "test_fresh")
)
NAMED = 0.6  # of all wrong answers, at least
LONGEST = 2000  # bytes of a verdict


@pytest.fixture(scope="module")
def answers():
    """The answers of each topic; the files import a neighbour by its plain name."""
    sys.path.insert(0, str(FOLDER))
    try:
        found = {}
        for topic in TOPICS:
            spec = importlib.util.spec_from_file_location(f"fresh_{topic}", FOLDER / f"{topic}.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found[topic] = module.ANSWERS
        yield found
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("answers", None)


def names_in(exercise, message):
    """The known mistakes that a verdict names."""
    if "this is what you get" not in message and "It looks like what you get" not in message:
        return set()
    said = message.split("what you get ", 1)[1]
    return {mutant.name for mutant in exercise.mutants if mutant.when in said}


@pytest.mark.parametrize("topic", TOPICS)
def test_every_answer_is_judged_rightly(answers, topic):
    lies = []
    for answer in answers[topic]:
        exercise = getattr(check, answer.exercise).exercise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a wrong answer may overflow
            verdict = exercise(answer.function, seed=1)
        names = names_in(exercise, verdict.message)
        COUNTS["wrong"] += not answer.is_right
        COUNTS["named"] += bool(names)
        shown = f"{answer.exercise}, {answer.what}: {verdict.message}"
        if verdict.ok != answer.is_right or names - set(answer.may.split()):
            lies.append(shown)
        if "could not be judged" in shown or len(repr(verdict).encode()) > LONGEST:
            lies.append(shown)
    assert lies == []


COUNTS: Counter[str] = Counter()


def test_most_wrong_answers_are_named():
    if COUNTS["wrong"] < 600:
        pytest.skip("only some of the topics ran")
    assert COUNTS["named"] >= NAMED * COUNTS["wrong"]


def test_the_set_has_answers_of_both_kinds_to_every_exercise(answers):
    found = [answer for topic in TOPICS for answer in answers[topic]]
    for item in check:
        of_it = [answer for answer in found if answer.exercise == item.exercise.name]
        assert sum(answer.is_right for answer in of_it) >= 2, item.exercise.name
        assert sum(not answer.is_right for answer in of_it) >= 10, item.exercise.name
        assert len({answer.what for answer in of_it}) == len(of_it), item.exercise.name
