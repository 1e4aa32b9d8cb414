"""Choosing a token."""

import numpy as np
from fresh_answers import right, wrong

WT, NU, FI, DR = "with_temperature", "nucleus", "filtered", "draw"


def soft(x, *, shift=True, axis=-1):
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(x - x.max() if shift else x)
        return (p / p.sum(axis)).astype(np.float32)


def soft_list(logits, temperature):
    top = max(float(x) for x in logits)
    powers = [float(np.exp((float(x) - top) / temperature)) for x in logits]
    return np.array([p / sum(powers) for p in powers], dtype=np.float32)


def soft_after(logits, temperature):
    p = soft(logits)
    return p / np.float32(temperature)


def soft_power(logits, temperature):
    p = soft(logits) ** np.float32(1 / temperature)
    return p / p.sum()


def soft_shift_after(logits, temperature):
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(logits / np.float32(temperature))
        return (p / p.sum()).astype(np.float32)


def soft_clipped(logits, temperature):
    p = np.exp(np.clip(logits / np.float32(temperature), -80, 80))
    return (p / p.sum()).astype(np.float32)


def soft_in_place(logits, temperature):
    logits -= logits.max()
    logits /= np.float32(temperature)
    p = np.exp(logits)
    return p / p.sum()


def top_p_loop(p, top_p):
    out, total = np.zeros_like(p), 0.0
    for i in np.argsort(-p, kind="stable"):
        out[i] = p[i]
        total += float(p[i])
        if total >= top_p:
            break
    return out / out.sum()


def top_p_search(
    p, top_p, *, side="left", drop=False, normal=True, stable=True, plus=1, at_least=1
):
    order = np.argsort(-p, kind="stable") if stable else np.argsort(p)[::-1]
    sums = np.cumsum(p[order].astype(np.float64))
    n = int(np.searchsorted(sums, top_p - 1e-9, side)) + plus
    n = max(n - 1, 0) if drop else n
    n = min(max(n, at_least), len(p))
    out = np.zeros_like(p)
    out[order[:n]] = p[order[:n]]
    return (out / out.sum()).astype(p.dtype) if normal else out


def top_p_before(p, top_p, *, equal=False):
    order = np.argsort(-p, kind="stable")
    sums = np.cumsum(p[order])
    before = sums - p[order]
    keep = before <= top_p if equal else before < top_p
    out = np.zeros_like(p)
    out[order[keep]] = p[order[keep]]
    return out / out.sum()


def top_p_threshold(p, top_p):
    out = np.where(p >= top_p * p.max(), p, 0).astype(p.dtype)
    return out / out.sum()


def top_p_min(p, top_p):
    out = np.where(p >= 1 - top_p, p, 0).astype(p.dtype)
    return out / out.sum() if out.any() else top_p_search(p, 0.0)


def top_p_not_sorted(p, top_p):
    keep = np.cumsum(p) - p < top_p
    out = np.where(keep, p, 0).astype(p.dtype)
    return out / out.sum()


def top_p_ascending(p, top_p):
    order = np.argsort(p, kind="stable")
    keep = np.cumsum(p[order]) - p[order] < top_p
    out = np.zeros_like(p)
    out[order[keep]] = p[order[keep]]
    return out / out.sum()


def top_p_sorted_out(p, top_p):
    out = np.sort(top_p_loop(p, top_p))[::-1]
    return out.copy()


def top_p_higher_ties(p, top_p):
    return top_p_loop(p[::-1], top_p)[::-1].copy()


def keep_k(logits, k):
    if k == 0 or k >= len(logits):
        return logits
    out = np.full_like(logits, -np.inf)
    best = np.argsort(-logits, kind="stable")[:k]
    out[best] = logits[best]
    return out


def filt(logits, temperature, top_k, top_p):
    return top_p_loop(soft(keep_k(logits / np.float32(temperature), top_k)), top_p)


def filt_by_hand(logits, temperature, top_k, top_p):
    scaled = logits.astype(np.float64) / temperature
    order = sorted(range(len(scaled)), key=lambda i: (-scaled[i], i))
    order = order[:top_k] if top_k else order
    p = np.exp(scaled[order] - scaled[order[0]])
    p /= p.sum()
    out, total = np.zeros(len(logits)), 0.0
    for i, share in zip(order, p, strict=True):
        out[i] = share
        total += share
        if total >= top_p:
            break
    return (out / out.sum()).astype(np.float32)


def filt_p_first(logits, temperature, top_k, top_p):
    p = top_p_loop(soft(logits / np.float32(temperature)), top_p)
    k = top_k or len(p)
    keep = np.argsort(-p, kind="stable")[:k]
    out = np.zeros_like(p)
    out[keep] = p[keep]
    return out / out.sum()


def filt_temperature_last(logits, temperature, top_k, top_p):
    p = top_p_loop(soft(keep_k(logits, top_k)), top_p)
    kept = np.where(p > 0, logits, np.float32(-np.inf))
    return soft(kept / np.float32(temperature))


def filt_p_of_all(logits, temperature, top_k, top_p):
    x = logits / np.float32(temperature)
    p = soft(x)
    kept = np.where((top_p_loop(p, top_p) > 0) & np.isfinite(keep_k(x, top_k)), p, 0)
    return (kept / kept.sum()).astype(np.float32)


def filt_between(logits, temperature, top_k, top_p):
    kept = keep_k(logits, top_k)
    p = top_p_loop(soft(kept), top_p)
    p = p ** np.float32(1 / temperature)
    return p / p.sum()


def filt_ties(logits, temperature, top_k, top_p):
    x = logits / np.float32(temperature)
    if 0 < top_k < len(x):
        x = np.where(x >= np.sort(x)[-top_k], x, np.float32(-np.inf))
    return top_p_loop(soft(x), top_p)


def draw(p, point, *, side="right", last=True, zero=True):
    sums = np.cumsum(p, dtype=np.float64)
    i = int(np.searchsorted(sums, point, side))
    if last:
        i = min(i, int(np.flatnonzero(p)[-1]))
    if zero:
        while p[i] == 0:
            i += 1
    return i


def draw_loop(p, point):
    total, answer = 0.0, 0
    for i, share in enumerate(p):
        if share > 0:
            answer = i
            total += float(share)
            if point < total:
                break
    return answer


def draw_scaled(p, point):
    support = np.flatnonzero(p > 0)
    sums = np.cumsum(p[support], dtype=np.float64)
    i = np.searchsorted(sums, point, side="right")
    return int(support[min(i, len(support) - 1)])


ANSWERS = (
    right(WT, "shifted", lambda x, t: soft(x / np.float32(t))),
    right(WT, "numbers", soft_list),
    wrong(WT, "probabilities divided", soft_after, "probabilities"),
    wrong(WT, "multiplied", lambda x, t: soft(x * np.float32(t)), "multiplied"),
    wrong(WT, "T left out", lambda x, t: soft(x), "after_softmax"),
    wrong(WT, "overflow", soft_shift_after, "no_largest"),
    wrong(WT, "clipped", soft_clipped, "clipped"),
    wrong(WT, "float64", lambda x, t: soft(x / np.float32(t)).astype(np.float64), "float64"),
    wrong(WT, "in place", soft_in_place),
    wrong(WT, "not divided", lambda x, t: np.exp((x - x.max()) / np.float32(t)), "not_normalised"),
    wrong(
        WT,
        "logarithms",
        lambda x, t: np.log(soft(x / np.float32(t)) + np.float32(1e-30)),
        "logarithms",
    ),
    wrong(WT, "greedy", lambda x, t: (x == x.max()).astype(np.float32), "greedy"),
    wrong(WT, "root of T", lambda x, t: soft(x / np.float32(t**0.5)), "root"),
    wrong(WT, "a list", lambda x, t: soft(x / np.float32(t)).tolist()),
    wrong(
        WT, "divided by the largest", lambda x, t: soft(x / np.float32(x.max() * t)), "by_largest"
    ),
    right(NU, "loop", top_p_loop),
    right(NU, "what came before", top_p_before),
    right(NU, "ties to the higher id", top_p_higher_ties),
    wrong(
        NU, "crossing one dropped", lambda p, t: top_p_search(p, t, drop=True), "crossing_dropped"
    ),
    wrong(NU, "one too many", lambda p, t: top_p_search(p, t, plus=2), "one_more"),
    wrong(NU, "before <= top_p", lambda p, t: top_p_before(p, t, equal=True), "at_the_line"),
    wrong(
        NU,
        "searchsorted right",
        lambda p, t: top_p_search(p, t + 2e-9, side="right"),
        "at_the_line",
    ),
    wrong(NU, "not divided", lambda p, t: top_p_search(p, t, normal=False), "not_normalised"),
    wrong(NU, "share of the largest", top_p_threshold, "share_of_largest"),
    wrong(NU, "1 − top_p", top_p_min),
    wrong(NU, "not sorted", top_p_not_sorted, "unsorted"),
    wrong(NU, "least likely first", top_p_ascending, "ascending"),
    wrong(NU, "left in order of size", top_p_sorted_out, "in_order"),
    wrong(NU, "everything", lambda p, t: p.copy(), "all"),
    wrong(NU, "at least two", lambda p, t: top_p_search(p, t, at_least=2), "at_least_two"),
    wrong(NU, "likeliest only", lambda p, t: top_p_search(p, 0.0), "likeliest"),
    wrong(NU, "float64", lambda p, t: top_p_loop(p, t).astype(np.float64)),
    right(FI, "in order", filt),
    right(FI, "by hand", filt_by_hand),
    wrong(FI, "top-p first", filt_p_first, "top_p_first"),
    wrong(FI, "temperature last", filt_temperature_last, "filters_first"),
    wrong(FI, "top-p of all", filt_p_of_all, "top_p_first"),
    wrong(FI, "temperature on probabilities", filt_between, "filters_first"),
    wrong(FI, "ties kept", filt_ties, "ties"),
    wrong(FI, "no temperature", lambda x, t, k, p: filt(x, 1.0, k, p), "no_temperature"),
    wrong(FI, "no top-k", lambda x, t, k, p: filt(x, t, 0, p), "no_top_k"),
    wrong(FI, "no top-p", lambda x, t, k, p: filt(x, t, k, 1.0), "no_top_p"),
    wrong(FI, "one too many of k", lambda x, t, k, p: filt(x, t, k + 1 if k else 0, p), "one_more"),
    wrong(FI, "multiplied", lambda x, t, k, p: filt(x, 1 / t, k, p), "multiplied"),
    wrong(FI, "top_k 0 keeps one", lambda x, t, k, p: filt(x, t, max(k, 1), p), "zero_is_one"),
    wrong(
        FI,
        "higher ids of equals",
        lambda x, t, k, p: filt(x[::-1], t, k, p)[::-1].copy(),
        "higher_ids",
    ),
    right(DR, "searchsorted", draw),
    right(DR, "loop", draw_loop),
    right(DR, "support", draw_scaled),
    wrong(DR, "left", lambda p, u: draw(p, u, side="left", zero=False)),
    wrong(DR, "past the end", lambda p, u: draw(p, u, last=False, zero=False), "past_the_end"),
    wrong(
        DR,
        "last id",
        lambda p, u: min(int(np.searchsorted(np.cumsum(p), u, "right")), len(p) - 1),
        "last_id",
    ),
    wrong(DR, "likeliest", lambda p, u: int(p.argmax()), "likeliest"),
    wrong(DR, "point times length", lambda p, u: min(int(u * len(p)), len(p) - 1), "equal_pieces"),
    wrong(DR, "a float", lambda p, u: float(draw(p, u))),
    wrong(DR, "from the other end", lambda p, u: len(p) - 1 - draw(p[::-1], u), "from_the_end"),
    wrong(DR, "1 − point", lambda p, u: draw(p, min(1 - u, 1 - 1e-9)), "other_point"),
    wrong(
        DR,
        "sorted first",
        lambda p, u: int(np.argsort(-p, kind="stable")[draw(np.sort(p)[::-1], u)]),
    ),
    wrong(DR, "one too many", lambda p, u: min(draw(p, u) + 1, len(p) - 1), "one_more"),
    wrong(DR, "probability", lambda p, u: float(p[draw(p, u)]), "probability"),
    wrong(DR, "random", lambda p, u: int(np.random.default_rng(0).choice(len(p), p=p / p.sum()))),
)
