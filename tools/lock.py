"""Refresh the pins under `requirements/` from pyproject.toml, for Python 3.11 to 3.13. Needs `uv`.

    python -m tools.lock              keep the versions that still fit
    python -m tools.lock --upgrade    take newer ones

`dev.txt` holds everything; `make` installs it. `read.txt` is what reading and running the chapters
takes, in the same versions; Binder installs it. No address of an index is written down.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = (
    *("uv", "pip", "compile", "pyproject.toml", "--quiet"),
    *("--universal", "--fork-strategy", "fewest", "--python-version", "3.11"),
)
# Not `classroom` and `ray`: large programs, which only tests of their own need.
EXTRAS = "viz widget fast serve terminal parallel json".split()
LOCKS = {
    "requirements/dev.txt": (
        *(part for extra in EXTRAS for part in ("--extra", extra)),
        *("--group", "dev"),
    ),
    "requirements/read.txt": (
        *("--extra", "viz", "--extra", "widget", "--extra", "serve", "--group", "read"),
        *("--constraint", "requirements/dev.txt"),
    ),
}


def main(options: list[str]) -> int:
    """Write both files; the exit status is uv's."""
    environ = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    for lock, chosen in LOCKS.items():
        command = [*COMPILE, *chosen, "--output-file", lock, *options]
        try:
            status = subprocess.run(command, cwd=ROOT, env=environ).returncode
        except FileNotFoundError:
            print("This needs uv (https://docs.astral.sh/uv/): pip install uv", file=sys.stderr)
            return 1
        if status != 0:
            return status
        print(f"{lock} refreshed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
