"""The whole Llama: token ids in, logits out. Sampling, text and conversation live above it."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

from llama_edu import hub
from llama_edu.engine.backends.select import operators_of
from llama_edu.engine.cache import KVCache
from llama_edu.engine.trace import IGNORE, Recorder, Trace
from llama_edu.engine.weights import LayerWeights, Projection, load_weights
from llama_edu.errors import ContextError, InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import DTYPES, precision_named, rounded, to_float32
from llama_edu.formats.quantize import rows_as_float32
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.ops import attention
from llama_edu.ops.rope import inverse_frequencies, rotation

__all__ = ["Llama"]


class Llama:
    """A decoder-only transformer with its weights. Holds no state between calls.

    `tensors` maps checkpoint names to arrays of any floating-point format. `precision` is a name
    from `llama_edu.formats.precision.PRECISIONS` and `cache_dtype`, where given, overrides what it
    keeps keys and values as. `backend` is "numpy" or "numba".

    Raises `CheckpointError` if the tensors are not what `config` calls for, `NumericsError` if
    their numbers do not fit the precision, `InputError` for an unknown name, and `ImportError` if
    the backend's package is not installed.
    """

    def __init__(
        self,
        config: LlamaConfig,
        tensors: Mapping[str, np.ndarray],
        *,
        precision: str = "f32",
        backend: str = "numpy",
        cache_dtype: str | None = None,
    ) -> None:
        self.config = config
        self.precision = precision_named(precision, cache_dtype)
        self.operators = operators_of(backend, self.precision)
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
        """An empty cache with room for `max_seq` positions, by default the model's context."""
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
        seq, past = len(ids), 0 if cache is None else cache.length
        self.check_room(seq, cache)
        record = IGNORE
        if trace is not None:
            positions = {"seq": seq, "past": past, "total_seq": past + seq}
            record = trace.new_step(self.config.axis_sizes | positions)

        ops, compute = self.operators, self.precision.compute
        x = self._embed(ids)  # (seq, hidden_size)
        record("embed_tokens", x, "seq hidden_size")
        cos, sin = (rounded(a, compute) for a in rotation(self.inv_freq, past, seq))
        if ops.step is not None and seq == 1 and cache is not None and trace is None:
            return ops.step(self, x, cos, sin, cache)
        # A single new token may look at everything.
        mask = attention.causal_mask(seq, past) if seq > 1 else None
        for i, layer in enumerate(self.weights.layers):
            here = record.at(f"layers.{i}")
            x = x + self._attention(x, i, layer, cos, sin, mask, cache, here)
            here("attn_residual", x, "seq hidden_size")
            x = x + self._mlp(x, layer, here)
            here("mlp_residual", x, "seq hidden_size")
        if cache is not None:
            cache.advance(seq)

        x = ops.rms_norm(x, self.weights.norm, self.config.rms_norm_eps)
        record("norm", x, "seq hidden_size")
        # The head is the widest product of all; only the last row is needed to go on.
        logits = ops.linear(x[-1:] if last_only else x, self.weights.lm_head)
        record("logits", logits, "1 vocab_size" if last_only else "seq vocab_size")
        return to_float32(logits)

    def forward_batch(
        self,
        token_ids: Sequence[int] | Integer[np.ndarray, " rows"],
        caches: Sequence[KVCache],
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """Logits after one new token of each of several texts: row i continues `caches[i]`.

        The rows go through every weight together, so the weights are read once for all of them;
        only attention, whose keys and values are each text's own, is computed row by row. A row
        is what `forward` gives for that text alone, but for the order in which BLAS sums.
        Each cache gains its token. Raises as `forward` does, before any work, and `InputError`
        unless there is one cache, of its own, for each id.
        """
        ids = self.checked_ids(token_ids)
        if len(ids) != len(caches) or len({id(cache) for cache in caches}) != len(caches):
            raise InputError(
                f"expected a cache of its own for each of {len(ids)} token ids, got "
                f"{len({id(cache) for cache in caches})} caches in {len(caches)} places"
            )
        for cache in caches:
            self.check_room(1, cache)
        if len(ids) == 1:
            return self.forward(ids, caches[0])
        return self._for_few_rows()._batched_step(ids, caches)

    def _for_few_rows(self) -> "Llama":
        """The same model, with the product that a few rows are best multiplied by."""
        ops = self.operators
        if ops.few is None:
            return self
        model = copy.copy(self)
        model.operators = replace(ops, linear=ops.few)
        return model

    def _batched_step(
        self, ids: Integer[np.ndarray, " rows"], caches: Sequence[KVCache]
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        x = self._embed(ids)  # (rows, hidden_size)
        turns = [rotation(self.inv_freq, cache.length, 1) for cache in caches]
        cos, sin = (
            rounded(np.concatenate(part), self.precision.compute)
            for part in zip(*turns, strict=True)
        )
        ops = self.operators
        if ops.batch is not None and len({cache.dtype for cache in caches}) == 1:
            return ops.batch(self, x, cos, sin, caches)
        for i, layer in enumerate(self.weights.layers):
            q, k, v = self._qkv(x, layer, cos, sin, IGNORE)
            merged = [
                self._attend(
                    q[:, :, r : r + 1], k[:, r : r + 1], v[:, r : r + 1], i, None, c, IGNORE
                )
                for r, c in enumerate(caches)
            ]
            x = x + self._project(np.concatenate(merged), layer.o_proj)
            x = x + self._mlp(x, layer, IGNORE)
        for cache in caches:
            cache.advance(1)
        x = ops.rms_norm(x, self.weights.norm, self.config.rms_norm_eps)
        return to_float32(ops.linear(x, self.weights.lm_head))

    def _embed(self, ids: Integer[np.ndarray, " seq"]) -> Float[np.ndarray, "seq hidden_size"]:
        if self.precision.is_pure:
            return self.weights.embed_tokens[ids]  # type: ignore[return-value]
        return rows_as_float32(self.weights.embed_tokens, ids)

    def _attention(
        self,
        x: Float[np.ndarray, "seq hidden_size"],
        layer_index: int,
        layer: LayerWeights,
        cos: Float[np.ndarray, "seq half_dim"],
        sin: Float[np.ndarray, "seq half_dim"],
        mask: Bool[np.ndarray, "seq total_seq"] | None,
        cache: KVCache | None,
        record: Recorder,
    ) -> Float[np.ndarray, "seq hidden_size"]:
        q, k, v = self._qkv(x, layer, cos, sin, record)
        record = record.at("self_attn")
        merged = self._attend(q, k, v, layer_index, mask, cache, record)
        record("merged", merged, "seq n_heads*head_dim")
        out = self._project(merged, layer.o_proj)
        record("o_proj", out, "seq hidden_size")
        return out

    def _qkv(
        self,
        x: Float[np.ndarray, "seq hidden_size"],
        layer: LayerWeights,
        cos: Float[np.ndarray, "seq half_dim"],
        sin: Float[np.ndarray, "seq half_dim"],
        record: Recorder,
    ) -> tuple[
        Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
        Float[np.ndarray, "n_kv_heads seq head_dim"],
        Float[np.ndarray, "n_kv_heads seq head_dim"],
    ]:
        ops = self.operators
        n_kv_heads, head_dim = self.config.num_key_value_heads, self.config.head_dim
        x = ops.rms_norm(x, layer.input_layernorm, self.config.rms_norm_eps)
        record("input_layernorm", x, "seq hidden_size")
        record = record.at("self_attn")

        q, k, v = (self._project(x, p) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
        record("q_proj", q, "seq n_heads*head_dim")
        record("k_proj", k, "seq n_kv_heads*head_dim")
        record("v_proj", v, "seq n_kv_heads*head_dim")
        q = ops.apply_rope(attention.split_query_heads(q, n_kv_heads, head_dim), cos, sin)
        k = ops.apply_rope(attention.split_kv_heads(k, n_kv_heads, head_dim), cos, sin)
        v = attention.split_kv_heads(v, n_kv_heads, head_dim)
        record("q_rope", q, "n_kv_heads n_groups seq head_dim")
        record("k_rope", k, "n_kv_heads seq head_dim")
        # Rounded as the cache would, so that a pass without one computes the same.
        k, v = (rounded(a, self.precision.cache) for a in (k, v))
        return q, k, v

    def _attend(
        self,
        q: Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
        k: Float[np.ndarray, "n_kv_heads seq head_dim"],
        v: Float[np.ndarray, "n_kv_heads seq head_dim"],
        layer_index: int,
        mask: Bool[np.ndarray, "seq total_seq"] | None,
        cache: KVCache | None,
        record: Recorder,
    ) -> Float[np.ndarray, "seq width"]:
        """Attention over the past, which the new keys and values join, and over themselves."""
        if cache is not None:
            k, v = cache.append(layer_index, k, v)
        record("keys", k, "n_kv_heads total_seq head_dim")
        record("values", v, "n_kv_heads total_seq head_dim")
        if self.operators.attend is not None and record is IGNORE:
            return attention.merge_heads(self.operators.attend(q, k, v))
        return attention.merge_heads(self._mix(q, k, v, mask, record))

    def _mix(
        self,
        q: Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
        k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
        v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
        mask: Bool[np.ndarray, "seq total_seq"] | None,
        record: Recorder,
    ) -> Float[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
        ops = self.operators
        scores = ops.qk_scores(q, k)
        record("scores", scores, "n_kv_heads n_groups seq total_seq")
        if mask is not None:
            scores = ops.apply_mask(scores, mask)
        record("masked_scores", scores, "n_kv_heads n_groups seq total_seq")
        weights = ops.softmax(scores)
        record("weights", weights, "n_kv_heads n_groups seq total_seq")
        attn_v = ops.score_v(weights, v)
        record("attn_v", attn_v, "n_kv_heads n_groups seq head_dim")
        return attn_v

    def _mlp(
        self, x: Float[np.ndarray, "seq hidden_size"], layer: LayerWeights, record: Recorder
    ) -> Float[np.ndarray, "seq hidden_size"]:
        x = self.operators.rms_norm(x, layer.post_attention_layernorm, self.config.rms_norm_eps)
        record("post_attention_layernorm", x, "seq hidden_size")
        record = record.at("mlp")
        gate, up = self._project(x, layer.gate_proj), self._project(x, layer.up_proj)
        record("gate_proj", gate, "seq intermediate_size")
        record("up_proj", up, "seq intermediate_size")
        gated = self.operators.swiglu(gate, up)
        record("gated", gated, "seq intermediate_size")
        out = self._project(gated, layer.down_proj)
        record("down_proj", out, "seq hidden_size")
        return out

    def _project(
        self, x: Float[np.ndarray, "seq in_features"], projection: Projection
    ) -> Float[np.ndarray, "seq out_features"]:
        return self.operators.linear(x, projection.weight, projection.bias)
