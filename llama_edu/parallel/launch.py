"""Start a program as several ranks with `mpiexec`, and say in one sentence how it ended."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from llama_edu.errors import InputError, ParallelError
from llama_edu.parallel.mpi import TOLD

__all__ = ["BAD_END", "copy_output", "mpiexec", "run_ranks"]

# How MPICH's launcher begins what it prints where a rank ends badly; on standard output.
BAD_END = b"\n" + b"=" * 75
READ = 65_536


def mpiexec() -> str:
    """The launcher: beside this Python, or on the path. `ParallelError` where there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if found is None:
        raise ParallelError(
            'expected `mpiexec`, got none: pip install "llama_edu[parallel]" brings it'
        )
    return found


def run_ranks(size: int, arguments: Sequence[str], write: Callable[[bytes], object]) -> int:
    """Run this Python with `arguments` on `size` ranks; returns the exit code.

    What they print goes to `write` as it comes. Standard input is rank 0's, standard error is
    shared. A code other than 0 is that of a rank which has said itself what was wrong. Raises
    `ParallelError` if a rank was ended by something else; by then mpiexec has ended the others.
    """
    if size < 1:
        raise InputError(f"expected at least 1 rank, got {size}")
    command = [mpiexec(), "-n", str(size), sys.executable, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "code"  # mpiexec's own code mixes those of all ranks
        environment = os.environ | {TOLD: str(told)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            try:
                assert process.stdout is not None
                copy_output(process.stdout.fileno(), write)
                code = process.wait()
            finally:
                process.terminate()
        if told.is_file():
            return int(told.read_text("ascii"))
    if code:
        cause = f"signal {-code}" if code < 0 else f"a signal, or by exit code {code}"
        raise ParallelError(
            f"expected {size} ranks to finish, got one ended by {cause}; all are stopped"
        )
    return 0


def copy_output(descriptor: int, write: Callable[[bytes], object]) -> None:
    """Hand on what comes, until its end or the launcher's own words about a bad one."""
    held = b""
    while data := os.read(descriptor, READ):
        held += data
        found = held.find(BAD_END)
        if found >= 0:
            write(held[:found])
            while os.read(descriptor, READ):
                pass  # a full pipe would keep the launcher from ending
            return
        # A line break, and signs of equality after it, may be the beginning of those words.
        start = held.rfind(b"\n")
        keep = len(held) - start if start >= 0 and not held[start + 1 :].strip(b"=") else 0
        write(held[: len(held) - keep])
        held = held[len(held) - keep :]
    write(held)
