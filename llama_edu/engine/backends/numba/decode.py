"""One whole decode step in one kernel: the embeddings of new tokens in, their logits out.

A few new tokens of one sequence or of several, each weight read once for all; the same operators
in the same order as `llama_edu.engine.forward`. Every thread runs all of it on its part of each
product's rows and of each sequence's positions, and computes for itself what is too small to be
worth waiting for. Where one thread needs what another has written, there is a barrier.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

from llama_edu.engine.backends.numba.gemv import COLUMNS, partition, product, product_of_rows
from llama_edu.engine.backends.numba.gemv import ROWS as ROW_COUNT
from llama_edu.engine.backends.numba.primitives import (
    add_part,
    attend_part,
    copy,
    merge_parts,
    rms_norm,
    rope,
    rope_queries,
    silu_times,
)
from llama_edu.engine.backends.numba.simd import compiled, goes_by_pairs, itemsize
from llama_edu.engine.backends.numba.threads import barrier

__all__ = ["LOGITS", "RUN", "SEQUENCE", "WORKSPACE", "X", "decode", "swiglu_features"]

# The matrices of a layer, in the order of `layers`.
Q, K, V, OUT, GATE, UP, DOWN = range(7)

# What `workspace` holds: sizes, and addresses of matrices with one row per sequence.
WORKSPACE = (
    *("n_heads", "n_kv_heads", "head_dim", "logits"),
    # Seen by all threads. `parts`: what each thread made of its positions, a line per head.
    *("x", "q", "k", "v", "gate", "up", "parts", "part_stride"),
    # Of the first thread, and bytes to the next one's.
    *("normed", "merged", "rotated", "scores", "private_stride"),
    *("sums", "another"),
)
N_HEADS, N_KV_HEADS, HEAD_DIM, LOGITS = range(4)
X, Q_AT, K_AT, V_AT, GATE_AT, UP_AT, PARTS, PART_STRIDE = range(4, 12)
NORMED, MERGED, ROTATED, SCORES, PRIVATE_STRIDE, SUMS, ANOTHER = range(12, 19)

# Where keys and values lie: the position of the first, where layer 0 begins, and bytes from one
# layer and one head to the next.
RUN = ("start", "keys", "values", "layer_stride", "head_stride")
START, KEYS, VALUES, LAYER_STRIDE, HEAD_STRIDE = range(5)

# What `sequences` holds for each new token: where the rows of its cache's own are, which of `runs`
# the cache begins with, its past, and its cosines and sines. Tokens of one sequence share its
# cache; each has those before it as its past.
SEQUENCE = (*RUN, "runs", "end_of_runs", "past", "cos", "sin")
RUNS, END_OF_RUNS, PAST, COS, SIN = range(5, 10)


@compiled
def decode(
    weight_format,
    head_format,
    cache_format,
    layers,
    norms,
    eps,
    workspace,
    sequences,
    runs,
    counter,
    rank,
    ranks,
):
    """Run every new token through every layer and the head.

    `layers` (n_layers + 1, 7, 5) describes the matrices, the head being the first one after the
    last layer; `norms` holds the addresses of two gains per layer and of the last one. `workspace`,
    `sequences` (count, 10) and `runs` (any number, 5) are explained at `WORKSPACE`, `SEQUENCE` and
    `RUN`.
    """
    count, own = len(sequences), rank * workspace[PRIVATE_STRIDE]
    x, normed, merged = workspace[X], workspace[NORMED] + own, workspace[MERGED] + own
    gate, heads_nbytes = workspace[GATE_AT], workspace[N_HEADS] * workspace[PART_STRIDE]
    n_layers, work = len(layers) - 1, (workspace, count, rank, ranks)
    for i in range(n_layers):
        layer = layers[i]
        _norms(x, norms[2 * i], eps, layer[Q, COLUMNS], count, normed)
        _products(weight_format, layer[Q], normed, workspace[Q_AT], False, *work)
        _products(weight_format, layer[K], normed, workspace[K_AT], False, *work)
        _products(weight_format, layer[V], normed, workspace[V_AT], False, *work)
        barrier(counter, ranks)
        if count > 1:  # of one sequence, later tokens look at earlier ones
            for n in range(rank, count, ranks):
                _keep(cache_format, i, n, workspace, sequences[n])
            barrier(counter, ranks)
        elif rank == ranks - 1:  # whose part of the positions ends with the new one
            _keep(cache_format, i, 0, workspace, sequences[0])
        for n in range(count):
            part = workspace[PARTS] + (rank * count + n) * heads_nbytes
            _attend(cache_format, i, n, workspace, sequences[n], runs, part, rank, ranks)
        barrier(counter, ranks)
        _merge(workspace, count, merged, ranks)
        _products(weight_format, layer[OUT], merged, x, True, *work)
        barrier(counter, ranks)
        _norms(x, norms[2 * i + 1], eps, layer[GATE, COLUMNS], count, normed)
        _products(weight_format, layer[GATE], normed, gate, False, *work)
        _products(weight_format, layer[UP], normed, workspace[UP_AT], False, *work)
        swiglu_features(layer[UP, ROW_COUNT], workspace, count, rank, ranks)
        barrier(counter, ranks)
        _products(weight_format, layer[DOWN], gate, x, True, *work)
        barrier(counter, ranks)
    head = layers[n_layers, 0]
    _norms(x, norms[2 * n_layers], eps, head[COLUMNS], count, normed)
    _products(head_format, head, normed, workspace[LOGITS], False, *work)
    barrier(counter, ranks)


@compiled
def _products(weight_format, matrix, x, y, plus, workspace, count, rank, ranks):
    """y = W x + b for every row of x, or y += W x + b if `plus`; this thread's rows of W."""
    if count == 1 and goes_by_pairs(weight_format):
        product(weight_format, matrix, x, y, plus, rank, ranks)
    else:
        sums = workspace[SUMS] + rank * workspace[PRIVATE_STRIDE]
        product_of_rows(weight_format, matrix, x, y, count, plus, sums, rank, ranks)


@compiled
def _norms(x, gain, eps, width, count, normed):
    """RMSNorm of every row: sooner done by every thread than waited for."""
    for row in range(0, 4 * count * width, 4 * width):
        rms_norm(x + row, gain, eps, width, normed + row)


@compiled
def swiglu_features(width, workspace, count, rank, ranks):
    """SwiGLU on the features whose products this thread has just made."""
    start, end = partition(width, rank, ranks)
    for n in range(count):
        at = 4 * (n * width + start)
        gate = workspace[GATE_AT] + at
        silu_times(gate, workspace[UP_AT] + at, end - start, gate)


@compiled
def _keep(cache_format, layer, n, workspace, sequence):
    """Write a token's keys, rotated, and its values to the cache, in the cache's format."""
    head_dim, n_kv_heads = workspace[HEAD_DIM], workspace[N_KV_HEADS]
    row = (sequence[PAST] - sequence[START]) * head_dim * itemsize(cache_format)
    for group in range(n_kv_heads):
        place = layer * sequence[LAYER_STRIDE] + group * sequence[HEAD_STRIDE] + row
        new = 4 * (n * n_kv_heads + group) * head_dim
        key, cos, sin = workspace[K_AT] + new, sequence[COS], sequence[SIN]
        rope(cache_format, key, cos, sin, head_dim, sequence[KEYS] + place)
        copy(cache_format, workspace[V_AT] + new, head_dim, sequence[VALUES] + place)


@compiled
def _attend(cache_format, layer, n, workspace, sequence, runs, part, rank, ranks):
    """Every head of a token over this thread's part of the positions.

    What comes of them goes to address `part`, a line per head.
    """
    head_dim, n_kv_heads = workspace[HEAD_DIM], workspace[N_KV_HEADS]
    n_groups, part_stride = workspace[N_HEADS] // n_kv_heads, workspace[PART_STRIDE]
    own = rank * workspace[PRIVATE_STRIDE]
    rotated, another = workspace[ROTATED] + own, workspace[ANOTHER] + own
    start, end = partition(sequence[PAST] + 1, rank, ranks)
    for group in range(n_kv_heads):
        first = group * n_groups
        q = workspace[Q_AT] + 4 * (n * workspace[N_HEADS] + first) * head_dim
        rope_queries(q, sequence[COS], sequence[SIN], head_dim, n_groups, rotated)
        out = part + first * part_stride
        here = (layer, group, workspace, workspace[SCORES] + own)
        # From the end: where nothing is borrowed, the first place is the only one.
        _attend_place(cache_format, sequence, max(start, sequence[START]), end, *here, rotated, out)
        for i in range(sequence[RUNS], sequence[END_OF_RUNS]):
            last = sequence[START] if i + 1 == sequence[END_OF_RUNS] else runs[i + 1, START]
            last = min(last, end)
            begin = max(start, runs[i, START])
            if begin < last:
                _attend_place(cache_format, runs[i], begin, last, *here, rotated, another)
                for head in range(n_groups):
                    at = head * part_stride
                    add_part(out + at, another + at, head_dim)


@compiled
def _attend_place(cache_format, place, start, end, layer, group, workspace, scores, rotated, out):
    """`attend_part` over the positions from `start` to `end` - 1, which lie in one place."""
    head_dim = workspace[HEAD_DIM]
    at = layer * place[LAYER_STRIDE] + group * place[HEAD_STRIDE]
    at += (start - place[START]) * head_dim * itemsize(cache_format)
    sizes = (max(end - start, 0), head_dim, workspace[N_HEADS] // workspace[N_KV_HEADS])
    keys, values, stride = place[KEYS] + at, place[VALUES] + at, workspace[PART_STRIDE]
    attend_part(cache_format, rotated, keys, values, *sizes, scores, out, stride)


@compiled
def _merge(workspace, count, merged, ranks):
    """All heads of all sequences, side by side, from every thread's part."""
    head_dim, heads = workspace[HEAD_DIM], count * workspace[N_HEADS]
    stride = heads * workspace[PART_STRIDE]
    for head in range(heads):
        parts = workspace[PARTS] + head * workspace[PART_STRIDE]
        merge_parts(parts, stride, ranks, head_dim, merged + 4 * head * head_dim)
