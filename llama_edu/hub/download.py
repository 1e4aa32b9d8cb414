"""Bring one wheel from the user's package index, without installing it or what it depends on.

`pip` does the talking, in a process of its own, or `uv` where the environment has no pip. So
mirrors, proxies and credentials are those the user has already set up; there is no HTTP here.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from llama_edu.errors import HubError

__all__ = ["download_wheel"]

POLL_SECONDS = 0.1


def download_wheel(
    requirement: str, into: Path, nbytes: int, report: Callable[[str, float], None]
) -> None:
    """Put the wheel of `requirement` (name==version) into `into`: packed by pip, unpacked by uv.

    `nbytes`, its size, serves to report progress. Nothing is checked here; a caller checks the
    SHA-256. Raises `HubError` when it could not be had, with the downloader's own last words.
    """
    scratch = into / "tmp"  # temporary files too: whoever removes `into` removes everything
    scratch.mkdir(parents=True)
    command = download_command(requirement, into)
    stage = f"fetching {requirement} ({nbytes / 1e6:.0f} MB)"
    report(stage, 0.0)
    log = scratch / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                report(stage, min(0.99, _folder_nbytes(into) / nbytes))
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()  # Ctrl-C: do not leave it running; nothing if it has ended
            process.wait()
    if process.returncode != 0:
        raise HubError(
            f"could not fetch {requirement} from the package index (is the network up?): "
            f"{_last_words(log.read_text(encoding='utf-8', errors='replace'))}"
        )
    report(stage, 1.0)


def download_command(requirement: str, into: Path) -> list[str]:
    """What to run. pip where this Python has it; uv also makes environments without pip.

    Raises `HubError` if neither is there.
    """
    if _has_pip():
        options = ["--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off"]
        quiet = ["--disable-pip-version-check", "--no-color"]
        pip = [sys.executable, "-m", "pip", "download", *options, *quiet]
        return [*pip, "--dest", str(into), requirement]
    uv = find_uv()
    if uv is None:
        raise HubError(
            f"expected pip or uv to fetch {requirement} with, got neither; "
            "install one, for instance with: python -m ensurepip"
        )
    options = ["--no-deps", "--only-binary=:all:", "--no-progress", "--color=never"]
    target = ["--python", sys.executable, "--target", str(into)]
    return [uv, "pip", "install", *options, *target, requirement]


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def find_uv() -> str | None:
    """Where `uv` is: beside this Python, or on the `PATH`."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    return beside or shutil.which("uv")


def _folder_nbytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # renamed or removed while we looked
            continue
    return total


def _last_words(log: str) -> str:
    """The line of a log that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "×", "╰─▶"))]
    last = (errors or lines or ["it said nothing"])[-1]
    return last.removeprefix("ERROR: ").removeprefix("error: ")
