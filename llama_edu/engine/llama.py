"""The whole Llama: token ids in, logits out. Sampling, text and conversation live above it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from llama_edu import hub
from llama_edu.engine.backends.select import operators_of
from llama_edu.engine.cache import KVCache
from llama_edu.engine.forward import forward
from llama_edu.engine.step import Step, spans_of
from llama_edu.engine.trace import IGNORE, Recorder, Trace
from llama_edu.engine.weights import load_weights
from llama_edu.errors import ContextError, InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import DTYPES, cast, precision_named
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.ops.rope import inverse_frequencies

__all__ = ["Llama"]


class Llama:
    """A decoder-only transformer with its weights. Holds no state between calls.

    `tensors` maps checkpoint names to arrays of any floating-point format, or to matrices in the
    codes that the precision keeps. `precision` is a name
    from `llama_edu.formats.precision.PRECISIONS` and `cache_dtype`, where given, overrides what it
    keeps keys and values as. `backend` is "numpy" or "numba".

    Raises `CheckpointError` if the tensors are not what `config` calls for, `NumericsError` if
    their numbers do not fit the precision, `InputError` for an unknown name, and `ImportError` if
    the backend's package is not installed.
    """

    def __init__(
        self,
        config: LlamaConfig,
        tensors: Mapping[str, Any],
        *,
        precision: str = "f32",
        backend: str = "numpy",
        cache_dtype: str | None = None,
    ) -> None:
        self.config = config
        self.precision = precision_named(precision, cache_dtype)
        self.operators = operators_of(backend, self.precision)
        if not config.is_plain_llama:  # which the whole steps in one call are written for
            self.operators = replace(self.operators, decode_step=None)
        self.weights = load_weights(config, tensors, self.precision)
        self.inv_freq = inverse_frequencies(config)

    @classmethod
    def from_pretrained(
        cls,
        name_or_directory: str | os.PathLike[str],
        precision: str = "f32",
        backend: str = "numpy",
        cache_dtype: str | None = None,
    ) -> "Llama":
        """Load a known model by name, or a directory in the Hugging Face layout.

        Raises as the class does, and `HubError` for an unknown name, `ConfigError` for a bad file.
        """
        directory = hub.locate(name_or_directory)
        return cls(
            LlamaConfig.from_directory(directory),
            open_checkpoint(directory),
            precision=precision,
            backend=backend,
            cache_dtype=cache_dtype,
        )

    def new_cache(self, max_seq: int | None = None) -> KVCache:
        """An empty cache with room for `max_seq` positions, by default the model's context.

        Raises `ContextError` for no room at all, or for more than that context.
        """
        config = self.config
        limit = config.max_position_embeddings
        max_seq = limit if max_seq is None else max_seq
        if not 1 <= max_seq <= limit:
            raise ContextError(f"expected max_seq from 1 to the context of {limit}, got {max_seq}")
        return KVCache(
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
            max_seq,
            DTYPES[self.precision.cache],
        )

    def checked_ids(
        self, token_ids: Sequence[int] | Integer[np.ndarray, " seq"]
    ) -> Integer[np.ndarray, " seq"]:
        """The ids as an array; `InputError` if there are none or one is not in the vocabulary."""
        ids = np.asarray(token_ids)
        if ids.ndim != 1 or ids.size == 0:
            raise InputError(
                f"expected a flat list of at least one token id, got shape {ids.shape}"
            )
        if ids.dtype.kind not in "iu":
            raise InputError(f"expected whole numbers as token ids, got {ids.dtype}")
        outside = ids[(ids < 0) | (ids >= self.config.vocab_size)]
        if outside.size:
            raise InputError(
                f"expected token ids from 0 to {self.config.vocab_size - 1}, got {outside[0]}"
            )
        return ids

    def check_room(self, seq: int, cache: KVCache | None) -> None:
        """Raise unless `seq` more positions fit, and the cache is one for this model.

        `ContextError` names the room and what was asked for; `InputError` both caches' sizes.
        """
        config = self.config
        if cache is None:
            if seq > config.max_position_embeddings:
                raise ContextError(
                    f"expected at most {config.max_position_embeddings} positions, got {seq}"
                )
            return
        ours = (config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
        theirs = (cache.n_layers, cache.n_kv_heads, cache.head_dim)
        if theirs != ours:
            raise InputError(
                f"expected a cache of (layers, n_kv_heads, head_dim) {ours}, got {theirs}"
            )
        cache.check_room(seq)

    def forward(
        self,
        token_ids: Sequence[int] | Integer[np.ndarray, " seq"],
        cache: KVCache | None = None,
        *,
        last_only: bool = False,
        trace: Trace | None = None,
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """Logits for the token after each given one: `(seq, vocab_size)`, or 1 row if `last_only`.

        With a cache, the tokens continue the `cache.length` positions it holds, and are added to
        it. Without one, they start at position 0. Raises `InputError` for ids that are empty or
        out of range, and `ContextError` for more positions than there is room for; either way
        before any work, with the cache as it was.
        """
        ids = self.checked_ids(token_ids)
        self.check_room(len(ids), cache)
        return self._run([ids], [cache], last_only, trace)

    def forward_batch(
        self,
        token_ids: Sequence[int] | Integer[np.ndarray, " rows"],
        caches: Sequence[KVCache],
        *,
        trace: Trace | None = None,
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """Logits after one new token of each of several sequences: row i continues `caches[i]`.

        The rows go through every weight together, so the weights are read once for all of them;
        only attention, whose keys and values are each sequence's own, is computed one by one. A
        row is what `forward` gives for that sequence alone, up to rounding. Each cache gains its
        token. Raises as `forward` does, before any work, and `InputError` unless there is one
        cache, of its own, for each id.
        """
        ids = self.checked_ids(token_ids)
        _check_one_each(caches, len(ids), "token ids")
        for cache in caches:
            self.check_room(1, cache)
        return self._run(ids[:, None], caches, True, trace)

    def forward_chunks(
        self,
        chunks: Sequence[Sequence[int] | Integer[np.ndarray, " _"]],
        caches: Sequence[KVCache],
        *,
        trace: Trace | None = None,
    ) -> Float32[np.ndarray, "n_chunks vocab_size"]:
        """Logits after the last token of each chunk: `chunks[i]` continues `caches[i]`.

        A chunk is one new token, a whole prompt, or a piece of one, each of any length of its own.
        All their rows go through every weight together, as in `forward_batch`. Each cache gains
        its chunk. Raises as `forward` does, before any work, with every cache as it was, and
        `InputError` unless there is one cache, of its own, for each chunk.
        """
        if not len(chunks):
            raise InputError("expected at least one chunk, got none")
        ids = [self.checked_ids(chunk) for chunk in chunks]
        _check_one_each(caches, len(chunks), "chunks")
        for some, cache in zip(ids, caches, strict=True):
            self.check_room(len(some), cache)
        return self._run(ids, caches, True, trace)

    def _run(
        self,
        chunks: Sequence[Integer[np.ndarray, " _"]] | Integer[np.ndarray, "rows 1"],
        caches: Sequence[KVCache | None],
        last_only: bool,
        trace: Trace | None,
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """One step on chunks that have been checked."""
        step = self._step(chunks, caches, last_only)
        ops, record = self.operators, IGNORE
        if trace is not None:
            record = trace.new_step(self.config.axis_sizes | step.axis_sizes)
        elif ops.decode_step is not None and ops.decode_step.takes(self.weights, step):
            return ops.decode_step(self.weights, self.config, step)
        return self.run_step(step, record)

    def run_step(
        self, step: Step, record: Recorder = IGNORE
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """A checked step through every layer. A model that is split has its own way."""
        return forward(self.weights, self.config, self.operators, step, record)

    def _step(
        self,
        chunks: Sequence[Integer[np.ndarray, " _"]] | Integer[np.ndarray, "rows 1"],
        caches: Sequence[KVCache | None],
        last_only: bool,
    ) -> Step:
        spans = spans_of([len(chunk) for chunk in chunks], caches)
        angles = [self.operators.rope_cos_sin(self.inv_freq, span.past, span.seq) for span in spans]
        cos, sin = (_joined(parts) for parts in zip(*angles, strict=True))
        scaling = self.config.rope_scaling
        if scaling is not None and scaling.attention_factor != 1.0:
            cos, sin = cos * scaling.attention_factor, sin * scaling.attention_factor
        cos, sin = cast(cos, self.precision.compute), cast(sin, self.precision.compute)
        return Step(_joined(chunks), cos, sin, spans, self.precision.cache, last_only)

    @contextmanager
    def using(self, **parts: Any) -> Iterator[None]:
        """Inside the `with` block, the model has other parts than its own; after it, its own again.

        `parts` are any of `operators`, `weights`, `config` and `inv_freq`. Raises `InputError` for
        another name.
        """
        if unknown := parts.keys() - {"operators", "weights", "config", "inv_freq"}:
            raise InputError(
                f"expected operators, weights, config or inv_freq, got {min(unknown)!r}"
            )
        kept = {name: vars(self)[name] for name in parts}
        vars(self).update(parts)
        try:
            yield
        finally:
            vars(self).update(kept)


def _joined(arrays: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The arrays one behind the other; of a single one, the array itself."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _check_one_each(caches: Sequence[KVCache], count: int, what: str) -> None:
    """Raise unless there is a cache for each of `count` things, and no cache twice."""
    different = len({id(cache) for cache in caches})
    if not count == len(caches) == different:
        raise InputError(
            f"expected a cache of its own for each of {count} {what}, got "
            f"{different} caches in {len(caches)} places"
        )
