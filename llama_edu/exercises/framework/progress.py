"""Remember which exercises a learner has solved, in one small file of the user's own.

`LLAMA_EDU_HOME` moves it, as it moves everything this package keeps; `LLAMA_EDU_PROGRESS=off`
turns it off, as the project's own tests and notebook runs do. A file that cannot be read or
written never stands in the way of an answer.
"""

import contextlib
import json
import os
from pathlib import Path

import platformdirs

__all__ = ["path", "record", "solved"]


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
    if os.environ.get("LLAMA_EDU_PROGRESS") == "off":
        return
    names = solved()
    if name in names:
        return
    with contextlib.suppress(OSError):
        path().parent.mkdir(parents=True, exist_ok=True)
        fresh = path().with_suffix(".new")
        fresh.write_text(json.dumps(sorted(names | {name}), indent=1), "utf-8")
        fresh.replace(path())
