"""What a learner gets in place of a solution, and which cells then have to fail.

Cells are those of a notebook's JSON, so that nothing here needs a library for notebooks.
"""

import ast
import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "MAY_FAIL",
    "REFUSAL",
    "SOLUTION",
    "add_tags",
    "functions_of",
    "made_and_used",
    "python_of",
    "stub",
    "tags_of",
    "what_may_fail",
    "with_regions",
]

SOLUTION = "solution"  # the tag of a cell
MAY_FAIL = "raises-exception"  # the tag by which Jupyter goes on after an error
REFUSAL = 'raise NotImplementedError("your turn")'


def functions_of(source: str) -> list[ast.FunctionDef]:
    """The functions that a solution defines.

    Raises `ValueError` for a solution that defines no function: there would be nothing to write.
    """
    functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
    if not functions:
        raise ValueError(f"expected a solution that defines a function, got {source!r}")
    return functions


def stub(source: str) -> str:
    """The functions of a solution with their bodies taken out; everything else is dropped.

    Raises `ValueError` for a solution that defines no function.
    """
    lines = source.splitlines()
    heads = (_head(function, lines) for function in functions_of(source))
    return "\n\n\n".join("\n".join([*head, f"    {REFUSAL}"]) for head in heads)


def with_regions(source: str, begin: tuple[str, ...], end: tuple[str, ...]) -> str:
    """A solution whose bodies stand between the lines `begin` and `end`, for a tool to cut out.

    What stands beside the functions, such as an import, stays outside. Raises `ValueError` for a
    solution that defines no function.
    """
    lines = source.splitlines()
    done, at = [], 0
    for function in functions_of(source):
        head = _head(function, lines)
        body = ast.get_source_segment(source, function.body[0]) or ""
        on_one_line = function.body[0].lineno == function.lineno
        last = function.end_lineno or function.lineno
        inner = [f"    {body}"] if on_one_line else lines[function.body[0].lineno - 1 : last]
        between = lines[at : function.lineno - 1]
        done += [line for line in between if not line.startswith("#")]  # such as whose it is
        done += [*head, *(f"    {x}" for x in begin), *inner, *(f"    {x}" for x in end)]
        at = last
    return "\n".join([*done, *lines[at:]])


def _head(function: ast.FunctionDef, lines: list[str]) -> list[str]:
    """The lines of a function before its body."""
    head = lines[function.lineno - 1 : function.body[0].lineno - 1]
    return head or [lines[function.lineno - 1].split(":", 1)[0] + ":"]


def tags_of(cell: dict[str, Any]) -> list[str]:
    """The tags of a cell."""
    return list(cell["metadata"].get("tags", []))


def add_tags(cell: dict[str, Any], *tags: str) -> None:
    """Add tags that a cell does not have yet."""
    had = tags_of(cell)
    cell["metadata"]["tags"] = [*had, *(tag for tag in tags if tag not in had)]


def what_may_fail(cells: list[dict[str, Any]], is_stub: Sequence[bool]) -> None:
    """Tag the code cells that need a stub, or what such a cell makes, so that Jupyter goes on.

    `is_stub` says of each code cell whether it is one.
    """
    unmade: set[str] = set()  # names that come from a stub, or from a cell that needs one
    for cell, stands_for_a_solution in zip(cells, is_stub, strict=True):
        made, used = made_and_used("".join(cell["source"]))
        if stands_for_a_solution:
            unmade |= made
        elif used & unmade:
            unmade |= made
            add_tags(cell, MAY_FAIL)


def python_of(source: str) -> str:
    """A cell without what only IPython understands: its lines stay where they are."""
    return re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def made_and_used(source: str) -> tuple[set[str], set[str]]:
    """The names a cell defines, and those it uses outside a check."""
    made: set[str] = set()
    used: set[str] = set()
    for statement in ast.parse(python_of(source)).body:
        if ast.unparse(statement).startswith(("check.", "must(check.")):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                made.add(node.name)
            elif isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
    return made, used
