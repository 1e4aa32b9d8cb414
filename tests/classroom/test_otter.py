"""Notebooks for Otter Assign, and the plugin that judges in place of Otter's kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from llama_edu.classroom import otter, otter_plugin
from llama_edu.classroom.chapter import read_chapter
from llama_edu.errors import InputError

BOOK = Path(__file__).resolve().parents[2] / "book"
RIGHT = """\
def merge_mine(attn_v):
    return np.concatenate(list(attn_v.reshape(-1, *attn_v.shape[2:])), -1)
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    (path,) = otter.write_assignment(folder, "week1", [read_chapter(BOOK, 6, {2, 3})], 2.0)
    assert path.parent.name == path.stem
    with pytest.raises(InputError, match="expected no assignment 'week1' yet"):
        otter.write_assignment(folder, "week1", [read_chapter(BOOK, 6)])
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def config(master):
    settings = yaml.safe_load(master["cells"][0]["source"].removeprefix("# ASSIGNMENT CONFIG\n"))
    assert settings["tests"] == {"ok_format": False}
    ((name, config),) = settings["plugins"][0].items()
    module, _, plugin = name.rpartition(".")
    assert getattr(sys.modules[module], plugin) is otter_plugin.Plugin
    return config


def test_questions_are_as_otter_assign_wants_them(master):
    nbformat.validate(nbformat.from_dict(master))
    sources = [cell["source"] for cell in master["cells"]]
    raw = [c["source"].splitlines()[0] for c in master["cells"] if c["cell_type"] == "raw"][1:]
    order = ["BEGIN QUESTION", "BEGIN SOLUTION", "END SOLUTION", "BEGIN TESTS", "END TESTS"]
    assert raw == [f"# {one}" for _ in range(3) for one in [*order, "END QUESTION"]]
    assert "# BEGIN QUESTION\nname: without_head\npoints: 3" in sources
    assert "# BEGIN QUESTION\nname: mix_values\npoints: 1" not in sources  # one star: not asked for
    assert sum("hidden: true" in source for source in sources) == 3
    for source in sources:
        if "BEGIN SOLUTION NO PROMPT" in source:
            assert source.index("# END SOLUTION") < source.index('""" # BEGIN PROMPT')


def test_the_plugin_judges_and_hands_on_verdicts_alone(config):
    notebook = nbformat.v4.new_notebook()
    code = nbformat.v4.new_code_cell
    notebook.cells = [
        code("import otter", metadata={"editable": False}),
        code("import numpy as np"),
        code(RIGHT),
        code("raise SystemExit"),
    ]
    plugin = otter_plugin.Plugin("/x/ann.ipynb", {}, config)
    plugin.before_grading(None)
    (cell,) = plugin.before_execution(notebook).cells
    assert (plugin.after_grading(None), plugin.generate_report()) == (None, "")
    env = {}
    exec(cell.source, env)
    otter_plugin.shown("merge", env)
    otter_plugin.drawn("merge", env)
    with pytest.raises(AssertionError, match="expected a function without_head_mine"):
        otter_plugin.drawn("without_head", env)
    with pytest.raises(AssertionError, match="the next test says what is wrong"):
        otter_plugin.shown("without_head", env)


def test_students_see_the_verdict_in_their_own_notebook():
    env = {"merge_mine": lambda attn_v: attn_v}
    with pytest.raises(AssertionError, match="merge"):
        otter_plugin.shown("merge", env)


def test_who_handed_in_is_the_platforms_word_or_the_files_name():
    users = {"users": [{"email": "b@x"}, {"id": 3}]}
    assert otter_plugin.student_of(Path("a/ann.ipynb"), {}) == "ann"
    assert otter_plugin.student_of(Path("a/ann.ipynb"), users) == "3,b@x"


def test_nothing_of_otter_is_imported():
    assert "otter" not in sys.modules
