"""The Python of this project: where it is, and each file as a tree, parsed once a process."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "llama_edu"
SOURCES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = sorted(
    path
    for folder in ("llama_edu", "engines", "tests", "tools", "benchmarks", "training")
    for path in (ROOT / folder).rglob("*.py")
)


def name_of(path: Path) -> str:
    """The path from the root of the project, the same on every system."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    """What Python makes of the file; nobody may change it."""
    return ast.parse(path.read_text("utf-8"))
