"""Attention in NumPy in one call, with as few arrays as it takes.

The numbers are those of `qk_scores`, `apply_mask`, `softmax` and `score_v` one after another, up to
rounding for a single row. Nothing can be looked at in between, so a trace goes the long way.
"""

import numpy as np
from jaxtyping import Float32

from llama_edu.ops.attention import qk_scores, score_v

__all__ = ["attend_row", "fused_attention"]


def fused_attention(
    q: Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"],
    k: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
    v: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
    """Causal attention of the last `seq` positions over all `total_seq`."""
    seq = q.shape[2]
    if seq == 1:
        return attend_row(q[:, :, 0], k, v)[:, :, None]
    scores = qk_scores(q, k)
    # What is masked lies in the last columns: all before them may be seen by every row.
    later = ~np.tri(seq, dtype=np.bool_)
    np.copyto(scores[..., -seq:], np.float32(-np.inf), where=later)
    return score_v(_softmax_in_place(scores), v)


def attend_row(
    q: Float32[np.ndarray, "n_kv_heads n_groups head_dim"],
    k: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
    v: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float32[np.ndarray, "n_kv_heads n_groups head_dim"]:
    """Attention of the newest position, which may look at everything: no mask."""
    # Matrix times vector for every query: matrix times matrix slows down with a long past.
    scores = np.matmul(k[:, None], q[..., None])[..., 0]  # (n_kv_heads, n_groups, total_seq)
    scores *= q.shape[-1] ** -0.5
    weights = _softmax_in_place(scores)
    return np.matmul(weights[:, :, None], v[:, None])[:, :, 0]


def _softmax_in_place(
    scores: Float32[np.ndarray, "*rows total_seq"],
) -> Float32[np.ndarray, "*rows total_seq"]:
    # The methods of ufuncs, since `np.max` and `np.sum` take longer to get here than to compute.
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    return scores
