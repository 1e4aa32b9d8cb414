"""The lines of a function as they stand in its file, and what each of them made when it ran.

A stepper shows both. It runs the package's own function on recorded arrays and looks at the
function's variables after every line, so what it shows cannot drift away from what the package
does.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import llama_edu
from llama_edu.errors import InputError

__all__ = ["Listing", "Watched", "watch"]

PACKAGE = Path(llama_edu.__file__).parent


@dataclass(frozen=True)
class Listing:
    """The source of one function: where it stands, and its numbered lines without the docstring."""

    title: str
    lines: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Listing":
        """The listing of a function of this package."""
        plain = inspect.unwrap(function)
        source, start = inspect.getsourcelines(plain)
        file = Path(inspect.getsourcefile(plain) or "").relative_to(PACKAGE.parent)
        dropped = _docstring_lines("".join(source))
        texts = textwrap.dedent("".join(source)).splitlines()
        lines = enumerate(texts, start)
        kept = tuple(line for line in lines if line[0] - start not in dropped)
        return cls(f"{file.as_posix()}, {plain.__name__}", kept)

    def between(self, first: int, last: int) -> "Listing":
        """The part from line `first` to line `last`."""
        return Listing(self.title, tuple(x for x in self.lines if first <= x[0] <= last))

    def holds(self, code: str) -> bool:
        """Whether a line has `code` in it."""
        return any(code in text for _, text in self.lines)

    def find(self, code: str) -> int:
        """The number of the one line that holds `code`; `InputError` if none or several do."""
        found = [number for number, text in self.lines if code in text]
        if len(found) != 1:
            raise InputError(f"expected one line with {code!r} in {self.title}, got {len(found)}")
        return found[0]


def _docstring_lines(source: str) -> range:
    """Offsets of the lines of a function's docstring."""
    function = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(function, ast.FunctionDef)
    if ast.get_docstring(function) is None:
        return range(0)
    first = function.body[0]
    return range(first.lineno - 1, first.end_lineno or first.lineno)


@dataclass(frozen=True)
class Watched:
    """One run of a function: its listing, the variables after each line, and what it returned."""

    listing: Listing
    result: Any
    _variables: Mapping[int, Mapping[str, Any]]

    def after(self, code: str, name: str) -> Any:
        """The variable `name` as the line that holds `code` left it."""
        return self._variables[self.listing.find(code)][name]

    def ran(self, code: str) -> bool:
        """Whether the line that holds `code` was reached."""
        return self.listing.find(code) in self._variables


def watch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Watched:
    """Call a function of this package and keep copies of its variables after each line.

    A line that runs twice is kept as it ran last. Raises what the function raises.
    """
    code = inspect.unwrap(function).__code__
    variables: dict[int, dict[str, Any]] = {}
    line = 0  # the one that is running

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal line
        if line:
            variables[line] = {name: _copied(value) for name, value in frame.f_locals.items()}
        line = frame.f_lineno if event == "line" else 0
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        return on_line if frame.f_code is code else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        result = function(*args, **kwargs)
    finally:
        sys.settrace(before)
    return Watched(Listing.of(function), result, variables)


def _copied(value: Any) -> Any:
    # Lines change arrays in place, so what one left has to be kept from the next.
    return value.copy() if isinstance(value, np.ndarray) else value
