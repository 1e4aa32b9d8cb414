"""Solutions that the book prints: running a chapter from top to bottom solves no exercise.

A solution is known by its source, whatever its blanks. The list is made from the notebooks, by
`tools.notebooks.printed_solutions`, and is also what `check.NAME.solution()` shows.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_edu.exercises.framework.answer import function_of

__all__ = ["LIST", "fingerprint", "is_printed", "is_the_books", "printed"]

LIST = Path(__file__).with_name("printed.json")


def fingerprint(source: str) -> str:
    """A short name for a function's source, the same with other blanks and line breaks."""
    return hashlib.sha256(re.sub(r"\s+", "", source).encode()).hexdigest()[:16]


def is_printed(name: str, answer: Callable[..., Any]) -> bool:
    """Whether an answer is, word for word, the solution that the book prints for an exercise."""
    try:
        source = inspect.getsource(function_of(answer))
    except (OSError, TypeError):  # typed where no source is kept
        return False
    return fingerprint(printed(name)) == fingerprint(source)


def printed(name: str) -> str:
    """The source of the solution that the book prints for an exercise."""
    known: dict[str, str] = json.loads(LIST.read_text("utf-8"))
    return known[name]


def is_the_books(answer: Callable[..., Any], correct: tuple[Callable[..., Any], ...] = ()) -> bool:
    """Whether an answer is a function of this package, or does no more than call one.

    `correct` are the exercise's own answers: whoever keeps one of them in a variable, or calls it
    by `check.NAME.exercise.correct`, has not written another.
    """
    function = function_of(answer)
    module = getattr(function, "__module__", None) or ""
    if str(module).partition(".")[0] == "llama_edu":
        return True
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    if {"exercise", "correct"} <= set(code.co_names):
        return True
    spaces = dict(getattr(function, "__globals__", {}))
    reached = [spaces.get(name) for name in code.co_names]
    reached += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    reached += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    own = [function_of(one) for one in correct]
    return any(callable(one) and function_of(one) in own for one in reached if one is not None)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that has no value yet
        return False
