"""The forward pass once more, with a seam wherever a mistake can sit.

`llama_edu.model.Llama` is written to be read and to be fast; it has no place for a position that is
counted wrongly or a cache that forgets to forget. `PartsEngine` computes the same from the same
functions, and takes every step from a `Parts`, so that a mistake is the exchange of one field. With
no field exchanged it gives the engine's own numbers, bit for bit: `tests/verify` compares them.

It answers protocol 1's `forward`: keep the first `past` positions, feed ids, give the last row.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import to_float32
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.formats.tensor_shapes import EMBED_TOKENS, LM_HEAD
from llama_edu.ops import attention
from llama_edu.ops.linear import linear
from llama_edu.ops.mlp import swiglu
from llama_edu.ops.norm import rms_norm
from llama_edu.ops.rope import apply_rope, inverse_frequencies

__all__ = [
    "RIGHT",
    "Cache",
    "Clock",
    "Layer",
    "Model",
    "Parts",
    "PartsEngine",
    "combined",
    "read_model",
]

Array = np.ndarray
NORM = "model.norm.weight"


@dataclass(frozen=True)
class Model:
    """A config and its tensors in float32, by checkpoint name. `directory` holds the files.

    `raw` is the parsed `config.json`, for mistakes in reading it.
    """

    config: LlamaConfig
    tensors: Mapping[str, Array]
    directory: Path
    raw: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, **tensors: Array) -> "Model":
        """A copy with some tensors exchanged; `__` in a keyword stands for a dot."""
        new = {name.replace("__", "."): array for name, array in tensors.items()}
        return replace(self, tensors={**self.tensors, **new})

    def mapped(self, change: Callable[[str, Array], Array]) -> "Model":
        """A copy with every tensor as `change(name, tensor)` gives it."""
        return replace(self, tensors={n: change(n, a) for n, a in self.tensors.items()})

    def configured(self, **fields: Any) -> "Model":
        """A copy with some fields of its config exchanged."""
        return replace(self, config=replace(self.config, **fields))


def read_model(directory: Path) -> Model:
    """Read a model directory. Raises what the config and the checkpoint raise."""
    config = LlamaConfig.from_directory(directory)
    stored = open_checkpoint(directory)
    tensors = {name: to_float32(array) for name, array in stored.items()}
    raw = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return Model(config, tensors, directory, raw)


@dataclass(frozen=True)
class Clock:
    """Where a call stands. `first` is the length of the first chunk since the last reset."""

    past: int
    seq: int
    calls: int = 0
    first: int = 0
    layer: int = 0


class Cache:
    """Keys and values per layer, `(n_kv_heads, rows, head_dim)`; the first `length` rows count."""

    def __init__(self, config: LlamaConfig) -> None:
        empty = np.empty((config.num_key_value_heads, 0, config.head_dim), dtype=np.float32)
        self.keys = [empty] * config.num_hidden_layers
        self.values = [empty] * config.num_hidden_layers
        self.length = 0

    def begin(self, past: int) -> None:
        """Keep the first `past` positions."""
        self.length = past

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write new rows after the ones that count; returns all, past and new."""
        self.keys[layer] = self._with(self.keys[layer], k)
        self.values[layer] = self._with(self.values[layer], v)
        return self.keys[layer], self.values[layer]

    def end(self, seq: int) -> None:
        """Make the new rows count."""
        self.length += seq

    def _with(self, old: Array, new: Array) -> Array:
        return np.concatenate([old[:, : self.length], new], axis=1) if self.length else new


class Layer:
    """One layer of a pass under way: its two norms, its attention and its MLP, to be put in order.

    `index` says whose weights are used, `slot` which rows of the cache.
    """

    def __init__(self, engine: "PartsEngine", clock: Clock, index: int, slot: int) -> None:
        self.engine, self.clock, self.index, self.slot = engine, clock, index, slot

    def norm(self, x: Array, name: str) -> Array:
        """RMSNorm with the weight called `name`: "input_layernorm", for example."""
        return self.engine.norm(x, name, self.index)

    def project(self, x: Array, name: str) -> Array:
        """One linear layer: "self_attn.q_proj", for example."""
        parts, tensors = self.engine.parts, self.engine.model.tensors
        prefix = f"model.layers.{self.index}.{name}"
        return parts.project(parts, x, prefix, tensors)

    def attention(self, x: Array) -> Array:
        """From a normed stream to what `o_proj` gives."""
        engine, parts, config = self.engine, self.engine.parts, self.engine.model.config
        q, k, v = (self.project(x, f"self_attn.{name}_proj") for name in "qkv")
        heads = config.num_key_value_heads, config.head_dim
        q = parts.split_queries(q, *heads)
        k, v = parts.split_keys(k, *heads), parts.split_values(v, *heads)
        q, k, v = parts.turn(q, k, v, self)
        k, v = engine.cache.append(self.slot, k, v)
        k = parts.late_keys(k, self)
        scores = parts.masked(parts.scores(q, k), self.clock)
        mixed = parts.mix(parts.softmax(scores), v)
        return self.project(parts.merge(mixed), "self_attn.o_proj")

    def turned(self, x: Array) -> Array:
        """Queries or keys of this call, rotated."""
        return self.turned_at(x, self.engine.parts.positions(self.clock))

    def turned_at(self, x: Array, positions: Array) -> Array:
        """Queries or keys, rotated by the given positions."""
        parts = self.engine.parts
        return parts.rope(x, *parts.rotation(self.engine.inv_freq, positions))

    def mlp(self, x: Array) -> Array:
        """From a normed stream to what `down_proj` gives."""
        gate, up = self.project(x, "mlp.gate_proj"), self.project(x, "mlp.up_proj")
        return self.project(self.engine.parts.gated(gate, up), "mlp.down_proj")


def _block(x: Array, layer: Layer) -> Array:
    x = x + layer.attention(layer.norm(x, "input_layernorm"))
    return x + layer.mlp(layer.norm(x, "post_attention_layernorm"))


def _project(parts: "Parts", x: Array, prefix: str, tensors: Mapping[str, Array]) -> Array:
    return parts.linear(x, tensors[prefix + ".weight"], tensors.get(prefix + ".bias"))


def _masked(scores: Array, clock: Clock) -> Array:
    if clock.seq == 1:
        return scores
    return attention.apply_mask(scores, attention.causal_mask(clock.seq, clock.past))


def _rotation(inv_freq: Array, positions: Array) -> tuple[Array, Array]:
    angles = positions[:, None] * inv_freq
    return np.cos(angles), np.sin(angles)


def _positions(clock: Clock) -> Array:
    return np.arange(clock.past, clock.past + clock.seq, dtype=np.float32)


def _head(model: Model) -> Array:
    tied = model.config.tie_word_embeddings
    names = (EMBED_TOKENS, LM_HEAD) if tied else (LM_HEAD,)
    return next(model.tensors[name] for name in names if name in model.tensors)


def _table(model: Model) -> Array:
    names = (EMBED_TOKENS, LM_HEAD) if model.config.tie_word_embeddings else (EMBED_TOKENS,)
    return next(model.tensors[name] for name in names if name in model.tensors)


def _norm_at(engine: "PartsEngine", x: Array, name: str, index: int) -> Array:
    return engine.parts.norm(x, engine.gain(name, index), engine.model.config.rms_norm_eps)


def _turn(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    return layer.turned(q), layer.turned(k), v


@dataclass(frozen=True)
class Parts:
    """Every step of the pass. A mistake exchanges one of them, or a few.

    `read` changes what was loaded, config or tensors, and is the one field that composes.
    """

    read: Callable[[Model], Model] = lambda model: model
    table: Callable[[Model], Array] = _table
    embed: Callable[[Array, Array], Array] = lambda table, ids: table[ids]
    norm: Callable[[Array, Array, float], Array] = rms_norm
    norm_at: Callable[["PartsEngine", Array, str, int], Array] = _norm_at
    linear: Callable[[Array, Array, Array | None], Array] = linear
    project: Callable[["Parts", Array, str, Mapping[str, Array]], Array] = _project
    split_queries: Callable[[Array, int, int], Array] = attention.split_query_heads
    split_keys: Callable[[Array, int, int], Array] = attention.split_kv_heads
    split_values: Callable[[Array, int, int], Array] = attention.split_kv_heads
    inv_freq: Callable[[LlamaConfig], Array] = inverse_frequencies
    positions: Callable[[Clock], Array] = _positions
    rotation: Callable[[Array, Array], tuple[Array, Array]] = _rotation
    rope: Callable[[Array, Array, Array], Array] = apply_rope
    turn: Callable[[Array, Array, Array, Layer], tuple[Array, ...]] = _turn
    cache: Callable[[LlamaConfig], Cache] = Cache
    late_keys: Callable[[Array, Layer], Array] = lambda k, layer: k
    scores: Callable[[Array, Array], Array] = attention.qk_scores
    masked: Callable[[Array, Clock], Array] = _masked
    softmax: Callable[[Array], Array] = attention.softmax
    mix: Callable[[Array, Array], Array] = attention.score_v
    merge: Callable[[Array], Array] = attention.merge_heads
    gated: Callable[[Array, Array], Array] = swiglu
    block: Callable[[Array, Layer], Array] = _block
    layers: Callable[[int], Sequence[int]] = range
    last: Callable[[Array], Array] = lambda x: x[-1:]
    head: Callable[[Model], Array] = _head
    logits: Callable[[Array, Model], Array] = lambda logits, model: logits


RIGHT = Parts()


def combined(changes: Sequence[Mapping[str, Any]]) -> Parts | None:
    """The parts with all changes made; None if two of them exchange the same field."""
    together: dict[str, Any] = {}
    for change in changes:
        for name, function in change.items():
            if name not in together:
                together[name] = function
            elif name == "read":
                together[name] = _both(together[name], function)
            else:
                return None
    return replace(RIGHT, **together)


def _both(
    first: Callable[[Model], Model], second: Callable[[Model], Model]
) -> Callable[[Model], Model]:
    return lambda model: second(first(model))


class PartsEngine:
    """An engine made of parts. Keeps its cache between calls, as a program does."""

    def __init__(self, model: Model, parts: Parts = RIGHT) -> None:
        self.parts = parts
        self.model = parts.read(model)
        self.inv_freq = parts.inv_freq(self.model.config)
        self.cache = parts.cache(self.model.config)
        self.calls, self.first = 0, 0

    def gain(self, name: str, index: int) -> Array:
        """The weight of a norm; `index` counts layers, and is of no use for the last norm."""
        if name == "norm":
            return self.model.tensors[NORM]
        return self.model.tensors[f"model.layers.{index}.{name}.weight"]

    def norm(self, x: Array, name: str, index: int) -> Array:
        """One RMSNorm of the pass: "input_layernorm", "post_attention_layernorm" or "norm"."""
        return self.parts.norm_at(self, x, name, index)

    @cached_property
    def ends(self) -> tuple[Array, Array]:
        """The table that embeds and the one that scores."""
        return self.parts.table(self.model), self.parts.head(self.model)

    def forward(self, ids: Sequence[int], past: int) -> Array:
        """The logits after the last id, `(vocab_size,)`; not finite if the mistake is of that kind.

        Raises whatever a mistake makes NumPy raise: a shape that does not fit, for example.
        """
        parts, model = self.parts, self.model
        table, head = self.ends
        self.cache.begin(past)
        if past == 0:
            self.calls, self.first = 0, len(ids)
        clock = Clock(self.cache.length, len(ids), self.calls, self.first)
        with np.errstate(all="ignore"):
            x = parts.embed(table, np.asarray(ids))
            for slot, index in enumerate(parts.layers(model.config.num_hidden_layers)):
                x = parts.block(x, Layer(self, replace(clock, layer=slot), index, slot))
            self.cache.end(len(ids))
            self.calls += 1
            x = self.norm(parts.last(x), "norm", 0)
            return parts.logits(parts.linear(x, head, None), model)[-1]
