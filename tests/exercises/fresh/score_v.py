"""Weights times values, and what follows."""

import numpy as np
from fresh_answers import right, wrong

from llama_edu.ops import attention
from llama_edu.ops.rope import apply_rope, apply_rope_interleaved

MV, ME, AR, WH = "mix_values", "merge", "attention_rows", "without_head"


def mix_einsum(weights, buffer):
    return np.einsum("ngst,ntd->ngsd", weights, buffer[:, : weights.shape[-1]])


def mix_loop(weights, buffer):
    n, g, s, t = weights.shape
    out = np.zeros((n, g, s, buffer.shape[-1]), np.float32)
    for head in range(n):
        out[head] = (weights[head].reshape(g * s, t) @ buffer[head, :t]).reshape(g, s, -1)
    return out


def merge_loop(attn_v):
    n, g, s, d = attn_v.shape
    out = np.empty((s, n * g * d), attn_v.dtype)
    for head in range(n * g):
        out[:, head * d : (head + 1) * d] = attn_v[head // g, head % g]
    return out


def heads_concatenated(attn_v):
    heads = attn_v.reshape(-1, *attn_v.shape[2:])
    return np.concatenate(list(heads), axis=1)


def rows(
    q,
    k,
    v,
    cos,
    sin,
    *,
    q_at="end",
    turn=apply_rope,
    v_turned=False,
    k_turned=True,
    q_turned=True,
    masked=True,
    past_in_mask=True,
    scale=1.0,
    merged=True,
):
    seq, total = q.shape[2], k.shape[1]
    at = {"end": slice(total - seq, total), "start": slice(0, seq)}[q_at]
    if q_turned:
        q = turn(q, cos[at], sin[at])
    if k_turned:
        k = turn(k, cos, sin)
    if v_turned:
        v = turn(v, cos, sin)
    scores = attention.qk_scores(q * np.float32(scale), k)
    if masked:
        mask = (
            attention.causal_mask(seq, total - seq)
            if past_in_mask
            else np.tri(seq, total, dtype=bool)
        )
        scores = attention.apply_mask(scores, mask)
    mixed = attention.score_v(attention.softmax(scores), v)
    return attention.merge_heads(mixed) if merged else mixed


def rows_by_hand(q, k, v, cos, sin):
    n, g, seq, d = q.shape
    total, half = k.shape[1], d // 2

    def turned(x, c, s):
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, b * c + a * s], axis=-1)

    q, k = turned(q, cos[total - seq :], sin[total - seq :]), turned(k, cos, sin)
    out = np.empty((seq, n * g * d), np.float32)
    for head in range(n * g):
        keys, values = k[head // g], v[head // g]
        for i in range(seq):
            seen = total - seq + i + 1
            scores = keys[:seen] @ q[head // g, head % g, i] * np.float32(d**-0.5)
            p = np.exp(scores - scores.max())
            out[i, head * d : (head + 1) * d] = p / p.sum() @ values[:seen]
    return out


def no_softmax(q, k, v, cos, sin):
    seq, total = q.shape[2], k.shape[1]
    q, k = apply_rope(q, cos[total - seq :], sin[total - seq :]), apply_rope(k, cos, sin)
    scores = attention.qk_scores(q, k) * attention.causal_mask(seq, total - seq)
    return attention.merge_heads(attention.score_v(scores.astype(np.float32), v))


def without(merged, weight, head, head_dim):
    part = slice(head * head_dim, (head + 1) * head_dim)
    return merged @ weight.T - merged[:, part] @ weight[:, part].T


def without_zeroed(merged, weight, head, head_dim):
    silent = merged.copy()
    silent[:, head * head_dim : (head + 1) * head_dim] = 0
    return silent @ weight.T


def without_columns(merged, weight, head, head_dim):
    part = np.r_[head * head_dim : (head + 1) * head_dim]
    return np.delete(merged, part, 1) @ np.delete(weight, part, 1).T


def without_in_place(merged, weight, head, head_dim):
    merged[:, head * head_dim : (head + 1) * head_dim] = 0
    return merged @ weight.T


def without_rows(merged, weight, head, head_dim):
    weight = weight.copy()
    weight[head * head_dim : (head + 1) * head_dim] = 0
    return merged @ weight.T


def without_stride(merged, weight, head, head_dim):
    silent = merged.copy()
    silent[:, head::head_dim] = 0
    return silent @ weight.T


def without_number(merged, weight, head, head_dim):
    silent = merged.copy()
    silent[:, head] = 0
    return silent @ weight.T


def without_next(merged, weight, head, head_dim):
    return without(merged, weight, (head + 1) % (merged.shape[1] // head_dim), head_dim)


def without_result(merged, weight, head, head_dim):
    out = merged @ weight.T
    out[:, head * head_dim : (head + 1) * head_dim] = 0
    return out


ANSWERS = (
    right(MV, "einsum", mix_einsum),
    right(MV, "loop", mix_loop),
    wrong(
        MV,
        "whole buffer, zeros appended",
        lambda w, b: (
            np.pad(w, ((0, 0),) * 3 + ((0, b.shape[1] - w.shape[-1]),), constant_values=1)
            @ b[:, None]
        ),
    ),
    wrong(MV, "whole buffer", lambda w, b: np.einsum("ngst,ntd->ngsd", w, b)),
    wrong(MV, "last rows", lambda w, b: w @ b[:, None, -w.shape[-1] :], "stale_rows"),
    wrong(
        MV,
        "first seq rows",
        lambda w, b: w[..., : w.shape[2]] @ b[:, None, : w.shape[2]],
        "seq_rows",
    ),
    wrong(MV, "axes exchanged", lambda w, b: mix_einsum(w, b).swapaxes(-1, -2), "turned"),
    wrong(MV, "one head for all", lambda w, b: w @ b[:1, None, : w.shape[-1]], "first_head"),
    wrong(MV, "other group order", lambda w, b: mix_einsum(w[:, ::-1], b)),
    wrong(MV, "heads reversed", lambda w, b: mix_einsum(w, b[::-1]), "heads_reversed"),
    wrong(MV, "float64", lambda w, b: mix_einsum(w, b).astype(np.float64)),
    wrong(
        MV,
        "normalised again",
        lambda w, b: mix_einsum(w / np.float32(w.shape[-1]), b),
        "divided_again",
    ),
    wrong(
        MV,
        "merged",
        lambda w, b: mix_einsum(w, b).transpose(2, 0, 1, 3).reshape(w.shape[2], -1),
        "merged",
    ),
    wrong(
        MV,
        "mean of values",
        lambda w, b: np.broadcast_to(
            b[:, None, None, : w.shape[-1]].mean(-2), mix_einsum(w, b).shape
        ).copy(),
        "plain_mean",
    ),
    right(ME, "loop", merge_loop),
    right(ME, "concatenate", heads_concatenated),
    wrong(ME, "only reshaped", lambda a: a.reshape(a.shape[2], -1), "reshaped"),
    wrong(
        ME,
        "groups before heads",
        lambda a: a.transpose(2, 1, 0, 3).reshape(a.shape[2], -1),
        "interleaved",
    ),
    wrong(
        ME,
        "numbers before heads",
        lambda a: a.transpose(2, 3, 0, 1).reshape(a.shape[2], -1),
        "numbers_first",
    ),
    wrong(ME, "turned", lambda a: merge_loop(a).T, "stacked"),
    wrong(ME, "not merged", lambda a: a.transpose(2, 0, 1, 3), "not_merged"),
    wrong(ME, "heads reversed", lambda a: merge_loop(a[::-1]), "reversed"),
    wrong(ME, "mean of heads", lambda a: a.mean((0, 1)), "mean"),
    wrong(ME, "sum of heads", lambda a: a.sum((0, 1)), "summed"),
    wrong(
        ME,
        "only kv heads merged",
        lambda a: a.transpose(1, 2, 0, 3).reshape(a.shape[1], a.shape[2], -1),
        "one_axis",
    ),
    wrong(ME, "swapaxes", lambda a: a.swapaxes(1, 2).reshape(a.shape[2], -1), "tokens_and_groups"),
    wrong(
        ME,
        "concatenated below",
        lambda a: np.concatenate(list(a.reshape(-1, *a.shape[2:])), axis=0),
        "below",
    ),
    right(AR, "with the operators", rows),
    right(AR, "by hand", rows_by_hand),
    wrong(AR, "v turned", lambda *a: rows(*a, v_turned=True), "v_rotated"),
    wrong(AR, "queries at the start", lambda *a: rows(*a, q_at="start"), "no_offset"),
    wrong(AR, "no mask", lambda *a: rows(*a, masked=False), "no_mask"),
    wrong(
        AR, "mask without the past", lambda *a: rows(*a, past_in_mask=False), "mask_without_past"
    ),
    wrong(AR, "keys not turned", lambda *a: rows(*a, k_turned=False), "k_not_rotated"),
    wrong(AR, "queries not turned", lambda *a: rows(*a, q_turned=False), "q_not_rotated"),
    wrong(
        AR, "nothing turned", lambda *a: rows(*a, q_turned=False, k_turned=False), "nothing_rotated"
    ),
    wrong(AR, "interleaved", lambda *a: rows(*a, turn=apply_rope_interleaved), "interleaved"),
    wrong(AR, "turned backwards", lambda q, k, v, c, s: rows(q, k, v, c, -s)),
    wrong(AR, "scaled twice", lambda *a: rows(*a, scale=a[0].shape[-1] ** -0.5), "scaled_twice"),
    wrong(AR, "not scaled", lambda *a: rows(*a, scale=a[0].shape[-1] ** 0.5), "unscaled"),
    wrong(AR, "no softmax", no_softmax),
    wrong(AR, "not merged", lambda *a: rows(*a, merged=False), "not_merged"),
    right(WH, "subtracted", without),
    right(WH, "zeroed", without_zeroed),
    right(WH, "columns deleted", without_columns),
    wrong(WH, "in place", without_in_place, "in_place"),
    wrong(WH, "rows of the weight", without_rows, "rows"),
    wrong(WH, "a stride", without_stride),
    wrong(WH, "one number", without_number, "one_number"),
    wrong(WH, "the next head", without_next, "next_head"),
    wrong(WH, "zeroed in the result", without_result, "rows"),
    wrong(WH, "all heads", lambda m, w, h, d: m @ w.T, "all_heads"),
    wrong(WH, "only that head", lambda m, w, h, d: m @ w.T - without(m, w, h, d), "others"),
    wrong(WH, "weight not turned", lambda m, w, h, d: without_zeroed(m, w, h, d)[:, ::-1]),
    wrong(WH, "the last d", lambda m, w, h, d: m[:, : h * d] @ w[:, : h * d].T, "heads_before"),
    wrong(
        WH, "counted from one", lambda m, w, h, d: without(m, w, max(h - 1, 0), d), "head_before"
    ),
    wrong(WH, "turned", lambda m, w, h, d: without(m, w, h, d).T, "turned"),
)
