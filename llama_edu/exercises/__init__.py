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
    faster,
    generate,
    linear,
    mask_softmax,
    model,
    norm_mlp,
    parallel,
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
from llama_edu.exercises.framework.guide import STEPS, Guide, Told
from llama_edu.exercises.framework.own_operators import use_operators
from llama_edu.exercises.framework.printed import is_printed, is_the_books, printed
from llama_edu.exercises.guides import GUIDES
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
    faster,
    parallel,
)


class Check:
    """Judges answers to one exercise, and remembers one that is right and not the book's.

    Left last in a cell, it shows how long the exercise takes and three hints, folded. In a
    terminal, `hint()` gives them one after another, and `solution()` comes after a try.
    """

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self._hints = 0  # how many were given
        self._is_tried = False

    def __call__(self, answer: Any, seed: int | None = None) -> Verdict:
        """Judge an answer: a `Verdict`, whose text says what is wrong if something is.

        Some inputs are drawn, others each time; with the `seed` that a verdict names they come
        again.
        """
        name = self.exercise.name
        verdict = self.exercise(answer, seed)
        books = is_the_books(answer, self.exercise.correct)
        if verdict.ok and books:
            return Verdict(False, f"{name}: that is the book's own function. Now write yours.")
        # Neither a stub nor the version to repair is a try.
        if callable(answer) and not books and "NotImplementedError" not in verdict.message:
            self._is_tried = True
        if verdict.ok and not is_printed(name, answer):
            progress.record(name)
        return verdict

    @property
    def broken(self) -> Callable[..., Any]:
        """The wrong version to repair, where the exercise is a repair."""
        return self.exercise.broken

    @property
    def guide(self) -> Guide:
        """How long it takes, how much hangs on it, and its hints."""
        return GUIDES[self.exercise.name]

    def hint(self, step: int | None = None) -> Told:
        """The next hint, or that of a step: 1 asks back, 2 has the idea, 3 almost the code."""
        self._hints = min(self._hints + 1, len(STEPS)) if step is None else step
        return self.guide.hint(self._hints)

    def solution(self) -> Told:
        """The solution that the book prints, for whoever has tried or solved it."""
        name = self.exercise.name
        if self._is_tried or name in progress.solved():
            return Told(printed(name))
        return Told(
            f"The solution comes after a try: give check.{name} a function of yours, right or "
            f"wrong.\nUntil then there are hints: check.{name}.hint()"
        )

    def __str__(self) -> str:
        return f"check.{self.exercise.name}: {self.exercise.task}"

    def __repr__(self) -> str:
        facts = self.guide.facts(self.exercise.stars)
        return f"{self}\n  {facts}\n  hints: check.{self.exercise.name}.hint()"

    def _repr_html_(self) -> str | None:
        try:
            from llama_edu.exercises.framework.guide_page import page
        except ImportError:  # without the extra `viz` there is the text
            return None
        return page(self.guide, self.exercise.stars)


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
        return "\n".join(map(str, self))


check = _Checks(tuple(exercise for chapter in CHAPTERS for exercise in chapter.EXERCISES))
