"""A few threads that run the same kernel at the same time and wait for each other inside it.

A decode step is some 150 small pieces of work, one after another, each shared by all threads.
Handing every piece to a thread pool would cost more than many of the pieces. So a kernel is
started once per token on every thread, each does its own share of each piece, and between the
pieces they meet at a barrier: a counter in memory that all of them add to and watch.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"
# mypy: disable-error-code="import-untyped, import-not-found"

import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from llama_edu.engine.backends.numba.simd import atomic_add, atomic_load, compiled
from llama_edu.ops.threads import n_cores

__all__ = ["Team", "barrier", "default_threads"]

Job = tuple[Callable[..., object], tuple[Any, ...]]
MOST_THREADS = 8  # beyond a few, they wait for memory together
PATIENCE = 100_000  # looks at the counter, some 0.1 ms, before letting another program run

if sys.platform == "win32":

    @compiled
    def _let_others_run():
        return 0

else:
    _let_others_run = types.ExternalFunction("sched_yield", types.int32())


@compiled
def barrier(counter, ranks):
    """Wait until all `ranks` threads are here. `counter` is the address of an int64, 0 at first."""
    if ranks == 1:
        return
    goal = (atomic_add(counter) // ranks + 1) * ranks
    looks = 0
    while atomic_load(counter) < goal:
        looks += 1
        if looks > PATIENCE:
            _let_others_run()


def default_threads() -> int:
    """As many as `OMP_NUM_THREADS` says, else as there are processors for us; at most 8."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen) > 0:
        return int(chosen)
    return min(n_cores(), MOST_THREADS)


class Team:
    """Runs a kernel on several threads at once: `kernel(*arguments, counter, rank, ranks)`.

    The kernel's last act must be the `barrier`. The threads are started at the first run, and again
    in a forked process. If two callers come at once, the second runs its kernel alone.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self._turn = threading.Lock()
        self._jobs: list[queue.SimpleQueue[Job | None]] = []
        self._process = 0
        # One counter per number of threads, a line of memory each. They only ever grow, and stay
        # as long as the team: a thread may still look at one when the others have gone on.
        self._counters = np.zeros((self.threads + 1, 8), dtype=np.int64)

    def run(self, kernel: Callable[..., object], *arguments: Any, threads: int = 0) -> None:
        """Run to the end on `threads` threads, by default all."""
        ranks = min(threads or self.threads, self.threads)
        address = self._counters[ranks].ctypes.data
        if ranks == 1 or not self._turn.acquire(blocking=False):
            kernel(*arguments, address, 0, 1)
            return
        try:
            self._start_workers()
            for rank in range(1, ranks):
                self._jobs[rank - 1].put((kernel, (*arguments, address, rank, ranks)))
            # It ends with a meeting, so when this returns the others are done as well.
            kernel(*arguments, address, 0, ranks)
        finally:
            self._turn.release()

    def _start_workers(self) -> None:
        if self._process == os.getpid():
            return
        self._jobs = [queue.SimpleQueue() for _ in range(self.threads - 1)]
        self._process = os.getpid()
        self._counters[:] = 0
        for jobs in self._jobs:
            threading.Thread(target=_work, args=(jobs,), name="llama_edu", daemon=True).start()

    def __del__(self) -> None:
        for jobs in self._jobs:
            jobs.put(None)


def _work(jobs: "queue.SimpleQueue[Job | None]") -> None:
    """Run kernels as they come, until told to stop."""
    while (job := jobs.get()) is not None:
        kernel, arguments = job
        kernel(*arguments)
        del job, kernel, arguments  # or the last model would live as long as this thread
