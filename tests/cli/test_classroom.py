"""`llama-edu classroom`: files, and errors that say what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_edu.cli.main import main


def test_a_course_for_nbgrader(tmp_path, capsys):
    assert main(["classroom", "nbgrader", str(tmp_path), "--chapters", "6,8", "--stars", "1"]) == 0
    files = {str(path.relative_to(tmp_path)) for path in map(Path, capsys.readouterr().out.split())}
    source = Path("source", "chapters-6-8")
    notebooks = {str(source / f"{n}.ipynb") for n in ("06_score_v", "08_norm_mlp_residual")}
    assert files == {"nbgrader_config.py", "classroom.json"} | notebooks
    assert all((tmp_path / name).is_file() for name in files)
    assert json.loads((tmp_path / "classroom.json").read_text("utf-8"))["seconds"] is None


def test_a_notebook_for_otter(tmp_path, capsys):
    options = ["--chapters", "13", "--name", "week_4", "--seconds", "5"]
    assert main(["classroom", "otter", str(tmp_path), *options]) == 0
    path = tmp_path / "week_4" / "13_chat" / "13_chat.ipynb"
    assert capsys.readouterr().out.split() == [str(path)]
    assert '\\"seconds\\": 5.0' in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--chapters", "99"], "expected chapters from 1 to"),
        (["--chapters", "6", "--stars", "4"], "expected stars from 1 to 3, such as 1,2, got '4'"),
        (["--chapters", "6", "--stars", "many"], "expected stars from 1 to 3"),
        (["--chapters", "12", "--stars", "1", "--book", "nowhere"], "expected the book's chapters"),
        (["--chapters", "6", "--seconds", "0"], "expected seconds above 0, got 0.0"),
        (["--chapters", "6", "--name", "../x"], "expected a name of letters"),
    ],
)
def test_what_cannot_be_made_is_told(tmp_path, capsys, options, says):
    folder = tmp_path / "new"
    assert main(["classroom", "nbgrader", str(folder), *options]) == 1
    assert says in capsys.readouterr().err
    assert not folder.exists()


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["classroom", "--help"])
    assert "example" in capsys.readouterr().out
