"""Running a learner's function: whatever it does, what comes back is an outcome to judge.

It may raise anything, leave the program, run for ever, or change what it was given. A call has a
limit of time, which holds in the main thread, where a notebook's cells run: there a timer can do
what Ctrl-C does. What a learner presses comes through as ever.
"""

import copy
import functools
import inspect
import linecache
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llama_edu.exercises.framework.difference import difference

__all__ = [
    "Harness",
    "Outcome",
    "TooSlowError",
    "called",
    "error_text",
    "function_of",
    "plain_call",
]

Harness = Callable[..., Any]
"""`harness(answer, *args)` runs an answer and returns what is compared."""

LONGEST_ERROR = 200  # characters of an exception's text


class TooSlowError(Exception):
    """Raised in place of a function that did not come to an end."""


@dataclass(frozen=True)
class Outcome:
    """What came of one call: a value or an error, and the positions of changed arguments."""

    value: Any
    error: BaseException | None
    touched: list[int]


def plain_call(answer: Callable[..., Any], *args: Any) -> Any:
    """The usual harness: what the answer returns is what is compared."""
    return answer(*args)


def called(
    function: Callable[..., Any], args: tuple[Any, ...], harness: Harness, seconds: float
) -> Outcome:
    """Run `function` on a copy of the arguments, and keep what it returned or raised."""
    copies = copy.deepcopy(args)
    value, error = None, None
    try:
        with _limited(seconds):
            value = harness(function, *copies)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # sys.exit() as well: the answer ends, the lesson goes on
        error = raised
    pairs = enumerate(zip(args, copies, strict=True))
    touched = [i for i, (before, after) in pairs if difference(after, before) is not None]
    return Outcome(value, error, touched)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TooSlowError` in the block after so many seconds, in the main thread."""
    main = threading.main_thread()
    can_be_interrupted = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not main or not can_be_interrupted:
        yield
        return
    expired = threading.Event()

    def interrupt() -> None:
        expired.set()
        if hasattr(signal, "pthread_kill") and main.ident is not None:
            signal.pthread_kill(main.ident, signal.SIGINT)  # wakes it from a sleep, too
        else:
            signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
        timer.cancel()
    except KeyboardInterrupt:
        if expired.is_set():
            raise TooSlowError(f"it was still running after {seconds:g} s") from None
        raise
    finally:
        timer.cancel()


def error_text(error: BaseException, answer: Callable[..., Any]) -> str:
    """The error in a sentence, and the learner's line that led to it."""
    try:
        text = str(error)
    except Exception:  # an exception of the learner's may not know its own text
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
    answer = inspect.unwrap(answer)
    if inspect.ismethod(answer):
        return answer.__func__
    if inspect.isfunction(answer) or inspect.isbuiltin(answer):
        return answer
    return getattr(type(answer), "__call__", answer)  # noqa: B004  an object that can be called


def _own_line(error: BaseException, answer: Callable[..., Any]) -> str:
    """The last line of the answer's own file or cell that was running, with its number."""
    function = function_of(answer)
    code = getattr(function, "__code__", None)
    if code is None or (function.__module__ or "").partition(".")[0] == "llama_edu":
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
