"""Copies of the chapters for a learner: solutions taken out, stubs in their place, no outputs.

    python -m tools.notebooks.student            into student/, beside book/
    python -m tools.notebooks.student FOLDER

A stub keeps its name and arguments and refuses to run; the check below it then says so. A copy
that is already there and has been worked in is never overwritten: it stays, and is named.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
SOLUTION = "solution"
MAY_FAIL = "raises-exception"  # the tag by which Jupyter goes on after an error
REFUSAL = 'raise NotImplementedError("your turn")'
STAMP = "llama_edu_student"  # in the metadata of a copy: what its cells were when it was made


def stub(source: str) -> str:
    """The functions of a solution with their bodies taken out; everything else is dropped.

    Raises `ValueError` for a solution that defines no function: there would be nothing to write.
    """
    functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]
    if not functions:
        raise ValueError(f"expected a solution that defines a function, got {source!r}")
    lines = source.splitlines()
    stubs = []
    for function in functions:
        head = lines[function.lineno - 1 : function.body[0].lineno - 1]
        head = head or [lines[function.lineno - 1].split(":", 1)[0] + ":"]
        stubs.append("\n".join([*head, f"    {REFUSAL}"]))
    return "\n\n\n".join(stubs)


def student_copy(notebook: Any) -> Any:
    """A copy for a learner: stubs for solutions, and no outputs that give results away.

    A check says that a stub is one; another cell that needs the solution fails, and is tagged so
    that "Run All" goes on behind it.
    """
    copy = nbformat.reads(nbformat.writes(notebook), as_version=4)
    unmade: set[str] = set()  # names that come from a stub, or from a cell that needs one
    for cell in copy.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = [], None
        tags = cell.metadata.get("tags", [])
        if SOLUTION in tags:
            cell.source = stub(cell.source)
            cell.metadata["tags"] = [t for t in tags if t not in (SOLUTION, "hide-cell")]
            unmade |= made_and_used(cell.source)[0]
            continue
        made, used = made_and_used(cell.source)
        if used & unmade:
            unmade |= made
            cell.metadata["tags"] = [*tags, *({MAY_FAIL} - set(tags))]
    return copy


def made_and_used(source: str) -> tuple[set[str], set[str]]:
    """The names a cell defines, and those it uses outside a check."""
    plain = re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.MULTILINE)
    made: set[str] = set()
    used: set[str] = set()
    for statement in ast.parse(plain).body:
        if ast.unparse(statement).startswith("check."):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                made.add(node.name)
            elif isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
    return made, used


def digest(notebook: Any) -> str:
    """What tells a copy that was worked in from one as it was made: its cells."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()


def write(notebook: Any, path: Path) -> bool:
    """Write a copy unless a learner has changed the one that is there; False if so."""
    copy = student_copy(notebook)
    copy.metadata[STAMP] = digest(copy)
    if path.exists():
        old = nbformat.read(path, as_version=4)
        if old.metadata.get(STAMP) != digest(old):
            return False
    nbformat.write(copy, path)
    return True


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make copies of the chapters to work in.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "student")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for path in sorted(BOOK.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if not write(notebook, folder / path.name):
            kept.append(path.name)
    for page in BOOK.glob("*.md"):  # so that links between pages work
        shutil.copyfile(page, folder / page.name)
    made = len(list(folder.glob("[0-9]*.ipynb")))
    print(f"{made} chapters in {folder}")
    for name in kept:
        print(f"kept as you left it: {name}", file=sys.stderr)


if __name__ == "__main__":
    main()
