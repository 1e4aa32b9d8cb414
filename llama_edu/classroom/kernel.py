"""What the kernel loads in which nbgrader grades: of a notebook, only the hidden tests run in it.

The configuration that `classroom nbgrader` writes loads it. Every cell is looked at before it
runs. One with a hidden test, `grade("norm_rows")`, becomes that line; all others become nothing.
What was handed in is judged by `judge`, in a process of its own, from the notebook's file.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from llama_edu.classroom.judge import cells_of, judge, seed_for
from llama_edu.classroom.submission import NotYetError
from llama_edu.exercises.framework.exercise import Verdict

__all__ = ["Grader", "load_ipython_extension", "only_tests"]

_TEST = re.compile(r'^grade\("(\w+)"\)\s*$')


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython at the kernel's start, before any cell."""
    if os.environ.get("NBGRADER_EXECUTION") != "autograde":
        return  # "validate", where students' own code is run for them
    grader = Grader(Path.cwd(), Path(os.environ["LLAMA_EDU_CLASSROOM"]))
    shell.user_ns["grade"] = grader.grade
    shell.input_transformers_cleanup.append(only_tests)


def only_tests(lines: list[str]) -> list[str]:
    """A cell's hidden tests, and nothing else of it."""
    return [line for line in lines if _TEST.match(line)] or ["pass\n"]


class Grader:
    """Judges each notebook of one submission, once, when its first test runs.

    nbgrader runs a submission in `autograded/STUDENT/ASSIGNMENT`.
    """

    def __init__(self, submission: Path, settings: Path) -> None:
        self._folder = submission
        self._settings = json.loads(settings.read_text("utf-8"))
        self._verdicts: dict[str, Verdict] = {}

    def grade(self, name: str) -> None:
        """Print the verdict on one exercise. Raises `NotYetError` for an answer that is wrong."""
        if name not in self._verdicts:
            self._judge(name)
        verdict = self._verdicts[name]
        if not verdict:
            raise NotYetError(repr(verdict))
        print(verdict)

    def _judge(self, name: str) -> None:
        """Judge the notebook that one exercise is in."""
        for path in sorted(self._folder.glob("*.ipynb")):
            notebook = json.loads(path.read_text("utf-8"))
            names = [
                cell["metadata"]["nbgrader"]["grade_id"]
                for cell in notebook["cells"]
                if cell["metadata"].get("nbgrader", {}).get("grade")
            ]
            if name in names:
                student = f"{self._folder.parent.name}\n{self._folder.name}"
                seeds = {one: seed_for(self._settings["secret"], student, one) for one in names}
                self._verdicts |= judge(cells_of(notebook), seeds, self._settings["seconds"])
                return
        raise LookupError(f"expected a notebook with the exercise {name!r}, got none")
