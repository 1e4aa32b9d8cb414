"""Ranks as processes under MPI, on one machine or many: `mpiexec -n 4 python …`.

MPI starts the processes, connects them over shared memory or a network, and ends them all when one
dies (Message Passing Interface Forum, MPI: A Message-Passing Interface Standard, 4.1, 2023). The
package is `mpi4py`, the extra `parallel`.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from llama_edu.errors import ParallelError
from llama_edu.parallel.threads import silence
from llama_edu.parallel.world import World

__all__ = ["TOLD", "MPIWorld", "is_under_mpiexec", "leave"]

# What the launchers of MPICH and its kin, of Open MPI, and of Slurm set for each process.
LAUNCHED = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
TOLD = "LLAMA_EDU_RANKS_TOLD"  # names the file in which a rank notes the code it leaves with
TIMEOUT_S = 60.0
SPEAKS_FIRST_S = 0.5  # what rank 0 has to say is often what all would say
PATIENT_S = 0.0002  # busy for so long, then polite: the other rank may need this very core


class MPIWorld(World):
    """All processes that one `mpiexec` started. Raises `ParallelError` without mpi4py.

    A rank that hears nothing for `timeout_s` seconds, though it waits for a message, raises
    `ParallelError`: the last resort, since mpiexec ends all ranks at once when one dies.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        try:
            from mpi4py import MPI  # starts MPI, and so only where it is wanted
        except (ImportError, RuntimeError) as problem:  # no mpi4py; no MPI for it to load
            raise ParallelError(
                f'expected mpi4py, got {problem}: pip install "llama_edu[parallel]" brings it'
            ) from problem
        self._comm = MPI.COMM_WORLD
        self._all_done = MPI.Request.Testall
        self._timeout_s = timeout_s
        super().__init__(self._comm.Get_rank(), self._comm.Get_size())

    def carry(self, out: np.ndarray | None, to: int, into: np.ndarray | None, source: int) -> None:
        """As `World.carry`. Raises `ParallelError` after `timeout_s` without an answer."""
        waiting = []
        if into is not None:
            waiting.append(self._comm.Irecv(into, source))
        if out is not None:
            waiting.append(self._comm.Isend(out, to))
        start = time.monotonic()
        while not self._all_done(waiting):
            waited = time.monotonic() - start
            if waited > self._timeout_s:
                raise silence(self.rank, source if into is not None else to, self._timeout_s)
            if waited > PATIENT_S:
                time.sleep(0)


def is_under_mpiexec(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started as one of several, by an MPI launcher."""
    return any(name in environment for name in LAUNCHED)


def leave(rank: int, code: int, message: str = "") -> NoReturn:
    """End this rank without asking the others, whom the launcher then ends.

    Leaving the usual way would wait for them, and they may be waiting for this one.
    """
    if rank:
        time.sleep(SPEAKS_FIRST_S)
    if message:
        print(message, file=sys.stderr)
    if TOLD in os.environ:
        Path(os.environ[TOLD]).write_text(str(code), "ascii")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(code)
