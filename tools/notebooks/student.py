"""Copies of the chapters for a learner: solutions taken out, stubs in their place, no outputs.

    python -m tools.notebooks.student            into student/, beside book/
    python -m tools.notebooks.student FOLDER

A stub keeps its name and arguments and refuses to run; the check below it then says so. A copy
that is already there and has been worked in is never overwritten: it stays, and is named.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat

from llama_edu.classroom.stubs import MAY_FAIL, REFUSAL, SOLUTION, stub, tags_of, what_may_fail
from tools.notebooks.execute import fold

__all__ = ["MAY_FAIL", "REFUSAL", "digest", "stub", "student_copy", "write"]

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
STAMP = "llama_edu_student"  # in the metadata of a copy: what its cells were when it was made


def student_copy(notebook: Any) -> Any:
    """A copy for a learner: stubs for solutions, and no outputs that give results away.

    A check says that a stub is one; another cell that needs the solution fails, and is tagged so
    that "Run All" goes on behind it.
    """
    copy = nbformat.reads(nbformat.writes(notebook), as_version=4)
    cells = [cell for cell in copy.cells if cell.cell_type == "code"]
    stands_for_a_solution = [SOLUTION in tags_of(cell) for cell in cells]
    for cell, is_stub in zip(cells, stands_for_a_solution, strict=True):
        cell.outputs, cell.execution_count = [], None
        if is_stub:
            cell.source = stub(cell.source)
            tags = [tag for tag in tags_of(cell) if tag not in (SOLUTION, "hide-cell")]
            cell.metadata["tags"] = tags
            fold(cell.metadata)  # what is to be written must not be folded away
        elif re.search(r"^check\.", cell.source, re.MULTILINE):
            # The book folds what the check says of its own answer; of a reader's that is the point.
            cell.metadata["tags"] = [tag for tag in tags_of(cell) if tag != "hide-output"]
            fold(cell.metadata)
    what_may_fail(cells, stands_for_a_solution)
    return copy


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
