"""Tests of what is solved keep a list of their own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that nothing is in yet, in a folder that is not there yet."""
    monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path / "deep" / "home"))
    monkeypatch.delenv("LLAMA_EDU_PROGRESS", raising=False)
