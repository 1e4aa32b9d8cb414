"""A few threads that run the same kernel at the same time and wait for each other inside it.

A decode step is some 150 small pieces of work, one after another, each shared by all threads.
Handing every piece to a thread pool would cost more than many of the pieces. So a kernel is
started once per token on every thread, each does its own share of each piece, and between the
pieces they meet at a barrier: a counter in memory that all of them add to and watch.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"
# mypy: disable-error-code="import-untyped, import-not-found"

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from llama_edu.kernels.vectors import compiled, count_up, peek

__all__ = ["Team", "default_threads", "meet"]

MOST_THREADS = 8  # beyond a few, they wait for memory together
PATIENCE = 4000  # looks at the counter before letting another program have the processor

if sys.platform == "win32":

    @compiled
    def _let_others_run():
        return 0

else:
    _let_others_run = types.ExternalFunction("sched_yield", types.int32())


@compiled
def meet(counter, ranks):
    """Wait until all `ranks` threads are here. `counter` is the address of an int64, 0 at first."""
    if ranks == 1:
        return
    goal = (count_up(counter) // ranks + 1) * ranks
    looks = 0
    while peek(counter) < goal:
        looks += 1
        if looks > PATIENCE:
            _let_others_run()


def default_threads() -> int:
    """As many as `OMP_NUM_THREADS` says, else as there are processors for us; at most 8."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen) > 0:
        return int(chosen)
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(available, MOST_THREADS)


class Team:
    """Runs a kernel on several threads at once: `kernel(*arguments, counter, rank, ranks)`.

    The kernel's last act must be to `meet`. The threads are started at the first run, and again
    in a forked process. If two callers come at once, the second runs its kernel alone.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or default_threads()
        self._turn = threading.Lock()
        self._workers: list[_Worker] = []
        self._process = 0

    def run(self, kernel: Callable[..., object], *arguments: Any, threads: int = 0) -> None:
        """Run to the end on `threads` threads, by default all."""
        ranks = min(threads or self.threads, self.threads)
        counter = np.zeros(1, dtype=np.int64)
        address = counter.ctypes.data
        if ranks == 1 or not self._turn.acquire(blocking=False):
            kernel(*arguments, address, 0, 1)
            return
        try:
            self._start_workers()
            for rank in range(1, ranks):
                self._workers[rank - 1].begin(kernel, (*arguments, address, rank, ranks))
            kernel(*arguments, address, 0, ranks)
            for worker in self._workers[: ranks - 1]:
                worker.finish()
        finally:
            self._turn.release()

    def _start_workers(self) -> None:
        if self._process != os.getpid():
            self._workers = [_Worker() for _ in range(self.threads - 1)]
            self._process = os.getpid()


class _Worker:
    """One thread that waits for a kernel, runs it, and waits again."""

    def __init__(self) -> None:
        self._job: tuple[Callable[..., object], tuple[Any, ...]] | None = None
        self._begin, self._done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._work, name="llama_edu kernel", daemon=True).start()

    def begin(self, kernel: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._job = kernel, arguments
        self._begin.release()

    def finish(self) -> None:
        self._done.acquire()

    def _work(self) -> None:
        while True:
            self._begin.acquire()
            assert self._job is not None
            kernel, arguments = self._job
            kernel(*arguments)
            self._job = kernel = arguments = None  # type: ignore[assignment]
            self._done.release()
