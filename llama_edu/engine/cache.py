"""The KV cache: keys and values of past positions, so that no token is computed twice.

Keys are stored after RoPE, and one per KV group, not one per query head: that is the memory
grouped-query attention saves. The cache does not know which tokens it holds; whoever fills it does.
"""

import numpy as np
from jaxtyping import Float

from llama_edu.errors import ContextError, InputError

__all__ = ["KVCache"]

MIN_CAPACITY = 32  # positions; below that, growing costs more than it saves


_FLOAT32 = np.dtype(np.float32)


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
    def nbytes(self) -> int:
        """Bytes of the positions that count. See `allocated_nbytes` for what is held for them."""
        per_position = 2 * self.n_layers * self.n_kv_heads * self.head_dim
        return self.length * per_position * self.dtype.itemsize

    @property
    def allocated_nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    def keys(self, layer: int) -> Float[np.ndarray, "n_kv_heads length head_dim"]:
        """A view of one layer's keys, after RoPE."""
        return self._keys[layer, :, : self.length]

    def values(self, layer: int) -> Float[np.ndarray, "n_kv_heads length head_dim"]:
        """A view of one layer's values."""
        return self._values[layer, :, : self.length]

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
        """Make room for `seq` more positions; returns all keys and values, room included.

        For an engine that writes the new rows, `length` on, itself.
        """
        total_seq = self.length + seq
        if total_seq > self._keys.shape[2]:  # what is there is never more than `max_seq`
            self.check_room(seq)
            capacity = min(self.max_seq, max(total_seq, 2 * self.length, MIN_CAPACITY))
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
        """Write new rows after the past ones; returns views of all, past and new."""
        seq = k.shape[1]
        keys, values = self.reserve(seq)
        total_seq = self.length + seq
        keys[layer, :, self.length : total_seq] = k
        values[layer, :, self.length : total_seq] = v
        return keys[layer, :, :total_seq], values[layer, :, :total_seq]

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
        """Copies of the keys and values of positions `start` to `stop - 1`, every layer."""
        if not 0 <= start <= stop <= self.length:
            raise InputError(
                f"expected positions within the {self.length} cached ones, got {start} to {stop}"
            )
        return self._keys[:, :, start:stop].copy(), self._values[:, :, start:stop].copy()

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
        seq = keys.shape[2]
        expected = ((self.n_layers, self.n_kv_heads, seq, self.head_dim), self.dtype)
        for name, array in (("keys", keys), ("values", values)):
            if (array.shape, array.dtype) != expected:
                raise InputError(
                    f"expected {name} of shape {expected[0]} as {self.dtype}, "
                    f"got {array.shape} as {array.dtype}"
                )
        all_keys, all_values = self.reserve(seq)
        all_keys[:, :, self.length : self.length + seq] = keys
        all_values[:, :, self.length : self.length + seq] = values
        self.advance(seq)

    def copy(self) -> "KVCache":
        """A cache of its own with the same positions: writing to one leaves the other alone."""
        new = KVCache(self.n_layers, self.n_kv_heads, self.head_dim, self.max_seq, self.dtype)
        new.extend(*self.rows(0, self.length))
        return new

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on. The next tokens continue from there."""
        if not 0 <= length <= self.length:
            raise InputError(f"expected a length from 0 to {self.length}, got {length}")
        self.length = length

    def _grown(self, old: np.ndarray, capacity: int) -> np.ndarray:
        new = np.empty((*old.shape[:2], capacity, self.head_dim), dtype=old.dtype)
        new[:, :, : self.length] = old[:, :, : self.length]
        return new
