"""What a student's notebook calls."""

from __future__ import annotations

import subprocess

import pytest

from llama_edu.classroom import NotYetError, hand_in, must
from llama_edu.exercises import check


def right(data):
    return int.from_bytes(data[:8], "little")


def wrong(data):
    return int.from_bytes(data[:8], "big")


def stub(*args):
    raise NotImplementedError("your turn")


ANSWERS = {"header_length": right, "clean": None, "merge_pair": stub, "position": wrong}


def test_a_check_that_must_hold(capsys):
    must(check.header_length(right))
    assert capsys.readouterr().out.startswith("✓ header_length: right on")
    with pytest.raises(NotYetError, match="✗ header_length: this is what you get") as caught:
        must(check.header_length(wrong))
    assert caught.value._render_traceback_()[0].startswith("✗ header_length")


def test_handing_in_says_how_each_answer_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"expected a\.ipynb in"):
        hand_in("week1", "a.ipynb", ANSWERS)
    (tmp_path / "a.ipynb").touch()
    hand_in("week1", "a.ipynb", ANSWERS)
    assert capsys.readouterr().out.splitlines() == [
        "✓ header_length",
        "· clean: not written",
        "· merge_pair: not written",
        "✗ position: not right yet",
        f"To hand in, send {tmp_path / 'a.ipynb'} as your instructor said.",
    ]


@pytest.mark.parametrize(("code", "says"), [(0, "Handed in: week1."), (1, "did not take it")])
def test_nbgrader_hands_in_where_it_is(tmp_path, monkeypatch, capsys, code, says):
    called = []

    def run(command, **options):
        called.append((command, options["cwd"]))
        return subprocess.CompletedProcess(command, code, "", "no exchange")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "a.ipynb").touch()
    hand_in("week1", "a.ipynb", {})
    assert called == [(["nbgrader", "submit", "week1"], tmp_path.parent)]
    out = capsys.readouterr().out
    assert says in out
    assert ("no exchange" in out) == bool(code)
