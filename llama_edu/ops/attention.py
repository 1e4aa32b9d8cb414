"""Grouped-query attention in five steps, each a function: split, Q@K, mask, softmax, Score@V.

There are `n_heads = n_kv_heads * n_groups` query heads and only `n_kv_heads` key/value heads. The
query heads of one group stand next to each other, so head h reads key/value head h // n_groups,
and a plain reshape to (n_kv_heads, n_groups) puts every query beside the key it shares. Keys and
values are never repeated.

The scores are the grid of the course this book grew out of: n_kv_heads × n_groups matrices, each
(seq, total_seq), where total_seq = past + seq.

Sources: Vaswani et al. 2017, equation 1, arXiv:1706.03762; Ainslie et al. 2023, GQA,
arXiv:2305.13245.
"""

import numpy as np
from jaxtyping import Bool, Float

__all__ = [
    "apply_mask",
    "causal_mask",
    "merge_heads",
    "qk_scores",
    "score_v",
    "sliding_window_mask",
    "softmax",
    "split_kv_heads",
    "split_query_heads",
]


def split_query_heads(
    q: Float[np.ndarray, "seq width"], n_kv_heads: int, head_dim: int
) -> Float[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
    """See a (seq, n_heads · head_dim) projection as one matrix per query head. A view."""
    seq = q.shape[0]
    return q.reshape(seq, n_kv_heads, -1, head_dim).transpose(1, 2, 0, 3)


def split_kv_heads(
    kv: Float[np.ndarray, "seq width"], n_kv_heads: int, head_dim: int
) -> Float[np.ndarray, "n_kv_heads seq head_dim"]:
    """See a (seq, n_kv_heads · head_dim) projection as one matrix per key/value head. A view."""
    return kv.reshape(kv.shape[0], n_kv_heads, head_dim).transpose(1, 0, 2)


def qk_scores(
    q: Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
    k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float[np.ndarray, "n_kv_heads n_groups seq total_seq"]:
    """q · k / √head_dim for every query and key that share a KV group.

    One matrix product per group: its n_groups query matrices, stacked, meet its one key matrix.
    """
    n_kv_heads, n_groups, seq, head_dim = q.shape
    stacked = q.reshape(n_kv_heads, n_groups * seq, head_dim)
    scores = np.matmul(stacked, k.transpose(0, 2, 1))  # (n_kv_heads, n_groups*seq, total_seq)
    scores *= head_dim**-0.5  # in place: float32 stays float32
    return scores.reshape(n_kv_heads, n_groups, seq, -1)


def causal_mask(seq: int, past: int) -> Bool[np.ndarray, "seq total_seq"]:
    """True where a query may look: at itself and at everything before it.

    Row i is the token at position past + i, so the staircase starts past + 1 wide.
    """
    return np.tri(seq, past + seq, k=past, dtype=np.bool_)


def sliding_window_mask(seq: int, past: int, window: int) -> Bool[np.ndarray, "seq total_seq"]:
    """The causal mask of a query that looks at `window` positions, its own the last of them.

    Source: Jiang et al. 2023, Mistral 7B, section 2, arXiv:2310.06825.
    """
    out_of_sight = np.tri(seq, past + seq, k=past - window, dtype=np.bool_)
    return causal_mask(seq, past) & ~out_of_sight


def apply_mask(
    scores: Float[np.ndarray, "n_kv_heads n_groups seq total_seq"],
    mask: Bool[np.ndarray, "seq total_seq"],
) -> Float[np.ndarray, "n_kv_heads n_groups seq total_seq"]:
    """Put -∞ where the mask is False, so that softmax gives exactly 0 there."""
    return np.where(mask, scores, scores.dtype.type(-np.inf))


def softmax(x: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows n"]:
    """e^x / Σ e^x along the last axis. Same dtype out as in.

    The row's largest value is subtracted first: the result is the same and nothing overflows.
    A row must hold at least one finite value.
    """
    # The ufuncs' own `reduce`: for one row, `np.max` and `np.sum` take longer to get there.
    weights = np.subtract(x, np.maximum.reduce(x, axis=-1, keepdims=True))
    np.exp(weights, out=weights)
    weights /= np.add.reduce(weights, axis=-1, keepdims=True)
    return weights


def score_v(
    attn_weights: Float[np.ndarray, "n_kv_heads n_groups seq total_seq"],
    v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
    """Mix the rows of each group's value matrix by every query's attention weights."""
    n_kv_heads, n_groups, seq, total_seq = attn_weights.shape
    stacked = attn_weights.reshape(n_kv_heads, n_groups * seq, total_seq)
    return np.matmul(stacked, v).reshape(n_kv_heads, n_groups, seq, -1)


def merge_heads(
    attn_v: Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
) -> Float[np.ndarray, "seq width"]:
    """Lay the heads side by side again: (seq, n_heads · head_dim), heads in their first order."""
    seq = attn_v.shape[2]
    return attn_v.transpose(2, 0, 1, 3).reshape(seq, -1)
