"""Judging a notebook that somebody handed in, without running a line of it here.

`judge` starts `sandbox` in a process of its own, in an empty folder and with nothing in its
environment that is not needed, and waits for one verdict an exercise. If the process ends before
its time, or does not go on, the exercise it was at is lost and another process takes the rest.
"""

import hashlib
import hmac
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_edu
from llama_edu.exercises import check
from llama_edu.exercises.framework.exercise import SEEDS, Verdict

__all__ = ["Cell", "cells_of", "judge", "seed_for"]

START = 180.0  # seconds for the process to be there, on a busy machine, and the cells to run
SLACK = 20.0  # seconds that starting, comparing and naming may take beyond that
INPUTS = 4  # times an exercise's own limit that all its inputs may take
NEEDED = (
    "PATH SYSTEMROOT SYSTEMDRIVE WINDIR LANG LC_ALL LD_LIBRARY_PATH HOME USERPROFILE APPDATA "
    "LOCALAPPDATA XDG_CACHE_HOME NUMBER_OF_PROCESSORS LLAMA_EDU_HOME LLAMA_EDU_MODELS"
).split()


@dataclass(frozen=True)
class Cell:
    """A code cell. Of one that the book gave, only what defines something has to run."""

    source: str
    given: bool = False


def cells_of(notebook: Mapping[str, Any]) -> list[Cell]:
    """The code cells of a submitted notebook, as JSON or nbformat has it."""
    return [
        Cell("".join(cell["source"]), bool(cell.get("metadata", {}).get("llama_edu_given")))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def seed_for(secret: str, student: str, exercise: str) -> int:
    """Which inputs a student gets for an exercise: always the same, and not to be guessed."""
    text = f"{student}\n{exercise}".encode()
    digest = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") % SEEDS


def judge(
    cells: Sequence[Cell], seeds: Mapping[str, int], seconds: float | None = None
) -> dict[str, Verdict]:
    """The verdict on each exercise that `seeds` names, with that seed's inputs.

    `seconds` takes the place of the exercises' own limit for one input. Whatever the notebook
    does, every exercise gets a verdict, and in bounded time.
    """
    verdicts: dict[str, Verdict] = {}
    while left := {name: seed for name, seed in seeds.items() if name not in verdicts}:
        found, fault = _one_process(cells, left, seconds)
        verdicts |= found
        lost = [name for name in left if name not in found]
        if not lost:
            break
        is_started = fault.is_started
        for name in lost[:1] if is_started else lost:
            verdicts[name] = Verdict(False, f"{name}: {fault.text}")
    return verdicts


@dataclass(frozen=True)
class _Fault:
    """How a process ended that did not come to its end."""

    is_started: bool  # whether the notebook had run, and it was an exercise that ended it
    text: str


def _one_process(
    cells: Sequence[Cell], seeds: Mapping[str, int], seconds: float | None
) -> tuple[dict[str, Verdict], _Fault]:
    """The verdicts that one process gave, and what stopped it."""
    nonce = secrets.token_hex(16)
    job = {
        "nonce": nonce,
        "tasks": dict(seeds),
        "seconds": seconds,
        "cells": [{"source": cell.source, "given": cell.given} for cell in cells],
    }
    limits = {item.exercise.name: item.exercise.seconds for item in check}
    found: dict[str, Verdict] = {}
    started, text = False, "your notebook ended the program it ran in, before it was judged"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = _started(folder)
        lines = _lines(process, json.dumps(job))
        try:
            end = time.monotonic() + START
            while len(found) < len(seeds):
                try:
                    line = lines.get(timeout=max(end - time.monotonic(), 0.0))
                except queue.Empty:
                    text = "it did not come to an end, and could not be interrupted"
                    break
                if line is None:
                    break
                said = _ours(line, nonce)
                if said is None:
                    continue
                if "name" in said:
                    found[said["name"]] = Verdict(said["ok"], said["message"])
                else:
                    started = True
                    text = "your function ended the program it ran in"
                left = [name for name in seeds if name not in found]
                if left:
                    end = time.monotonic() + INPUTS * (seconds or limits[left[0]]) + SLACK
        finally:
            process.kill()
            process.wait()
    return found, _Fault(started, text)


def _started(folder: str) -> "subprocess.Popen[str]":
    """The sandbox, in an empty folder, with little in its environment."""
    here = {name: os.environ[name] for name in NEEDED if name in os.environ}
    # The folder that holds this package comes along where it is not installed.
    here["PYTHONPATH"] = str(Path(llama_edu.__file__).resolve().parents[1])
    here |= {"LLAMA_EDU_PROGRESS": "off", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    here |= {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": folder, "TEMP": folder, "TMP": folder}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "llama_edu.classroom.sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=here,
        encoding="utf-8",
        errors="replace",
    )


def _lines(process: "subprocess.Popen[str]", job: str) -> "queue.Queue[str | None]":
    """What the process writes, line by line, and None at its end; the job is handed over."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job)
            process.stdin.close()
        except OSError:
            pass
        for line in process.stdout:
            lines.put(line)
        process.stdout.close()
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _ours(line: str, nonce: str) -> dict[str, Any] | None:
    """A line that the judge wrote, and not the notebook."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    is_ours = isinstance(said, dict) and said.pop("nonce", None) == nonce
    return said if is_ours else None
