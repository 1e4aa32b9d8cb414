"""One new token through a model that fits into the processor's cache, in NumPy, and sooner.

The operators are those of `llama_edu.engine.forward`, in the same order, with the same numbers up
to rounding. A row is a plain vector here, and what reads the same vector is one product, which
spares NumPy much of the work around the arithmetic: a small model spends most of its time there. A
large one spends it reading weights, each once per token, and gains next to nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from llama_edu.engine.backends.numpy_attention import attend_row
from llama_edu.engine.cache import KVCache
from llama_edu.engine.step import Step
from llama_edu.engine.weights import LayerWeights, Projection, Weights
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.quantize import rows_as_float32

__all__ = ["SmallModelDecode"]

STAYS_NBYTES = 8 * 1024 * 1024  # weights that are still in the processor's cache a token later

Array = np.ndarray


def rms_norm(
    x: Float32[np.ndarray, " hidden_size"], gain: Float32[np.ndarray, " hidden_size"], eps: float
) -> Float32[np.ndarray, " hidden_size"]:
    """gain · x / √(mean(x²) + eps)."""
    return gain * (x / math.sqrt(np.dot(x, x) / len(x) + eps))


def apply_rope(
    heads: Float32[np.ndarray, "heads 2 half_dim"],
    cos: Float32[np.ndarray, "1 half_dim"],
    signed_sin: Float32[np.ndarray, "2 half_dim"],
) -> Float32[np.ndarray, " width"]:
    """Every head's two halves rotated, in one go.

    `signed_sin` is the sine with its sign in front of each half: the first half loses
    second · sin, the second gains first · sin.
    """
    rotated = heads * cos
    rotated += heads[:, ::-1] * signed_sin
    return rotated.reshape(-1)


def attend(
    q: Float32[np.ndarray, "n_kv_heads n_groups head_dim"],
    k: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
    v: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float32[np.ndarray, " width"]:
    """`attend_row`, with the heads side by side."""
    return attend_row(q, k, v).reshape(-1)


def swiglu(
    gate: Float32[np.ndarray, " intermediate_size"], up: Float32[np.ndarray, " intermediate_size"]
) -> Float32[np.ndarray, " intermediate_size"]:
    """gate / (1 + e⁻ᵍᵃᵗᵉ) · up."""
    return gate / (1.0 + np.exp(-gate)) * up


@dataclass(frozen=True)
class SmallModelDecode:
    """The shortcut. Its fields are what it is made of, so that each can be exchanged, or timed."""

    linear: Callable[[Any, Array], Array] = np.dot
    """`linear(weight, x)`: W x, for a weight that is a plain array. What is near is best read in
    blocks of rows, as BLAS does."""
    rms_norm: Callable[[Array, Array, float], Array] = rms_norm
    apply_rope: Callable[[Array, Array, Array], Array] = apply_rope
    attend: Callable[[Array, Array, Array], Array] = attend
    swiglu: Callable[[Array, Array], Array] = swiglu

    def takes(self, weights: Weights, step: Step) -> bool:
        """One new token, on weights and a cache of float32, of a small model."""
        return (
            len(step.token_ids) == 1
            and step.is_decode
            and step.kv_format == "F32"
            and weights.nbytes <= STAYS_NBYTES
        )

    def __call__(
        self, weights: Weights, config: LlamaConfig, step: Step
    ) -> Float32[np.ndarray, "1 vocab_size"]:
        """Logits after the one new token, which is added to its cache."""
        eps = config.rms_norm_eps
        (span,) = step.spans
        assert span.cache is not None  # `takes` has seen it
        past_and_new = _appender(span.cache)
        signed_sin = np.concatenate([-step.sin, step.sin])
        x = rows_as_float32(weights.embed_tokens, step.token_ids)[0]
        # In SwiGLU: for very negative x, e⁻ˣ is infinite and x / ∞ is the right answer: 0.
        with np.errstate(over="ignore"):
            for i, (layer, joined) in enumerate(
                zip(weights.layers, weights.joined_projections, strict=True)
            ):
                normed = self.rms_norm(x, layer.input_layernorm, eps)
                q, k, v = self._qkv(
                    self._project(normed, joined.qkv_proj), layer, step.cos, signed_sin
                )
                merged = self.attend(q, *past_and_new(i, k, v))
                x = x + self._project(merged, layer.o_proj)
                normed = self.rms_norm(x, layer.post_attention_layernorm, eps)
                gate_up = self._project(normed, joined.gate_up_proj)
                width = len(gate_up) // 2
                gated = self.swiglu(gate_up[:width], gate_up[width:])
                x = x + self._project(gated, layer.down_proj)
        logits = self.linear(weights.lm_head, self.rms_norm(x, weights.norm, eps))[None]
        step.advance()
        return logits

    def _project(self, x: Array, projection: Projection) -> Array:
        y = self.linear(projection.weight, x)
        if projection.bias is not None:
            y += projection.bias
        return y

    def _qkv(
        self, y: Array, layer: LayerWeights, cos: Array, signed_sin: Array
    ) -> tuple[Array, Array, Array]:
        """Query, key and value, side by side in `y`, by heads; the first two rotated."""
        q_width, kv_width = len(layer.q_proj.weight), len(layer.k_proj.weight)
        half = cos.shape[1]
        halves = y[: q_width + kv_width].reshape(-1, 2, half)  # (n_heads + n_kv_heads, 2, half)
        rotated = self.apply_rope(halves, cos, signed_sin)
        n_kv_heads = kv_width // (2 * half)
        return (
            rotated[:q_width].reshape(n_kv_heads, -1, 2 * half),
            rotated[q_width:].reshape(n_kv_heads, 2 * half),
            y[q_width + kv_width :].reshape(n_kv_heads, 2 * half),
        )


def _appender(cache: KVCache) -> Callable[[int, Array, Array], tuple[Array, Array]]:
    """What writes a layer's new key and value, and returns all: what can be done once, is done."""
    if cache.runs:
        return lambda layer, k, v: cache.append(layer, k[:, None], v[:, None])
    keys, values = cache.reserve(1)  # (n_layers, n_kv_heads, capacity, head_dim)
    past, total_seq = cache.length, cache.length + 1

    def append(layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        keys[layer, :, past], values[layer, :, past] = k, v
        return keys[layer, :, :total_seq], values[layer, :, :total_seq]

    return append
