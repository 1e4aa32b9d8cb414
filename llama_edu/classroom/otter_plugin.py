"""What Otter-Grader loads when it grades: what was handed in does not run where grades are made.

`Plugin` judges the notebook in a process of its own (`judge`) and gives Otter one to run that holds
the verdicts and nothing else. Otter's tests, `shown` and `drawn`, look at them. It has every method
that Otter asks of a plugin, so that nothing of Otter's has to be imported.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_edu.classroom.judge import cells_of, judge, seed_for
from llama_edu.exercises import check

__all__ = ["Plugin", "drawn", "shown", "student_of"]

VERDICTS = "verdicts_of_llama_edu"  # the variable that Otter's tests look at


class Plugin:
    """One submission. `config` is what `otter_config.json` has for this plugin."""

    def __init__(
        self,
        submission_path: str,
        submission_metadata: Mapping[str, Any],
        config: Mapping[str, Any],
    ) -> None:
        self._student = student_of(Path(submission_path), submission_metadata)
        self._config = config

    def before_execution(self, submission: Any) -> Any:
        """The notebook to run in place of what was handed in: a notebook with the verdicts."""
        names = [str(name) for name in self._config["exercises"]]
        who = f"{self._student}\n{self._config['assignment']}"
        seeds = {name: seed_for(self._config["secret"], who, name) for name in names}
        # Otter's own cells are locked, and nothing an answer needs.
        own = [c for c in submission["cells"] if c["metadata"].get("editable") is not False]
        verdicts = judge(cells_of({"cells": own}), seeds, self._config["seconds"])
        said = {name: [verdict.ok, verdict.message] for name, verdict in verdicts.items()}
        cell = type(submission)(
            cell_type="code",
            id="verdicts",
            metadata=type(submission)(),
            outputs=[],
            execution_count=None,
            source=f"import json\n{VERDICTS} = json.loads({json.dumps(said)!r})",
        )
        submission["cells"] = [cell]
        return submission

    def during_assign(self, assignment: Any) -> None:
        """Nothing."""

    def during_generate(self, otter_config: Any, assignment: Any) -> None:
        """Nothing."""

    def from_notebook(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def notebook_export(self, *args: Any, **kwargs: Any) -> list[str]:
        """No more files."""
        return []

    def before_grading(self, config: Any) -> None:
        """Nothing."""

    def after_grading(self, results: Any) -> None:
        """Nothing."""

    def generate_report(self) -> str:
        """Nothing to add."""
        return ""


def shown(name: str, env: Mapping[str, Any]) -> None:
    """The test that students see. Raises `AssertionError` with the verdict on a wrong answer."""
    if VERDICTS in env:
        assert env[VERDICTS][name][0], "not right yet; the next test says what is wrong"
        return
    verdict = getattr(check, name)(env.get(f"{name}_mine"))
    assert verdict, verdict.message


def drawn(name: str, env: Mapping[str, Any]) -> None:
    """The hidden test. Raises `AssertionError` with the verdict on a wrong answer."""
    ok, message = env[VERDICTS][name]
    assert ok, message


def student_of(path: Path, metadata: Mapping[str, Any]) -> str:
    """Who handed it in: by the platform's word, or by the name of the file."""
    users = sorted(str(user.get("email") or user.get("id")) for user in metadata.get("users", []))
    return ",".join(users) or path.stem
