"""The KV cache: keys and values of past positions, so that no token is computed twice.

Keys are stored after RoPE, and one per KV group, not one per query head: that is the memory
grouped-query attention saves. The cache does not know which tokens it holds; whoever fills it does.
"""

import numpy as np
from jaxtyping import Float32

from llama_edu.errors import ContextError, InputError

__all__ = ["KVCache"]

MIN_CAPACITY = 32  # positions; below that, growing costs more than it saves


class KVCache:
    """Room for `max_seq` positions; memory is taken as positions come, doubling each time.

    `append` writes one layer's new rows behind the `length` positions that count. Only `advance`,
    called once after the last layer, makes them count: a forward pass that fails half-way leaves
    the cache as it was.
    """

    def __init__(self, n_layers: int, n_kv_heads: int, head_dim: int, max_seq: int) -> None:
        self.max_seq = max_seq
        self.length = 0
        self._keys = [np.empty((n_kv_heads, 0, head_dim), dtype=np.float32)] * n_layers
        self._values = list(self._keys)

    @property
    def n_layers(self) -> int:
        return len(self._keys)

    @property
    def n_kv_heads(self) -> int:
        return self._keys[0].shape[0]

    @property
    def head_dim(self) -> int:
        return self._keys[0].shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of the positions that count. See `allocated_nbytes` for what is held for them."""
        per_position = 2 * self.n_layers * self.n_kv_heads * self.head_dim
        return self.length * per_position * self._keys[0].itemsize

    @property
    def allocated_nbytes(self) -> int:
        return sum(array.nbytes for array in (*self._keys, *self._values))

    def keys(self, layer: int) -> Float32[np.ndarray, "n_kv_heads length head_dim"]:
        """A view of one layer's keys, after RoPE."""
        return self._keys[layer][:, : self.length]

    def values(self, layer: int) -> Float32[np.ndarray, "n_kv_heads length head_dim"]:
        """A view of one layer's values."""
        return self._values[layer][:, : self.length]

    def check_room(self, seq: int) -> None:
        """Raise `ContextError` if `seq` more positions do not fit."""
        if self.length + seq > self.max_seq:
            raise ContextError(
                f"expected at most {self.max_seq} positions in this cache, "
                f"got {self.length} past + {seq} new"
            )

    def append(
        self,
        layer: int,
        k: Float32[np.ndarray, "n_kv_heads seq head_dim"],
        v: Float32[np.ndarray, "n_kv_heads seq head_dim"],
    ) -> tuple[
        Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
        Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
    ]:
        """Write new rows after the past ones; returns views of all, past and new."""
        seq = k.shape[1]
        self.check_room(seq)
        total_seq = self.length + seq
        if total_seq > self._keys[layer].shape[1]:
            capacity = min(self.max_seq, max(total_seq, 2 * self.length, MIN_CAPACITY))
            self._keys[layer] = self._grown(self._keys[layer], capacity)
            self._values[layer] = self._grown(self._values[layer], capacity)
        self._keys[layer][:, self.length : total_seq] = k
        self._values[layer][:, self.length : total_seq] = v
        return self._keys[layer][:, :total_seq], self._values[layer][:, :total_seq]

    def advance(self, seq: int) -> None:
        """Make the `seq` positions that every layer has appended count."""
        self.check_room(seq)
        self.length += seq

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on. The next tokens continue from there."""
        if not 0 <= length <= self.length:
            raise InputError(f"expected a length from 0 to {self.length}, got {length}")
        self.length = length

    def _grown(self, old: np.ndarray, capacity: int) -> np.ndarray:
        new = np.empty((old.shape[0], capacity, old.shape[2]), dtype=old.dtype)
        new[:, : self.length] = old[:, : self.length]
        return new
