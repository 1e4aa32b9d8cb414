"""Chapters as assignments: what is to be written, what is given, and what no student gets."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from llama_edu.chapters import CHAPTER_FILES
from llama_edu.classroom.chapter import GIVEN, book_of, chapters_of, read_chapter
from llama_edu.classroom.stubs import MAY_FAIL, stub, with_regions
from llama_edu.errors import InputError
from llama_edu.exercises import check

NUMBERS = sorted(int(name[:2]) for name in CHAPTER_FILES.values())
BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture(scope="module")
def chapters():
    return [read_chapter(BOOK, number) for number in NUMBERS]


def test_every_exercise_is_in_its_chapter_with_an_answer_and_a_check(chapters):
    stars = {item.exercise.name: item.exercise.stars for item in check}
    points = {name: n for chapter in chapters for name, n in chapter.points.items()}
    assert points == stars
    for kind in ("answer", "check"):
        found = [p.exercise for chapter in chapters for p in chapter.parts if p.kind == kind]
        assert sorted(found) == sorted(stars)


def test_cells_are_as_a_class_needs_them(chapters):
    for part in (part for chapter in chapters for part in chapter.parts):
        cell, metadata = part.cell, part.cell["metadata"]
        assert "google.colab" not in cell["source"]
        assert not re.search(r"\]\(\w+\.(ipynb|md)", cell["source"])
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert bool(metadata.get(GIVEN)) == (part.kind == "given")
        if part.kind == "answer":
            assert "jupyter" not in metadata
            assert "hide-cell" not in metadata.get("tags", [])
        if part.kind == "check" or '"../tests/' in cell["source"]:
            assert MAY_FAIL in metadata["tags"]


def test_exercises_that_do_not_count_stay():
    some = read_chapter(BOOK, 8, {1})
    assert some.points == {"norm_rows": 1}
    assert len(some.parts) == len(read_chapter(BOOK, 8).parts)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("6", [6]),
        ("6,8", [6, 8]),
        ("8, 6", [6, 8]),
        ("4-6,5", [4, 5, 6]),
        (f"1-{max(NUMBERS)}", NUMBERS),
    ],
)
def test_chapters_are_read(text, numbers):
    assert chapters_of(text) == numbers


@pytest.mark.parametrize("text", ["", "0", "4-", "8-6", "six", "4;5", "1-99", "99"])
def test_what_is_no_chapter_is_refused(text):
    with pytest.raises(InputError, match=r"expected chapters from 1 to \d+, .* got"):
        chapters_of(text)


def test_the_book_has_to_be_there(tmp_path):
    assert book_of(None) == BOOK
    with pytest.raises(InputError, match="expected the book's chapters"):
        book_of(str(tmp_path))
    with pytest.raises(InputError, match="expected chapter 3 as"):
        read_chapter(tmp_path, 3)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    y = 1\n\n    return x",
        "import os\n\n\n# whose\ndef f(x,\n      y):\n    return x\n\n\ndef g():\n    return 2",
        "def f(x): return x",
    ],
)
def test_regions_take_the_bodies_and_nothing_else(source):
    marked = with_regions(source, ("### BEGIN",), ("### END",))
    kept, inside = [], False
    for line in marked.splitlines():
        inside = (inside or line == "    ### BEGIN") and line != "    ### END"
        kept += [line] if not inside and line != "    ### END" else []
    assert "return" not in "\n".join(kept)
    assert "# whose" not in marked
    assert ast.dump(ast.parse(marked)) == ast.dump(ast.parse(source))
    functions = [n.name for n in ast.parse(stub(source)).body if isinstance(n, ast.FunctionDef)]
    assert [line[4] for line in kept if line.startswith("def ")] == functions
