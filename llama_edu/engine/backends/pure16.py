"""Pure 16-bit operators: each rounds its result to the format of its input, bfloat16 or float16.

This is what `transformers` does for `dtype=torch.bfloat16`. Where it rounds is copied from there,
in its "eager" attention: after each product, after each of the two products RoPE adds, before the
gain of RMSNorm. Sums are held in float32 inside an operator, and so is the whole of softmax: only
what one operator hands to the next has 16 bits. A program written once over a number type, and run
on a 16-bit one, is worse off: its sums are rounded at every addition, and long ones stop growing.

What cannot be matched bit for bit is the order in which a sum over many products is taken, and
with it the last bit of a result now and then; nor the fused "sdpa" attention, which rounds less.
"""

import numpy as np
from jaxtyping import Float

from llama_edu.engine.operators import Operators
from llama_edu.formats.precision import to_float32
from llama_edu.ops import attention

__all__ = ["PURE", "linear", "qk_scores", "rms_norm", "score_v", "softmax", "swiglu"]


def linear(
    x: Float[np.ndarray, "seq in_features"],
    weight: Float[np.ndarray, "out_features in_features"],
    bias: Float[np.ndarray, " out_features"] | None = None,
) -> Float[np.ndarray, "seq out_features"]:
    """x Wᵀ + b in float32, rounded once at the end."""
    y = np.matmul(to_float32(x), to_float32(weight).T)
    if bias is not None:
        y += to_float32(bias)
    return y.astype(x.dtype)


def rms_norm(
    x: Float[np.ndarray, "seq hidden_size"],
    weight: Float[np.ndarray, " hidden_size"],
    eps: float,
) -> Float[np.ndarray, "seq hidden_size"]:
    """Normalise in float32, round, then multiply by the gain and round again."""
    wide = to_float32(x)
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
    return weight * (wide * (1.0 / np.sqrt(mean_square + float(eps)))).astype(x.dtype)


def qk_scores(
    q: Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
    k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float[np.ndarray, "n_kv_heads n_groups seq total_seq"]:
    """q · k, rounded, then scaled by 1 / √head_dim and rounded again."""
    n_kv_heads, n_groups, seq, head_dim = q.shape
    stacked = to_float32(q).reshape(n_kv_heads, n_groups * seq, head_dim)
    products = np.matmul(stacked, to_float32(k).transpose(0, 2, 1)).astype(q.dtype)
    scaled = to_float32(products) * head_dim**-0.5
    return scaled.astype(q.dtype).reshape(n_kv_heads, n_groups, seq, -1)


def softmax(x: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows n"]:
    """The float32 softmax, rounded once."""
    return attention.softmax(to_float32(x)).astype(x.dtype)


def score_v(
    attn_weights: Float[np.ndarray, "n_kv_heads n_groups seq total_seq"],
    v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
    """The float32 mix of the values, rounded once."""
    return attention.score_v(to_float32(attn_weights), to_float32(v)).astype(attn_weights.dtype)


def swiglu(
    gate: Float[np.ndarray, "seq intermediate_size"],
    up: Float[np.ndarray, "seq intermediate_size"],
) -> Float[np.ndarray, "seq intermediate_size"]:
    """silu(gate), rounded, times up, rounded."""
    wide = to_float32(gate)
    with np.errstate(over="ignore"):  # x / ∞ is the right answer: 0
        activated = (wide / (1.0 + np.exp(-wide))).astype(gate.dtype)
    return activated * up


PURE = Operators(
    linear=linear,
    rms_norm=rms_norm,
    qk_scores=qk_scores,
    softmax=softmax,
    score_v=score_v,
    swiglu=swiglu,
)
"""Operators that take and give 16-bit arrays."""
