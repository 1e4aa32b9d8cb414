"""Questions for understanding: choose a cause, predict a number, put steps in their order.

A question has something to say to every answer. In a notebook and in the built page it is asked
and judged by a script that its output carries, without a kernel (`question_page`). In a terminal
it is printed, and judged by a call:

    question("closed_gate")        # prints the question
    question("closed_gate")("b")   # a verdict, with the reason

Nothing here imports the figures: a terminal needs none.
"""

import random
import re
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, ClassVar

from llama_edu.exercises.framework.exercise import Verdict
from llama_edu.exercises.framework.words import plain

__all__ = ["Amount", "Choice", "Order", "Question"]

WIDTH = 72
LETTERS = string.ascii_lowercase


@dataclass(frozen=True)
class Question(ABC):
    """What all questions have: a name, the topic of their chapter, and what they ask.

    Texts may hold `code` in backticks, *emphasis* and **bold**. The topic of the opening chapter,
    which has no exercises, is "start".
    """

    kind: ClassVar[str]
    name: str
    topic: str
    ask: str

    @abstractmethod
    def __call__(self, answer: Any) -> Verdict:
        """Judge an answer, and say why. An answer of another kind is told what is expected."""

    @abstractmethod
    def options(self) -> Iterator[str]:
        """Lines that say what may be answered, and how, for a terminal."""

    def __repr__(self) -> str:
        return "\n".join([*wrap(plain(self.ask), WIDTH), *self.options()])

    def _repr_html_(self) -> str | None:
        try:
            from llama_edu.exercises.framework.question_page import page
        except ImportError:  # without the extra `viz` there is the text
            return None
        return page(self)

    def _verdict(self, ok: bool, text: str) -> Verdict:
        return Verdict(ok, f"{self.name}: {plain(text)}")


@dataclass(frozen=True, repr=False)
class Choice(Question):
    """One of several answers is right; `answers` maps each to what is said when it is chosen."""

    kind = "choice"
    answers: dict[str, str]
    right: str

    def __call__(self, answer: Any) -> Verdict:
        """Judge a letter."""
        letters = LETTERS[: len(self.answers)]
        given = answer.strip().lower() if isinstance(answer, str) else answer
        if given not in tuple(letters):
            return self._verdict(False, f"expected one of {', '.join(letters)}, got {answer!r}")
        choice = list(self.answers)[letters.index(given)]
        return self._verdict(choice == self.right, self.answers[choice])

    def options(self) -> Iterator[str]:
        """A line for each choice."""
        for letter, choice in zip(LETTERS, self.answers, strict=False):
            yield from wrap(f"  {letter}) {plain(choice)}", WIDTH, subsequent_indent="     ")
        yield f'Answer with question("{self.name}")("a"), or another letter.'


@dataclass(frozen=True, repr=False)
class Amount(Question):
    """A number is right; `near` has others that people get, with what is said to each.

    `within` is how far from `answer` a right number may be. `other` is said to any number that
    is neither; it helps, and does not give the number away.
    """

    kind = "amount"
    answer: float
    unit: str
    why: str
    near: dict[float, str]
    other: str
    within: float = 0.0

    def __call__(self, answer: Any) -> Verdict:
        """Judge a number."""
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            kind = type(answer).__name__
            return self._verdict(False, f"expected a number ({self.unit}), got {kind}")
        if abs(answer - self.answer) <= self.within:
            return self._verdict(True, self.why)
        said = (text for value, text in self.near.items() if abs(answer - value) <= self.within)
        return self._verdict(False, next(said, self.other))

    def options(self) -> Iterator[str]:
        """How to answer."""
        yield f'Answer with question("{self.name}")(…), a number ({plain(self.unit)}).'


@dataclass(frozen=True, repr=False)
class Order(Question):
    """Steps to put in order; `why[i]` says why step i comes before step i + 1."""

    kind = "order"
    steps: tuple[str, ...]
    why: tuple[str, ...]
    done: str

    @property
    def shown(self) -> list[int]:
        """The numbers of the steps as they are shown: mixed, and the same way each time."""
        order = list(range(len(self.steps)))
        mix = random.Random(self.name)
        while order == sorted(order):
            mix.shuffle(order)
        return order

    def __call__(self, answer: Any) -> Verdict:
        """Judge the letters of the steps in an order, such as "cabd" or "c, a, b, d"."""
        letters = LETTERS[: len(self.steps)]
        given = re.findall(r"\w", answer.lower()) if isinstance(answer, str) else []
        if sorted(given) != list(letters):
            wanted = f"each of {', '.join(letters)} once, in one string"
            return self._verdict(False, f"expected {wanted}, got {answer!r}")
        order = [self.shown[letters.index(letter)] for letter in given]
        for step, why in enumerate(self.why):
            if order.index(step) > order.index(step + 1):
                return self._verdict(False, why)
        return self._verdict(True, self.done)

    def options(self) -> Iterator[str]:
        """A line for each step."""
        for letter, step in zip(LETTERS, self.shown, strict=False):
            line = f"  {letter}) {plain(self.steps[step])}"
            yield from wrap(line, WIDTH, subsequent_indent="     ")
        mixed = LETTERS[: len(self.steps)]
        yield f'Answer with question("{self.name}")("{mixed}"), in another order.'
