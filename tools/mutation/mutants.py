"""Which mutants there are, which of them can matter, and a fair sample.

Cosmic Ray knows how to change a piece of code; this module asks it for every place of a file, and
leaves out what no test can see: annotations, docstrings and files that no longer compile. A place
is drawn first and one of its changes afterwards, since a `+` alone has eleven.
"""

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tools.mutation.operators import DropKeywordArgument
from tools.mutation.results import Mutant

__all__ = ["files_of", "sampled"]

# They need to be told what to insert, and replace at random.
WITHOUT = ("core/VariableReplacer", "core/VariableInserter")


@dataclass(frozen=True)
class _Change:
    """One thing that an operator can do to a file: its `occurrence`-th, counted from 0."""

    path: Path
    operator: str
    occurrence: int
    line: int


def sampled(root: Path, files: Sequence[Path], count: int, seed: int) -> list[Mutant]:
    """At most `count` mutants of the files, each at another place, the same ones for a seed."""
    rng = random.Random(seed)
    places = [place for path in files for place in _places(root, path)]
    rng.shuffle(places)
    found: list[Mutant] = []
    for changes in places:
        if len(found) == count:
            break
        mutant = _applied(root, rng.choice(changes))
        if mutant is not None:
            found.append(mutant)
    return found


def _operators() -> dict[str, Any]:
    names = [name for name in cosmic_ray.plugins.operator_names() if name not in WITHOUT]
    known = {name: cosmic_ray.plugins.get_operator(name)() for name in sorted(names)}
    return known | {"DropKeywordArgument": DropKeywordArgument()}


OPERATORS = _operators()


def _places(root: Path, path: Path) -> list[list[_Change]]:
    """Every place of a file that can be changed, with its changes."""
    places: dict[tuple[Any, ...], list[_Change]] = {}
    nodes = list(ast_nodes(get_ast((root / path).read_text("utf-8"))))
    for name, operator in OPERATORS.items():
        positions = [at for node in nodes for at in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(positions):
            change = _Change(path, name, occurrence, start[0])
            places.setdefault((start, end), []).append(change)
    return list(places.values())


def _applied(root: Path, change: _Change) -> Mutant | None:
    """The mutant, or nothing where it cannot be told from the file as it is."""
    before = (root / change.path).read_text("utf-8")
    after = mutate_code(before, OPERATORS[change.operator], change.occurrence)
    if after is None:
        return None
    try:
        same = _meaning(after) == _meaning(before)
    except SyntaxError:
        return None
    if same:
        return None
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    line, was, became = next((i, a, b) for i, (a, b) in enumerate(pairs, 1) if a != b)
    return Mutant(change.path, change.operator, line, was.strip(), became.strip(), after)


class _Bare(ast.NodeTransformer):
    """Takes out what is not run, or runs only to describe: annotations and docstrings."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, ast.Constant(None))
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_words(line)] or [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _is_words(statement: ast.stmt) -> bool:
    is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    is_export = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"
    return is_text or is_export


def _meaning(source: str) -> str:
    return ast.dump(_Bare().visit(ast.parse(source)))


def files_of(root: Path, patterns: Sequence[str], without: Sequence[str]) -> Iterator[Path]:
    """The files that match, relative to the root, in order."""
    left_out = {path for pattern in without for path in root.glob(pattern)}
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)} - left_out):
        yield path.relative_to(root)
