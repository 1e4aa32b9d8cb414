"""The thread that steps: one per model, so that waiting for the model never blocks a connection.

Events of a step leave it together, in one call to `deliver`.
"""

import threading
import time
from collections.abc import Callable

from llama_edu.errors import ServeError
from llama_edu.serve.job import Job, Request
from llama_edu.serve.scheduler import Scheduler, Step

__all__ = ["Worker"]

Report = Callable[[Step, float], None]
"""Called in the worker's thread after each step, with the seconds it took."""


class Worker:
    """Runs a scheduler until told to stop. Its methods may be called from any thread."""

    def __init__(
        self,
        scheduler: Scheduler,
        report: Report,
        log_exception: Callable[[Exception], None],
        name: str = "model",
        before_step: Callable[[], None] = lambda: None,
    ) -> None:
        self.scheduler = scheduler
        self._report = report
        self._log_exception = log_exception
        self._before_step = before_step
        self._wake = threading.Condition()
        self._stop_at: float | None = None  # a reading of time.monotonic
        self._thread = threading.Thread(target=self._run, name=f"llama_edu {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread lives: if not, nobody will be answered."""
        return self._thread.is_alive()

    def submit(self, request: Request) -> Job:
        """Queue a request. Raises as `Scheduler.submit`, and `ServeError` when shutting down."""
        with self._wake:
            if self._stop_at is not None:
                raise ServeError("shutting_down", "expected a running server, got one that stops")
            job = self.scheduler.submit(request)
            self._wake.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Drop a job before the next step."""
        job.cancel()
        with self._wake:
            self._wake.notify()

    def stop(self, grace: float) -> None:
        """Take nothing new, finish what there is within `grace` seconds, fail the rest, end."""
        with self._wake:
            self._stop_at = time.monotonic() + grace
            self._wake.notify()

    def join(self) -> None:
        """Wait for the thread's end, after `stop`."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: not self.scheduler.is_idle or self._stop_at is not None)
            if self.scheduler.is_idle:
                return
            start = time.perf_counter()
            step = self._step()
            self._report(step, time.perf_counter() - start)

    def _step(self) -> Step:
        """One step, or the end of everything: when time is up, or when a step went wrong."""
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            message = "expected to finish in time, got shut down first"
            return self.scheduler.fail_all(ServeError("shutting_down", message))
        try:
            self._before_step()
            return self.scheduler.step()
        except Exception as problem:  # a bug; those who wait must not wait for ever
            self._log_exception(problem)
            message = "expected a step without a fault, got one that is ours"
            return self.scheduler.fail_all(ServeError("internal", message))
