"""Solutions that the book prints: running a chapter from top to bottom solves no exercise.

A solution is known by its source, whatever its blanks and comments. One of a single statement is
often the only natural one, so whoever writes the same has written an answer; the book's own is
known by the comment above it in its cell, `MARK`. The list is made from the notebooks, by
`tools.notebooks.printed_solutions`, and is also what `check.NAME.solution()` shows.
"""

import ast
import dis
import hashlib
import inspect
import json
import linecache
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_edu.exercises.framework.answer import function_of

__all__ = [
    "LIST",
    "MARK",
    "fingerprint",
    "is_one_statement",
    "is_printed",
    "is_the_books",
    "printed",
]

LIST = Path(__file__).with_name("printed.json")
MARK = "# The book's solution"


def fingerprint(source: str) -> str:
    """A short name for a function's source, whatever its blanks, line breaks and comments."""
    try:
        text = ast.dump(ast.parse(textwrap.dedent(source)))
    except SyntaxError:  # of a lambda there may be half a line
        text = re.sub(r"\s+", "", source)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_printed(name: str, answer: Callable[..., Any]) -> bool:
    """Whether an answer is, word for word, the solution that the book prints for an exercise."""
    function = function_of(answer)
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # typed where no source is kept
        return False
    if fingerprint(printed(name)) != fingerprint(source):
        return False
    if not is_one_statement(source):
        return True
    lines = linecache.getlines(function.__code__.co_filename)
    return any(line.strip() == MARK for line in lines)


def is_one_statement(source: str) -> bool:
    """Whether a function says what it does in one statement, a docstring not counted."""
    (function,) = ast.parse(textwrap.dedent(source)).body
    body = function.body if isinstance(function, ast.FunctionDef) else []
    return len([one for one in body if not _is_text(one)]) == 1


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


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
    # Names of variables; an attribute of that name, such as another library's, is another thing.
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    reached = [spaces.get(name) for name in names]
    reached += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    reached += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    own = [function_of(one) for one in correct]
    return any(callable(one) and function_of(one) in own for one in reached if one is not None)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that has no value yet
        return False
