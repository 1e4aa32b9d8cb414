"""What an exercise is, and how an answer is judged.

An exercise knows inputs, at least two correct answers of different structure, and the wrong
answers people really write. Judging runs a function on every input and compares with the first
correct answer. A failure is told in the order a teacher would ask: did it run, did it leave its
arguments alone, is the shape right, the dtype, are there NaNs, is it a mistake we know by name,
and only then: where do the numbers first differ. It ends with the section of the book that
explains it, and its address. Nothing here knows any particular exercise.

Besides its fixed inputs, an exercise draws some from a seed, another one each time, so that an
answer cannot be learnt by heart. A verdict on such an input names the seed that draws it again.
"""

import inspect
import secrets
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from textwrap import TextWrapper
from typing import Any

import numpy as np

from llama_edu.chapters import chapter_number, section_address
from llama_edu.exercises.framework.answer import (
    Calls,
    Harness,
    Outcome,
    TooSlowError,
    called,
    error_text,
    is_of_the_package,
    plain_call,
)
from llama_edu.exercises.framework.difference import Expected, counted, kind_name
from llama_edu.exercises.framework.kinds import Pair, is_telling, kind_of, same_numbers
from llama_edu.exercises.framework.ruled_out import ruled_out

__all__ = ["Case", "Exercise", "Harness", "Mutant", "Verdict"]

WIDTH = 72  # of a verdict's lines, narrow enough for a page
LONGEST = 1500  # characters of a verdict before the section to read
SEEDS = 1_000_000
ENOUGH = 3  # inputs on which an answer must agree with a mistake to look like it
CHOICE = 2  # results to choose from: agreeing on all inputs may be chance


@dataclass(frozen=True)
class Case:
    """One input, with a few words that tell it apart ("seq 3 after a past of 2")."""

    label: str
    args: tuple[Any, ...]


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
        lines = (("✓ " if self.ok else "✗ ") + self.message).splitlines()
        # A link stays in one piece, so that it can be followed.
        wrap = TextWrapper(
            WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        # A line that fits is left alone: its blanks may be what matters.
        return "\n".join(line if len(line) <= WIDTH else wrap.fill(line) for line in lines)

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True)
class Exercise:
    """One task with its inputs, correct answers and known mistakes.

    `topic` is the module's name, and finds the chapter (`sections.CHAPTER_FILES`); `section` is
    the heading of that chapter to read again after an answer that is not right.
    `axes` names the axes of the returned array, separated by spaces, so that a difference can be
    told as "at seq 2, head_dim 0". `tolerance` is relative to the largest expected number.
    `drawn` makes further inputs from a generator. `forbids` names modules that the task rules out,
    `bans` names that may not be written in the answer, and `loops` says whether it may loop.
    `rule` runs an answer that is right and says, in words that follow "your function", what it
    does that the task rules out; None if nothing.
    `books` are the package's own functions that do the task, by their full names: an answer that
    calls one is right and not the reader's.
    `harness` runs the answer where more than its result counts, such as how often it called the
    model, and `parts` names what it or the answer returns in a list of different things. `refuses`
    lists the errors that are the right answer to some inputs. `seconds` is how long an answer may
    take for one input.
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
    parts: tuple[str, ...] = ()
    refuses: tuple[type[Exception], ...] = ()
    seconds: float = 30.0  # a crowded machine is slow, not wrong
    drawn: Callable[[np.random.Generator], list[Case]] | None = None
    forbids: tuple[str, ...] = ()
    bans: tuple[str, ...] = ()
    loops: bool = True
    rule: Callable[[Callable[..., Any]], str | None] | None = None
    books: tuple[str, ...] = ()

    @property
    def chapter(self) -> int:
        """The number of the topic's chapter, today."""
        return chapter_number(self.topic)

    @property
    def broken(self) -> Callable[..., Any]:
        """The version to repair, in a ★★ exercise: the first of the known mistakes."""
        return self.mutants[0].function

    def __call__(self, answer: Any, seed: int | None = None) -> Verdict:
        """Judge an answer; with the `seed` of an earlier verdict, on the inputs it had.

        Nothing that the answer does or returns is raised: it all ends in a verdict.
        """
        if not callable(answer):
            return Verdict(
                False,
                f"{self.name}: expected a function, got {kind_name(answer)}. "
                "Give the check the function itself, without calling it.",
            )
        seed = secrets.randbelow(SEEDS) if seed is None else seed
        try:
            return self._judged(answer, seed)
        except Exception as error:  # a result that bears no looking at, or a damaged check
            text = error_text(error, answer)
            return Verdict(
                False,
                f"{self.name}: this could not be judged: {text[:LONGEST]}\n"
                "  Did your function change something that it shares with the check? "
                "If so, restart and run it again.",
            )

    def _judged(self, answer: Callable[..., Any], seed: int) -> Verdict:
        fixed = self.cases()
        drawn = [] if self.drawn is None else self.drawn(np.random.default_rng(seed))
        again = f" (drawn; `check.{self.name}(…, seed={seed})` draws it again)"
        cases = [*fixed, *(Case(case.label + again, case.args) for case in drawn)]
        wanted: list[Outcome] = []
        if (against := ruled_out(answer, self.bans, self.loops)) is not None:
            return Verdict(False, f"{self.name}: {against}, which the task rules out.")
        fault = self._first_fault(answer, cases, wanted)
        if fault is None and (borrowed := self._borrowed(answer, cases)) is not None:
            return Verdict(
                False,
                f"{self.name}: that is the book's own function. Now write yours."
                if ".exercises." in borrowed
                else f"{self.name}: right, but your function leaves the work to the book's own "
                f"`{borrowed}`. Now write yours.",
            )
        if fault is None and self.rule is not None and (broken := self.rule(answer)) is not None:
            return Verdict(
                False, f"{self.name}: right, but your function {broken}, which the task rules out."
            )
        if fault is None:
            return self._praise(cases, len(fixed), wanted)
        known, near, kind = self._explained(answer, cases, fault)
        section = (known[0].section if known else "") or self.section
        if known and kind is None:
            when = ", or ".join(mutant.when for mutant in known)
            lines = [
                f"{self.name}: this is what you get {when}.",
                f"  On {fault.case.label}: {fault.text}",
            ]
        else:
            lines = [f"{self.name}, on {fault.case.label}: {fault.text}"]
            if kind is not None:
                lines.append(f"  Wherever it is wrong: {kind}.")
            if near is not None:
                lines.append(f"  It looks like what you get {near.when}.")
        lines += [f"  Somebody else's: {mutant.link}" for mutant in known if mutant.link]
        text = "\n".join(lines)
        if len(text) > LONGEST:
            text = text[: LONGEST - 1] + "…"
        read_again = f"  Read again: chapter {self.chapter}, {section}"
        return Verdict(False, f"{text}\n{read_again}\n{section_address(self.topic, section)}")

    def _praise(self, cases: list[Case], fixed: int, wanted: list[Outcome]) -> Verdict:
        """What a right answer is told, if the check still tells right from wrong after it ran."""
        faults = [self._first_fault(mutant.function, cases, wanted) for mutant in self.mutants]
        killed = sum(fault is not None for fault in faults)
        drawn = len(cases) - fixed
        mistakes = counted(len(self.mutants), "known mistake")
        if killed < len(self.mutants):
            return Verdict(
                False,
                f"{self.name}: after your function ran, this check rejects only {killed} of "
                f"{mistakes}. Did it change something that it shares with the check?",
            )
        return Verdict(
            True,
            f"{self.name}: right on {counted(fixed, 'input')}"
            f"{f' and {drawn} drawn' if drawn else ''}. "
            f"This check rejects {killed} of {mistakes}.",
        )

    @property
    def expected(self) -> Expected:
        """How results are compared, and what their parts are called."""
        return Expected(self.tolerance, tuple(self.axes.split()), self.parts)

    def run(self, case: Case, function: Callable[..., Any]) -> Outcome:
        """What a function does on one input."""
        # A mistake of ours may overflow on an input made for another one: no news to anybody.
        quiet = np.errstate(all="ignore") if is_of_the_package(function) else nullcontext()
        with quiet:
            calls = None if is_of_the_package(function) else Calls(self.forbids, self._books())
            return called(function, case.args, self.harness, self.seconds, calls)

    def _books(self) -> tuple[str, ...]:
        """The functions of the book that do this task: its right answers, and those it names."""
        right = (f"{one.__module__}.{one.__qualname__}" for one in self.correct)
        return (*self.books, *(name for name in right if name.startswith("llama_edu.")))

    def _borrowed(self, answer: Callable[..., Any], cases: list[Case]) -> str | None:
        """The book's own function that does the work for an answer, if one does."""
        found = (self.run(case, answer).borrowed for case in cases)
        return next((names[0] for names in found if names), None)

    def _first_fault(
        self, answer: Callable[..., Any], cases: list[Case], wanted: list[Outcome]
    ) -> "_Fault | None":
        """The first case that goes wrong, and why.

        `wanted` holds what the right answer gave for the first cases, and grows as needed.
        """
        for number, case in enumerate(cases):
            if number == len(wanted):
                wanted.append(self.run(case, self.correct[0]))
            want, got = wanted[number], self.run(case, answer)
            if want.error is not None and not isinstance(want.error, self.refuses):
                raise want.error  # the exercise itself is broken, and must not pass for right
            if got.error is not None or want.error is not None:
                text = self._error_difference(got, want, answer)
            elif got.calls and not is_of_the_package(answer):
                text = f"your function called {got.calls[0]}, which the task rules out"
            elif got.touched:
                text = f"your function changed its argument {self._argument_names(got.touched)}"
            else:
                text = self.expected.difference(got.value, want.value)
            if text is not None:
                return _Fault(case, text, is_final=isinstance(got.error, TooSlowError))
        return None

    def _explained(
        self, answer: Callable[..., Any], cases: list[Case], fault: "_Fault"
    ) -> tuple[list[Mutant], Mutant | None, str | None]:
        """The mistakes an answer is, the one it looks like, and what its results have in common."""
        if fault.is_final:
            return [], None, None
        outcomes = [self.run(case, answer) for case in cases]
        if any(isinstance(outcome.error, TooSlowError) for outcome in outcomes):
            return [], None, None
        theirs = {mutant.name: _Runs(self, mutant.function, cases) for mutant in self.mutants}
        known = [
            mutant
            for mutant in self.mutants
            if all(self._same(mine, theirs[mutant.name][i]) for i, mine in enumerate(outcomes))
        ]
        wrong, pairs = self._wrong(answer, cases, outcomes)
        if all(outcomes[i].error is not None for i in wrong):  # errors are alike by their kinds
            known = [
                mutant
                for mutant in known
                if all(_same_error(outcomes[i], theirs[mutant.name][i]) for i in wrong)
            ]
        if known and self._is_a_choice(cases):
            when = ", or ".join(mutant.when for mutant in known)
            return known, None, f"the answers are those that you get {when}"
        if known:
            return known, None, None
        kind = kind_of(list(pairs.values()), self.tolerance) if len(pairs) == len(wrong) else None
        near = [mutant for mutant in self.mutants if self._is_near(pairs, theirs[mutant.name])]
        if kind is not None or len(near) != 1 or self._is_a_choice(cases):
            return [], None, kind
        return [], near.pop(), None

    def _is_a_choice(self, cases: list[Case]) -> bool:
        """Whether one of two words is asked for, as a wrong answer may have it right by chance."""
        wants = [self.run(case, self.correct[0]).value for case in cases]
        return all(isinstance(want, str) for want in wants) and len(set(wants)) == CHOICE

    def _is_near(self, pairs: dict[int, Pair], theirs: "_Runs") -> bool:
        """Whether a mistake gives the same numbers wherever they are wrong and many.

        Where the numbers are right and only their dtype is not, no mistake in them is meant; and
        numbers that are few, or all NaN, agree by chance.
        """
        telling = {i: pair for i, pair in pairs.items() if is_telling(pair, self.tolerance)}
        return len(telling) >= ENOUGH and all(
            theirs[i].error is None and same_numbers(pair.got, theirs[i].value, self.tolerance)
            for i, pair in telling.items()
        )

    def _wrong(
        self, answer: Callable[..., Any], cases: list[Case], outcomes: list[Outcome]
    ) -> tuple[list[int], dict[int, Pair]]:
        """The inputs an answer is wrong on, and its results where it has some."""
        wrong, pairs = [], {}
        for i, (case, got) in enumerate(zip(cases, outcomes, strict=True)):
            want = self.run(case, self.correct[0])
            if self._error_difference(got, want, answer) is not None and (got.error or want.error):
                wrong.append(i)
            elif not (got.error or want.error) and (
                self.expected.difference(got.value, want.value) is not None
            ):
                wrong.append(i)
                pairs[i] = Pair(got.value, want.value, case.args)
        return wrong, pairs

    def _same(self, mine: Outcome, other: Outcome) -> bool:
        if mine.error is not None or other.error is not None:
            return type(mine.error) is type(other.error)
        compare = Expected(self.tolerance)
        return (
            mine.touched == other.touched
            and compare.difference(mine.value, other.value) is None
            and compare.difference(other.value, mine.value) is None
        )

    def _error_difference(
        self, got: Outcome, want: Outcome, answer: Callable[..., Any]
    ) -> str | None:
        """What to say where one of the two raised."""
        if isinstance(got.error, TooSlowError):
            return str(got.error)
        expected = " or ".join(kind.__name__ for kind in self.refuses)
        due = "a result" if want.error is None else f"{expected} to be raised"
        if got.error is None:
            return f"expected {due}, got a result"
        if want.error is not None and isinstance(got.error, self.refuses):
            return None
        return f"expected {due}, got {error_text(got.error, answer)}"

    def _argument_names(self, positions: list[int]) -> str:
        """What the changed arguments are called: as in the answers, or where a harness names."""
        plain = self.harness is plain_call
        signature = inspect.signature(self.correct[0] if plain else self.harness)
        found = signature.parameters.values()
        names = [one.name for one in found if one.kind is not one.VAR_POSITIONAL]
        own = names if plain else names[1:]
        return ", ".join(own[i] if i < len(own) else f"number {i + 1}" for i in positions)


class _Runs:
    """What a function does on each input, run when it is asked for: most mistakes differ soon."""

    def __init__(self, exercise: Exercise, function: Callable[..., Any], cases: list[Case]) -> None:
        self._exercise = exercise
        self._function = function
        self._cases = cases
        self._outcomes: dict[int, Outcome] = {}

    def __getitem__(self, i: int) -> Outcome:
        if i not in self._outcomes:
            self._outcomes[i] = self._exercise.run(self._cases[i], self._function)
        return self._outcomes[i]


def _same_error(mine: Outcome, other: Outcome) -> bool:
    """Whether two calls failed with the same words, or neither did."""
    try:
        return str(mine.error) == str(other.error)
    except Exception:
        return False


@dataclass(frozen=True)
class _Fault:
    """The first thing wrong with an answer; a final one is not worth trying again."""

    case: Case
    text: str
    is_final: bool
