"""What a public function raises by itself, its docstring says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import SOURCES, name_of, tree_of

Function = ast.FunctionDef | ast.AsyncFunctionDef


def silent_about(tree: ast.Module) -> list[str]:
    """The public functions that raise something and do not say so."""
    return list(_silent(tree, ""))


def _silent(owner: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    functions = [node for node in owner.body if isinstance(node, Function)]
    for function in filter(_is_public, functions):
        raised = set(_raised(function))
        # A property says for its setter what it raises, and a class for its constructor.
        words = [ast.get_docstring(one) for one in functions if one.name == function.name]
        if function.name.startswith("__") and isinstance(owner, ast.ClassDef):
            words.append(ast.get_docstring(owner))
        said = " ".join(filter(None, words))
        if (
            raised
            and not re.search(r"\b[Rr]aise[sd]?\b", said)
            and not any(e in said for e in raised)
        ):
            yield prefix + function.name
    for node in owner.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _silent(node, f"{prefix}{node.name}.")


def _is_public(function: Function) -> bool:
    # The docstring of a route is what `/openapi.json` tells clients, who get no exception.
    is_route = any(ast.unparse(one).startswith("router.") for one in function.decorator_list)
    return not is_route and (not function.name.startswith("_") or function.name.endswith("__"))


def _raised(node: ast.AST) -> Iterator[str]:
    """What is raised in a function itself, not in those within it; `raise` alone is another's."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            what = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            name = ast.unparse(what).rpartition(".")[2]
            # What a subclass has to write is no error of a caller's.
            yield from () if name == "NotImplementedError" else (name,)
        yield from _raised(child)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_public_function_says_what_it_raises(path: Path) -> None:
    assert silent_about(tree_of(path)) == []


def test_who_is_silent_is_seen() -> None:
    source = '''
def quiet(x):
    """Words."""
    if x:
        raise errors.InputError("expected")
def says(x):
    """Words. `InputError` for another."""
    raise InputError
def outer():
    def _inner():
        raise ValueError
def _private():
    raise ValueError
@router.get("/")
def route():
    raise ApiError
class Made:
    """Raises `ValueError`."""
    def __init__(self):
        raise ValueError
    @property
    def size(self):
        """Raises `InputError` if set to less than 1."""
    @size.setter
    def size(self, number):
        raise InputError
    def work(self):
        raise NotImplementedError
    def again(self):
        raise problem
'''
    assert silent_about(ast.parse(source)) == ["quiet", "Made.again"]
