"""Matrix times vector, reading each stored weight once, in place, and widening it in a register.

A decode step is nothing but these products, and each is as long as memory takes to deliver the
matrix. Two rows run side by side, far apart: two streams of addresses, each without a jump, are
what the processor's prefetcher follows best. (Four neighbouring rows at once halve the speed.) It
stops at every page of 4 KiB, though, so each line is asked for a page ahead (measured: 2 % faster).

A matrix is described by five whole numbers: the addresses of its weights, scales and bias (0
where there is none), its rows and its columns.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

from llama_edu.engine.backends.numba.simd import (
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
    prefetch,
    reduce_sum,
    splat,
    store1,
    zero,
)

__all__ = [
    "BIAS",
    "COLUMNS",
    "DATA",
    "ROWS",
    "SCALES",
    "dot_pair",
    "finished",
    "partition",
    "product",
    "product_of_rows",
]

DATA, SCALES, BIAS, ROWS, COLUMNS = range(5)
BLOCK = 32  # weights per scale in the blocked format
AHEAD = 4096  # bytes: how far before its use a weight is asked for
LINE = 64


@compiled
def partition(count, rank, ranks):
    """The part of `range(count)` that one of several threads takes: its start and end."""
    return count * rank // ranks, count * (rank + 1) // ranks


@compiled
def dot_pair(weight_format, matrix, row, other, x):
    """The products of two rows of a matrix with the vector at address `x`."""
    if in_blocks(weight_format):
        return _dot_pair_in_blocks(weight_format, matrix, row, other, x)
    return _dot_pair_plain(weight_format, matrix, row, other, x)


@compiled
def _dot_pair_plain(weight_format, matrix, row, other, x):
    size, columns = itemsize(weight_format), matrix[COLUMNS]
    p = matrix[DATA] + row * columns * size
    q = matrix[DATA] + other * columns * size
    a, b, c, d = zero(), zero(), zero(), zero()
    for _ in range(columns // 64):
        if size > 1:  # 8-bit weights are slower to widen than to read
            for line in range(0, 64 * size, LINE):
                prefetch(p + AHEAD + line)
                prefetch(q + AHEAD + line)
        x0, x1, x2, x3 = load(F32, x), load(F32, x + 64), load(F32, x + 128), load(F32, x + 192)
        a = fma(load(weight_format, p), x0, a)
        b = fma(load(weight_format, p + 16 * size), x1, b)
        c = fma(load(weight_format, q), x0, c)
        d = fma(load(weight_format, q + 16 * size), x1, d)
        a = fma(load(weight_format, p + 32 * size), x2, a)
        b = fma(load(weight_format, p + 48 * size), x3, b)
        c = fma(load(weight_format, q + 32 * size), x2, c)
        d = fma(load(weight_format, q + 48 * size), x3, d)
        p, q, x = p + 64 * size, q + 64 * size, x + 256
    for _ in range(columns % 64 // 16):
        a = fma(load(weight_format, p), load(F32, x), a)
        c = fma(load(weight_format, q), load(F32, x), c)
        p, q, x = p + 16 * size, q + 16 * size, x + 64
    first, second = reduce_sum(add(a, b)), reduce_sum(add(c, d))
    for i in range(columns % 16):
        first += load1(weight_format, p + i * size) * load1(F32, x + 4 * i)
        second += load1(weight_format, q + i * size) * load1(F32, x + 4 * i)
    return first, second


@compiled
def _dot_pair_in_blocks(weight_format, matrix, row, other, x):
    columns = matrix[COLUMNS]
    blocks = (columns + BLOCK - 1) // BLOCK
    p, q = matrix[DATA] + row * columns, matrix[DATA] + other * columns
    s, t = matrix[SCALES] + row * blocks * 2, matrix[SCALES] + other * blocks * 2
    a, b = zero(), zero()
    for _ in range(columns // BLOCK):
        x0, x1 = load(F32, x), load(F32, x + 64)
        first = fma(load(weight_format, p + 16), x1, mul(load(weight_format, p), x0))
        second = fma(load(weight_format, q + 16), x1, mul(load(weight_format, q), x0))
        a = fma(splat(load1(F16, s)), first, a)
        b = fma(splat(load1(F16, t)), second, b)
        p, q, x, s, t = p + BLOCK, q + BLOCK, x + 4 * BLOCK, s + 2, t + 2
    y, z = reduce_sum(a), reduce_sum(b)
    for i in range(columns % BLOCK):
        y += load1(F16, s) * load1(weight_format, p + i) * load1(F32, x + 4 * i)
        z += load1(F16, t) * load1(weight_format, q + i) * load1(F32, x + 4 * i)
    return y, z


@compiled
def finished(weight_format, matrix, row, y):
    """A row's product with the row's own scale and bias, where it has them."""
    if matrix[SCALES] != 0 and not in_blocks(weight_format):
        y *= load1(F32, matrix[SCALES] + 4 * row)
    if matrix[BIAS] != 0:
        y += load1(F32, matrix[BIAS] + 4 * row)
    return y


@compiled
def product(weight_format, matrix, x, y, plus, rank, ranks):
    """y = W x + b, or y += W x + b if `plus`, for this thread's share of the rows."""
    start, end = partition(matrix[ROWS], rank, ranks)
    half = (end - start + 1) // 2
    for row in range(start, start + half):
        other = min(row + half, end - 1)  # of an odd number of rows, the last is done twice
        first, second = dot_pair(weight_format, matrix, row, other, x)
        first, second = (
            finished(weight_format, matrix, row, first),
            finished(weight_format, matrix, other, second),
        )
        if plus:
            first += load1(F32, y + 4 * row)
            if row + half < end:
                second += load1(F32, y + 4 * other)
        store1(F32, y + 4 * row, first)
        if row + half < end:
            store1(F32, y + 4 * other, second)


@compiled
def _widened(weight_format, p, scale):
    """Sixteen weights, times the scale of their block, at address `scale`, if blocks have any."""
    if in_blocks(weight_format):
        return mul(splat(load1(F16, scale)), load(weight_format, p))
    return load(weight_format, p)


@compiled
def _widened1(weight_format, p, scale):
    if in_blocks(weight_format):
        return load1(F16, scale) * load1(weight_format, p)
    return load1(weight_format, p)


@compiled
def _dot_pair_by_four(weight_format, matrix, row, other, x, stride):
    """Two rows with four vectors, `stride` bytes apart: each weight is used four times.

    Eight sums grow side by side, as many as fit in registers next to what they are made of.
    """
    size, columns = itemsize(weight_format), matrix[COLUMNS]
    blocks = (columns + BLOCK - 1) // BLOCK
    p, q = matrix[DATA] + row * columns * size, matrix[DATA] + other * columns * size
    s, t = matrix[SCALES] + row * blocks * 2, matrix[SCALES] + other * blocks * 2
    a0, a1, a2, a3 = zero(), zero(), zero(), zero()
    b0, b1, b2, b3 = zero(), zero(), zero(), zero()
    y, z, w = x + stride, x + 2 * stride, x + 3 * stride
    for i in range(columns // 16):
        at, v = 16 * i * size, 64 * i
        prefetch(p + AHEAD + at)
        prefetch(q + AHEAD + at)
        scale = i // 2 * 2
        first, second = (
            _widened(weight_format, p + at, s + scale),
            _widened(weight_format, q + at, t + scale),
        )
        a0, b0 = fma(first, load(F32, x + v), a0), fma(second, load(F32, x + v), b0)
        a1, b1 = fma(first, load(F32, y + v), a1), fma(second, load(F32, y + v), b1)
        a2, b2 = fma(first, load(F32, z + v), a2), fma(second, load(F32, z + v), b2)
        a3, b3 = fma(first, load(F32, w + v), a3), fma(second, load(F32, w + v), b3)
    f0, f1, f2, f3 = reduce_sum(a0), reduce_sum(a1), reduce_sum(a2), reduce_sum(a3)
    g0, g1, g2, g3 = reduce_sum(b0), reduce_sum(b1), reduce_sum(b2), reduce_sum(b3)
    for i in range(columns // 16 * 16, columns):
        v, scale = 4 * i, i // BLOCK * 2
        f = _widened1(weight_format, p + i * size, s + scale)
        g = _widened1(weight_format, q + i * size, t + scale)
        f0, g0 = f0 + f * load1(F32, x + v), g0 + g * load1(F32, x + v)
        f1, g1 = f1 + f * load1(F32, y + v), g1 + g * load1(F32, y + v)
        f2, g2 = f2 + f * load1(F32, z + v), g2 + g * load1(F32, z + v)
        f3, g3 = f3 + f * load1(F32, w + v), g3 + g * load1(F32, w + v)
    return (f0, f1, f2, f3), (g0, g1, g2, g3)


@compiled
def _put(weight_format, matrix, row, value, plus, y):
    value = finished(weight_format, matrix, row, value)
    if plus:
        value += load1(F32, y)
    store1(F32, y, value)


@compiled
def product_of_rows(weight_format, matrix, x, y, count, plus, rank, ranks):
    """`product` for `count` vectors, from the rows of `x` to the rows of `y`."""
    start, end = partition(matrix[ROWS], rank, ranks)
    half, height, stride = (end - start + 1) // 2, 4 * matrix[ROWS], 4 * matrix[COLUMNS]
    for row in range(start, start + half):
        other = row + half
        both = other < end  # of an odd number of rows, the last has no partner
        if not both:
            other = row
        for t in range(0, count - 3, 4):
            fours = _dot_pair_by_four(weight_format, matrix, row, other, x + t * stride, stride)
            for k in range(4):
                at = y + (t + k) * height
                _put(weight_format, matrix, row, fours[0][k], plus, at + 4 * row)
                if both:
                    _put(weight_format, matrix, other, fours[1][k], plus, at + 4 * other)
        for t in range(count // 4 * 4, count):
            first, second = dot_pair(weight_format, matrix, row, other, x + t * stride)
            at = y + t * height
            _put(weight_format, matrix, row, first, plus, at + 4 * row)
            if both:
                _put(weight_format, matrix, other, second, plus, at + 4 * other)
