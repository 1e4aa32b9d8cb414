"""Whatever a notebook does, it is judged, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_edu.classroom import judge as judging
from llama_edu.classroom.chapter import read_chapter
from llama_edu.classroom.judge import Cell, cells_of, judge, seed_for
from llama_edu.exercises import check

ROOT = Path(__file__).resolve().parents[2]
SETUP = Cell(
    "import numpy as np\nfrom llama_edu import viz\nfrom llama_edu.exercises import check", True
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    (folder / "precious").write_text("keep me", "utf-8")
    return folder


# One process for all of these: {exercise: (cell, what its verdict says)}.
CELLS = {
    "header_length": (
        'def header_length_mine(data):\n    return int.from_bytes(data[:8], "little")',
        "right on",
    ),
    "norm_rows": (
        "from llama_edu.ops.norm import rms_norm\ndef norm_rows_mine(*a):\n    return rms_norm(*a)",
        "leaves the work to the book's own",
    ),
    "position": ("def position_mine(index, shape):\n    return helper(3)", "NameError"),
    "merge_pair": (
        "import sys\nsys.exit(3)\ndef merge_pair_mine(*a):\n    sys.exit(3)",
        "SystemExit",
    ),
    "gated": (
        "def gated_mine(*a):\n    return check.gated.exercise.correct[0](*a)",
        "looking into a check is not possible",
    ),
    "row_size": (
        "def row_size_mine(*a):\n    from llama_edu.exercises import norm_mlp\n    return norm_mlp",
        "importing llama_edu.exercises.norm_mlp is not possible",
    ),
    "clean": (
        "import llama_edu\nfrom pathlib import Path\n"
        "def clean_mine(pieces):\n"
        "    here = Path(llama_edu.__file__).parent / 'exercises' / 'framework'\n"
        "    return (here / 'printed.json').read_text('utf-8')",
        "reading this file is not possible",
    ),
    "mask_scores": (
        "import llama_edu\nfrom pathlib import Path\n"
        "def mask_scores_mine(scores):\n"
        "    book = Path(llama_edu.__file__).parents[1] / 'book'\n"
        "    return (book / '05_mask_and_softmax.ipynb').read_text('utf-8')",
        "reading this file is not possible",
    ),
    "merge": ("def merge_mine(a):\n    open(FOLDER + '/precious')", "reading this file is not"),
    "mix_values": (
        "import shutil\ndef mix_values_mine(*a):\n    shutil.rmtree(FOLDER)",
        "shutil.rmtree is not possible",
    ),
    "angles": (
        "import os\ndef angles_mine(*a):\n    os.remove(FOLDER + '/precious')",
        "os.remove is not possible",
    ),
    "rotate": (
        "def rotate_mine(*a):\n    open(FOLDER + '/was_here', 'w').write('x')",
        "writing a file is not possible",
    ),
    "staircase": (
        "import subprocess\ndef staircase_mine(*a):\n    subprocess.run(['true'])",
        "is not possible while answers are graded",
    ),
    "row_softmax": (
        "import socket\ndef row_softmax_mine(*a):\n    socket.create_connection(('127.0.0.1', 9))",
        "is not possible while answers are graded",
    ),
    "draw": ("def draw_mine(*a):\n    import ctypes", "importing ctypes is not possible"),
    "key_head_of": ("def key_head_of_mine(a, b:\n    return 1", "SyntaxError"),
    "telling_case": ("x = 1", "the notebook makes none"),
    "fold_block": (
        "def fold_block_mine(*a):\n    while True:\n        pass",
        "still running after 0.5 s",
    ),
    # Ends the process; the two behind it get another.
    "nucleus": ("import os\ndef nucleus_mine(*a):\n    os._exit(0)", "ended the program it ran in"),
    "to_bf16": ("def to_bf16_mine(x):\n    return 10 ** 10 ** 9", "could not be interrupted"),
    "cache_nbytes": ("def cache_nbytes_mine(*a):\n    return 0", "cache_nbytes"),
}


@pytest.fixture(scope="module")
def verdicts(folder):
    cells = [SETUP, Cell(f"FOLDER = {str(folder)!r}")]
    cells += [Cell(source) for source, _ in CELLS.values()]
    forged = json.dumps({"nonce": "guess", "name": "cache_nbytes", "ok": True, "message": ""})
    cells.append(Cell(f"import os\nfor n in range(20):\n    os.write(n, {forged!r}.encode())"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "SLACK", 6.0)
        return judge(cells, dict.fromkeys(CELLS, 7), seconds=0.5)


@pytest.mark.parametrize("name", CELLS)
def test_each_answer_is_judged_by_itself(verdicts, name):
    verdict = verdicts[name]
    assert CELLS[name][1] in " ".join(verdict.message.split())
    assert verdict.ok == (name == "header_length")
    assert len(verdict.message) < 2000


def test_nothing_was_touched(verdicts, folder):
    assert [path.name for path in folder.iterdir()] == ["precious"]


def test_a_notebook_that_ends_everything_is_told_so():
    verdicts = judge([Cell("import os\nos._exit(0)")], {"merge": 1, "clean": 1}, 1.0)
    assert [verdict.ok for verdict in verdicts.values()] == [False, False]
    assert "your notebook ended the program it ran in" in verdicts["clean"].message


@pytest.mark.parametrize("number", [7, 13])
def test_printed_solutions_run_and_do_not_count(number):
    """In these two the answers need most of what the chapter defines before them."""
    chapter = read_chapter(ROOT / "book", number)
    cells = cells_of({"cells": [part.cell for part in chapter.parts]})
    verdicts = judge(cells, dict.fromkeys(chapter.points, 1))
    for name, verdict in verdicts.items():
        assert "word for word the solution that the book prints" in verdict.message, name
        assert not verdict


def test_seeds_are_of_a_student_and_an_exercise():
    seeds = {
        seed_for(secret, student, exercise)
        for secret in "ab"
        for student in ("ann", "bob")
        for exercise in ("gated", "clean")
    }
    assert len(seeds) == 8
    assert seed_for("a", "ann", "gated") == seed_for("a", "ann", "gated")


def test_every_students_inputs_are_others():
    """Of the exercises, only one has no input that could be drawn: it asks for one."""
    assert [item.exercise.name for item in check if item.exercise.drawn is None] == ["telling_case"]
