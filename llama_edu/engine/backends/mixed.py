"""Operators for narrow storage: weights and cache in 16 or 8 bits, arithmetic in float32.

BLAS has no product of float32 with bfloat16, so narrow rows are widened first, some at a time:
few enough that the widened copy is still in the cache of the processor when BLAS reads it. NumPy
gains no speed this way, it loses some; what is gained is memory. A compiled kernel widens in
registers instead and gains both.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from llama_edu.engine.operators import NUMPY, Operators
from llama_edu.formats.precision import to_float32
from llama_edu.formats.quantize import Stored, rows_as_float32
from llama_edu.ops import attention
from llama_edu.ops import linear as float32

__all__ = ["MIXED", "linear", "qk_scores", "score_v"]

BLOCK_NBYTES = 512 * 1024  # of widened rows; half of a usual second-level cache


def linear(
    x: Float32[np.ndarray, "seq in_features"],
    weight: Float[np.ndarray, "out_features in_features"] | Stored,
    bias: Float32[np.ndarray, " out_features"] | None = None,
) -> Float32[np.ndarray, "seq out_features"]:
    """y = x Wᵀ + b, with `weight` in any storage, widened in blocks of rows."""
    out_features, in_features = weight.shape
    step = max(1, BLOCK_NBYTES // (4 * in_features))
    y = np.empty((len(x), out_features), dtype=np.float32)
    for start in range(0, out_features, step):
        rows = slice(start, start + step)
        y[:, rows] = float32.linear(x, rows_as_float32(weight, rows))
    if bias is not None:
        y += bias
    return y


def qk_scores(
    q: Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"],
    k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float32[np.ndarray, "n_kv_heads n_groups seq total_seq"]:
    """`attention.qk_scores` for keys kept in any format."""
    return attention.qk_scores(q, to_float32(k))


def score_v(
    attn_weights: Float32[np.ndarray, "n_kv_heads n_groups seq total_seq"],
    v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
    """`attention.score_v` for values kept in any format."""
    return attention.score_v(attn_weights, to_float32(v))


MIXED: Operators = replace(NUMPY, linear=linear, qk_scores=qk_scores, score_v=score_v)
"""Operators whose weights and cache may be narrower than the float32 they compute in."""
