"""A chapter as an assignment: what is to be written in it, where, and for how many points."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_edu
from llama_edu.chapters import BOOK, CHAPTER_FILES
from llama_edu.classroom.stubs import (
    MAY_FAIL,
    SOLUTION,
    add_tags,
    functions_of,
    tags_of,
    what_may_fail,
)
from llama_edu.errors import InputError
from llama_edu.exercises import check

__all__ = ["GIVEN", "Chapter", "Part", "book_of", "chapters_of", "read_chapter"]

GIVEN = "llama_edu_given"  # in a cell's metadata: it came with the assignment
_CHECK = re.compile(r"^check\.(\w+)\((\w+)\)$", re.MULTILINE)
_PAGE = re.compile(r"\]\((\w+)\.(?:ipynb|md)(#[^)\s]*)?\)")
_SETUP = re.compile(r"\bgoogle\.colab\b")
_ELSEWHERE = '"../'  # a file of the repository, which a student need not have
ALL_STARS = (1, 2, 3)


@dataclass(frozen=True)
class Part:
    """A cell of an assignment. `exercise` is what its answer or its check belongs to."""

    cell: dict[str, Any]
    kind: str  # "given", "answer" or "check"
    exercise: str = ""


@dataclass(frozen=True)
class Chapter:
    """A chapter's cells in order, and the points of the exercises that count."""

    name: str  # of its notebook, without the ending
    title: str
    parts: tuple[Part, ...]
    points: dict[str, int]
    metadata: dict[str, Any]


def book_of(folder: str | None) -> Path:
    """The folder of the chapters: as given, or beside the package in a checkout.

    Raises `InputError` if no chapter is there.
    """
    book = Path(folder) if folder else Path(llama_edu.__file__).resolve().parents[1] / "book"
    if not any(book.glob("[0-9][0-9]_*.ipynb")):
        raise InputError(
            f"expected the book's chapters (01_….ipynb and so on) in {book}, got none; get the "
            "project's repository, and give its folder book as --book"
        )
    return book


def chapters_of(text: str) -> list[int]:
    """Chapter numbers from "1,3-5". Raises `InputError` for what is none."""
    known = {int(name[:2]) for name in CHAPTER_FILES.values()}
    found: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", piece)
        ends = [int(match[1]), int(match[2] or match[1])] if match else []
        if not ends or not known.issuperset(ends) or ends[0] > ends[1]:
            raise InputError(
                f"expected chapters from {min(known)} to {max(known)}, such as 4,6-8, got {text!r}"
            )
        found |= known & set(range(ends[0], ends[1] + 1))
    return sorted(found)


def read_chapter(book: Path, number: int, stars: Collection[int] = ALL_STARS) -> Chapter:
    """A chapter without its outputs. Exercises of other than `stars` are there and do not count.

    Raises `InputError` if the folder has no such chapter.
    """
    (name,) = [one for one in CHAPTER_FILES.values() if int(one[:2]) == number]
    path = book / f"{name}.ipynb"
    if not path.exists():
        raise InputError(f"expected chapter {number} as {path}, got no such file")
    notebook = json.loads(path.read_text("utf-8"))
    cells = [_clean(cell) for cell in notebook["cells"]]
    cells = [cell for cell in cells if not _SETUP.search(cell["source"])]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for cell in code:
        if _ELSEWHERE in cell["source"]:
            add_tags(cell, MAY_FAIL)
    stands_in = [SOLUTION in tags_of(cell) or _ELSEWHERE in cell["source"] for cell in code]
    what_may_fail(code, stands_in)
    answers = _answers(code)
    parts = tuple(_part(cell, answers) for cell in cells)
    exercises = {item.exercise.name: item.exercise for item in check}
    checked = [part.exercise for part in parts if part.kind == "check"]
    counts = {one: exercises[one].stars for one in checked if exercises[one].stars in stars}
    title = next(
        (cell["source"] for cell in cells if cell["source"].startswith("# ")), f"# {name}"
    ).splitlines()[0]
    return Chapter(name, title.removeprefix("# "), parts, counts, _metadata())


def _clean(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell with its source in one piece, and without what running it left."""
    clean = {
        "id": cell["id"],
        "cell_type": cell["cell_type"],
        "metadata": dict(cell["metadata"]),
        "source": "".join(cell["source"]),
    }
    if cell["cell_type"] == "code":
        return clean | {"outputs": [], "execution_count": None}
    # Pages that are neighbours in the book are not there in an assignment.
    clean["source"] = _PAGE.sub(rf"]({BOOK}/\1.html\2)", clean["source"])
    return clean


def _answers(code: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The exercise of each function that a check is given, by the function's name."""
    return {
        function: exercise
        for cell in code
        for exercise, function in _CHECK.findall(cell["source"])
        if function == f"{exercise}_mine"
    }


def _part(cell: dict[str, Any], answers: dict[str, str]) -> Part:
    """What a cell is in the assignment."""
    if cell["cell_type"] != "code":
        return Part(cell, "given")
    if SOLUTION in tags_of(cell):
        names = [function.name for function in functions_of(cell["source"])]
        (exercise,) = [answers[name] for name in names if name in answers]
        kept = [tag for tag in tags_of(cell) if tag not in (SOLUTION, "hide-cell")]
        # A cell to write in is open; whatever folded the solution does not come along.
        cell["metadata"] = {"tags": kept} if kept else {}
        return Part(cell, "answer", exercise)
    if found := [one for one, function in _CHECK.findall(cell["source"]) if function in answers]:
        add_tags(cell, MAY_FAIL)
        return Part(cell, "check", found[-1])
    cell["metadata"][GIVEN] = True
    return Part(cell, "given")


def _metadata() -> dict[str, Any]:
    return {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
