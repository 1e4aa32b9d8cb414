"""Several processes that compute one thing, and what they say to each other.

Each process is a *rank*, numbered from 0. A `World` is what one of them sees: its own number, how
many there are, and ways to send numbers. Everything is built on one primitive, `exchange`, which
sends to one rank while it receives from another; what carries the bytes is a subclass's affair
(MPI in `llama_edu.parallel.mpi`, threads in `llama_edu.parallel.threads`). So the bytes that are
counted here are those that were handed to the carrier, whatever any formula says.

The sum goes round a ring in two laps, a reduce-scatter and an all-gather (Patarasuk and Yuan 2009,
doi:10.1016/j.jpdc.2008.09.002). Every rank ends with the same bits: each piece is added up once,
along one path through the ranks, and its finished bits are copied to all.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import numpy as np

from llama_edu.errors import InputError

__all__ = ["World", "pieces_of"]

LENGTH = np.dtype("<i8")


class World(ABC):
    """The ranks as one of them sees them. `sent_nbytes` and `messages` count what it has sent.

    Raises `InputError` for a rank that is none of the `size`.
    """

    def __init__(self, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise InputError(f"expected a rank from 0 to {size - 1}, got {rank}")
        self.rank = rank
        self.size = size
        self.sent_nbytes = 0
        self.messages = 0

    @abstractmethod
    def carry(self, out: np.ndarray | None, to: int, into: np.ndarray | None, source: int) -> None:
        """Send `out` to one rank while `into` is filled by another; None leaves that half out.

        Both are flat arrays of bytes. Raises `ParallelError` if the other side is gone or silent.
        """

    def exchange(
        self, out: np.ndarray | None, to: int, into: np.ndarray | None, source: int
    ) -> None:
        """`carry`, for arrays of any dtype that lie in one piece, and counted."""
        if out is not None:
            self.sent_nbytes += out.nbytes
            self.messages += 1
        self.carry(_bytes_of(out), to, _bytes_of(into), source)

    def summed(self, part: np.ndarray) -> np.ndarray:
        """The sum of what every rank brings, on every rank: an all-reduce. Shapes are equal.

        All ranks together send 2 · (size − 1) times the bytes of the array.
        """
        total = np.array(part, order="C")  # what was passed in stays as it is
        if self.size == 1:
            return total
        pieces = pieces_of(total.reshape(-1), self.size)
        taken = np.empty(max(map(len, pieces)), dtype=total.dtype)
        right, left = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        for lap in range(self.size - 1):  # each piece collects one more rank's share a step
            mine = pieces[(self.rank - lap) % self.size]
            theirs = pieces[(self.rank - lap - 1) % self.size]
            self.exchange(mine, right, taken[: len(theirs)], left)
            theirs += taken[: len(theirs)]
        for lap in range(self.size - 1):  # each finished piece goes round
            mine = pieces[(self.rank + 1 - lap) % self.size]
            theirs = pieces[(self.rank - lap) % self.size]
            self.exchange(mine, right, theirs, left)
        return total

    def gathered(self, part: np.ndarray) -> list[np.ndarray]:
        """What every rank brings, in their order, on every rank: an all-gather. Shapes are equal.

        All ranks together send size · (size − 1) times the bytes of one part.
        """
        parts = [np.empty_like(part, order="C") for _ in range(self.size)]
        parts[self.rank][...] = part
        right, left = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        for lap in range(self.size - 1):
            out, into = (self.rank - lap) % self.size, (self.rank - lap - 1) % self.size
            self.exchange(parts[out], right, parts[into], left)
        return parts

    def sent_on(self, array: np.ndarray, root: int) -> np.ndarray:
        """The array of rank `root`, on every rank: a broadcast, handed on from one to the next.

        The others bring an array of the same shape and dtype, which is filled and returned.
        """
        place = (self.rank - root) % self.size  # in the queue that begins at `root`
        right, left = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        if place > 0:
            self.exchange(None, right, array, left)
        if place < self.size - 1:
            self.exchange(array, right, None, left)
        return array

    def told(self, message: bytes | None, root: int = 0) -> bytes:
        """The message of rank `root`, on every rank, of any length; the others bring None."""
        text = np.frombuffer(message or b"", dtype=np.uint8)
        length = self.sent_on(np.array([len(text)], dtype=LENGTH), root)
        if self.rank != root:
            text = np.empty(int(length[0]), dtype=np.uint8)
        return self.sent_on(text, root).tobytes()


def pieces_of(flat: np.ndarray, count: int) -> list[np.ndarray]:
    """Views of `count` pieces of a flat array, none more than one number longer than another."""
    ends = [len(flat) * i // count for i in range(count + 1)]
    return [flat[start:end] for start, end in pairwise(ends)]


def _bytes_of(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.reshape(-1).view(np.uint8)
