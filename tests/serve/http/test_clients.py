"""Other people's clients: OpenAI's own runs here, the others by `python -m tools.clients.run`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.http.server import running
from tools.clients import run

DOCS = Path(__file__).resolve().parents[3] / "docs" / "server.md"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(Serving(load(["chat", "story"]))) as address:
        yield address


def test_openais_own_client_does_all_that_its_program_asks(url: str) -> None:
    worked = run.ran(run.CLIENTS["openai"], Path(sys.prefix), url)
    assert worked[-1] == "models, errors"


def test_a_client_that_says_nothing_has_failed(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "silent.py").write_text("", "utf-8")
    monkeypatch.setattr(run, "PROGRAMS", tmp_path)
    with pytest.raises(Exception, match="expected lines that begin with 'ok: '"):
        run.ran(run.Client("silent.py", ()), Path(sys.prefix), url)


def test_every_program_has_a_client_and_every_client_a_row_in_the_docs() -> None:
    assert {c.program for c in run.CLIENTS.values()} == {
        p.name for p in run.PROGRAMS.iterdir() if p.is_file()
    }
    table = DOCS.read_text("utf-8").partition("| client |")[2]
    assert re.findall(r"^\| ([^|]+) \| \d", table, re.MULTILINE) == list(run.CLIENTS)
