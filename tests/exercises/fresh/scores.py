"""Scores of queries against keys."""

import numpy as np
from fresh_answers import right, wrong

GS, SQ, KH, AB = "group_scores", "split_queries", "key_head_of", "attend_in_blocks"


def scores_at(q, k):
    return (q @ k[:, None].swapaxes(-1, -2)) * q.shape[-1] ** -0.5


def scores_einsum(q, k):
    return np.einsum("ngsd,ntd->ngst", q, k) / float(np.sqrt(q.shape[-1]))


def scores_loop(q, k):
    out = np.zeros((*q.shape[:3], k.shape[1]), np.float32)
    for head in range(len(k)):
        for group in range(q.shape[1]):
            out[head, group] = q[head, group] @ k[head].T
    return out * np.float32(1 / np.sqrt(q.shape[-1]))


def scores_scaled_in_place(q, k):
    q *= q.shape[-1] ** -0.5
    return np.einsum("ngsd,ntd->ngst", q, k)


def wrong_scale(scale):
    """Scores with a scale of one's own, from (head_dim, q, k)."""

    def scores(q, k):
        return np.einsum("ngsd,ntd->ngst", q, k) * float(scale(q.shape[-1], q, k))

    return scores


def scores_repeat(q, k):
    n, g, _, d = q.shape
    wide = np.tile(k, (g, 1, 1)).reshape(n, g, -1, d)
    return np.einsum("ngsd,ngtd->ngst", q, wide) * d**-0.5


def split_swap(q, n_kv_heads, head_dim):
    return q.reshape(len(q), n_kv_heads, -1, head_dim).transpose(1, 2, 0, 3)


def split_loop(q, n_kv_heads, head_dim):
    groups = q.shape[1] // head_dim // n_kv_heads
    out = np.empty((n_kv_heads, groups, len(q), head_dim), q.dtype)
    for n in range(n_kv_heads):
        for g in range(groups):
            head = n * groups + g
            out[n, g] = q[:, head * head_dim : (head + 1) * head_dim]
    return out


def split_group_first(q, n_kv_heads, head_dim):
    return q.reshape(len(q), -1, n_kv_heads, head_dim).transpose(2, 1, 0, 3)


def split_dims_first(q, n_kv_heads, head_dim):
    return q.reshape(len(q), head_dim, n_kv_heads, -1).transpose(2, 3, 0, 1)


def online(q_row, k, v, block, *, scale=True, start=-np.inf, rescale=True, last=True, divide=True):
    s = len(q_row) ** -0.5 if scale else 1.0
    largest, total, mix = start, 0.0, np.zeros(v.shape[1], np.float32)
    stop = len(k) if last else max(block, len(k) // block * block)
    for i in range(0, stop, block):
        scores = k[i : i + block] @ q_row * s
        new = max(largest, float(scores.max()))
        factor = float(np.exp(largest - new)) if rescale else 1.0
        p = np.exp(scores - new)
        total = total * factor + float(p.sum())
        mix = mix * np.float32(factor) + p @ v[i : i + block]
        largest = new
    return (mix / total if divide else mix).astype(np.float32)


def two_passes(q_row, k, v, block):
    q = q_row * np.float32(len(q_row) ** -0.5)
    blocks = [slice(i, i + block) for i in range(0, len(k), block)]
    largest = max(float((k[b] @ q).max()) for b in blocks)
    total, mix = np.float32(0), np.zeros(v.shape[1], np.float32)
    for b in blocks:
        p = np.exp(k[b] @ q - np.float32(largest))
        total += p.sum()
        mix += p @ v[b]
    return mix / total


def at_once(q_row, k, v, block):
    scores = k @ q_row * len(q_row) ** -0.5
    p = np.exp(scores - scores.max())
    return (p / p.sum()) @ v


def blocks_averaged(q_row, k, v, block):
    outs = [
        at_once(q_row, k[i : i + block], v[i : i + block], block) for i in range(0, len(k), block)
    ]
    return np.mean(outs, axis=0, dtype=np.float32)


def no_maximum(q_row, k, v, block):
    total, mix = 0.0, np.zeros(v.shape[1], np.float32)
    for i in range(0, len(k), block):
        p = np.exp(k[i : i + block] @ q_row * len(q_row) ** -0.5)
        total += float(p.sum())
        mix += p @ v[i : i + block]
    return mix / np.float32(total)


def product_first(q_row, k, v, block):
    scores = k * q_row * len(q_row) ** -0.5
    scores = scores.sum(axis=1)
    p = np.exp(scores - scores.max())
    return (p / p.sum()) @ v


def block_maximum(q_row, k, v, block):
    total, mix = 0.0, np.zeros(v.shape[1], np.float32)
    for i in range(0, len(k), block):
        scores = k[i : i + block] @ q_row * len(q_row) ** -0.5
        p = np.exp(scores - scores.max())
        total += float(p.sum())
        mix += p @ v[i : i + block]
    return mix / np.float32(total)


def total_not_rescaled(q_row, k, v, block):
    largest, total, mix = -np.inf, 0.0, np.zeros(v.shape[1], np.float32)
    for i in range(0, len(k), block):
        scores = k[i : i + block] @ q_row * len(q_row) ** -0.5
        new = max(largest, float(scores.max()))
        p = np.exp(scores - new)
        total += float(p.sum())
        mix = mix * np.float32(np.exp(largest - new)) + p @ v[i : i + block]
        largest = new
    return (mix / total).astype(np.float32)


ANSWERS = (
    right(GS, "matmul", scores_at),
    right(GS, "einsum", scores_einsum),
    right(GS, "loops", scores_loop),
    wrong(GS, "not scaled", lambda q, k: np.einsum("ngsd,ntd->ngst", q, k), "unscaled"),
    wrong(GS, "divided by head_dim", wrong_scale(lambda d, q, k: 1 / d), "scaled_twice"),
    wrong(GS, "multiplied", wrong_scale(lambda d, q, k: d**0.5), "multiplied"),
    wrong(GS, "scaled by seq", wrong_scale(lambda d, q, k: k.shape[1] ** -0.5), "by_keys"),
    wrong(
        GS,
        "scaled by the width",
        wrong_scale(lambda d, q, k: (d * len(k) * q.shape[1]) ** -0.5),
        "scaled_by_width",
    ),
    wrong(
        GS,
        "float64",
        lambda q, k: np.einsum("ngsd,ntd->ngst", q, k) / np.sqrt(np.float64(q.shape[-1])),
        "float64",
    ),
    wrong(GS, "axes exchanged", lambda q, k: scores_at(q, k).swapaxes(-1, -2), "keys_first"),
    wrong(GS, "q scaled in place", scores_scaled_in_place, "scaled_in_place"),
    wrong(GS, "keys repeated the wrong way", scores_repeat, "modulo"),
    wrong(
        GS,
        "first head's keys for all",
        lambda q, k: scores_at(q, np.repeat(k[:1], len(k), 0)),
        "one_key_head",
    ),
    wrong(
        GS,
        "softmax as well",
        lambda q, k: np.exp(scores_at(q, k)) / np.exp(scores_at(q, k)).sum(-1, keepdims=True),
        "softmax_too",
    ),
    wrong(GS, "flat heads", lambda q, k: scores_at(q, k).reshape(-1, q.shape[2], k.shape[1])),
    right(SQ, "reshape and transpose", split_swap),
    right(SQ, "loops", split_loop),
    wrong(SQ, "only reshaped", lambda q, n, d: q.reshape(n, -1, len(q), d), "reshape_as_transpose"),
    wrong(SQ, "groups first", split_group_first, "groups_first"),
    wrong(SQ, "numbers of a head far apart", split_dims_first, "dim_first"),
    wrong(SQ, "token first", lambda q, n, d: q.reshape(len(q), n, -1, d), "token_first"),
    wrong(
        SQ,
        "two axes exchanged",
        lambda q, n, d: q.reshape(len(q), n, -1, d).transpose(1, 0, 2, 3),
        "one_axis_moved",
    ),
    wrong(
        SQ,
        "groups first in the result",
        lambda q, n, d: q.reshape(len(q), n, -1, d).transpose(2, 1, 0, 3),
    ),
    wrong(
        SQ,
        "no group axis",
        lambda q, n, d: q.reshape(len(q), -1, d).transpose(1, 0, 2),
        "no_groups",
    ),
    wrong(
        SQ,
        "swapaxes of the wrong two",
        lambda q, n, d: q.reshape(len(q), n, -1, d).swapaxes(0, 2).swapaxes(0, 1)[::-1],
    ),
    wrong(SQ, "turned first", lambda q, n, d: q.T.reshape(n, -1, d, len(q))),
    wrong(
        SQ,
        "turned and reshaped",
        lambda q, n, d: np.ascontiguousarray(q.T).reshape(n, -1, len(q), d),
        "turned_and_reshaped",
    ),
    right(KH, "groups", lambda h, n, kv: h // (n // kv)),
    right(KH, "a share", lambda h, n, kv: h * kv // n),
    wrong(KH, "modulo", lambda h, n, kv: h % kv, "modulo"),
    wrong(KH, "a float", lambda h, n, kv: h / (n / kv), "a_share"),
    wrong(KH, "floor of a float", lambda h, n, kv: h // (n / kv), "a_float"),
    wrong(KH, "divided by the heads", lambda h, n, kv: h // kv, "swapped"),
    wrong(KH, "modulo of the group", lambda h, n, kv: h % (n // kv), "in_group"),
    wrong(KH, "always 0", lambda h, n, kv: 0, "always_first"),
    wrong(KH, "the head", lambda h, n, kv: h, "own_head"),
    wrong(KH, "rounded", lambda h, n, kv: round(h * kv / n), "rounded"),
    wrong(KH, "one too many", lambda h, n, kv: h // (n // kv) + 1, "one_more"),
    wrong(KH, "from the end", lambda h, n, kv: kv - 1 - h // (n // kv), "backwards"),
    wrong(KH, "at most the last", lambda h, n, kv: min(h, kv - 1), "at_most_last"),
    right(AB, "online", online),
    right(AB, "two passes", two_passes),
    wrong(AB, "all at once", at_once, "all_at_once"),
    wrong(AB, "scores by products, all at once", product_first, "all_at_once"),
    wrong(AB, "not scaled", lambda q, k, v, b: online(q, k, v, b, scale=False), "unscaled"),
    wrong(AB, "maximum starts at 0", lambda q, k, v, b: online(q, k, v, b, start=0.0), "from_zero"),
    wrong(AB, "never rescaled", lambda q, k, v, b: online(q, k, v, b, rescale=False), "not_shrunk"),
    wrong(
        AB,
        "last block left out",
        lambda q, k, v, b: online(q, k, v, b, last=False),
        "last_block_lost",
    ),
    wrong(AB, "not divided", lambda q, k, v, b: online(q, k, v, b, divide=False), "not_divided"),
    wrong(AB, "mean of blocks", blocks_averaged),
    wrong(AB, "no maximum", no_maximum, "no_largest"),
    wrong(AB, "maximum of each block", block_maximum, "own_maximum"),
    wrong(AB, "total not rescaled", total_not_rescaled, "total_not_shrunk"),
    wrong(AB, "one row too many axes", lambda q, k, v, b: online(q, k, v, b)[None], "one_row"),
    wrong(AB, "float64", lambda q, k, v, b: online(q, k, v, b).astype(np.float64)),
)
