"""Split over ranks."""

import numpy as np
from fresh_answers import right, wrong

GR, JO, MP, GI, RS = "group_rows", "joined", "mlp_part", "gathered_id", "ring_step"


def rows(q, k, n, rank, size, *, up=True):
    share = (n + size - 1) // size if up else n // size
    qs, ks = np.split(q, n), np.split(k, n)
    mine = range(rank * share, min(n, (rank + 1) * share))
    empty = q[:0]
    return [np.concatenate([empty, *(part[i] for i in mine)]) for part in (qs, ks)]


def rows_loop(q, k, n, rank, size):
    share = 1
    while share * size < n:
        share += 1
    per_q, per_k = q.shape[0] // n, k.shape[0] // n
    return [
        q[rank * share * per_q : (rank * share + share) * per_q],
        k[rank * share * per_k : (rank * share + share) * per_k],
    ]


def rows_array_split(q, k, n, rank, size):
    return [np.array_split(q, size)[rank], np.array_split(k, size)[rank]]


def rows_groups_split(q, k, n, rank, size):
    mine = np.array_split(np.arange(n), size)[rank]
    return [np.concatenate([np.split(m, n)[i] for i in mine]) for m in (q, k)]


def rows_modulo(q, k, n, rank, size):
    d = len(k) // n
    heads_q, heads_k = np.arange(len(q) // d), np.arange(n)
    pick = [np.repeat(h % size == rank, d) for h in (heads_q, heads_k)]
    return [q[pick[0]], k[pick[1]]]


def mlp(x, gate, up, down, rank, size, *, act=True, other=0):
    g, u = np.split(gate, size)[rank], np.split(up, size)[(rank + other) % size]
    d = np.split(down, size, axis=1)[rank]
    a, b = x @ g.T, x @ u.T
    if act:
        a = a / (1 + np.exp(-a))
    return (a * b) @ d.T


def mlp_columns(x, gate, up, down, rank, size):
    out = np.zeros_like(x)
    n = len(gate) // size
    for i in range(rank * n, rank * n + n):
        a = x @ gate[i]
        out += (a / (1 + np.exp(-a)) * (x @ up[i]))[:, None] * down[:, i]
    return out


def mlp_all(x, gate, up, down, rank, size):
    return mlp(x, gate, up, down, 0, 1)


def mlp_shared(x, gate, up, down, rank, size):
    return mlp(x, gate, up, down, 0, 1) / np.float32(size)


def rows_masked(q, k, n, rank, size):
    mine = rows(np.arange(len(q))[:, None], np.arange(len(k))[:, None], n, rank, size)
    return [
        np.where(np.isin(np.arange(len(m))[:, None], i), m, 0)
        for m, i in zip((q, k), mine, strict=True)
    ]


def mlp_added(x, gate, up, down, rank, size):
    g, u = np.split(gate, size)[rank], np.split(up, size)[rank]
    a = x @ g.T
    return (a / (1 + np.exp(-a)) + x @ u.T) @ np.split(down, size, axis=1)[rank].T


def mlp_dealt(x, gate, up, down, rank, size):
    a, b = x @ gate[rank::size].T, x @ up[rank::size].T
    return (a / (1 + np.exp(-a)) * b) @ np.split(down, size, axis=1)[rank].T


def mlp_rows(x, gate, up, down, rank, size):
    return mlp(x, gate, up, np.array_split(down, size)[rank], 0, 1)


def mlp_inputs(x, gate, up, down, rank, size):
    mine = np.array_split(np.arange(x.shape[1]), size)[rank]
    return mlp(x[:, mine], gate[:, mine], up[:, mine], down, 0, 1)


def ring_anew(rank, size, step):
    step %= size - 1
    return (rank - step) % size, (rank - step - 1) % size


def best(parts, vocab_size):
    return int(np.argmax(np.hstack(parts)[:vocab_size]))


def best_loop(parts, vocab_size):
    found, top, i = 0, -np.inf, 0
    for part in parts:
        for x in part:
            if i < vocab_size and x > top:
                found, top = i, x
            i += 1
    return found


def ring(rank, size, step):
    if step < size - 1:
        return (rank - step) % size, (rank - step - 1) % size
    step -= size - 1
    return (rank + 1 - step) % size, (rank - step) % size


def ring_one(rank, size, step):
    return ((rank - step) % size, (rank - step - 1) % size)


ANSWERS = (
    right(GR, "groups joined", rows),
    right(GR, "slices", rows_loop),
    wrong(GR, "array_split of rows", rows_array_split, "inside"),
    wrong(GR, "groups shared evenly", rows_groups_split, "balanced"),
    wrong(GR, "heads modulo ranks", rows_modulo, "dealt"),
    wrong(GR, "rounded down", lambda *a: rows(*a, up=False), "rounded_down"),
    wrong(GR, "all of k", lambda q, k, *a: [rows(q, k, *a)[0], k], "keys_whole"),
    wrong(GR, "only q", lambda *a: rows(*a)[0]),
    wrong(GR, "k and q exchanged", lambda *a: rows(*a)[::-1]),
    wrong(GR, "columns", lambda q, k, n, r, z: rows(q.T, k.T, q.shape[1], r, z), "columns"),
    wrong(GR, "counted from the end", lambda q, k, n, r, z: rows(q, k, n, z - 1 - r, z)),
    wrong(GR, "one group", lambda q, k, n, r, z: rows(q, k, n, r, n), "one_group"),
    wrong(GR, "everything", lambda q, k, n, r, z: [q, k]),
    wrong(GR, "zeros elsewhere", rows_masked),
    right(JO, "built-in sum", lambda x, parts, bias: x + sum(parts) + bias),
    right(JO, "stacked", lambda x, parts, bias: np.stack([x, *parts]).sum(0) + bias),
    wrong(JO, "bias in each", lambda x, p, b: x + sum(q + b for q in p), "bias_everywhere"),
    wrong(JO, "residual in each", lambda x, p, b: sum(q + x for q in p) + b, "residual_everywhere"),
    wrong(JO, "mean", lambda x, p, b: x + np.mean(p, axis=0) + b, "mean"),
    wrong(JO, "last part", lambda x, p, b: x + p[-1] + b),
    wrong(JO, "first part", lambda x, p, b: x + p[0] + b, "not_at_all"),
    wrong(JO, "no x", lambda x, p, b: sum(p) + b, "no_residual"),
    wrong(JO, "no bias", lambda x, p, b: x + sum(p), "no_bias"),
    wrong(JO, "both in each", lambda x, p, b: sum(q + x + b for q in p), "both_everywhere"),
    wrong(JO, "joined, not added", lambda x, p, b: np.concatenate([x, *p]) + b),
    wrong(JO, "product", lambda x, p, b: x * sum(p) + b),
    wrong(JO, "twice", lambda x, p, b: x + len(p) * sum(p) + b, "twice"),
    right(MP, "split", mlp),
    right(MP, "column by column", mlp_columns),
    wrong(MP, "a share of the whole", mlp_shared),
    wrong(MP, "whole", mlp_all, "whole"),
    wrong(MP, "no silu", lambda *a: mlp(*a, act=False), "no_silu"),
    wrong(MP, "another's up", lambda *a: mlp(*a, other=1), "crossed"),
    wrong(MP, "exchanged", lambda x, g, u, d, r, n: mlp(x, u, g, d, r, n)),
    wrong(MP, "gate alone", lambda x, g, u, d, r, n: mlp(x, g, g, d, r, n)),
    wrong(MP, "no product", mlp_added),
    wrong(MP, "dealt", mlp_dealt, "dealt"),
    wrong(MP, "rows of down", mlp_rows, "rows_of_down"),
    wrong(MP, "half of x", mlp_inputs, "inputs"),
    wrong(MP, "first rank", lambda x, g, u, d, r, n: mlp(x, g, u, d, 0, n), "first"),
    right(GI, "hstack", best),
    right(GI, "loop", best_loop),
    wrong(GI, "with padding", lambda p, v: int(np.hstack(p).argmax()), "padding"),
    wrong(GI, "first", lambda p, v: int(p[0].argmax()), "first_rank"),
    wrong(GI, "sum", lambda p, v: int(np.sum(p, axis=0).argmax()), "added local"),
    wrong(GI, "own row", lambda p, v: int(max(p, key=max).argmax()), "local"),
    wrong(
        GI, "last", lambda p, v: int((len(p) - 1) * len(p[0]) + p[-1].argmax()), "last_rank padding"
    ),
    wrong(GI, "dealt", lambda p, v: int(np.array(p).T.ravel().argmax()), "dealt"),
    wrong(GI, "smallest", lambda p, v: int(np.hstack(p)[:v].argmin())),
    wrong(GI, "a logit", lambda p, v: float(np.hstack(p)[:v].max())),
    wrong(GI, "largest amount", lambda p, v: int(np.abs(np.hstack(p)[:v]).argmax())),
    wrong(GI, "cut too early", lambda p, v: int(np.hstack(p)[: v - 1].argmax()) + 1),
    wrong(GI, "rank", lambda p, v: int(np.argmax([x.max() for x in p]))),
    right(RS, "two laps", ring),
    right(RS, "one rule for both", ring_one),
    wrong(RS, "own piece", lambda r, n, s: (r, (r - 1) % n), "own_piece"),
    wrong(RS, "counts up", lambda r, n, s: ((r + s) % n, (r + s + 1) % n), "other_way"),
    wrong(RS, "by step alone", lambda r, n, s: (s % n, (s - 1) % n)),
    wrong(RS, "second lap anew", ring_anew, "second_lap_late"),
    wrong(RS, "in place", lambda r, n, s: ((r - s) % n, (r - s) % n), "same_place"),
    wrong(RS, "two below", lambda r, n, s: ((r - s) % n, (r - s - 2) % n)),
    wrong(RS, "one above", lambda r, n, s: ((r - s) % n, (r - s + 1) % n)),
    right(RS, "starts a piece late", lambda r, n, s: ((r - s - 1) % n, (r - s - 2) % n)),
    wrong(RS, "one step on", lambda r, n, s: ((r - s) % n, (r - s - 1) % (n - 1))),
    wrong(RS, "always the next", lambda r, n, s: ((r + 1) % n, r)),
    wrong(RS, "by rank alone", lambda r, n, s: (r, (r + 1) % n)),
    wrong(RS, "as rank 0", lambda r, n, s: (-s % n, (-s - 1) % n), "everybody_alike"),
    wrong(RS, "exchanged", lambda r, n, s: ((r - s - 1) % n, (r - s) % n)),
)
