"""The KV cache: keys and values of past positions, so that no token is computed twice.

Keys are stored after RoPE, and one per KV group, not one per query head: that is the memory
grouped-query attention saves. The cache does not know which tokens it holds; whoever fills it does.

What several conversations begin with need not be in memory several times. A cache may begin with
runs of rows that others hold as well (`borrow`, `fork`): they are looked at where they are and
never written, and new rows go behind them, into memory of the cache's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from llama_edu.errors import ContextError, InputError

__all__ = ["KVCache", "Rows"]

MIN_CAPACITY = 32  # positions; below that, growing costs more than it saves
MAX_RUNS = 8  # the first ones are those that most conversations share


_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, eq=False)
class Rows:
    """Keys and values of positions that follow each other, in every layer, for many to read.

    The arrays given are read-only from then on.
    """

    keys: Float[np.ndarray, "n_layers n_kv_heads seq head_dim"]
    values: Float[np.ndarray, "n_layers n_kv_heads seq head_dim"]

    def __post_init__(self) -> None:
        for array in (self.keys, self.values):
            array.flags.writeable = False

    def __len__(self) -> int:
        return self.keys.shape[2]

    def __getitem__(self, positions: slice) -> "Rows":
        """Some of them, where they are."""
        return Rows(self.keys[:, :, positions], self.values[:, :, positions])

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def copy(self) -> "Rows":
        """The same numbers in memory of their own."""
        return Rows(self.keys.copy(), self.values.copy())


class KVCache:
    """Room for `max_seq` positions; memory is taken as positions come, doubling each time.

    `append` writes one layer's new rows behind the `length` positions that count. Only `advance`,
    called once after the last layer, makes them count: a forward pass that fails half-way leaves
    the cache as it was.
    """

    def __init__(
        self,
        n_layers: int,
        n_kv_heads: int,
        head_dim: int,
        max_seq: int,
        dtype: np.dtype = _FLOAT32,
    ) -> None:
        self.max_seq = max_seq
        self.length = 0
        self._runs: tuple[Rows, ...] = ()
        self._borrowed = 0
        self._keys = np.empty((n_layers, n_kv_heads, 0, head_dim), dtype=dtype)
        self._values = np.empty_like(self._keys)

    @property
    def n_layers(self) -> int:
        return self._keys.shape[0]

    @property
    def n_kv_heads(self) -> int:
        return self._keys.shape[1]

    @property
    def head_dim(self) -> int:
        return self._keys.shape[3]

    @property
    def dtype(self) -> np.dtype:
        """What a key or value is kept as."""
        return self._keys.dtype

    @property
    def runs(self) -> tuple[Rows, ...]:
        """What it begins with that others may hold as well; usually nothing."""
        return self._runs

    @property
    def borrowed(self) -> int:
        """The positions of `runs`. Rows of the cache's own begin behind them."""
        return self._borrowed

    @property
    def nbytes(self) -> int:
        """Bytes of the positions that count. See `allocated_nbytes` for what is held for them."""
        per_position = 2 * self.n_layers * self.n_kv_heads * self.head_dim
        return self.length * per_position * self.dtype.itemsize

    @property
    def allocated_nbytes(self) -> int:
        """Bytes of memory of its own: with room to grow, without what it borrows."""
        return self._keys.nbytes + self._values.nbytes

    def keys(self, layer: int) -> Float[np.ndarray, "n_kv_heads length head_dim"]:
        """One layer's keys, after RoPE: a view, or a copy of those that lie in several places."""
        return _joined([part for part, _ in self.parts(layer, self.length)])

    def values(self, layer: int) -> Float[np.ndarray, "n_kv_heads length head_dim"]:
        """One layer's values, as `keys` gives keys."""
        return _joined([part for _, part in self.parts(layer, self.length)])

    def parts(
        self, layer: int, stop: int
    ) -> list[
        tuple[
            Float[np.ndarray, "n_kv_heads seq head_dim"],
            Float[np.ndarray, "n_kv_heads seq head_dim"],
        ]
    ]:
        """Views of one layer's keys and values up to position `stop - 1`, place by place.

        Those of `runs` first, then those of the cache's own.
        """
        own = slice(0, stop - self._borrowed)
        return [
            *((run.keys[layer], run.values[layer]) for run in self._runs),
            (self._keys[layer, :, own], self._values[layer, :, own]),
        ]

    def check_room(self, seq: int) -> None:
        """Raise `ContextError` if `seq` more positions do not fit."""
        if self.length + seq > self.max_seq:
            raise ContextError(
                f"expected at most {self.max_seq} positions in this cache, "
                f"got {self.length} past + {seq} new"
            )

    def reserve(
        self, seq: int
    ) -> tuple[
        Float[np.ndarray, "n_layers n_kv_heads capacity head_dim"],
        Float[np.ndarray, "n_layers n_kv_heads capacity head_dim"],
    ]:
        """Make room for `seq` more positions; returns its own keys and values, room included.

        For an engine that writes the new rows, `length - borrowed` on, itself.
        """
        own = self.length - self._borrowed
        if own + seq > self._keys.shape[2]:  # what is there is never more than `max_seq`
            self.check_room(seq)
            most = self.max_seq - self._borrowed
            capacity = min(most, max(own + seq, 2 * own, MIN_CAPACITY))
            self._keys = self._grown(self._keys, capacity)
            self._values = self._grown(self._values, capacity)
        return self._keys, self._values

    def append(
        self,
        layer: int,
        k: Float[np.ndarray, "n_kv_heads seq head_dim"],
        v: Float[np.ndarray, "n_kv_heads seq head_dim"],
    ) -> tuple[
        Float[np.ndarray, "n_kv_heads total_seq head_dim"],
        Float[np.ndarray, "n_kv_heads total_seq head_dim"],
    ]:
        """Write new rows after the past ones; returns all, past and new, as `keys` does."""
        seq = k.shape[1]
        keys, values = self.reserve(seq)
        new = slice(self.length - self._borrowed, self.length - self._borrowed + seq)
        keys[layer, :, new] = k
        values[layer, :, new] = v
        if not self._runs:
            return keys[layer, :, : new.stop], values[layer, :, : new.stop]
        parts = self.parts(layer, self.length + seq)
        return _joined([k for k, _ in parts]), _joined([v for _, v in parts])

    def advance(self, seq: int) -> None:
        """Make the `seq` positions that every layer has appended count."""
        self.check_room(seq)
        self.length += seq

    def rows(
        self, start: int, stop: int
    ) -> tuple[
        Float[np.ndarray, "n_layers n_kv_heads seq head_dim"],
        Float[np.ndarray, "n_layers n_kv_heads seq head_dim"],
    ]:
        """Copies of the keys and values of positions `start` to `stop - 1`, every layer.

        In the cache's dtype. Raises `InputError` for positions that are not cached.
        """
        if not 0 <= start <= stop <= self.length:
            raise InputError(
                f"expected positions within the {self.length} cached ones, got {start} to {stop}"
            )
        parts, begin = [], 0
        for run in (*self._runs, self._own()):
            first, last = max(start - begin, 0), min(stop - begin, len(run))
            if first < last:
                parts.append(run[first:last])
            begin += len(run)
        parts = parts or [self._own()[:0]]
        return (
            np.concatenate([part.keys for part in parts], axis=2),
            np.concatenate([part.values for part in parts], axis=2),
        )

    def extend(
        self,
        keys: Float[np.ndarray, "n_layers n_kv_heads seq head_dim"],
        values: Float[np.ndarray, "n_layers n_kv_heads seq head_dim"],
    ) -> None:
        """Copy in what `rows` gave, behind the positions that count, and make it count.

        Only right if the rows were computed from the same tokens at the same positions, by the
        same model. Raises `ContextError` without room, `InputError` for the rows of another shape
        or dtype.
        """
        self._check_rows(keys, values)
        seq = keys.shape[2]
        own_keys, own_values = self.reserve(seq)
        new = slice(self.length - self._borrowed, self.length - self._borrowed + seq)
        own_keys[:, :, new] = keys
        own_values[:, :, new] = values
        self.advance(seq)

    def borrow(self, rows: Rows) -> None:
        """As `extend`, but the rows are looked at where they are, and stay there while they are.

        They are copied all the same behind rows of the cache's own, and where they would be in one
        place too many. Raises what `extend` raises.
        """
        if self.length > self._borrowed or len(self._runs) == MAX_RUNS or not len(rows):
            self.extend(rows.keys, rows.values)
            return
        self._check_rows(rows.keys, rows.values)
        self.check_room(len(rows))
        self._runs += (rows,)
        self._borrowed += len(rows)
        self.advance(len(rows))

    def lean_on(self, runs: Sequence[Rows]) -> None:
        """Look at the same rows elsewhere, from the first on, and give up the memory of its own.

        Only right if `runs` hold what its first positions hold. Raises what `extend` raises.
        """
        covered = sum(map(len, runs))
        rest = self.rows(covered, self.length)
        other = self._empty()
        for run in runs:
            other.borrow(run)
        other.extend(*rest)
        self._runs, self._borrowed = other._runs, other._borrowed
        self._keys, self._values = other._keys, other._values

    def copy(self) -> "KVCache":
        """A cache of its own with the same positions, all of them copied."""
        new = self._empty()
        new.extend(*self.rows(0, self.length))
        return new

    def fork(self) -> "KVCache":
        """A cache that goes on from here by itself; what was computed so far is held once.

        Both look at the same rows from now on, and write behind them.
        """
        own = self._own()
        if len(own) and len(self._runs) < MAX_RUNS:
            self._runs += (own,)
            self._borrowed = self.length
            self._keys = np.empty_like(self._keys, shape=(*self._keys.shape[:2], 0, self.head_dim))
            self._values = np.empty_like(self._keys)
        new = self._empty()
        for run in (*self._runs, self._own()):
            new.borrow(run)
        return new

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on. The next tokens continue from there.

        Raises `InputError` for a length below 0 or beyond what is cached.
        """
        if not 0 <= length <= self.length:
            raise InputError(f"expected a length from 0 to {self.length}, got {length}")
        self.length = length
        while self._borrowed > length:
            *others, last = self._runs
            start = self._borrowed - len(last)
            kept = (last[: length - start],) if start < length else ()
            self._runs, self._borrowed = (*others, *kept), max(start, length)

    def _empty(self) -> "KVCache":
        return KVCache(self.n_layers, self.n_kv_heads, self.head_dim, self.max_seq, self.dtype)

    def _own(self) -> Rows:
        """What is in memory of its own and counts; views, which nobody may write through."""
        own = slice(0, self.length - self._borrowed)
        return Rows(self._keys[:, :, own], self._values[:, :, own])

    def _check_rows(self, keys: np.ndarray, values: np.ndarray) -> None:
        expected = (self.n_layers, self.n_kv_heads, keys.shape[2], self.head_dim), self.dtype
        for name, array in (("keys", keys), ("values", values)):
            if (array.shape, array.dtype) != expected:
                raise InputError(
                    f"expected {name} of shape {expected[0]} as {self.dtype}, "
                    f"got {array.shape} as {array.dtype}"
                )

    def _grown(self, old: np.ndarray, capacity: int) -> np.ndarray:
        new = np.empty((*old.shape[:2], capacity, self.head_dim), dtype=old.dtype)
        own = self.length - self._borrowed
        new[:, :, :own] = old[:, :, :own]
        return new


def _joined(
    parts: list[Float[np.ndarray, "n_kv_heads _ head_dim"]],
) -> Float[np.ndarray, "n_kv_heads total_seq head_dim"]:
    """Rows that lie in several places, side by side."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
