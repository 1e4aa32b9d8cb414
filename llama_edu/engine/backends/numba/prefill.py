"""Kernels for many rows at once: what surrounds the matrix products of a prompt.

The products themselves are BLAS's, for which narrow weights are widened some rows at a time; those
of a few rows are made from the narrow weights as they lie. What NumPy does in several passes over
memory, on one thread, is done here in one pass on all of them: RMSNorm, RoPE, SwiGLU, and the
softmax under the causal mask.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

import numpy as np

from llama_edu.engine.backends.numba.gemv import (
    BLOCK,
    COLUMNS,
    DATA,
    SCALES,
    partition,
    product,
    product_of_rows,
    small_batch_nbytes,
)
from llama_edu.engine.backends.numba.primitives import rms_norm, rope, scaled, silu_times, softmax
from llama_edu.engine.backends.numba.simd import (
    F16,
    F32,
    compiled,
    goes_by_pairs,
    in_blocks,
    in_fours,
    itemsize,
    load,
    load1,
    mul,
    row_nbytes,
    splat,
    store,
    store1,
    widen_four,
)
from llama_edu.engine.backends.numba.threads import barrier

__all__ = [
    "causal_weights",
    "merge_rows",
    "norm_rows",
    "product_small_batch",
    "rope_rows",
    "swiglu",
    "widen",
]


@compiled
def product_small_batch(weight_format, matrix, x, y, count, scratch, counter, rank, ranks):
    """y = W x + b for a few rows of x; `scratch` has `small_batch_nbytes` for each thread."""
    if count == 1 and goes_by_pairs(weight_format):
        product(weight_format, matrix, x, y, False, rank, ranks)
    else:
        sums = scratch + rank * small_batch_nbytes(matrix[COLUMNS], count)
        product_of_rows(weight_format, matrix, x, y, count, False, sums, rank, ranks)
    barrier(counter, ranks)


@compiled
def norm_rows(x, weight, eps, rows, columns, y, counter, rank, ranks):
    """RMSNorm of every row."""
    start, end = partition(rows, rank, ranks)
    for row in range(start, end):
        rms_norm(x + 4 * row * columns, weight, eps, columns, y + 4 * row * columns)
    barrier(counter, ranks)


@compiled
def swiglu(gate, up, count, y, counter, rank, ranks):
    """y = silu(gate) · up, number by number."""
    start, end = partition(count, rank, ranks)
    silu_times(gate + 4 * start, up + 4 * start, end - start, y + 4 * start)
    barrier(counter, ranks)


@compiled
def rope_rows(x, heads, seq, head_dim, strides, cos, sin, y, counter, rank, ranks):
    """RoPE of every row of every head, written in the order (heads, seq, head_dim).

    `strides` are the bytes from one head of `x` to the next, and from one row to the next.
    """
    start, end = partition(seq, rank, ranks)
    angles, width = 4 * (head_dim // 2), 4 * head_dim
    for head in range(heads):
        for row in range(start, end):
            p, out = x + head * strides[0] + row * strides[1], y + (head * seq + row) * width
            rope(F32, p, cos + row * angles, sin + row * angles, head_dim, out)
    barrier(counter, ranks)


@compiled
def causal_weights(scores, rows, seq, past, shares, counter, rank, ranks):
    """In place of scores: e^(score - largest) for what a row may see, and 0 for what it may not.

    Row r belongs to the query at position past + r % seq; `shares` gets 1 / the sum of its row.
    Rows are dealt out one by one, since later queries see more.
    """
    total_seq = past + seq
    for row in range(rank, rows, ranks):
        p, seen = scores + 4 * row * total_seq, past + row % seq + 1
        _, weight = softmax(p, seen)
        store1(F32, shares + 4 * row, np.float32(1) / weight)
        for i in range(4 * seen, 4 * total_seq, 4):
            store1(F32, p + i, np.float32(0))
    barrier(counter, ranks)


@compiled
def merge_rows(mixed, shares, heads, seq, head_dim, y, counter, rank, ranks):
    """Rows (heads, seq, head_dim), each times its share, laid out as (seq, heads, head_dim)."""
    start, end = partition(seq, rank, ranks)
    width = 4 * head_dim
    for row in range(start, end):
        for head in range(heads):
            at = head * seq + row
            factor = load1(F32, shares + 4 * at)
            scaled(mixed + at * width, head_dim, factor, y + (row * heads + head) * width)
    barrier(counter, ranks)


@compiled
def widen(weight_format, matrix, first, count, y, counter, rank, ranks):
    """Rows first … first + count - 1 of a matrix as float32, scales applied."""
    start, end = partition(count, rank, ranks)
    columns = matrix[COLUMNS]
    for row in range(start, end):
        _widen_row(weight_format, matrix, first + row, y + 4 * row * columns)
    barrier(counter, ranks)


@compiled
def _widen_row(weight_format, matrix, row, y):
    """One row as float32, scales applied."""
    columns, size = matrix[COLUMNS], itemsize(weight_format)
    if in_fours(weight_format):
        p = matrix[DATA] + row * row_nbytes(weight_format, columns)
        for block in range(columns // BLOCK):
            widen_four(weight_format, p, block, y)
            y += 4 * BLOCK
        return
    p = matrix[DATA] + row * columns * size
    if in_blocks(weight_format):
        blocks = (columns + BLOCK - 1) // BLOCK
        s = matrix[SCALES] + 2 * row * blocks
        for done in range(0, columns, BLOCK):
            n = min(BLOCK, columns - done)
            _widen(weight_format, p + done, n, load1(F16, s), y + 4 * done)
            s += 2
    else:
        scale = np.float32(1)
        if matrix[SCALES] != 0:
            scale = load1(F32, matrix[SCALES] + 4 * row)
        _widen(weight_format, p, columns, scale, y)


@compiled
def _widen(weight_format, p, n, scale, y):
    size, scales = itemsize(weight_format), splat(scale)
    for _ in range(n // 16):
        store(y, mul(load(weight_format, p), scales))
        p, y = p + 16 * size, y + 64
    for i in range(n % 16):
        store1(F32, y + 4 * i, load1(weight_format, p + i * size) * scale)
