"""Mistakes in the cache: rows that are lost, kept, moved or mixed up between calls."""

from collections.abc import Callable

import ml_dtypes
import numpy as np

from llama_edu.formats.config import LlamaConfig
from llama_edu.ops.attention import apply_mask, causal_mask
from llama_edu.verify.mistakes.base import Mistake, entry
from llama_edu.verify.parts import Cache, Clock, Layer

__all__ = ["CACHED"]

Array = np.ndarray


class _Growing(Cache):
    """Rows are put at the end of a list that is never cut; the first past + seq of them are read.

    What a truncation should have removed stays, and the new rows come after it.
    """

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        total = self.length + k.shape[1]
        self.keys[layer] = np.concatenate([self.keys[layer], k], axis=1)
        self.values[layer] = np.concatenate([self.values[layer], v], axis=1)
        return self.keys[layer][:, :total], self.values[layer][:, :total]


class _GrowingLast(_Growing):
    """As above, and the last past + seq rows are read."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        super().append(layer, k, v)
        total = self.length + k.shape[1]
        return self.keys[layer][:, -total:], self.values[layer][:, -total:]


class _GrowingAll(_Growing):
    """As above, and all rows are read: the mask counts from the end."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        super().append(layer, k, v)
        return self.keys[layer], self.values[layer]


class _NeverCut(_GrowingAll):
    """The cache believes in its own length: nothing is cut, and positions go on from the old end.

    `resets` says whether a past of 0 empties it.
    """

    resets = True

    def begin(self, past: int) -> None:
        if past == 0 and self.resets:
            self.__init__(self.config)  # type: ignore[misc]

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.config = config


class _NeverEmptied(_NeverCut):
    resets = False


class _NotEmptied(Cache):
    """A past of 0 leaves the cache as it is; other cuts are made."""

    def begin(self, past: int) -> None:
        self.length = past or self.length


class _CutAt(Cache):
    """Cuts to one row too many or too few; the length is as it should be afterwards."""

    more = 1

    def begin(self, past: int) -> None:
        if past == 0 or past == self.length:  # nothing is cut
            self.length = past
            return
        self.length = min(past + self.more, self.length)


class _CutOneLess(_CutAt):
    more = -1


class _KeysUncut(Cache):
    """Values are cut; keys are put at the end of a list that is not."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        total = self.length + k.shape[1]
        old = self.keys[layer]
        _, values = super().append(layer, k, v)
        self.keys[layer] = np.concatenate([old, k], axis=1)
        return self.keys[layer][:, :total], values


class _ValuesUncut(Cache):
    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        total = self.length + k.shape[1]
        old = self.values[layer]
        keys, _ = super().append(layer, k, v)
        self.values[layer] = np.concatenate([old, v], axis=1)
        return keys, self.values[layer][:, :total]


class _FirstLayerCut(Cache):
    """Only layer 0 is cut; the others put their rows at the end of uncut lists."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        if layer == 0:
            return super().append(layer, k, v)
        return _Growing.append(self, layer, k, v)  # type: ignore[arg-type]


class _OneForAll(Cache):
    """All layers write into the rows of layer 0."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        return super().append(0, k, v)


class _Shared(Cache):
    """All layers put their rows at the end of one list; the last past + seq are read."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        total = self.length + k.shape[1]
        if layer == 0:
            self.keys[0] = self.keys[0][:, : self.length * len(self.keys)]
            self.values[0] = self.values[0][:, : self.length * len(self.keys)]
        self.keys[0] = np.concatenate([self.keys[0], k], axis=1)
        self.values[0] = np.concatenate([self.values[0], v], axis=1)
        return self.keys[0][:, -total:], self.values[0][:, -total:]


class _LastRowOnly(Cache):
    """Of a call's new rows only the last is kept; the call itself sees all of them.

    The rows that were not kept stay what they were: 0 in a fresh buffer.
    """

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        keys, values = super().append(layer, k, v)
        for store, rows in ((self.keys, keys), (self.values, values)):
            kept = rows.copy()
            kept[:, self.length : -1] = 0
            store[layer] = kept
        return keys, values


class _Dropped(Cache):
    """With a past, new rows are used and not kept: the next call finds zeros there."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        keys, values = super().append(layer, k, v)
        if self.length:
            for store, rows in ((self.keys, keys), (self.values, values)):
                kept = rows.copy()
                kept[:, self.length :] = 0
                store[layer] = kept
        return keys, values


class _AtZero(Cache):
    """New rows are written from row 0 on, whatever the past; past + seq rows are read."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        total = self.length + k.shape[1]
        for store, rows in ((self.keys, k), (self.values, v)):
            old = store[layer]
            buffer = np.zeros((k.shape[0], max(total, old.shape[1]), k.shape[2]), np.float32)
            buffer[:, : old.shape[1]] = old
            buffer[:, : rows.shape[1]] = rows
            store[layer] = buffer
        return self.keys[layer][:, :total], self.values[layer][:, :total]


class _OffByOne(Cache):
    """With a past, new rows are written one row too far on (or back)."""

    by = 1

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        total, start = self.length + k.shape[1], self.length + (self.by if self.length else 0)
        for store, rows in ((self.keys, k), (self.values, v)):
            old = store[layer]
            size = max(start + rows.shape[1], old.shape[1], total)
            buffer = np.zeros((k.shape[0], size, k.shape[2]), np.float32)
            buffer[:, : old.shape[1]] = old
            buffer[:, start : start + rows.shape[1]] = rows
            store[layer] = buffer
        return self.keys[layer][:, :total], self.values[layer][:, :total]


class _OneBack(_OffByOne):
    by = -1


class _OneBackCut(_OneBack):
    """The same, in rows that are made as many as there are tokens: what lay further on is gone."""

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        for store in (self.keys, self.values):
            store[layer] = store[layer][:, : self.length + k.shape[1]]
        return super().append(layer, k, v)


class _Ring(Cache):
    """Room for so many rows; row `position % size` is written over. What is read is its order."""

    size = 256

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        keys, values = super().append(layer, k, v)
        total = keys.shape[1]
        if total <= self.size:
            return keys, values
        newest = [max(p for p in range(total) if p % self.size == r) for r in range(self.size)]
        rows = np.array([newest[p % self.size] for p in range(total)])
        return keys[:, rows], values[:, rows]


class _Rounded(Cache):
    """Keys and values are kept in 16 bits."""

    dtype: np.dtype = np.dtype(np.float16)

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        k, v = (a.astype(self.dtype).astype(np.float32) for a in (k, v))
        return super().append(layer, k, v)


class _RoundedBf16(_Rounded):
    dtype = np.dtype(ml_dtypes.bfloat16)


class _Wide(Cache):
    """All rows of a buffer as long as the context are read, also those never written: zeros."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        shape = (config.num_key_value_heads, config.max_position_embeddings, config.head_dim)
        self.keys = [np.zeros(shape, np.float32) for _ in self.keys]
        self.values = [np.zeros(shape, np.float32) for _ in self.values]

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        end = self.length + k.shape[1]
        self.keys[layer][:, self.length : end] = k
        self.values[layer][:, self.length : end] = v
        return self.keys[layer], self.values[layer]


def _wide_mask(always: bool) -> Callable[[Array, Clock], Array]:
    def masked(scores: Array, clock: Clock) -> Array:
        if clock.seq == 1 and not always:
            return scores
        mask = np.tri(clock.seq, scores.shape[-1], k=clock.past, dtype=np.bool_)
        if always:  # the future within the call is hidden, what was never written is not
            mask[:, clock.past + clock.seq :] = True
        return apply_mask(scores, mask)

    return masked


def _from_the_end(scores: Array, clock: Clock) -> Array:
    """The staircase ends at the last row there is, however many there are."""
    seq, total = scores.shape[-2:]
    return scores if seq == 1 else apply_mask(scores, causal_mask(seq, total - seq))


def _turned_when_read(positions: Callable[[int, Clock], Array]) -> Callable[[Array, Layer], Array]:
    def late(k: Array, layer: Layer) -> Array:
        return layer.turned_at(k, positions(k.shape[1], layer.clock).astype(np.float32))

    return late


def _queries_only(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    return layer.turned(q), k, v


def _new_keys_turned(k: Array, layer: Layer) -> Array:
    """Keys are kept unturned; only those of the present call are turned."""
    past = layer.clock.past
    new = layer.turned_at(k[:, past:], np.arange(past, k.shape[1], dtype=np.float32))
    return np.concatenate([k[:, :past], new], axis=1)


def _past_turned_again(k: Array, layer: Layer) -> Array:
    past = layer.clock.past
    if not past:
        return k
    old = layer.turned_at(k[:, :past], np.arange(past, dtype=np.float32))
    return np.concatenate([old, k[:, past:]], axis=1)


def _cache(key: str, says: str, code: tuple[str, str], topic: str, **change: object) -> Mistake:
    return entry(f"cache.{key}", says, code, topic, **change)


CUT = "cache.truncate(past)"
WRITE = "row past + i = new row i"

CACHED: tuple[Mistake, ...] = (
    _cache(
        "grows",
        "rows are put at the end of a list that is never cut, and its first past + seq are read: "
        "after a cut or a reset the old rows stay",
        (CUT, "rows.extend(new)"),
        "cut",
        cache=_Growing,
        exhibit="stale_rows",
    ),
    _cache(
        "grows_last",
        "rows are put at the end of a list that is never cut, and its last past + seq are read",
        (CUT, "rows.extend(new)"),
        "cut",
        cache=_GrowingLast,
        exhibit="stale_rows",
    ),
    _cache(
        "grows_all",
        "rows are put at the end of a list that is never cut, and all of them are read",
        (CUT, "rows.extend(new)"),
        "cut",
        cache=_GrowingAll,
        masked=_from_the_end,
        exhibit="stale_rows",
    ),
    _cache(
        "never_cut",
        "a past shorter than the cache cuts nothing: rows and positions go on from the old end",
        (CUT, "pass"),
        "cut",
        cache=_NeverCut,
        exhibit="stale_rows",
    ),
    _cache(
        "never_cut_or_emptied",
        "neither a shorter past nor a past of 0 removes anything from the cache",
        (CUT, "pass"),
        "cut",
        cache=_NeverEmptied,
        exhibit="stale_rows",
    ),
    _cache(
        "not_emptied",
        "a past of 0 does not empty the cache",
        ("if past < cache.len: cache.len = past", "if past > 0: cache.len = past"),
        "cut",
        cache=_NotEmptied,
        exhibit="stale_rows",
    ),
    _cache(
        "cut_one_more",
        "a cut leaves one row too many",
        ("cache.len = past", "cache.len = past + 1"),
        "cut",
        cache=_CutAt,
    ),
    _cache(
        "cut_one_less",
        "a cut leaves one row too few",
        ("cache.len = past", "cache.len = past - 1"),
        "cut",
        cache=_CutOneLess,
    ),
    _cache(
        "keys_uncut",
        "a cut removes values, and keys stay",
        (CUT, "values.truncate(past)"),
        "cut",
        cache=_KeysUncut,
    ),
    _cache(
        "values_uncut",
        "a cut removes keys, and values stay",
        (CUT, "keys.truncate(past)"),
        "cut",
        cache=_ValuesUncut,
    ),
    _cache(
        "first_layer_cut",
        "a cut reaches only layer 0",
        ("for layer in layers: truncate(past)", "layers[0].truncate(past)"),
        "cut",
        cache=_FirstLayerCut,
    ),
    _cache(
        "one_for_all",
        "all layers write into the same rows",
        ("keys[layer][row]", "keys[row]"),
        "chunks",
        cache=_OneForAll,
    ),
    _cache(
        "shared",
        "all layers put their rows at the end of one list",
        ("keys[layer].extend(k)", "keys.extend(k)"),
        "chunks",
        cache=_Shared,
    ),
    _cache(
        "last_row_only",
        "of several new rows only the last is kept",
        ("for i in 0..seq: row past + i", "row past + seq - 1"),
        "chunks",
        cache=_LastRowOnly,
    ),
    _cache(
        "dropped",
        "with a past, new rows are used and not kept",
        (WRITE, "if past == 0: …"),
        "count",
        cache=_Dropped,
    ),
    _cache(
        "at_zero",
        "new rows are written from row 0 on, whatever the past",
        (WRITE, "row i = new row i"),
        "count",
        cache=_AtZero,
    ),
    _cache(
        "one_on",
        "with a past, new rows are written one row too far on",
        (WRITE, "row past + 1 + i = new row i"),
        "count",
        cache=_OffByOne,
    ),
    _cache(
        "one_back",
        "with a past, new rows are written one row too far back: the last old one is lost",
        (WRITE, "row past - 1 + i = new row i"),
        "count",
        cache=_OneBack,
    ),
    _cache(
        "one_back_cut",
        "with a past, new rows are written one row too far back, and nothing into the last one",
        (WRITE, "row past - 1 + i = new row i"),
        "count",
        cache=_OneBackCut,
    ),
    _cache(
        "ring_256",
        "the cache has room for 256 rows: from there on the oldest are written over",
        ("row = position", "row = position % 256"),
        "count",
        cache=_Ring,
    ),
    _cache(
        "in_f16",
        "keys and values are kept in float16: no mistake, if the engine says so (cache_dtype)",
        ("cache: f32", "cache: f16"),
        "precision",
        cache=_Rounded,
        loose=30.0,
    ),
    _cache(
        "in_bf16",
        "keys and values are kept in bfloat16: no mistake, if the engine says so (cache_dtype)",
        ("cache: f32", "cache: bf16"),
        "precision",
        cache=_RoundedBf16,
        loose=300.0,
    ),
    _cache(
        "unwritten_read",
        "a single token sees all rows of the buffer, also those never written or cut",
        ("for j in 0..total_seq", "for j in 0..max_seq"),
        "values",
        cache=_Wide,
        masked=_wide_mask(False),
    ),
    _cache(
        "unwritten_read_always",
        "every token sees all rows of the buffer, also those never written or cut",
        ("for j in 0..total_seq", "for j in 0..max_seq"),
        "values",
        cache=_Wide,
        masked=_wide_mask(True),
    ),
    _cache(
        "keys_unturned",
        "keys are kept before RoPE, and only those of the present call are turned",
        ("cache.append(rope(k), v)", "cache.append(k, v); rope(new keys)"),
        "what is turned",
        turn=_queries_only,
        late_keys=_new_keys_turned,
    ),
    _cache(
        "keys_turned_again",
        "keys from the cache are turned a second time when they are read",
        ("cache.append(rope(k), v)", "cache.append(rope(k), v); rope(all keys)"),
        "what is turned",
        late_keys=_turned_when_read(lambda total, clock: np.arange(total)),
    ),
    _cache(
        "past_turned_again",
        "keys of the past are turned a second time when they are read",
        ("cache.append(rope(k), v)", "cache.append(rope(k), v); rope(past keys)"),
        "what is turned",
        late_keys=_past_turned_again,
    ),
    _cache(
        "keys_turned_from_past",
        "keys are kept before RoPE, and turned when read, counted from past and not from 0",
        ("cache.append(rope(k), v)", "rope(all keys, past)"),
        "what is turned",
        turn=_queries_only,
        late_keys=_turned_when_read(lambda total, clock: np.arange(total) + clock.past),
    ),
)
"""Mistakes between one call and the next."""
