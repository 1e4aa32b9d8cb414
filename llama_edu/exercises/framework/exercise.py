"""What an exercise is, and how an answer is judged.

An exercise knows inputs, at least two correct answers of different structure, and the wrong
answers people really write. Judging runs a function on every input and compares with the first
correct answer. A failure is told in the order a teacher would ask: did it run, did it leave its
arguments alone, is the shape right, the dtype, are there NaNs, is it a mistake we know by name,
and only then: where do the numbers first differ. It ends with the section of the book that
explains it, and its address. Nothing here knows any particular exercise.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import TextWrapper
from typing import Any

import numpy as np

from llama_edu.exercises.framework.sections import chapter_number, section_address

__all__ = ["Case", "Exercise", "Harness", "Mutant", "Verdict"]

Harness = Callable[..., Any]
"""`harness(answer, *args)` runs an answer and returns what is compared."""


def plain_call(answer: Callable[..., Any], *args: Any) -> Any:
    """The usual harness: what the answer returns is what is compared."""
    return answer(*args)


@dataclass(frozen=True)
class Case:
    """One input, with a few words that tell it apart ("seq 3 after a past of 2")."""

    label: str
    args: tuple[Any, ...]

    def call(self, function: Callable[..., Any], harness: "Harness") -> "Outcome":
        """Run `function` on a copy of the arguments, and keep what it returned or raised."""
        args = copy.deepcopy(self.args)
        try:
            value, error = harness(function, *args), None
        except Exception as raised:  # an answer may fail in any way; that is what we are here for
            value, error = None, raised
        touched = [
            position
            for position, (before, after) in enumerate(zip(self.args, args, strict=True))
            if difference(after, before, 0.0, ()) is not None
        ]
        return Outcome(value, error, touched)


@dataclass(frozen=True)
class Outcome:
    """What came of one call: a value or an error, and the positions of changed arguments."""

    value: Any
    error: Exception | None
    touched: list[int]


@dataclass(frozen=True)
class Mutant:
    """A wrong answer with a name: what it does, in words that complete "this is what you get …".

    `link` points to a place where somebody made this mistake. `section` is the heading of the
    chapter that explains it, where that is not the exercise's own.
    """

    name: str
    function: Callable[..., Any]
    when: str
    link: str = ""
    section: str = ""


@dataclass(frozen=True)
class Verdict:
    """The judgement on one answer. Printing it, or leaving it last in a cell, shows the message."""

    ok: bool
    message: str

    def __repr__(self) -> str:
        # Narrow enough for a page; a link stays in one piece, so that it can be followed.
        lines = (("✓ " if self.ok else "✗ ") + self.message).splitlines()
        wrap = TextWrapper(
            72, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        return "\n".join(wrap.fill(line) for line in lines)

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True)
class Exercise:
    """One task with its inputs, correct answers and known mistakes.

    `topic` is the module's name, and finds the chapter (`sections.CHAPTER_FILES`); `section` is
    the heading of that chapter to read again after an answer that is not right.
    `axes` names the axes of the returned array, separated by spaces, so that a difference can be
    told as "at seq 2, head_dim 0". `tolerance` is relative to the largest expected number.
    `harness` runs the answer where more than its result counts, such as how often it called the
    model. `refuses` lists the errors that are the right answer to some inputs.
    """

    name: str
    topic: str
    stars: int
    task: str
    section: str
    cases: Callable[[], list[Case]]
    correct: tuple[Callable[..., Any], ...]
    mutants: tuple[Mutant, ...]
    axes: str = ""
    tolerance: float = 1e-5
    harness: Harness = plain_call
    refuses: tuple[type[Exception], ...] = ()

    @property
    def chapter(self) -> int:
        """The number of the topic's chapter, today."""
        return chapter_number(self.topic)

    @property
    def broken(self) -> Callable[..., Any]:
        """The version to repair, in a ★★ exercise: the first of the known mistakes."""
        return self.mutants[0].function

    def __call__(self, answer: Callable[..., Any]) -> Verdict:
        """Judge an answer."""
        cases = self.cases()
        fault = self._first_fault(answer, cases)
        if fault is None:
            killed = sum(self._first_fault(m.function, cases) is not None for m in self.mutants)
            return Verdict(
                True,
                f"{self.name}: right on {_counted(len(cases), 'input')}. "
                f"This check rejects {killed} of {_counted(len(self.mutants), 'known mistake')}.",
            )
        case, text = fault
        known = self._known_mistake(answer, cases)
        if known is None:
            lines = [f"{self.name}, on {case.label}: {text}"]
        else:
            lines = [
                f"{self.name}: this is what you get {known.when}.",
                f"  On {case.label}: {text}",
                *([f"  Somebody else's: {known.link}"] if known.link else []),
            ]
        section = (known.section if known else "") or self.section
        lines.append(f"  Read again: chapter {self.chapter}, {section}")
        lines.append(section_address(self.topic, section))
        return Verdict(False, "\n".join(lines))

    def _run(self, case: Case, function: Callable[..., Any]) -> Outcome:
        return case.call(function, self.harness)

    def _first_fault(
        self, answer: Callable[..., Any], cases: list[Case]
    ) -> tuple[Case, str] | None:
        """The first case that goes wrong, and why."""
        for case in cases:
            want, got = self._run(case, self.correct[0]), self._run(case, answer)
            if want.error is not None and not isinstance(want.error, self.refuses):
                raise want.error  # the exercise itself is broken, and must not pass for right
            if got.error is not None or want.error is not None:
                text = _error_difference(got, want, self.refuses)
                if text is not None:
                    return case, text
                continue
            if got.touched:
                place = ", ".join(str(position + 1) for position in got.touched)
                return case, f"your function changed its argument number {place}"
            names = tuple(self.axes.split())
            text = difference(got.value, want.value, self.tolerance, names)
            if text is not None:
                return case, text
        return None

    def _known_mistake(self, answer: Callable[..., Any], cases: list[Case]) -> Mutant | None:
        """The mutant that does on every input just what this answer does."""
        outcomes = [self._run(case, answer) for case in cases]
        for mutant in self.mutants:
            theirs = [self._run(case, mutant.function) for case in cases]
            pairs = zip(outcomes, theirs, strict=True)
            if all(_same_outcome(mine, other, self.tolerance) for mine, other in pairs):
                return mutant
        return None


def difference(got: Any, want: Any, tolerance: float, axes: tuple[str, ...]) -> str | None:
    """None if `got` is as good as `want`; otherwise the first thing to say about it."""
    if isinstance(want, np.ndarray):
        return _array_difference(got, want, tolerance, axes)
    if isinstance(want, list | tuple):
        if not isinstance(got, list | tuple):
            return f"expected {_kind(want)}, got {_kind(got)}"
        if len(got) != len(want):
            return f"expected {_counted(len(want), 'item')}, got {len(got)}"
        for index, (one, other) in enumerate(zip(got, want, strict=True)):
            text = difference(one, other, tolerance, axes)
            if text is not None:
                return f"item {index}: {text}"
        return None
    if isinstance(want, dict):
        return _dict_difference(got, want, tolerance, axes)
    if isinstance(want, float | np.floating):
        if not isinstance(got, int | float | np.floating | np.integer):
            return f"expected a number, got {_kind(got)}"
        close = abs(float(got) - float(want)) <= tolerance * max(1.0, abs(float(want)))
        return None if close else f"expected {want:.6g}, got {float(got):.6g}"
    if isinstance(want, int | str | bytes | bool | type(None)):
        equal = isinstance(got, bool) == isinstance(want, bool) and got == want
        return None if bool(equal) else f"expected {_shown(want)}, got {_shown(got)}"
    return None  # an object with a state of its own: the case compares what it returns


def _dict_difference(
    got: Any, want: dict[Any, Any], tolerance: float, axes: tuple[str, ...]
) -> str | None:
    if not isinstance(got, dict):
        return f"expected a dict, got {_kind(got)}"
    if got.keys() != want.keys():
        return f"expected the keys {_shown(list(want))}, got {_shown(list(got))}"
    for key, value in want.items():
        text = difference(got[key], value, tolerance, axes)
        if text is not None:
            return f"{key!r}: {text}"
    return None


def _array_difference(
    got: Any, want: np.ndarray, tolerance: float, axes: tuple[str, ...]
) -> str | None:
    if not isinstance(got, np.ndarray):
        return f"expected an array, got {_kind(got)}"
    if got.shape != want.shape:
        names = f" ({', '.join(axes)})" if len(axes) == want.ndim else ""
        return f"expected shape {want.shape}{names}, got {got.shape}"
    if got.dtype != want.dtype:
        return f"expected {want.dtype}, got {got.dtype}"
    if want.dtype.kind not in "fV":
        wrong = got != want
    else:
        mine, theirs = got.astype(np.float64), want.astype(np.float64)
        if np.isnan(mine).any() and not np.isnan(theirs).any():
            return f"expected numbers, got NaN at {_place(np.isnan(mine), axes)}"
        finite = theirs[np.isfinite(theirs)]
        scale = float(np.abs(finite).max()) if finite.size else 1.0
        wrong = ~np.isclose(mine, theirs, rtol=0.0, atol=tolerance * scale, equal_nan=True)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"expected {_shown(want[index])} at {_place(wrong, axes)}, got {_shown(got[index])}; "
        f"{int(wrong.sum())} of {wrong.size} numbers differ"
    )


def _same_outcome(mine: Outcome, other: Outcome, tolerance: float) -> bool:
    if mine.error is not None or other.error is not None:
        return type(mine.error) is type(other.error)
    return (
        mine.touched == other.touched
        and difference(mine.value, other.value, tolerance, ()) is None
        and difference(other.value, mine.value, tolerance, ()) is None
    )


def _error_difference(
    got: Outcome, want: Outcome, refuses: tuple[type[Exception], ...]
) -> str | None:
    if want.error is None:
        return f"expected a result, got {type(got.error).__name__}: {got.error}"
    expected = " or ".join(kind.__name__ for kind in refuses)
    if got.error is None:
        return f"expected {expected} to be raised, got a result"
    if not isinstance(got.error, refuses):
        return f"expected {expected} to be raised, got {type(got.error).__name__}: {got.error}"
    return None


def _place(wrong: np.ndarray, axes: tuple[str, ...]) -> str:
    index = [int(i) for i in np.argwhere(wrong)[0]]
    if len(axes) != len(index):
        return f"index {tuple(index)}"
    return ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def _shown(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:59] + "…"
