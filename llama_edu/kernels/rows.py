"""Matrix times vector, reading each stored weight once, in place, and widening it in a register.

A decode step is nothing but these products, and each is as long as memory takes to deliver the
matrix. Two rows run side by side, far apart: two streams of addresses, each without a jump, are
what the processor's prefetcher follows best. (Four neighbouring rows at once halve the speed.)

A matrix is described by five whole numbers: the addresses of its weights, scales and bias (0
where there is none), its rows and its columns.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

from llama_edu.kernels.vectors import (
    F16,
    F32,
    add,
    compiled,
    fma,
    in_blocks,
    itemsize,
    load,
    load1,
    mul,
    splat,
    store1,
    total,
    zero,
)

__all__ = ["BIAS", "COLUMNS", "DATA", "ROWS", "SCALES", "dot_pair", "finished", "product", "share"]

DATA, SCALES, BIAS, ROWS, COLUMNS = range(5)
BLOCK = 32  # weights per scale in the blocked format


@compiled
def share(count, rank, ranks):
    """The part of `range(count)` that one of several threads takes: its start and end."""
    return count * rank // ranks, count * (rank + 1) // ranks


@compiled
def dot_pair(form, matrix, row, other, x):
    """The products of two rows of a matrix with the vector at address `x`."""
    if in_blocks(form):
        return _dot_pair_in_blocks(form, matrix, row, other, x)
    return _dot_pair_plain(form, matrix, row, other, x)


@compiled
def _dot_pair_plain(form, matrix, row, other, x):
    size, columns = itemsize(form), matrix[COLUMNS]
    p = matrix[DATA] + row * columns * size
    q = matrix[DATA] + other * columns * size
    a, b, c, d = zero(), zero(), zero(), zero()
    for _ in range(columns // 64):
        x0, x1, x2, x3 = load(F32, x), load(F32, x + 64), load(F32, x + 128), load(F32, x + 192)
        a = fma(load(form, p), x0, a)
        b = fma(load(form, p + 16 * size), x1, b)
        c = fma(load(form, q), x0, c)
        d = fma(load(form, q + 16 * size), x1, d)
        a = fma(load(form, p + 32 * size), x2, a)
        b = fma(load(form, p + 48 * size), x3, b)
        c = fma(load(form, q + 32 * size), x2, c)
        d = fma(load(form, q + 48 * size), x3, d)
        p, q, x = p + 64 * size, q + 64 * size, x + 256
    for _ in range(columns % 64 // 16):
        a = fma(load(form, p), load(F32, x), a)
        c = fma(load(form, q), load(F32, x), c)
        p, q, x = p + 16 * size, q + 16 * size, x + 64
    first, second = total(add(a, b)), total(add(c, d))
    for i in range(columns % 16):
        first += load1(form, p + i * size) * load1(F32, x + 4 * i)
        second += load1(form, q + i * size) * load1(F32, x + 4 * i)
    return first, second


@compiled
def _dot_pair_in_blocks(form, matrix, row, other, x):
    columns = matrix[COLUMNS]
    blocks = (columns + BLOCK - 1) // BLOCK
    p, q = matrix[DATA] + row * columns, matrix[DATA] + other * columns
    s, t = matrix[SCALES] + row * blocks * 2, matrix[SCALES] + other * blocks * 2
    a, b = zero(), zero()
    for _ in range(columns // BLOCK):
        x0, x1 = load(F32, x), load(F32, x + 64)
        first = fma(load(form, p + 16), x1, mul(load(form, p), x0))
        second = fma(load(form, q + 16), x1, mul(load(form, q), x0))
        a = fma(splat(load1(F16, s)), first, a)
        b = fma(splat(load1(F16, t)), second, b)
        p, q, x, s, t = p + BLOCK, q + BLOCK, x + 4 * BLOCK, s + 2, t + 2
    y, z = total(a), total(b)
    for i in range(columns % BLOCK):
        y += load1(F16, s) * load1(form, p + i) * load1(F32, x + 4 * i)
        z += load1(F16, t) * load1(form, q + i) * load1(F32, x + 4 * i)
    return y, z


@compiled
def finished(form, matrix, row, y):
    """A row's product with the row's own scale and bias, where it has them."""
    if matrix[SCALES] != 0 and not in_blocks(form):
        y *= load1(F32, matrix[SCALES] + 4 * row)
    if matrix[BIAS] != 0:
        y += load1(F32, matrix[BIAS] + 4 * row)
    return y


@compiled
def product(form, matrix, x, y, plus, rank, ranks):
    """y = W x + b, or y += W x + b if `plus`, for this thread's share of the rows."""
    start, end = share(matrix[ROWS], rank, ranks)
    half = (end - start + 1) // 2
    for row in range(start, start + half):
        other = min(row + half, end - 1)  # of an odd number of rows, the last is done twice
        first, second = dot_pair(form, matrix, row, other, x)
        first, second = finished(form, matrix, row, first), finished(form, matrix, other, second)
        if plus:
            first += load1(F32, y + 4 * row)
            if row + half < end:
                second += load1(F32, y + 4 * other)
        store1(F32, y + 4 * row, first)
        if row + half < end:
            store1(F32, y + 4 * other, second)
