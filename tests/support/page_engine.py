"""The page's engine, driven from Python: a process that speaks protocol 1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from llama_edu import hub
from llama_edu.errors import HubError

ROOT = Path(__file__).resolve().parent.parent.parent
ADAPTER = ROOT / "llama_edu" / "page" / "protocol.mjs"


class PageEngine:
    """`node llama_edu/page/protocol.mjs DIRECTORY`, one question at a time."""

    def __init__(self, directory: Path, **settings: str) -> None:
        names = {"backend": "LLAMA_EDU_BACKEND", "mistake": "LLAMA_PLANTED"}
        environment = os.environ | {names[name]: value for name, value in settings.items()}
        self._process = subprocess.Popen(
            ["node", str(ADAPTER), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> PageEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(timeout=60)

    def answer(self, op: str, **request: Any) -> Mapping[str, Any]:
        """One answer, an error included."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op} | request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the engine ended without an answer to {op}"
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def ask(self, op: str, **request: Any) -> Any:
        """What was asked for; fails on an error."""
        answer = self.answer(op, **request)
        assert "error" not in answer, answer["error"]
        (value,) = [answer[key] for key in answer if key not in ("name", "protocol")]
        return value

    def forward(self, ids: list[int], past: int) -> np.ndarray:
        return np.array(self.ask("forward", ids=ids, past=past), dtype=np.float32)


def directory_of(name: str) -> Path:
    """Where a named model is; the test is skipped if it was not fetched."""
    try:
        return hub.locate(name)
    except HubError as problem:
        pytest.skip(str(problem))


def copied(source: Path, target: Path, *names: str) -> Path:
    """Some files of a folder, copied beside others."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(source / name, target / name)
    return target
