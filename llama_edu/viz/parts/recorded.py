"""What the attention steppers read from a trace, and the part of it that fits on a page."""

from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.engine.trace import Record, Trace
from llama_edu.errors import InputError
from llama_edu.viz.parts.labels import checked_labels
from llama_edu.viz.parts.stepper import Side, window

__all__ = ["DIMS", "NARROW", "Pass", "recorded_pass"]

KEYS = 9  # positions in view
STACKED = 12  # rows in view where the queries of a KV group are stacked
HEADS = 3  # query heads in view of one KV group
DIMS, NARROW = 5, 4  # numbers of a vector in view, and on a phone


class Pass:
    """One layer of one forward pass: its arrays by name, and the window that is shown of them.

    In view are the newest tokens, the first query heads of a KV group and the first numbers of a
    head.
    """

    def __init__(self, records: Mapping[str, Record], layer: int, tokens: Sequence[str | bytes]):
        self._records, self._layer = records, layer
        shape = self.array("self_attn.scores").shape
        self.n_kv_heads, self.n_groups, self.seq, self.total_seq = shape
        self.head_dim = self.array("self_attn.keys").shape[2]
        self.labels = checked_labels(tokens, self.total_seq, "position")
        self.heads = min(self.n_groups, HEADS)
        rows = min(KEYS, max(2, STACKED // self.heads))
        self.keys, key_labels = window(self.labels, KEYS)
        new = self.labels[-self.seq :]
        self.queries, query_labels = window(new, rows)  # in a stack of heads
        self.rows, row_labels = window(new, KEYS)  # in one head
        self.dims = slice(0, DIMS)
        self.key_side = Side("total_seq", key_labels, self.total_seq)
        self.query_side = Side("seq", query_labels, self.seq)
        self.row_side = Side("seq", row_labels, self.seq)
        numbers = [str(d) for d in range(min(self.head_dim, DIMS))]
        self.dim_side = Side("head_dim", numbers, self.head_dim, narrow=NARROW)

    def __contains__(self, name: str) -> bool:
        return f"layers.{self._layer}.{name}" in self._records

    def record(self, name: str) -> Record:
        """The record of that name in this layer. Raises `InputError` unless it is float32."""
        full = f"layers.{self._layer}.{name}"
        if full not in self._records:
            raise InputError(f"expected a trace that holds {full}, got one without it")
        found = self._records[full]
        if found.dtype != np.float32:
            raise InputError(f"expected the trace of a float32 model, got {found.dtype} in {full}")
        return found

    def array(self, name: str) -> np.ndarray:
        """The recorded array of that name."""
        return self.record(name).array

    def entering(self) -> Record:
        """What the layer was given: the rows of the embedding, or what the layer before left."""
        before = f"layers.{self._layer - 1}.mlp_residual" if self._layer else "embed_tokens"
        return self._records[before]

    def stacked_side(self, kv_head: int) -> Side:
        """The queries in view of one KV group, head below head."""
        first, count = kv_head * self.n_groups, len(self.query_side.labels)
        groups = [(f"query head {first + g}", count) for g in range(self.heads)]
        labels = list(self.query_side.labels) * self.heads
        return Side("n_groups*seq", labels, self.n_groups * self.seq, groups)

    def stacked_rows(self, array: np.ndarray) -> np.ndarray:
        """The rows in view of an array with n_groups * seq rows."""
        by_head = array.reshape(self.n_groups, self.seq, -1)[: self.heads, self.queries]
        return by_head.reshape(-1, by_head.shape[-1])


def recorded_pass(
    trace: Trace, layer: int, tokens: Sequence[str | bytes], step: int | None
) -> Pass:
    """One forward pass of a trace, the newest unless `step` counts from the first.

    Raises `InputError` for a pass or a layer that is not there, for arrays that are not float32,
    and unless there is one label per position the pass could look at.
    """
    count = len(trace.steps)
    at = count - 1 if step is None else step
    if not 0 <= at < count:
        raise InputError(f"expected a forward pass of the {count} in the trace, got {step}")
    return Pass(trace.steps[at], layer, tokens)
