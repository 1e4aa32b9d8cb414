"""One decode step of several texts at once: each weight is read once for all of them.

The same operators in the same order as in `decode`. What is new is a second index: every vector
of the workspace is now a matrix with one row per text. The products are shared by the rows of a
weight, as before. Attention is dealt out by text and KV group, since every text has a cache of
its own, and another past.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

import numpy as np

from llama_edu.engine.backends.numba.gemv import COLUMNS, product_of_texts, share
from llama_edu.engine.backends.numba.gemv import ROWS as ROW_COUNT
from llama_edu.engine.backends.numba.primitives import (
    attend_share,
    copy,
    rms_norm,
    rotate,
    scaled,
    silu_times,
    turned_queries,
)
from llama_edu.engine.backends.numba.simd import F32, compiled, itemsize, load1
from llama_edu.engine.backends.numba.threads import meet

__all__ = ["DESK", "TEXT", "decode_batch"]

# The matrices of a layer, in the order of `layers`.
Q, K, V, OUT, GATE, UP, DOWN = range(7)

# What `desk` holds: sizes, and addresses of matrices with one row per text.
DESK = (
    *("n_heads", "n_kv_heads", "head_dim", "logits"),
    *("x", "normed", "q", "k", "v", "merged", "gate", "up"),
    # Workspace of the first thread, and bytes to the next one's.
    *("turned", "scores", "shares", "private_stride"),
)
N_HEADS, N_KV_HEADS, HEAD_DIM, LOGITS = range(4)
X, NORMED, Q_AT, K_AT, V_AT, MERGED, GATE_AT, UP_AT = range(4, 12)
TURNED, SCORES, SHARES, PRIVATE_STRIDE = range(12, 16)

# What `texts` holds for each text: its past, its rotation, and its cache as in `decode`.
TEXT = ("past", "cos", "sin", "keys", "values", "layer_stride", "head_stride")
PAST, COS, SIN, KEYS, VALUES, LAYER_STRIDE, HEAD_STRIDE = range(7)


@compiled
def decode_batch(form, kept, layers, norms, eps, desk, texts, counter, rank, ranks):
    """Run one token of each text through every layer and the head.

    `form`, `kept`, `layers` and `norms` are those of `decode.decode`; `desk` and `texts`
    (count, 7) are explained at `DESK` and `TEXT`.
    """
    count = len(texts)
    n_layers = len(layers) - 1
    for i in range(n_layers):
        layer = layers[i]
        _norm(norms[2 * i], eps, layer[Q, COLUMNS], count, desk, rank, ranks)
        meet(counter, ranks)
        x = desk[NORMED]
        product_of_texts(form, layer[Q], x, desk[Q_AT], count, False, rank, ranks)
        product_of_texts(form, layer[K], x, desk[K_AT], count, False, rank, ranks)
        product_of_texts(form, layer[V], x, desk[V_AT], count, False, rank, ranks)
        meet(counter, ranks)
        _attend(kept, i, desk, texts, rank, ranks)
        meet(counter, ranks)
        x = desk[MERGED]
        product_of_texts(form, layer[OUT], x, desk[X], count, True, rank, ranks)
        meet(counter, ranks)
        _norm(norms[2 * i + 1], eps, layer[GATE, COLUMNS], count, desk, rank, ranks)
        meet(counter, ranks)
        x = desk[NORMED]
        product_of_texts(form, layer[GATE], x, desk[GATE_AT], count, False, rank, ranks)
        product_of_texts(form, layer[UP], x, desk[UP_AT], count, False, rank, ranks)
        _gate(layer[UP, ROW_COUNT], count, desk, rank, ranks)
        meet(counter, ranks)
        x = desk[GATE_AT]
        product_of_texts(form, layer[DOWN], x, desk[X], count, True, rank, ranks)
        meet(counter, ranks)
    head = layers[n_layers, 0]
    _norm(norms[2 * n_layers], eps, head[COLUMNS], count, desk, rank, ranks)
    meet(counter, ranks)
    product_of_texts(form, head, desk[NORMED], desk[LOGITS], count, False, rank, ranks)
    meet(counter, ranks)


@compiled
def _norm(weight, eps, width, count, desk, rank, ranks):
    """RMSNorm of this thread's share of the texts."""
    start, end = share(count, rank, ranks)
    for text in range(start, end):
        row = 4 * text * width
        rms_norm(desk[X] + row, weight, eps, width, desk[NORMED] + row)


@compiled
def _gate(width, count, desk, rank, ranks):
    """SwiGLU on the features whose products this thread has just made."""
    start, end = share(width, rank, ranks)
    for text in range(count):
        at = 4 * (text * width + start)
        silu_times(desk[GATE_AT] + at, desk[UP_AT] + at, end - start, desk[GATE_AT] + at)


@compiled
def _attend(kept, i, desk, texts, rank, ranks):
    """RoPE, the new rows of the caches, and every head; a text's KV groups go to the threads."""
    head_dim, n_kv_heads, size = desk[HEAD_DIM], desk[N_KV_HEADS], itemsize(kept)
    n_groups = desk[N_HEADS] // n_kv_heads
    turned = desk[TURNED] + rank * desk[PRIVATE_STRIDE]
    scores = desk[SCORES] + rank * desk[PRIVATE_STRIDE]
    mixed = desk[SHARES] + rank * desk[PRIVATE_STRIDE]
    stride, group_nbytes = 4 * (head_dim + 2), 4 * n_groups * head_dim
    for item in range(rank, len(texts) * n_kv_heads, ranks):
        text, group = item // n_kv_heads, item % n_kv_heads
        past, cos, sin = texts[text, PAST], texts[text, COS], texts[text, SIN]
        place = i * texts[text, LAYER_STRIDE] + group * texts[text, HEAD_STRIDE]
        keys, values = texts[text, KEYS] + place, texts[text, VALUES] + place
        q, merged = desk[Q_AT] + item * group_nbytes, desk[MERGED] + item * group_nbytes
        row, new = past * head_dim * size, 4 * item * head_dim
        rotate(kept, desk[K_AT] + new, cos, sin, head_dim, keys + row)
        copy(kept, desk[V_AT] + new, head_dim, values + row)
        turned_queries(q, cos, sin, head_dim, n_groups, turned)
        sizes = past + 1, head_dim, n_groups
        attend_share(kept, turned, keys, values, *sizes, scores, mixed, stride)
        for j in range(n_groups):
            mix = mixed + j * stride
            weight = load1(F32, mix + 4 * head_dim + 4)
            scaled(mix, head_dim, np.float32(1) / weight, merged + 4 * j * head_dim)
