"""Make `.venv` once, from the pinned `requirements.txt`, and know when it is complete.

Runs before anything is installed, so it uses the standard library alone. With `uv` on the PATH it
takes seconds; without, `venv` and `pip` do the same work. When nothing changed since the last
success it does nothing at all, so it needs no network. It never touches anything outside `.venv`.

`.venv/.llama_edu` says where things stand: it holds "building" while an install runs, and the key
of what was installed afterwards. A run that was killed half-way leaves "building" behind; the next
run then starts that environment afresh instead of trusting it.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MARKER = VENV / ".llama_edu"
REQUIREMENTS = ROOT / "requirements.txt"
BUILDING = "building\n"

# The interpreter to build from: never the one inside .venv, which may have to be removed.
BASE_PYTHON: str = getattr(sys, "_base_executable", sys.executable)

# pip's own settings, and the names under which uv takes the same ones (the first is what we set).
PIP_TO_UV = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "no-index": ("UV_NO_INDEX",),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "cert": ("SSL_CERT_FILE",),
    "proxy": ("ALL_PROXY", "HTTPS_PROXY", "https_proxy"),
}


class SetupError(Exception):
    """Says, in words for the person at the terminal, why there is no environment."""


def wanted_key() -> str:
    """Everything that decides what the environment holds, as one hash."""
    parts = [REQUIREMENTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), bytes(ROOT)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest() + "\n"


def read_marker() -> str:
    """What the last run left: the key of a finished install, "building", or nothing."""
    try:
        return MARKER.read_text(encoding="utf-8")
    except OSError:
        return ""


def python_works() -> bool:
    """Tell whether `.venv` has a Python 3.11–3.13 that starts."""
    ask = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    try:
        return subprocess.run([PYTHON, "-c", ask], capture_output=True).returncode == 0
    except OSError:
        return False


def pip_settings(listing: str) -> dict[str, str]:
    """Read the output of `pip config list` into {option: value}, install's over global's.

    A value may list several addresses, one a line; they come back separated by spaces.
    """
    found: dict[str, str] = {}
    order = {"global": 0, "install": 1, ":env:": 2}
    rows = [re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.*)", x) for x in listing.split("\n")]
    for row in sorted((r for r in rows if r), key=lambda r: order[r[1]]):
        found[row[2]] = " ".join(str(ast.literal_eval(row[3])).split())
    return found


def uv_environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Environment for uv: the user's own, plus their pip settings where uv was told nothing."""
    told = dict(environ)
    told.setdefault("UV_PYTHON_DOWNLOADS", "never")
    for option, variables in PIP_TO_UV.items():
        if option in settings and not any(name in environ for name in variables):
            separator = "," if option == "find-links" else " "
            told[variables[0]] = separator.join(settings[option].split())
    if "extra-index-url" in settings:  # pip looks at every index; so must uv
        told.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return told


def install_with_uv(uv: str) -> bool:
    """Create and fill the environment with uv; False when it could not."""
    listed = subprocess.run(
        [BASE_PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    env = uv_environment(pip_settings(listed.stdout), os.environ)
    into = [uv, "pip", "install", "--python", str(PYTHON)]
    commands = [
        [*into, "-r", str(REQUIREMENTS)],
        [*into, "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ]
    if not python_works():
        # --seed puts pip into it: `llama_edu fetch` downloads with the user's pip settings.
        create = [uv, "venv", "--quiet", "--seed", "--python", BASE_PYTHON, str(VENV)]
        if subprocess.run(create, env=env, cwd=ROOT).returncode != 0:
            return False
    MARKER.write_text(BUILDING, encoding="utf-8")
    return all(subprocess.run(command, env=env, cwd=ROOT).returncode == 0 for command in commands)


def install_with_pip() -> None:
    """Create and fill the environment with the standard library's venv and with pip."""
    has_pip = python_works() and run_quietly([str(PYTHON), "-m", "pip", "--version"])
    if not has_pip and subprocess.run([BASE_PYTHON, "-m", "venv", "--clear", VENV]).returncode != 0:
        raise SetupError(
            f"{BASE_PYTHON} could not make a virtual environment (its words are above).\n"
            "On Debian and Ubuntu: sudo apt-get install python3-venv"
        )
    MARKER.write_text(BUILDING, encoding="utf-8")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install"]
    wanted = len(re.findall(r"^[\w.-]+==", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE))
    follow_pip([*pip, "--progress-bar", "off", "-r", str(REQUIREMENTS)], wanted)
    follow_pip([*pip, "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)], 1)


def run_quietly(command: list[str]) -> bool:
    """Run a command for its exit status alone."""
    return subprocess.run(command, capture_output=True).returncode == 0


def follow_pip(command: list[str], total: int) -> None:
    """Run pip with one line of progress on a terminal, and its errors in full."""
    live = sys.stdout.isatty()
    count = 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if live and line.startswith("Collecting "):
                count += 1
                print(f"\r\033[K  {count} of {total}: {line.split()[1]}", end="", flush=True)
            elif live and line.startswith("Installing "):
                print("\r\033[K  unpacking …", end="", flush=True)
    if live:
        print("\r\033[K", end="", flush=True)
    if process.returncode != 0:
        raise SetupError(
            "pip could not install the pinned packages (its words are above). The first run needs\n"
            "your package index; run the same command again once it can be reached."
        )


def build() -> None:
    """Make the environment, whatever was there before."""
    if read_marker() == BUILDING:
        print("The last install was interrupted: starting .venv afresh.")
        shutil.rmtree(VENV)
    elif VENV.exists() and not python_works():
        print("The Python of .venv is gone or does not fit: starting .venv afresh.")
        shutil.rmtree(VENV)
    uv = shutil.which("uv")
    version = ".".join(map(str, sys.version_info[:3]))
    pace = "uv" if uv else "pip (a few minutes)"
    print(f"Setting up .venv with Python {version} and {pace}, once …", flush=True)
    if not (uv and install_with_uv(uv)):
        if uv:
            print("uv did not manage it (its words are above); trying pip.", flush=True)
        install_with_pip()
    # Written last, and in one step: only a complete environment has its key.
    fresh = MARKER.with_suffix(".new")
    fresh.write_text(wanted_key(), encoding="utf-8")
    fresh.replace(MARKER)


def main() -> int:
    """Leave a complete `.venv`, or say why not."""
    with REQUIREMENTS.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once: the second waits and finds it done
        if read_marker() == wanted_key() and python_works():
            return 0
        build()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as failure:
        print(f"\n{failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nStopped. Run the same command to start again.", file=sys.stderr)
        sys.exit(130)
