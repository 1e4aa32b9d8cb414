"""Ranks as threads of one process: to look at several side by side, and to test without MPI.

Nothing becomes faster by it. The arithmetic and the messages are those of the real thing; only the
bytes go from one array to another instead of over a wire.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from llama_edu.errors import InputError, ParallelError
from llama_edu.parallel.world import World

__all__ = ["ThreadWorld", "run_threads"]

T = TypeVar("T")
LOOK_S = 0.05  # how often one that waits looks whether another has failed


class _Post:
    """A letter box for each pair of ranks, and whether one of them has failed."""

    def __init__(self, size: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.failed = threading.Event()
        self._boxes: dict[tuple[int, int], queue.Queue[bytes]] = {
            (source, to): queue.Queue() for source in range(size) for to in range(size)
        }

    def put(self, source: int, to: int, letter: bytes) -> None:
        self._boxes[source, to].put(letter)

    def get(self, source: int, to: int) -> bytes:
        end = time.monotonic() + self.timeout_s
        while not self.failed.is_set():
            try:
                return self._boxes[source, to].get(timeout=LOOK_S)
            except queue.Empty:
                if time.monotonic() > end:
                    raise silence(to, source, self.timeout_s) from None
        raise ParallelError(f"rank {to}: expected numbers from rank {source}, got none: one failed")


class ThreadWorld(World):
    """The ranks of `run_threads`, as one of them sees them."""

    def __init__(self, rank: int, size: int, post: _Post) -> None:
        super().__init__(rank, size)
        self._post = post

    def carry(self, out: np.ndarray | None, to: int, into: np.ndarray | None, source: int) -> None:
        """As `World.carry`."""
        if out is not None:
            self._post.put(self.rank, to, out.tobytes())
        if into is not None:
            into[:] = np.frombuffer(self._post.get(source, self.rank), dtype=np.uint8)


def silence(rank: int, source: int, timeout_s: float) -> ParallelError:
    """The error of a rank that has waited long enough."""
    return ParallelError(
        f"rank {rank}: expected numbers from rank {source} within {timeout_s:g} s, got none"
    )


def run_threads(size: int, work: Callable[[World], T], *, timeout_s: float = 60.0) -> list[T]:
    """What `work` returns on each of `size` ranks.

    If it fails on one, the others end within a moment, and the first failure is raised; a rank
    that waits `timeout_s` seconds for another fails with `ParallelError`. Raises `InputError` for
    less than one rank.
    """
    if size < 1:
        raise InputError(f"expected at least 1 rank, got {size}")
    post = _Post(size, timeout_s)
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadWorld(rank, size, post))
        except BaseException as problem:
            failures.append(problem)
            post.failed.set()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [results[rank] for rank in range(size)]
