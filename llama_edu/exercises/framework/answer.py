"""Running a learner's function: whatever it does, what comes back is an outcome to judge.

It may raise anything, leave the program, run for ever, or change what it was given. What runs is
`limited.limited`, which says what a limit of time can stop and what it cannot.
"""

import copy
import functools
import inspect
import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llama_edu.exercises.framework.difference import difference
from llama_edu.exercises.framework.limited import Calls, TooSlowError, direct, limited

__all__ = [
    "Calls",
    "Harness",
    "Outcome",
    "TooSlowError",
    "called",
    "error_text",
    "function_of",
    "is_of_the_package",
    "plain_call",
]

Harness = Callable[..., Any]
"""`harness(answer, *args)` runs an answer and returns what is compared."""

LONGEST_ERROR = 200  # characters of an exception's text


@dataclass(frozen=True)
class Outcome:
    """What came of one call: a value or an error, and the positions of changed arguments.

    `calls` are the functions of forbidden modules that were called on the way, and `borrowed` the
    book's own functions for the task.
    """

    value: Any
    error: BaseException | None
    touched: list[int]
    calls: list[str] = field(default_factory=list)
    borrowed: list[str] = field(default_factory=list)


def plain_call(answer: Callable[..., Any], *args: Any) -> Any:
    """The usual harness: what the answer returns is what is compared."""
    return answer(*args)


def called(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    harness: Harness,
    seconds: float,
    calls: Calls | None = None,
) -> Outcome:
    """Run `function` on a copy of the arguments, and keep what it returned or raised.

    `calls` notes what a learner's function calls.
    """
    copies = copy.deepcopy(args)
    if is_of_the_package(function):  # comes to an end, and soon
        value, error = direct(lambda: harness(function, *copies))
    else:
        value, error = limited(lambda: harness(function, *copies), seconds, calls)
    touched: list[int] = []
    if not isinstance(error, TooSlowError):  # what runs on may change them at any time
        pairs = enumerate(zip(args, copies, strict=True))
        touched = [i for i, (before, after) in pairs if difference(after, before) is not None]
    noted = calls or Calls()
    return Outcome(value, error, touched, noted.seen, noted.borrowed)


def error_text(error: BaseException, answer: Callable[..., Any]) -> str:
    """The error in a sentence, and the learner's line that led to it."""
    try:
        text = str(error)
    except BaseException:  # an exception of the learner's may not know its own text
        text = ""
    if len(text) > LONGEST_ERROR:
        text = text[: LONGEST_ERROR - 1] + "…"
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    line = _own_line(error, answer)
    return f"{said}\n  in your line {line}" if line else said


def function_of(answer: Callable[..., Any]) -> Any:
    """The Python function behind an answer, which may be wrapped, bound or partly applied."""
    while isinstance(answer, functools.partial):
        answer = answer.func
    try:
        answer = inspect.unwrap(answer)
    except Exception:  # wrapped in a circle, or an object that answers every question
        return answer
    if inspect.ismethod(answer):
        return answer.__func__
    if inspect.isfunction(answer) or inspect.isbuiltin(answer):
        return answer
    return type(answer).__call__  # an object that can be called


def is_of_the_package(answer: Callable[..., Any]) -> bool:
    """Whether an answer is one of this package's own functions."""
    module = getattr(function_of(answer), "__module__", None) or ""
    return str(module).partition(".")[0] == "llama_edu"


def _own_line(error: BaseException, answer: Callable[..., Any]) -> str:
    """The last line of the answer's own file or cell that was running, with its number."""
    function = function_of(answer)
    code = getattr(function, "__code__", None)
    if code is None or is_of_the_package(function):
        return ""
    numbers = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == code.co_filename
    ]
    if not numbers:
        return ""
    source = linecache.getline(code.co_filename, numbers[-1]).strip()
    return f"{numbers[-1]}: {source}" if source else str(numbers[-1])
