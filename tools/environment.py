"""Make `.venv` once, from the pins in `requirements/dev.txt`, and know when it is complete.

Runs before anything is installed, so it uses the standard library alone. When nothing changed since
the last success it does nothing at all, so it needs no network. It never touches anything outside
`.venv`.

`.venv/.llama_edu` says where things stand: it holds "building" while an install runs, and the key
of what was installed afterwards. A run that was killed half-way leaves "building" behind; the next
run then starts that environment afresh instead of trusting it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
MARKER = VENV / ".llama_edu"
LOCK = ROOT / "requirements" / "dev.txt"
BUILDING = "building\n"

# Older and newer ones lack some package in the version that is pinned.
VERSIONS = ((3, 11), (3, 12), (3, 13))

# The interpreter to build from: never the one inside .venv, which may have to be removed.
BASE_PYTHON: str = getattr(sys, "_base_executable", sys.executable)


class SetupError(Exception):
    """Says, in words for the person at the terminal, why there is no environment."""


def wanted_key() -> str:
    """Everything that decides what the environment holds, as one hash."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), bytes(ROOT)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest() + "\n"


def read_marker() -> str:
    """What the last run left: the key of a finished install, "building", or nothing."""
    try:
        return MARKER.read_text(encoding="utf-8")
    except OSError:
        return ""


def suits(python: str | Path) -> bool:
    """Tell whether an interpreter starts, and is one of `VERSIONS`."""
    ask = f"import sys; sys.exit(sys.version_info[:2] not in {VERSIONS})"
    try:
        return subprocess.run([python, "-c", ask], capture_output=True).returncode == 0
    except OSError:
        return False


def base_python() -> str:
    """The interpreter that runs this, or if it does not suit, one on the `PATH` that does."""
    names = [f"python{major}.{minor}" for major, minor in reversed(VERSIONS)]
    for candidate in (BASE_PYTHON, *filter(None, map(shutil.which, names))):
        if suits(candidate):
            return candidate
    raise SetupError(
        f"llama_edu needs Python 3.11, 3.12 or 3.13; this is {sys.version.split()[0]}.\n"
        "Install one, or name one: make book PYTHON=/path/to/python3.12"
    )


def install() -> None:
    """Fill the environment: with uv where there is one, and with pip where not, or if uv fails."""
    steps = (
        ("-r", str(LOCK)),
        ("--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)),
    )
    uv = shutil.which("uv")
    if uv and all(run(uv, "pip", "install", "--python", str(PYTHON), *step) for step in steps):
        return
    print("Installing with pip; this takes a minute or two …", flush=True)
    if not all(run(str(PYTHON), "-m", "pip", "install", "--quiet", *step) for step in steps):
        raise SetupError(
            "pip could not install the pinned packages (its words are above). The first run needs\n"
            "your package index; run the same command again once it can be reached."
        )


def run(*command: str) -> bool:
    """Run a command in the project's folder; tell whether it ended well."""
    return subprocess.run(command, cwd=ROOT).returncode == 0


def build() -> None:
    """Make the environment, whatever was there before."""
    if read_marker() == BUILDING:
        print("The last install was interrupted: starting .venv afresh.")
        shutil.rmtree(VENV)
    elif VENV.exists() and not suits(PYTHON):
        print("The Python of .venv is gone or does not fit: starting .venv afresh.")
        shutil.rmtree(VENV)
    print("Setting up .venv, once …", flush=True)
    if not VENV.exists() and not run(base_python(), "-m", "venv", str(VENV)):
        shutil.rmtree(VENV, ignore_errors=True)
        raise SetupError(
            "There is no virtual environment, for the reason above.\n"
            "On Debian and Ubuntu: sudo apt-get install python3-venv"
        )
    MARKER.write_text(BUILDING, encoding="utf-8")
    install()
    # Written last, and in one step: only a complete environment has its key.
    fresh = MARKER.with_suffix(".new")
    fresh.write_text(wanted_key(), encoding="utf-8")
    fresh.replace(MARKER)


def ensure() -> None:
    """Leave a complete `.venv`, or raise `SetupError`."""
    with LOCK.open("rb") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once: the second finds it done
        if read_marker() != wanted_key() or not suits(PYTHON):
            build()


def main() -> int:
    """The command line: the exit status tells whether there is an environment."""
    try:
        ensure()
    except SetupError as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command to start again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
