"""How many threads a product may use, and one more for products that NumPy makes on one alone."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Helper", "fixed_threads", "helper", "n_cores"]

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "BLIS_NUM_THREADS")


def n_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fixed_threads() -> int | None:
    """What the environment says in `OPENBLAS_NUM_THREADS` or one of its kin; None: nothing."""
    given = [value for name in VARIABLES if (value := os.environ.get(name, "")).isdecimal()]
    return int(given[0]) if given else None


class Helper:
    """A second thread, which takes a part of a product. NumPy lets others run while it multiplies.

    The thread is started when there is first something to do, in a forked process as well.
    """

    def __init__(self, threads: int | None = None) -> None:
        """At most `threads` work; by default as the environment says, or as there are cores."""
        self.threads = threads or fixed_threads() or n_cores()
        self._start_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        self._turn = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "llama_edu product")

    def limit(self, threads: int) -> None:
        """At most `threads` work from now on."""
        self.threads = threads

    def share(self, ours: Callable[[], None], theirs: Callable[[], None]) -> None:
        """Do both, `theirs` on the second thread if it is free; returns when both are done.

        Raises what either raises.
        """
        if self.threads == 1 or not self._turn.acquire(blocking=False):
            ours()
            theirs()
            return
        try:
            try:
                part = self._pool.submit(theirs)
            except RuntimeError:  # the interpreter is about to end, or no thread may be started
                self.threads = 1
                ours()
                theirs()
                return
            ours()
            part.result()
        finally:
            self._turn.release()


helper = Helper()
