"""Guessing ahead, and four bits."""

import numpy as np
from fresh_answers import right, wrong

LU, VE, RF, UQ = "look_up", "verified", "replaced_from", "unpack_q4"
GO = "go_on_from"


def lookup(ids, length, most, *, last=True, self_too=False, skip=0, least=0):
    tail = ids[len(ids) - length :]
    places = [
        i for i in range(len(ids) - length + (1 if self_too else 0)) if ids[i : i + length] == tail
    ]
    if not places:
        return []
    at = (places[-1] if last else places[0]) + length + skip
    return ids[at : at + max(most, least)]


def lookup_strings(ids, length, most):
    text = " ".join(f"<{i}>" for i in ids)
    tail = " ".join(f"<{i}>" for i in ids[-length:])
    at = text.rfind(tail, 0, len(text) - 1)
    if at < 0:
        return []
    rest = text[at + len(tail) :].split()
    return [int(word[1:-1]) for word in rest[:most]]


def verify(rows, guesses, past, *, extra=1, kept=1, strict=True):
    best = [int(i) for i in np.argmax(rows, axis=1)]
    n = 0
    for g, b in zip(guesses, best, strict=False):
        if g == b:
            n += 1
        elif strict:
            break
    return [best[: n + extra], past + n + kept]


def verify_while(rows, guesses, past):
    out = [int(np.argmax(rows[0]))]
    while len(out) <= len(guesses) and out[-1] == guesses[len(out) - 1]:
        out.append(int(np.argmax(rows[len(out)])))
    return [out, past + len(out)]


def rest(p, q):
    r = np.clip(p - q, 0, None)
    return (r / r.sum()).astype(np.float32)


def rest_min(p, q):
    r = p - np.minimum(p, q)
    return r / r.sum()


def unpack(blocks, *, order="halves", offset=True, minus=0, swap=False):
    out = np.zeros((len(blocks), 32), dtype=np.float32)
    for n, block in enumerate(blocks):
        d, m = np.frombuffer(block[:4].tobytes(), dtype=np.float16).astype(np.float32)
        if swap:
            d, m = m, d
        for j, byte in enumerate(block[4:]):
            low, high = int(byte) % 16 - minus, int(byte) // 16 - minus
            a, b = (j, j + 16) if order == "halves" else (2 * j, 2 * j + 1)
            if order == "upper":
                a, b = j + 16, j
            out[n, a] = d * np.float32(low) + (m if offset else 0)
            out[n, b] = d * np.float32(high) + (m if offset else 0)
    return out


def onward(runs, length, new, *, own_list=True, write=False, count=True):
    """Going on from a position, by taking runs until there are enough."""
    result = [] if own_list else runs
    todo, left = (list(runs), length) if own_list else (runs[:], length)
    if not own_list:
        runs.clear()
    for run in todo:
        if left <= 0:
            break
        result.append(run[:left])
        left -= len(run) if count else 0
    if write:
        for run, view in zip(todo, result, strict=False):
            run[len(view) :] = new[0]
    return [*result, new]


def onward_rows(runs, length, new):
    """Row by row, each a view of one."""
    rows = [run[i : i + 1] for run in runs for i in range(len(run))]
    return (*rows[:length], new)


def onward_over(runs, length, new):
    """The new rows go where the forgotten ones were, as in one long array."""
    place = [(run, i) for run in runs for i in range(len(run))]
    for (run, i), row in zip(place[length:], new, strict=False):
        run[i] = row
    end = length + len(new)
    return [*onward(runs, end, new)[:-1], new[max(len(place) - length, 0) :]]


ANSWERS = (
    right(LU, "places", lookup),
    right(LU, "strings", lookup_strings),
    wrong(LU, "first place", lambda i, n, m: lookup(i, n, m, last=False), "first"),
    wrong(LU, "finds itself", lambda i, n, m: lookup(i, n, m, self_too=True), "itself"),
    wrong(LU, "the run again", lambda i, n, m: lookup(i, n, m, skip=-n), "run"),
    wrong(LU, "one late", lambda i, n, m: lookup(i, n, m, skip=1), "one_late"),
    wrong(LU, "one id", lambda i, n, m: lookup(i, 1, m), "one_id"),
    wrong(LU, "all the rest", lambda i, n, m: lookup(i, n, m, least=99), "all"),
    wrong(LU, "nothing", lambda i, n, m: [], "itself"),
    wrong(LU, "something always", lambda i, n, m: lookup(i, n, m) or i[-1:] * m, "always"),
    wrong(LU, "in reverse", lambda i, n, m: lookup(i, n, m)[::-1]),
    wrong(LU, "its place", lambda i, n, m: len(lookup(i, n, m))),
    right(VE, "argmax", verify),
    right(VE, "while", verify_while),
    wrong(VE, "no own token", lambda r, g, p: verify(r, g, p, extra=0, kept=0), "no_own"),
    wrong(VE, "one too many", lambda r, g, p: verify(r, g, p, extra=2)),
    wrong(VE, "all kept", lambda r, g, p: [verify(r, g, p)[0], p + len(r)], "not_cut"),
    wrong(VE, "counted", lambda r, g, p: verify(r, g, p, strict=False), "counted"),
    wrong(VE, "a row more", lambda r, g, p: verify(r, g, p, kept=2), "one_more_row"),
    wrong(VE, "a row less", lambda r, g, p: verify(r, g, p, kept=0), "one_row_less"),
    wrong(VE, "no past", lambda r, g, p: [verify(r, g, p)[0], verify(r, g, 0)[1]]),
    wrong(VE, "smallest", lambda r, g, p: verify(-r, g, p)),
    wrong(VE, "nothing", lambda r, g, p: [[], p]),
    wrong(VE, "ids alone", lambda r, g, p: verify(r, g, p)[0]),
    right(RF, "clipped", rest),
    right(RF, "less the smaller", rest_min),
    wrong(RF, "from p", lambda p, q: p * 1, "from_p"),
    wrong(RF, "from q", lambda p, q: q * 1, "from_q"),
    wrong(RF, "not normed", lambda p, q: np.clip(p - q, 0, None), "not_to_one"),
    wrong(RF, "absolute", lambda p, q: np.abs(p - q) / np.abs(p - q).sum(), "absolute"),
    wrong(RF, "turned round", lambda p, q: rest(q, p), "turned"),
    wrong(RF, "ratio", lambda p, q: np.minimum(1, p / np.maximum(q, 1e-9))),
    wrong(RF, "the larger", lambda p, q: np.maximum(p, q) / np.maximum(p, q).sum()),
    wrong(RF, "their mean", lambda p, q: (p + q) / 2),
    wrong(RF, "float64", lambda p, q: rest(p, q).astype(np.float64)),
    wrong(RF, "uniform", lambda p, q: np.full_like(p, 1 / len(p))),
    right(UQ, "byte by byte", unpack),
    right(
        UQ,
        "stacked",
        lambda b: (
            np.hstack([b[:, 4:] % 16, b[:, 4:] // 16]).astype(np.float32)
            * b[:, :2].copy().view(np.float16).astype(np.float32)
            + b[:, 2:4].copy().view(np.float16).astype(np.float32)
        ),
    ),
    wrong(UQ, "neighbours", lambda b: unpack(b, order="pairs"), "neighbours"),
    wrong(UQ, "upper first", lambda b: unpack(b, order="upper"), "halves"),
    wrong(UQ, "no offset", lambda b: unpack(b, offset=False), "no_offset"),
    wrong(UQ, "less eight", lambda b: unpack(b, offset=False, minus=8), "less_eight"),
    wrong(UQ, "exchanged", lambda b: unpack(b, swap=True), "exchanged"),
    wrong(UQ, "codes", lambda b: np.hstack([b[:, 4:] & 15, b[:, 4:] >> 4]).astype(np.float32)),
    wrong(UQ, "lower half", lambda b: unpack(b)[:, :16]),
    wrong(UQ, "flat", lambda b: unpack(b).reshape(-1)),
    wrong(UQ, "float64", lambda b: unpack(b).astype(np.float64)),
    wrong(UQ, "less eight and offset", lambda b: unpack(b, minus=8)),
    right(GO, "until enough", onward),
    right(GO, "row by row", onward_rows),
    wrong(GO, "over the old", onward_over, "written_over"),
    wrong(GO, "the list itself", lambda r, n, x: onward(r, n, x, own_list=False), "cut_for_all"),
    wrong(GO, "filled with the first", lambda r, n, x: onward(r, n, x, write=True)),
    wrong(GO, "each anew", lambda r, n, x: onward(r, n, x, count=False), "each_run"),
    wrong(GO, "one array", lambda r, n, x: [np.vstack([*r])[:n], x], "copied"),
    wrong(GO, "one array, new too", lambda r, n, x: [np.vstack([np.vstack(r)[:n], x])], "copied"),
    wrong(GO, "one less", lambda r, n, x: onward(r, n - 1, x), "one_less"),
    wrong(GO, "all of them", lambda r, n, x: [*r, x], "not_cut"),
    wrong(GO, "nothing new", lambda r, n, x: onward(r, n, x)[:-1]),
    wrong(GO, "nothing", lambda r, n, x: None),
    wrong(GO, "new first", lambda r, n, x: [x, *onward(r, n, x)[:-1]]),
    wrong(
        GO,
        "added to the other's",
        lambda r, n, x: (onward(r, n, x), r.append(x))[0],
        "longer_for_all",
    ),
)
