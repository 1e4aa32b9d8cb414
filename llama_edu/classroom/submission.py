"""What a student's notebook calls: a check that must hold, and handing in."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llama_edu.exercises import check
from llama_edu.exercises.framework.exercise import Verdict

__all__ = ["NotYetError", "hand_in", "must"]


class NotYetError(AssertionError):
    """An answer that is not right; in a notebook the verdict stands in place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def must(verdict: Verdict) -> None:
    """Print the verdict on an answer that is right. Raises `NotYetError` for any other.

    So that tools that count errors, such as nbgrader's Validate, count this; a value, such a tool
    would take for points.
    """
    if not verdict:
        raise NotYetError(repr(verdict))
    print(verdict)


def hand_in(
    assignment: str, notebook: str, answers: Mapping[str, Callable[..., Any] | None]
) -> None:
    """Say how each answer stands, and hand the notebook in where nbgrader is set up for it.

    Elsewhere it says what to send. Nothing is kept back: what is missing is only told. Raises
    `FileNotFoundError` if the notebook is not where the student runs it.
    """
    path = Path(notebook)
    if not path.exists():
        raise FileNotFoundError(f"expected {notebook} in {Path.cwd()}; was it renamed?")
    for name, answer in answers.items():
        print(_standing(name, answer))
    if shutil.which("nbgrader") is None:
        print(f"To hand in, send {path.resolve()} as your instructor said.")
        return
    done = subprocess.run(  # it looks for a folder of the assignment's name
        ["nbgrader", "submit", assignment],
        cwd=path.resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        print(f"Handed in: {assignment}. You may do so again until the deadline.")
    else:
        print((done.stderr or done.stdout).strip()[-500:])
        print(f"nbgrader did not take it. Send {path.resolve()} as your instructor said.")


def _standing(name: str, answer: Callable[..., Any] | None) -> str:
    """One answer in a line."""
    if answer is None:
        return f"· {name}: not written"
    verdict = getattr(check, name)(answer)
    if verdict:
        return f"✓ {name}"
    is_stub = "NotImplementedError" in verdict.message
    return f"· {name}: not written" if is_stub else f"✗ {name}: not right yet"
