"""The page's engine, driven from Python: many models in one Node process."""

from __future__ import annotations

import atexit
import itertools
import json
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
HOST = Path(__file__).parent / "page_host.mjs"


class _Host:
    """The one Node process of a test run, started when it is first asked, ended with the run."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, **request: Any) -> Any:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                ["node", str(HOST)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"node ended without an answer to {str(request)[:200]}"
        return json.loads(line)

    def end(self) -> None:
        """Close its pipes, at which it ends."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(timeout=60)
        self._process = None


_host = _Host()
_numbers = itertools.count()
atexit.register(_host.end)


def end_node() -> None:
    """End the process that runs the engines; the next engine starts another."""
    _host.end()


def called(name: str, argument: Any) -> Any:
    """What one of `page_host.mjs`'s functions returns: `{"error": …}` with the error's name."""
    return _host.ask(call=name, **{"with": argument})


class RefusedModelError(Exception):
    """The engine did not open a model; the text is the error's name and words."""


class PageEngine:
    """The engine of `page/protocol.mjs` on a model directory, one question at a time.

    All of them share one process. Settings are `backend` and `mistake`. Raises
    `RefusedModelError` where the model is refused.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self._key = next(_numbers)
        opened = _host.ask(open=self._key, directory=str(directory), **settings)
        if "error" in opened:
            raise RefusedModelError(f"{opened['error']}: {opened['message']}")

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
        _host.ask(close=self._key)

    def answer(self, op: str, **request: Any) -> Mapping[str, Any]:
        """One answer, an error included."""
        answer: Mapping[str, Any] = _host.ask(key=self._key, request={"op": op} | request)
        return answer

    def answers(self, requests: list[dict[str, Any]]) -> list[Any]:
        """An answer to each of many requests, in one go: a thousand round trips take long."""
        answers: list[Any] = _host.ask(key=self._key, requests=requests)
        return answers

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
