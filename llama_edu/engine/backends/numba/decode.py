"""One whole decode step in one kernel: a token's embedding in, its logits out.

The same operators in the same order as `Llama.forward`, for one row. Every thread runs all of it
on its share of each product's rows and of each head's positions, and computes for itself what is
too small to share. Where one thread needs what another has written, they meet first.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

from llama_edu.engine.backends.numba.gemv import COLUMNS, product, share
from llama_edu.engine.backends.numba.gemv import ROWS as ROW_COUNT
from llama_edu.engine.backends.numba.primitives import (
    attend_share,
    copy,
    merge_shares,
    rms_norm,
    rotate,
    silu_times,
    turned_queries,
)
from llama_edu.engine.backends.numba.simd import compiled, itemsize
from llama_edu.engine.backends.numba.threads import meet

__all__ = ["DESK", "decode"]

# The matrices of a layer, in the order of `layers`.
Q, K, V, OUT, GATE, UP, DOWN = range(7)

# What `desk` holds: sizes, and the addresses of everything that changes from step to step.
DESK = (
    *("n_heads", "n_kv_heads", "head_dim", "past", "cos", "sin", "logits"),
    # The cache: where layer 0 begins, and bytes from one layer and one head to the next.
    *("keys", "values", "layer_stride", "head_stride"),
    # Workspace that all threads see.
    *("x", "q", "k", "v", "gate", "up", "shares", "share_stride"),
    # Workspace of the first thread, and bytes to the next one's.
    *("normed", "turned", "merged", "scores", "private_stride"),
)
N_HEADS, N_KV_HEADS, HEAD_DIM, PAST, COS, SIN, LOGITS = range(7)
KEYS, VALUES, LAYER_STRIDE, HEAD_STRIDE = range(7, 11)
X, Q_AT, K_AT, V_AT, GATE_AT, UP_AT, SHARES, SHARE_STRIDE = range(11, 19)
NORMED, TURNED, MERGED, SCORES, PRIVATE_STRIDE = range(19, 24)


@compiled
def decode(form, kept, layers, norms, eps, desk, counter, rank, ranks):
    """Run one token through every layer and the head.

    `form` and `kept` are the formats of weights and cache. `layers` (n_layers + 1, 7, 5) describes
    the matrices, the head being the first one after the last layer; `norms` holds the addresses of
    two gains per layer and of the last one. `desk` is explained at `DESK`.
    """
    normed = desk[NORMED] + rank * desk[PRIVATE_STRIDE]
    n_layers = len(layers) - 1
    for i in range(n_layers):
        layer = layers[i]
        rms_norm(desk[X], norms[2 * i], eps, layer[Q, COLUMNS], normed)
        product(form, layer[Q], normed, desk[Q_AT], False, rank, ranks)
        product(form, layer[K], normed, desk[K_AT], False, rank, ranks)
        product(form, layer[V], normed, desk[V_AT], False, rank, ranks)
        meet(counter, ranks)
        _attend(kept, i, desk, rank, ranks)
        meet(counter, ranks)
        merged = _merge(desk, rank, ranks)
        product(form, layer[OUT], merged, desk[X], True, rank, ranks)
        meet(counter, ranks)
        rms_norm(desk[X], norms[2 * i + 1], eps, layer[GATE, COLUMNS], normed)
        product(form, layer[GATE], normed, desk[GATE_AT], False, rank, ranks)
        product(form, layer[UP], normed, desk[UP_AT], False, rank, ranks)
        _gate(layer[UP, ROW_COUNT], desk, rank, ranks)
        meet(counter, ranks)
        product(form, layer[DOWN], desk[GATE_AT], desk[X], True, rank, ranks)
        meet(counter, ranks)
    head = layers[n_layers, 0]
    rms_norm(desk[X], norms[2 * n_layers], eps, head[COLUMNS], normed)
    product(form, head, normed, desk[LOGITS], False, rank, ranks)
    meet(counter, ranks)


@compiled
def _gate(count, desk, rank, ranks):
    """SwiGLU on the rows whose products this thread has just made."""
    start, end = share(count, rank, ranks)
    at = desk[GATE_AT] + 4 * start
    silu_times(at, desk[UP_AT] + 4 * start, end - start, at)


@compiled
def _attend(kept, layer, desk, rank, ranks):
    """RoPE, the new row of the cache, and every head over this thread's share of the positions."""
    head_dim, size = desk[HEAD_DIM], itemsize(kept)
    turned = desk[TURNED] + rank * desk[PRIVATE_STRIDE]
    scores = desk[SCORES] + rank * desk[PRIVATE_STRIDE]
    start, end = share(desk[PAST] + 1, rank, ranks)
    n_groups = desk[N_HEADS] // desk[N_KV_HEADS]
    for group in range(desk[N_KV_HEADS]):
        place = layer * desk[LAYER_STRIDE] + group * desk[HEAD_STRIDE]
        keys, values = desk[KEYS] + place, desk[VALUES] + place
        if rank == ranks - 1:  # the last share ends with the new position
            row, new = desk[PAST] * head_dim * size, 4 * group * head_dim
            rotate(kept, desk[K_AT] + new, desk[COS], desk[SIN], head_dim, keys + row)
            copy(kept, desk[V_AT] + new, head_dim, values + row)
        first = group * n_groups
        q = desk[Q_AT] + 4 * first * head_dim
        turned_queries(q, desk[COS], desk[SIN], head_dim, n_groups, turned)
        keys, values = keys + start * head_dim * size, values + start * head_dim * size
        out = desk[SHARES] + (rank * desk[N_HEADS] + first) * desk[SHARE_STRIDE]
        sizes = end - start, head_dim, n_groups
        attend_share(kept, turned, keys, values, *sizes, scores, out, desk[SHARE_STRIDE])


@compiled
def _merge(desk, rank, ranks):
    """All heads of all shares, side by side; returns where."""
    merged = desk[MERGED] + rank * desk[PRIVATE_STRIDE]
    stride = desk[N_HEADS] * desk[SHARE_STRIDE]
    for head in range(desk[N_HEADS]):
        shares = desk[SHARES] + head * desk[SHARE_STRIDE]
        merge_shares(shares, stride, ranks, desk[HEAD_DIM], merged + 4 * head * desk[HEAD_DIM])
    return merged
