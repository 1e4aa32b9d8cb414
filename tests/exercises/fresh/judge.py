"""Judge every answer of the set, and print what was said: one JSON object a line.

It runs in a process of its own, where nothing checks the shapes of each call: the checks of this
set run some fifty thousand functions, and the test of it is to take seconds.
"""

import importlib
import json
import warnings
from pathlib import Path

from llama_edu.exercises import check

TOPICS = sorted(
    path.stem
    for path in Path(__file__).resolve().parent.glob("*.py")
    if path.stem not in ("judge", "test_fresh")
)


def names_in(exercise, message):
    """The known mistakes that a verdict names."""
    if "this is what you get" not in message and "It looks like what you get" not in message:
        return []
    said = message.split("what you get ", 1)[1]
    return [mutant.name for mutant in exercise.mutants if mutant.when in said]


def main():
    warnings.simplefilter("ignore")  # a wrong answer may overflow
    for topic in TOPICS:
        for answer in importlib.import_module(topic).ANSWERS:
            exercise = getattr(check, answer.exercise).exercise
            verdict = exercise(answer.function, seed=1)
            row = {
                "exercise": answer.exercise,
                "what": answer.what,
                "is_right": answer.is_right,
                "may": answer.may.split(),
                "ok": verdict.ok,
                "names": names_in(exercise, verdict.message),
                "said": repr(verdict),
            }
            print(json.dumps(row))


if __name__ == "__main__":
    main()
