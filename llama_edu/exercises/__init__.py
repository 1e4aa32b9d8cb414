"""Exercises that answer back: `check.<name>(your_function)` says whether, and if not, what.

    from llama_edu.exercises import check
    check.rms_norm(rms_norm_mine)

Each check has inputs that tell right from nearly right, and is held to it by a test: it rejects
every known wrong answer and accepts at least two correct ones. Solutions stand in the chapters.

    with use_operators(rms_norm=rms_norm_mine): ...

runs the whole model on your functions, and says where it parts from the book's.

    question("closed_gate")

asks for understanding, with something to say to every answer.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llama_edu.exercises import (
    bytes,
    chat,
    cost,
    generate,
    linear,
    mask_softmax,
    model,
    norm_mlp,
    precision,
    rope,
    sampling,
    score_v,
    scores,
    serve,
    tokenizer,
)
from llama_edu.exercises.framework import progress
from llama_edu.exercises.framework.exercise import Exercise, Verdict
from llama_edu.exercises.framework.own_operators import use_operators
from llama_edu.exercises.framework.printed import is_printed, is_the_books
from llama_edu.exercises.questions import question

__all__ = ["Check", "check", "question", "use_operators"]

CHAPTERS = (
    bytes,
    tokenizer,
    linear,
    scores,
    mask_softmax,
    score_v,
    rope,
    norm_mlp,
    model,
    generate,
    sampling,
    precision,
    chat,
    serve,
    cost,
)


class Check:
    """Judges answers to one exercise, and remembers one that is right and not the book's."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise

    def __call__(self, answer: Any, seed: int | None = None) -> Verdict:
        """Judge an answer: a `Verdict`, whose text says what is wrong if something is.

        Some inputs are drawn, others each time; with the `seed` that a verdict names they come
        again.
        """
        name = self.exercise.name
        verdict = self.exercise(answer, seed)
        if verdict.ok and is_the_books(answer, self.exercise.correct):
            return Verdict(False, f"{name}: that is the book's own function. Now write yours.")
        if verdict.ok and not is_printed(name, answer):
            progress.record(name)
        return verdict

    @property
    def broken(self) -> Callable[..., Any]:
        """The wrong version to repair, where the exercise is a repair."""
        return self.exercise.broken

    def __repr__(self) -> str:
        return f"check.{self.exercise.name}: {self.exercise.task}"


class _Checks:
    """Every exercise as an attribute, in the order of the chapters."""

    def __init__(self, exercises: tuple[Exercise, ...]) -> None:
        self._checks = {exercise.name: Check(exercise) for exercise in exercises}

    def __getattr__(self, name: str) -> Check:
        checks: dict[str, Check] = self.__dict__.get("_checks", {})
        if name not in checks:
            known = ", ".join(checks)
            raise AttributeError(f"expected the name of an exercise ({known}), got {name!r}")
        return checks[name]

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks.values())

    def __dir__(self) -> list[str]:
        return list(self._checks)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))


check = _Checks(tuple(exercise for chapter in CHAPTERS for exercise in chapter.EXERCISES))
