"""Mask and softmax."""

import numpy as np
from fresh_answers import right, wrong

SC, MS, RS, FB = "staircase", "mask_scores", "row_softmax", "fold_block"
INF = np.float32(np.inf)


def stairs_loop(seq, past):
    mask = np.zeros((seq, past + seq), dtype=bool)
    for i in range(seq):
        mask[i, : past + i + 1] = True
    return mask


def stairs_compare(seq, past):
    return np.arange(past + seq)[None] <= past + np.arange(seq)[:, None]


def mask_by_place(scores):
    seq, total = scores.shape[-2:]
    future = np.arange(total) > np.arange(total - seq, total)[:, None]
    out = scores.copy()
    out[..., future] = -np.inf
    return out


def mask_where(scores):
    seq, total = scores.shape[-2:]
    return np.where(np.tri(seq, total, total - seq, dtype=bool), scores, -INF)


def mask_with(allowed, value=-INF):
    """A mask by `allowed(seq, total)` and what stands in the other places."""

    def masked(scores):
        seq, total = scores.shape[-2:]
        return np.where(allowed(seq, total), scores, np.float32(value))

    return masked


def mask_in_place(scores):
    seq, total = scores.shape[-2:]
    scores[..., ~np.tri(seq, total, total - seq, dtype=bool)] = -np.inf
    return scores


def mask_added(scores):
    seq, total = scores.shape[-2:]
    with np.errstate(invalid="ignore"):
        return scores + (1 - np.tri(seq, total, total - seq, dtype=np.float32)) * -INF


def mask_multiplied(scores):
    seq, total = scores.shape[-2:]
    return scores * np.tri(seq, total, total - seq, dtype=np.float32)


def soft(scores, *, axis=-1, shift=True, dtype=np.float32, scale=1.0):
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x = scores - scores.max(axis=axis, keepdims=True) if shift else scores
        p = np.exp(x * np.float32(scale))
        return (p / p.sum(axis=axis, keepdims=True)).astype(dtype)


def soft_rows(scores):
    out = np.empty_like(scores)
    for i in np.ndindex(scores.shape[:-1]):
        p = np.exp(scores[i] - scores[i].max())
        out[i] = p / p.sum()
    return out


def soft_logs(scores):
    top = scores.max(-1, keepdims=True)
    logs = top + np.log(np.exp(scores - top).sum(-1, keepdims=True))
    return np.exp(scores - logs).astype(np.float32)


def soft_global(scores):
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.exp(scores - scores.max())
        return p / p.sum(-1, keepdims=True)


def soft_nan(scores):
    return np.nan_to_num(soft(scores, shift=False)).astype(np.float32)


def fold(largest, total, block):
    new = max(largest, float(np.max(block)))
    if new == -np.inf:
        return largest, total
    return new, total * float(np.exp(largest - new)) + float(np.exp(block - new).sum())


def fold_where(largest, total, block):
    top = float(max(largest, block.max()))
    base = top if np.isfinite(top) else 0.0
    return top, float(total * np.exp(largest - base) + np.exp(block - base).sum())


def fold_naive(largest, total, block):
    new = max(largest, float(block.max()))
    with np.errstate(invalid="ignore"):
        return new, float(total * np.exp(largest - new) + np.exp(block - new).sum())


def fold_restart(largest, total, block):
    if block.max() == -np.inf:
        return -np.inf, 0.0
    return fold(largest, total, block)


def fold_no_rescale(largest, total, block):
    new = max(largest, float(block.max()))
    return (new, total) if new == -np.inf else (new, total + float(np.exp(block - new).sum()))


def fold_block_only(largest, total, block):
    top = float(block.max())
    return (largest, total) if top == -np.inf else (top, float(np.exp(block - top).sum()))


def fold_wrong_sign(largest, total, block):
    new = max(largest, float(block.max()))
    if new == -np.inf:
        return largest, total
    if largest == -np.inf:
        return fold(largest, total, block)
    return new, total * float(np.exp(new - largest)) + float(np.exp(block - new).sum())


def fold_old_maximum(largest, total, block):
    new = max(largest, float(block.max()))
    if largest == -np.inf:
        return fold(largest, total, block)
    with np.errstate(over="ignore"):
        return new, float(total + np.exp(block - largest).sum())


def fold_mean(largest, total, block):
    new, both = fold(largest, total, block)
    return new, both / len(block)


def fold_from_zero(largest, total, block):
    return fold(max(largest, 0.0), total, block)


def fold_nan(largest, total, block):
    new, both = fold_naive(largest, total, block)
    return new, float(np.nan_to_num(both))


ANSWERS = (
    right(SC, "loop", stairs_loop),
    right(SC, "comparison", stairs_compare),
    right(SC, "tri", lambda s, p: np.tri(s, s + p, p, dtype=bool)),
    wrong(
        SC,
        "past forgotten in the shift",
        lambda s, p: np.tri(s, s + p, dtype=bool),
        "from_the_left",
    ),
    wrong(SC, "without the past", lambda s, p: np.tri(s, dtype=bool), "square"),
    wrong(SC, "one too far", lambda s, p: np.tri(s, s + p, p + 1, dtype=bool), "one_more"),
    wrong(SC, "not itself", lambda s, p: np.tri(s, s + p, p - 1, dtype=bool), "not_itself"),
    wrong(SC, "upside down", lambda s, p: ~np.tri(s, s + p, p, dtype=bool), "upside_down"),
    wrong(SC, "float", lambda s, p: np.tri(s, s + p, p, dtype=np.float32), "not_bool"),
    wrong(SC, "turned", lambda s, p: np.tri(s, s + p, p, dtype=bool).T, "turned"),
    wrong(SC, "all true", lambda s, p: np.ones((s, s + p), bool), "all_true"),
    wrong(
        SC,
        "past hidden",
        lambda s, p: np.hstack([np.zeros((s, p), bool), np.tri(s, dtype=bool)]),
        "without_past",
    ),
    wrong(
        SC,
        "past behind",
        lambda s, p: np.hstack([np.tri(s, dtype=bool), np.ones((s, p), bool)]),
        "past_last",
    ),
    wrong(SC, "square", lambda s, p: np.tri(s + p, dtype=bool), "whole_square"),
    wrong(SC, "upper triangle", lambda s, p: np.triu(np.ones((s, s + p), bool), p), "upper"),
    wrong(SC, "integers", lambda s, p: np.tri(s, s + p, p, dtype=int)),
    right(MS, "by places", mask_by_place),
    right(MS, "where", mask_where),
    wrong(
        MS,
        "off with a past",
        lambda s: s.copy() if s.shape[-1] > s.shape[-2] else mask_where(s),
        "unless_cached",
    ),
    wrong(MS, "past forgotten", mask_with(lambda n, t: np.tri(n, t, dtype=bool)), "no_shift"),
    wrong(
        MS, "not itself", mask_with(lambda n, t: np.tri(n, t, t - n - 1, dtype=bool)), "not_itself"
    ),
    wrong(
        MS, "one too far", mask_with(lambda n, t: np.tri(n, t, t - n + 1, dtype=bool)), "one_more"
    ),
    wrong(
        MS, "upside down", mask_with(lambda n, t: ~np.tri(n, t, t - n, dtype=bool)), "upside_down"
    ),
    wrong(MS, "zeros", mask_with(lambda n, t: np.tri(n, t, t - n, dtype=bool), 0), "multiplied"),
    wrong(
        MS,
        "large negative",
        mask_with(lambda n, t: np.tri(n, t, t - n, dtype=bool), -1e9),
        "billion",
    ),
    wrong(
        MS, "+inf", mask_with(lambda n, t: np.tri(n, t, t - n, dtype=bool), np.inf), "plus_infinity"
    ),
    wrong(MS, "in place", mask_in_place, "in_place"),
    wrong(MS, "added product", mask_added, "zero_times_infinity"),
    wrong(MS, "multiplied", mask_multiplied, "multiplied"),
    wrong(MS, "float64", lambda s: mask_where(s).astype(np.float64)),
    wrong(
        MS,
        "past masked",
        mask_with(lambda n, t: np.hstack([np.zeros((n, t - n), bool), np.tri(n, dtype=bool)])),
        "past_hidden",
    ),
    right(RS, "rows", soft_rows),
    right(RS, "with logarithms", soft_logs),
    right(RS, "at once", soft),
    wrong(RS, "columns", lambda s: soft(s, axis=0), "first_axis"),
    wrong(RS, "all numbers", lambda s: soft(s, axis=None), "all_numbers"),
    wrong(RS, "no maximum", lambda s: soft(s, shift=False), "no_largest"),
    wrong(RS, "largest of all", soft_global, "one_largest"),
    wrong(RS, "not divided", lambda s: np.exp(s - s.max(-1, keepdims=True)), "not_divided"),
    wrong(RS, "float64", lambda s: soft(s, dtype=np.float64), "float64"),
    wrong(RS, "powers of two", lambda s: soft(s, scale=np.log(2)), "powers_of_two"),
    wrong(
        RS,
        "log softmax",
        lambda s: (
            s
            - s.max(-1, keepdims=True)
            - np.log(np.exp(s - s.max(-1, keepdims=True)).sum(-1, keepdims=True))
        ),
        "logarithms",
    ),
    wrong(RS, "NaN made 0", soft_nan, "nan_made_0"),
    wrong(
        RS,
        "minus the mean",
        lambda s: soft(np.where(np.isfinite(s), s - np.mean(s[np.isfinite(s)]), s), shift=False),
        "no_largest",
    ),
    wrong(RS, "share of the sum", lambda s: s / s.sum(-1, keepdims=True), "shares"),
    wrong(RS, "scaled again", lambda s: soft(s, scale=s.shape[-1] ** -0.5), "scaled_again"),
    wrong(RS, "hardmax", lambda s: (s == s.max(-1, keepdims=True)).astype(np.float32), "hard"),
    right(FB, "asks for -inf", fold),
    right(FB, "another base", fold_where),
    wrong(FB, "NaN at first", fold_naive, "masked_block"),
    wrong(FB, "masked block starts anew", fold_restart, "masked_resets"),
    wrong(FB, "total not rescaled", fold_no_rescale, "not_shrunk"),
    wrong(FB, "block alone", fold_block_only, "block_alone"),
    wrong(FB, "factor upside down", fold_wrong_sign),
    wrong(FB, "old maximum", fold_old_maximum, "old_largest"),
    wrong(FB, "mean of the block", fold_mean, "mean"),
    wrong(FB, "maximum from 0", fold_from_zero, "from_0"),
    right(FB, "NaN made 0", fold_nan),
    wrong(FB, "exchanged", lambda m, t, b: fold(m, t, b)[::-1], "exchanged"),
    wrong(FB, "only total", lambda m, t, b: fold(m, t, b)[1], "total_alone"),
    wrong(FB, "nothing changes", lambda m, t, b: (m, t), "nothing"),
)
