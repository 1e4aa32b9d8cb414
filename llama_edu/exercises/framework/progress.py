"""Remember which exercises a learner has solved, in one small file of the user's own.

`LLAMA_EDU_HOME` moves it, as it moves everything this package keeps; `LLAMA_EDU_PROGRESS=off`
turns it off, as the project's own tests and notebook runs do. A file that cannot be read or
written never stands in the way of an answer.

`exported` and `imported` carry the list to another machine and back; what is there stays there.
"""

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path

import platformdirs

from llama_edu.errors import InputError

__all__ = ["exported", "imported", "path", "record", "solved"]

FORMAT = "llama_edu progress 1"


def path() -> Path:
    """Where the list is kept."""
    chosen = os.environ.get("LLAMA_EDU_HOME")
    folder = (
        Path(chosen).expanduser() if chosen else platformdirs.user_data_path("llama_edu", False)
    )
    return folder / "progress.json"


def solved() -> set[str]:
    """Names of the exercises solved so far."""
    with contextlib.suppress(OSError, ValueError):
        names = json.loads(path().read_text("utf-8"))
        if isinstance(names, list):
            return {name for name in names if isinstance(name, str)}
    return set()


def record(name: str) -> None:
    """Add one exercise to the list."""
    if os.environ.get("LLAMA_EDU_PROGRESS") == "off" or name in solved():
        return
    with contextlib.suppress(OSError):
        _write(solved() | {name})


def exported() -> str:
    """The list as the text of a file that `imported` understands."""
    return json.dumps({"format": FORMAT, "solved": sorted(solved())}, indent=1) + "\n"


def imported(text: str, known: Collection[str]) -> tuple[list[str], list[str]]:
    """Add what another machine exported: the names that are new here, and those of no exercise.

    Only names of exercises that are `known` are taken. Raises `InputError` for a text that is no
    export, and `OSError` where the list cannot be written.
    """
    try:
        content = json.loads(text)
    except ValueError as problem:
        raise InputError(f"expected an export of progress, got no JSON: {problem}") from None
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        raise InputError(f"expected an export of progress ({FORMAT!r}), got {found!r}")
    names = content.get("solved")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("expected a list of names as `solved`, got something else")
    new = sorted(set(names) & set(known) - solved())
    if new:
        _write(solved() | set(new))
    return new, sorted(set(names) - set(known))


def _write(names: set[str]) -> None:
    """The whole list, in one step."""
    path().parent.mkdir(parents=True, exist_ok=True)
    fresh = path().with_suffix(".new")
    fresh.write_text(json.dumps(sorted(names), indent=1), "utf-8")
    fresh.replace(path())
