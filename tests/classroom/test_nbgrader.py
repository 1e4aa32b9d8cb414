"""A course for nbgrader, and what its kernel runs of a submission: the tests alone."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from llama_edu.classroom import kernel, nbgrader
from llama_edu.classroom.chapter import read_chapter
from llama_edu.classroom.submission import NotYetError
from llama_edu.errors import InputError

BOOK = Path(__file__).resolve().parents[2] / "book"
NAME = "06_score_v"
RIGHT = """\
def merge_mine(attn_v):
    return np.concatenate(list(attn_v.reshape(-1, *attn_v.shape[2:])), -1)
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    nbgrader.write_course(folder, "week1", [read_chapter(BOOK, 6)], 2.0)
    return folder


@pytest.fixture(scope="module")
def source(course):
    return json.loads((course / "source" / "week1" / f"{NAME}.ipynb").read_text("utf-8"))


def test_cells_say_what_nbgrader_has_to_know(source):
    notebook = nbformat.from_dict(copy.deepcopy(source))
    nbformat.validate(notebook)
    about = [c["metadata"]["nbgrader"] for c in source["cells"] if "nbgrader" in c["metadata"]]
    ids = [one["grade_id"] for one in about]
    assert len(set(ids)) == len(ids)
    points = {one["grade_id"]: one["points"] for one in about if one["grade"]}
    assert points == read_chapter(BOOK, 6).points
    assert {f"{name}-answer" for name in points} == {o["grade_id"] for o in about if o["solution"]}
    assert all(one["locked"] != one["solution"] for one in about)
    assert all(one["schema_version"] == 3 for one in about)


def test_every_answer_is_a_region_and_every_test_is_hidden(source):
    for cell in source["cells"]:
        about = cell["metadata"].get("nbgrader", {})
        if about.get("solution"):
            lines = cell["source"].splitlines()
            assert lines.count("    ### BEGIN SOLUTION") == lines.count("    ### END SOLUTION") > 0
        if about.get("grade"):
            name = about["grade_id"]
            assert f"must(check.{name}({name}_mine))" in cell["source"]
            hidden = cell["source"].split("### BEGIN HIDDEN TESTS\n")[1]
            assert hidden == f'grade("{name}")\n### END HIDDEN TESTS'
    assert 'hand_in("week1", "06_score_v.ipynb"' in source["cells"][-1]["source"]


def test_a_course_grows_and_nothing_is_overwritten(course):
    secret = (course / "classroom.json").read_text("utf-8")
    config = (course / "nbgrader_config.py").read_text("utf-8")
    compile(config, "nbgrader_config.py", "exec")
    nbgrader.write_course(course, "week2", [read_chapter(BOOK, 8)])
    assert (course / "classroom.json").read_text("utf-8") == secret
    assert (course / "nbgrader_config.py").read_text("utf-8") == config
    with pytest.raises(InputError, match="expected no assignment 'week2' yet"):
        nbgrader.write_course(course, "week2", [read_chapter(BOOK, 8)])
    assert secret not in json.dumps(config)


def test_only_tests_run():
    hidden = ["must(check.merge(merge_mine))\n", "### BEGIN HIDDEN TESTS\n", 'grade("merge")\n']
    assert kernel.only_tests(hidden) == ['grade("merge")\n']
    for other in ("import os; os._exit(0)\n", 'grade("merge"); evil()\n', ' grade("merge")\n'):
        assert kernel.only_tests([other]) == ["pass\n"]


def handed_in(folder, source):
    """A submission: one right answer, one that would do more, and the instructor's own."""
    folder.mkdir(parents=True)
    notebook = copy.deepcopy(source)
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if grade_id == "merge-answer":
            cell["source"] = RIGHT
        if grade_id == "attention_rows-answer":
            cell["source"] = f"open({str(folder / 'was_here')!r}, 'w')\nimport os\nos.getpid()"
    (folder / f"{NAME}.ipynb").write_text(json.dumps(notebook), "utf-8")
    return notebook


def test_an_exercise_is_graded_in_the_notebook_that_has_it(course, source, monkeypatch, capsys):
    """The extension, loaded as a kernel would."""
    folder = course / "autograded" / "ben" / "week1"
    handed_in(folder, source)
    (folder / "01_of_mine.ipynb").write_text('{"cells": [{"metadata": {}}]}', "utf-8")
    monkeypatch.setenv("LLAMA_EDU_CLASSROOM", str(course / "classroom.json"))
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.chdir(folder)
    shell = SimpleNamespace(user_ns={}, input_transformers_cleanup=[])
    kernel.load_ipython_extension(shell)
    grade = shell.user_ns["grade"]
    grade("merge")
    assert capsys.readouterr().out.startswith("✓ merge: right on")
    with pytest.raises(NotYetError, match="✗ attention_rows: expected a function"):
        grade("attention_rows")
    (transform,) = shell.input_transformers_cleanup
    assert transform(["import os\n", 'grade("merge")\n']) == ['grade("merge")\n']


def test_a_kernel_grades_and_runs_nothing_that_was_handed_in(course, source, monkeypatch):
    """As nbgrader does it: a kernel with the extension, in the submission's folder."""
    folder = course / "autograded" / "ann" / "week1"
    notebook = handed_in(folder, source)
    monkeypatch.setenv("LLAMA_EDU_CLASSROOM", str(course / "classroom.json"))
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    monkeypatch.setenv("PYTHONPATH", str(BOOK.parent))
    client = NotebookClient(
        nbformat.from_dict(notebook),
        allow_errors=True,
        extra_arguments=["--IPKernelApp.extra_extensions=llama_edu.classroom.kernel"],
        resources={"metadata": {"path": str(folder)}},
    )
    done = client.execute()
    told = {}
    for cell in done.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            told[cell.metadata.nbgrader.grade_id] = cell.outputs[0]
        elif cell.cell_type == "code":
            assert cell.outputs == []
    assert told["merge"]["text"].startswith("✓ merge: right on")
    assert told["attention_rows"]["output_type"] == "error"
    assert told["attention_rows"]["traceback"][0].startswith(
        "✗ attention_rows: expected a function"
    )
    assert told["mix_values"]["ename"] == "NotYetError"  # the instructor's own: the book's
    assert "word for word the solution" in told["mix_values"]["evalue"]
    assert not (folder / "was_here").exists()


def test_the_kernel_is_as_ever_for_students(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "validate")
    kernel.load_ipython_extension(None)  # looks at nothing


def test_a_test_of_no_notebook_is_told(course, tmp_path):
    grader = kernel.Grader(tmp_path, course / "classroom.json")
    with pytest.raises(LookupError, match="expected a notebook with the exercise 'merge'"):
        grader.grade("merge")


def test_nothing_of_nbgrader_is_imported():
    assert "nbgrader" not in sys.modules
    assert issubclass(NotYetError, AssertionError)
