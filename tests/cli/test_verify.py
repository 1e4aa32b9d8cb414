"""`llama-edu verify`: what it examines, what people see while it does, and how wrong usage ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_edu.cli.main import main
from llama_edu.verify.evidence import Declared
from llama_edu.verify.report import Report, Result


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--program", "x", "--timeout", "0"], "expected a timeout above 0, got 0.0"),
        (["--program", ""], "expected a command"),
        (["--url", "ftp://nowhere"], "expected an http address"),
        (["--dump", "no/such/folder"], "expected a folder of dumps, got no"),
    ],
)
def test_wrong_usage_is_one_line(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {told}")
    assert error.count("\n") == 1


def test_a_server_is_told_what_it_declares(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def verify_url(url: str, names: tuple[str, ...], **options: Any) -> Report:
        asked.append((url, names, options["declared"], options["limit"]))
        return Report(url, results=[Result("forward", "story", "prompt", "right")])

    monkeypatch.setattr("llama_edu.verify.http.verify_url", verify_url)
    assert main(["verify", "--url", "http://a/v1"]) == 0
    options = ["--model", "a", "--model", "b", "--dtype", "bf16", "--timeout", "5"]
    assert main(["verify", "--url", "http://a/v1", *options]) == 0
    assert main(["verify", "--url", "http://a/v1", *options, "--cache-dtype", "f16"]) == 0
    assert asked == [
        ("http://a/v1", ("story",), Declared(), 60.0),
        ("http://a/v1", ("a", "b"), Declared("bf16", "bf16"), 5.0),
        ("http://a/v1", ("a", "b"), Declared("bf16", "f16"), 5.0),
    ]
    assert "✓ right in all 1 cases" in capsys.readouterr().out


def test_what_is_being_done_is_shown_to_people_and_taken_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hello = json.dumps({"name": "p", "protocol": 1, "ops": []})
    (tmp_path / "program.py").write_text(f"input()\nprint({hello!r}, flush=True)\n", "utf-8")
    command = f"{sys.executable} -S {tmp_path / 'program.py'}"
    options = ["--program", command, "--model", "story", "--no-tiny", "--stage", "forward"]
    assert main(["verify", *options, "--json"]) == 3
    plain = capsys.readouterr()
    assert plain.err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["verify", *options, "--json"]) == 3
    assert terminal.getvalue() == "\r\x1b[K… story\r\x1b[K… naming\r\x1b[K"
    told, again = json.loads(plain.out), json.loads(capsys.readouterr().out)
    assert told | {"seconds": 0} == again | {"seconds": 0}
