"""Rotations."""

import math

import numpy as np
from fresh_answers import right, wrong

from llama_edu.engine.llama import Llama

AN, RO, RN, SL, LO = "angles", "rotate", "rows_to_neighbours", "scaled_turns", "layout_of"


def ang(head_dim, theta, past, seq, *, step=2.0, start=None, sign=-1, width=None, dtype=np.float32):
    j = np.arange(head_dim // 2 if width is None else width)
    inv = float(theta) ** (sign * step * j / head_dim)
    positions = np.arange(seq) + (past if start is None else start)
    return np.outer(positions, inv).astype(dtype)


def ang_loop(head_dim, theta, past, seq):
    out = np.zeros((seq, head_dim // 2), dtype=np.float32)
    for i in range(seq):
        for j in range(head_dim // 2):
            out[i, j] = (past + i) / theta ** (2 * j / head_dim)
    return out


def ang_roots(head_dim, theta, past, seq):
    positions = np.arange(past, past + seq, dtype=np.float64)[:, np.newaxis]
    pairs = np.arange(0, head_dim, 2) / head_dim
    return (positions / np.power(theta, pairs)[None]).astype(np.float32)


def halves(x, cos, sin, *, sign=1):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - sign * b * sin, b * cos + sign * a * sin], axis=-1)


def rotate_complex(x, cos, sin):
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * (cos + 1j * sin)
    return np.concatenate([z.real, z.imag], axis=-1).astype(np.float32)


def rotate_half(x, cos, sin):
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    return x * np.tile(cos, 2) + turned * np.tile(sin, 2)


def rotate_neighbours(x, cos, sin):
    out = np.empty_like(x)
    a, b = x[..., ::2], x[..., 1::2]
    out[..., ::2], out[..., 1::2] = a * cos - b * sin, b * cos + a * sin
    return out


def rotate_in_place(x, cos, sin):
    half = x.shape[-1] // 2
    x[..., :half] = x[..., :half] * cos - x[..., half:] * sin
    x[..., half:] = x[..., half:] * cos + x[..., :half] * sin
    return x


def rotate_overwritten(x, cos, sin):
    return rotate_in_place(x.copy(), cos, sin)


def rotate_half_sign(x, cos, sin):
    half = x.shape[-1] // 2
    turned = np.concatenate([x[..., half:], x[..., :half]], -1)
    return x * np.tile(cos, 2) + turned * np.tile(sin, 2)


def rotate_first_half(x, cos, sin):
    out = x.copy()
    half = x.shape[-1] // 2
    out[..., :half] = x[..., :half] * cos - x[..., half:] * sin
    return out


def rotate_repeat(x, cos, sin):
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], -1)
    return x * np.repeat(cos, 2, axis=-1) + turned * np.repeat(sin, 2, axis=-1)


def neighbours(weight, n_heads):
    rows = weight.reshape(n_heads, 2, -1, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def neighbours_by_index(weight, n_heads):
    d = len(weight) // n_heads
    inside = np.arange(d).reshape(2, d // 2).T.ravel()
    return weight[(np.arange(n_heads)[:, None] * d + inside).ravel()]


def to_halves(weight, n_heads):
    rows = weight.reshape(n_heads, -1, 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def neighbours_two_axes(weight, n_heads):
    rows = weight.reshape(n_heads, 2, -1, weight.shape[1])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def neighbours_second_first(weight, n_heads):
    out = neighbours(weight, n_heads).copy()
    out[::2], out[1::2] = out[1::2].copy(), out[::2].copy()
    return out


def scaled(
    turns, factor, low, high, context, *, swap=False, linear=True, blend=True, in_turns=True
):
    out = []
    for turn in turns:
        count = context * turn / (2 * math.pi) if in_turns else context * turn
        if count >= high:
            out.append(turn)
        elif count <= low:
            out.append(turn / factor)
        elif not blend:
            out.append(turn)
        else:
            share = (count - low) / (high - low)
            share = 1 - share if swap else share
            if linear:
                out.append(share * turn + (1 - share) * turn / factor)
            else:
                out.append(turn / (share + (1 - share) * factor))
    return np.array(out, dtype=turns.dtype)


def scaled_clip(turns, factor, low, high, context):
    count = turns * context / (2 * np.pi)
    share = np.clip((count - low) / (high - low), 0, 1)
    return (turns * (share + (1 - share) / factor)).astype(turns.dtype)


def neighbour_rows(config, tensors):
    out = dict(tensors)
    for name, array in tensors.items():
        for kind, heads in (
            ("q_proj", config.num_attention_heads),
            ("k_proj", config.num_key_value_heads),
        ):
            if kind in name:
                out[name] = to_halves(array, heads)
    return out


def loss(model, ids):
    logits = model.forward(ids[:-1]).astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -logp[np.arange(len(ids) - 1), ids[1:]].mean()


def layout(config, tensors, ids):
    as_is = loss(Llama(config, tensors), ids)
    turned = loss(Llama(config, neighbour_rows(config, tensors)), ids)
    return "half-split" if as_is < turned else "interleaved"


def layout_by_hits(config, tensors, ids):
    hits = []
    for some in (tensors, neighbour_rows(config, tensors)):
        best = Llama(config, some).forward(ids[:-1]).argmax(-1)
        hits.append((best == np.array(ids[1:])).sum())
    return ("half-split", "interleaved")[int(hits[1] > hits[0])]


def layout_other(config, tensors, ids):
    return {"half-split": "interleaved", "interleaved": "half-split"}[layout(config, tensors, ids)]


def layout_q_only(config, tensors, ids):
    turned = {
        n: (to_halves(a, config.num_attention_heads) if "q_proj" in n else a)
        for n, a in tensors.items()
    }
    return (
        "half-split"
        if loss(Llama(config, tensors), ids) < loss(Llama(config, turned), ids)
        else "interleaved"
    )


def layout_one_heads(config, tensors, ids):
    heads = config.num_attention_heads
    turned = {
        n: (to_halves(a, heads if "q_proj" in n else 1) if ("q_proj" in n or "k_proj" in n) else a)
        for n, a in tensors.items()
    }
    return (
        "half-split"
        if loss(Llama(config, tensors), ids) < loss(Llama(config, turned), ids)
        else "interleaved"
    )


def layout_not_shifted(config, tensors, ids):
    def own(model):
        logits = model.forward(ids)
        return -logits[np.arange(len(ids)), ids].mean()

    turned = Llama(config, neighbour_rows(config, tensors))
    return "half-split" if own(Llama(config, tensors)) < own(turned) else "interleaved"


def layout_with_v(config, tensors, ids):
    turned = neighbour_rows(config, tensors)
    for name, array in tensors.items():
        if "v_proj" in name:
            turned[name] = to_halves(array, config.num_key_value_heads)
    return (
        "half-split"
        if loss(Llama(config, tensors), ids) < loss(Llama(config, turned), ids)
        else "interleaved"
    )


ANSWERS = (
    right(AN, "outer", ang),
    wrong(AN, "loop", ang_loop),
    right(AN, "roots", ang_roots),
    wrong(AN, "past forgotten", lambda d, t, p, s: ang(d, t, 0, s), "no_past"),
    wrong(AN, "step 1", lambda d, t, p, s: ang(d, t, p, s, step=1.0), "single_steps"),
    wrong(AN, "growing", lambda d, t, p, s: ang(d, t, p, s, sign=1), "growing"),
    wrong(AN, "theta fixed", lambda d, t, p, s: ang(d, 10000.0, p, s), "fixed_theta"),
    wrong(AN, "counted from one", lambda d, t, p, s: ang(d, t, p + 1, s), "from_one"),
    wrong(AN, "float64", lambda d, t, p, s: ang(d, t, p, s, dtype=np.float64)),
    wrong(AN, "whole head", lambda d, t, p, s: ang(d, t, p, s, width=d), "every_number"),
    wrong(AN, "turned", lambda d, t, p, s: ang(d, t, p, s).T, "turned"),
    wrong(AN, "all positions", lambda d, t, p, s: ang(d, t, 0, p + s), "from_zero_on"),
    wrong(
        AN, "divided by the pairs", lambda d, t, p, s: ang(d // 2, t, p, s, width=d // 2), "of_half"
    ),
    wrong(AN, "cosine", lambda d, t, p, s: np.cos(ang(d, t, p, s)), "cosines"),
    wrong(AN, "repeated", lambda d, t, p, s: np.tile(ang(d, t, p, s), 2), "for_all"),
    right(RO, "halves", halves),
    right(RO, "complex", rotate_complex),
    right(RO, "rotate_half", rotate_half),
    wrong(RO, "neighbours", rotate_neighbours, "interleaved"),
    wrong(RO, "backwards", lambda x, c, s: halves(x, c, s, sign=-1), "backwards"),
    wrong(RO, "in place", rotate_in_place, "overwritten"),
    wrong(RO, "already turned", rotate_overwritten, "overwritten"),
    wrong(RO, "sign of the half", rotate_half_sign, "sign"),
    wrong(RO, "first half only", rotate_first_half, "first_half"),
    wrong(RO, "cos repeated", rotate_repeat, "mixed"),
    wrong(RO, "sin and cos exchanged", lambda x, c, s: halves(x, s, c), "exchanged"),
    wrong(RO, "not turned", lambda x, c, s: x.copy(), "not_turned"),
    wrong(RO, "cos only", lambda x, c, s: x * np.tile(c, 2), "cosine_only"),
    wrong(RO, "float64", lambda x, c, s: halves(x, c, s).astype(np.float64)),
    wrong(RO, "twice", lambda x, c, s: halves(halves(x, c, s), c, s), "twice"),
    right(RN, "swapaxes", neighbours),
    right(RN, "index", neighbours_by_index),
    wrong(RN, "the other way", to_halves, "way_back"),
    wrong(RN, "weights only", neighbours_two_axes, "weights_only"),
    wrong(RN, "pairs exchanged", neighbours_second_first, "swapped"),
    wrong(RN, "one head", lambda w, n: neighbours(w, 1), "one_head"),
    wrong(RN, "as it was", lambda w, n: w, "unchanged"),
    wrong(RN, "a copy", lambda w, n: w.copy(), "unchanged"),
    wrong(RN, "heads reversed", lambda w, n: neighbours(w[::-1], n), "heads_reversed"),
    wrong(
        RN,
        "columns",
        lambda w, n: neighbours(w.T, n).T if w.ndim == 2 and len(w.T) % (2 * n) == 0 else w.copy(),
        "unchanged",
    ),
    wrong(RN, "twice", lambda w, n: neighbours(neighbours(w, n), n), "twice"),
    wrong(
        RN,
        "not put together",
        lambda w, n: w.reshape(n, 2, -1, *w.shape[1:]).swapaxes(1, 2),
        "not_joined",
    ),
    right(SL, "loop", scaled),
    right(SL, "clip", scaled_clip),
    wrong(SL, "shares exchanged", lambda *a: scaled(*a, swap=True), "shares_exchanged"),
    wrong(SL, "no blend", lambda *a: scaled(*a, blend=False), "step"),
    wrong(SL, "periods blended", lambda *a: scaled(*a, linear=False), "periods_blended"),
    wrong(SL, "radians counted", lambda *a: scaled(*a, in_turns=False), "no_pi"),
    wrong(SL, "all divided", lambda t, f, lo, hi, c: (t / f).astype(t.dtype), "linear"),
    wrong(SL, "nothing divided", lambda t, f, lo, hi, c: t.copy(), "not_scaled"),
    wrong(SL, "low and high exchanged", lambda t, f, lo, hi, c: scaled(t, f, hi, lo, c), "step"),
    wrong(
        SL,
        "slow ones kept",
        lambda t, f, lo, hi, c: np.where(t * c / (2 * np.pi) >= hi, t / f, t).astype(t.dtype),
        "fast_divided",
    ),
    wrong(SL, "multiplied", lambda t, f, lo, hi, c: scaled(t, 1 / f, lo, hi, c), "multiplied"),
    wrong(
        SL,
        "context times factor",
        lambda t, f, lo, hi, c: scaled(t, f, lo, hi, c * f),
        "longer_context",
    ),
    wrong(SL, "float64", lambda *a: scaled(*a).astype(np.float64)),
    wrong(SL, "half turns", lambda t, f, lo, hi, c: scaled(t, f, lo, hi, 2 * c), "half_turns"),
    right(LO, "likelihood", layout),
    right(LO, "hits", layout_by_hits),
    wrong(LO, "the other one", layout_other),
    wrong(LO, "always half-split", lambda c, t, i: "half-split"),
    wrong(LO, "always interleaved", lambda c, t, i: "interleaved"),
    wrong(LO, "queries only", layout_q_only),
    wrong(LO, "keys in one head", layout_one_heads),
    wrong(LO, "not shifted", layout_not_shifted),
    wrong(LO, "v as well", layout_with_v),
    wrong(LO, "a capital", lambda c, t, i: layout(c, t, i).capitalize()),
    wrong(LO, "true", lambda c, t, i: layout(c, t, i) == "half-split"),
    wrong(LO, "a loss", lambda c, t, i: loss(Llama(c, t), i)),
    wrong(LO, "nothing", lambda c, t, i: None),
)
