"""How the checks judge answers that were written before anybody read their lists of mistakes.

Each answer of a topic's file is marked right or wrong, and a wrong one with the known mistakes
that may be said of it. Nothing is hidden by an average: every right one must be accepted, every
wrong one refused, and no name be wrong. How many are named is a rate, and only that may sink a
little when answers are added.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import fresh_answers
import pytest

import llama_edu
from llama_edu.exercises import check

JUDGE = Path(__file__).with_name("judge.py")
NAMED = 0.6  # of all wrong answers, at least
LONGEST = 2000  # bytes of a verdict


@pytest.fixture(scope="module")
def judged():
    """What was said of each answer."""
    package = Path(llama_edu.__file__).resolve().parents[1]
    places = os.pathsep.join([str(package), str(Path(fresh_answers.__file__).parent)])
    variables = {**os.environ, "PYTHONPATH": places, "LLAMA_EDU_PROGRESS": "off"}
    run = subprocess.run(
        [sys.executable, str(JUDGE)], env=variables, capture_output=True, check=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def shown(rows):
    return "\n".join(f"{row['exercise']}, {row['what']}: {row['said']}" for row in rows)


def test_no_right_answer_is_refused(judged):
    refused = [row for row in judged if row["is_right"] and not row["ok"]]
    assert not refused, shown(refused)


def test_no_wrong_answer_is_accepted(judged):
    accepted = [row for row in judged if not row["is_right"] and row["ok"]]
    assert not accepted, shown(accepted)


def test_no_mistake_has_a_wrong_name(judged):
    misnamed = [row for row in judged if set(row["names"]) - set(row["may"])]
    assert not misnamed, shown(misnamed)


def test_most_mistakes_have_a_name(judged):
    wrong = [row for row in judged if not row["is_right"]]
    assert sum(bool(row["names"]) for row in wrong) >= NAMED * len(wrong)


def test_every_verdict_is_short_and_a_judgement(judged):
    long = [row for row in judged if len(row["said"].encode()) > LONGEST]
    assert not long, shown(long)
    lost = [row for row in judged if "could not be judged" in row["said"]]
    assert not lost, shown(lost)


def test_the_set_has_answers_of_both_kinds_to_every_exercise(judged):
    for item in check:
        of_it = [row for row in judged if row["exercise"] == item.exercise.name]
        assert sum(row["is_right"] for row in of_it) >= 2, item.exercise.name
        assert sum(not row["is_right"] for row in of_it) >= 10, item.exercise.name
        assert len({row["what"] for row in of_it}) == len(of_it), item.exercise.name
