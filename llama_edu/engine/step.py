"""What one pass through the weights is about: some rows of tokens, and what each of them continues.

A step is not about one sequence. A prompt is a step with one span of many rows. Decoding eight
sequences together is a step of eight spans, one row each. A piece of a long prompt beside the next
token of everybody else is a step of long and short spans. All rows go through the same products,
so the weights are read once; only attention looks at which rows belong together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Integer

from llama_edu.engine.cache import KVCache
from llama_edu.ops import attention

__all__ = ["Span", "Step", "spans_of"]


@dataclass(frozen=True)
class Span:
    """Consecutive rows of a step that continue one sequence.

    `rows` says which; `past` is the number of positions before the first of them. They are kept in
    `cache`, behind what it holds, or nowhere if it is None.
    """

    rows: slice
    past: int
    cache: KVCache | None

    @property
    def seq(self) -> int:
        """How many rows."""
        return int(self.rows.stop - self.rows.start)

    @property
    def total_seq(self) -> int:
        """How many positions the last of the rows looks at."""
        return self.past + self.seq

    @cached_property
    def mask(self) -> Bool[np.ndarray, "seq total_seq"] | None:
        """Where each row may look; None for a single row, which may look at everything."""
        return attention.causal_mask(self.seq, self.past) if self.seq > 1 else None

    def window_mask(self, window: int) -> Bool[np.ndarray, "seq total_seq"]:
        """Where each row may look through a sliding window."""
        return attention.sliding_window_mask(self.seq, self.past, window)

    def with_past(
        self,
        layer: int,
        k: Float[np.ndarray, "n_kv_heads seq head_dim"],
        v: Float[np.ndarray, "n_kv_heads seq head_dim"],
    ) -> tuple[
        Float[np.ndarray, "n_kv_heads total_seq head_dim"],
        Float[np.ndarray, "n_kv_heads total_seq head_dim"],
    ]:
        """The keys and values of a layer, those of the past in front. Without a cache: the same."""
        return (k, v) if self.cache is None else self.cache.append(layer, k, v)


@dataclass(frozen=True)
class Step:
    """Rows of tokens that go through every layer together.

    `cos` and `sin` belong to every row at its own position in its own sequence. `kv_format` is
    what keys and values are rounded to, by its name in `llama_edu.formats.precision.DTYPES`, with
    a cache and without. With `last_only`, logits are wanted for the last row of each span alone.
    """

    token_ids: Integer[np.ndarray, " seq"]
    cos: Float[np.ndarray, "seq half_dim"]
    sin: Float[np.ndarray, "seq half_dim"]
    spans: tuple[Span, ...]
    kv_format: str
    last_only: bool

    @property
    def is_decode(self) -> bool:
        """Whether each row is the next token of a sequence of its own, kept in a cache."""
        return len(self.spans) == len(self.token_ids) and all(
            span.cache is not None for span in self.spans
        )

    @property
    def logit_rows(self) -> slice | Integer[np.ndarray, " n_spans"]:
        """The rows whose logits are wanted."""
        if self.last_only and len(self.spans) < len(self.token_ids):
            return np.array([span.rows.stop - 1 for span in self.spans], dtype=np.intp)
        return slice(None)

    @property
    def axis_sizes(self) -> dict[str, int]:
        """The sizes that recorded axes may have names for; those of the past for one span only."""
        sizes = {"seq": len(self.token_ids), "n_spans": len(self.spans)}
        if len(self.spans) == 1:
            sizes |= {"past": self.spans[0].past, "total_seq": self.spans[0].total_seq}
        return sizes

    def in_pieces(self, rows: int) -> list["Step"]:
        """Steps of at most that many rows each, which computed in turn do what this one does.

        Each is to be done before the next begins: its positions are the past of the next.
        """
        pieces = []
        for start in range(0, len(self.token_ids), rows):
            stop = min(start + rows, len(self.token_ids))
            spans = []
            for span in self.spans:
                first, end = max(start, span.rows.start), min(stop, span.rows.stop)
                if first < end:
                    past = span.past + first - span.rows.start
                    spans.append(Span(slice(first - start, end - start), past, span.cache))
            part = {name: getattr(self, name)[start:stop] for name in ("token_ids", "cos", "sin")}
            pieces.append(replace(self, **part, spans=tuple(spans)))
        return pieces

    def advance(self) -> None:
        """Make the new positions of every cache count: the step is done."""
        for span in self.spans:
            if span.cache is not None:
                span.cache.advance(span.seq)


def spans_of(lengths: Sequence[int], caches: Sequence[KVCache | None]) -> tuple[Span, ...]:
    """Spans of these lengths, one behind the other, each continuing what its cache holds."""
    spans, start = [], 0
    for seq, cache in zip(lengths, caches, strict=True):
        past = 0 if cache is None else cache.length
        spans.append(Span(slice(start, start + seq), past, cache))
        start += seq
    return tuple(spans)
