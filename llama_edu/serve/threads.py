"""How many threads NumPy's products may use, on a machine that is idle or busy.

The threads of a product wait for each other, so the slowest decides. Where other programs take
some of the cores, one thread for each core is many times slower than one thread: it waits, at every
product, for a core that is not free. And a model that fits the processor's cache is done before
a second thread has woken up. So there are as many threads as cores are free, and one for a small
model.
"""

import os
import threading
import time
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]
import threadpoolctl  # type: ignore[import-untyped]

from llama_edu.ops.threads import fixed_threads, helper, n_cores

__all__ = ["BlasThreads", "busy_elsewhere"]

SMALL_NBYTES = 32 << 20  # of weights: they stay in the cache, and a product takes microseconds
LOOK_SECONDS = 0.5  # between looks at what else is going on


def busy_elsewhere() -> float:
    """Seconds that the machine's cores have worked for other processes, since some moment."""
    times, own = psutil.cpu_times(), time.process_time()
    return float(times.user + times.system + getattr(times, "nice", 0.0)) - own


class BlasThreads:
    """Sets the number of threads before a step. One object for all models of a process."""

    def __init__(
        self,
        fixed: int | None = None,
        *,
        most: int | None = None,
        n_all: int | None = None,
        elsewhere: Callable[[], float] = busy_elsewhere,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fixed` threads, whatever goes on; None: what is free, up to `most` of `n_all` cores.

        A number in the environment, `OPENBLAS_NUM_THREADS` or one of its kin, counts as fixed.
        """
        self._fixed = fixed_threads() if fixed is None else fixed
        self._most = n_cores() if most is None else most
        self._n_all = max(os.cpu_count() or 1 if n_all is None else n_all, self._most)
        self._elsewhere, self._clock = elsewhere, clock
        self._looked, self._work = clock(), elsewhere()
        self._free = self._most
        self._now: int | None = None
        self._lock = threading.Lock()
        self._controller = threadpoolctl.ThreadpoolController()

    def wanted(self, weights_nbytes: int) -> int:
        """How many threads a model of that size should have now."""
        if self._fixed is not None:
            return self._fixed
        self._look()
        return 1 if weights_nbytes <= SMALL_NBYTES else self._free

    def set_for(self, weights_nbytes: int) -> None:
        """Have NumPy use that many from now on."""
        with self._lock:
            wanted = self.wanted(weights_nbytes)
            if wanted != self._now:
                self._controller.limit(limits=wanted, user_api="blas")
                helper.limit(wanted)
                self._now = wanted

    def _look(self) -> None:
        now = self._clock()
        seconds = now - self._looked
        if seconds < LOOK_SECONDS:
            return
        work = self._elsewhere()
        taken = max(work - self._work, 0.0) / seconds
        self._looked, self._work = now, work
        # A quarter of a core is what an idle desktop takes.
        self._free = max(1, min(self._most, int(self._n_all - taken + 0.25)))
