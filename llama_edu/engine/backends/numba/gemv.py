"""Matrix times vector, reading each stored weight once, in place, and widening it in a register.

A decode step is nothing but these products, and each is as long as memory takes to deliver the
matrix. Two rows run side by side, far apart: two streams of addresses, each without a jump, are
what the processor's prefetcher follows best. It stops at every page of 4 KiB, though, so each line
is asked for a page ahead (measured: 2 % faster). With several vectors at once there is more to
compute than to read, and four rows that follow each other are sooner; so they are for eight-bit
weights in blocks, whose scales cost as much as they do.

Weights in blocks of eight or four bits take longer to widen than to read where registers are short
(AVX2). There the vector is rounded to 16 bits first, with a scale for each block, and a block is
multiplied and added up in whole numbers: half the instructions, and what the rounding changes is
smaller than what a 16-bit cache changes. (llama.cpp rounds the vector to 8 bits, in the same way.)

A matrix is described by five whole numbers: the addresses of its weights, scales and bias (0
where there is none), its rows and its columns.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

import numpy as np

from llama_edu.engine.backends.numba.simd import (
    F16,
    F32,
    add,
    compiled,
    dots_4_by_1,
    dots_4_by_2,
    dots_4_by_4,
    dots_4_by_6,
    fma,
    has_long_registers,
    in_blocks,
    in_fours,
    in_integers,
    integer_dots_4_by_1,
    integer_dots_4_by_2,
    itemsize,
    load,
    load1,
    mul,
    prefetch,
    reduce_sum,
    round_blocks,
    row_nbytes,
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
    "small_batch_nbytes",
]

DATA, SCALES, BIAS, ROWS, COLUMNS = range(5)
BLOCK = 32  # weights per scale in the blocked format
AHEAD = 4096  # bytes: how far before its use a weight is asked for
LINE = 64
SUMS_NBYTES = 2 * LINE  # of four sums for each of up to six vectors
FACTORS_NBYTES = 32  # of a block, in `integer_dots_4_by_2`
ROUNDED_NBYTES = 72  # of a block of a vector as `round_blocks` leaves it
MOST_VECTORS = 6 if has_long_registers() else 2  # whose sums with four rows fit into registers


@compiled
def small_batch_nbytes(columns, count):
    """Bytes that each thread needs for the products of `count` vectors of so many columns."""
    return SUMS_NBYTES + columns // BLOCK * (FACTORS_NBYTES + count * ROUNDED_NBYTES)


@compiled
def partition(count, rank, ranks):
    """The part of `range(count)` that one of several threads takes: its start and end."""
    return count * rank // ranks, count * (rank + 1) // ranks


@compiled
def dot_pair(weight_format, matrix, row, other, x):
    """The products of two rows of a matrix, not in four bits, with the vector at address `x`."""
    if in_fours(weight_format):
        return np.float32(0), np.float32(0)
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
def _put(weight_format, matrix, row, value, plus, y):
    value = finished(weight_format, matrix, row, value)
    if plus:
        value += load1(F32, y)
    store1(F32, y, value)


@compiled
def product_of_rows(weight_format, matrix, x, y, count, plus, sums, rank, ranks):
    """`product` for `count` vectors, from the rows of `x` to the rows of `y`.

    Four rows of the weight meet up to six vectors: each weight is widened once for all of them,
    and their sums fill the registers. `sums` is where this thread has `small_batch_nbytes`.
    """
    start, end = partition(matrix[ROWS], rank, ranks)
    height, stride = 4 * matrix[ROWS], 4 * matrix[COLUMNS]
    given, given_stride = x, stride
    if in_integers(weight_format):
        blocks = matrix[COLUMNS] // BLOCK
        given = sums + SUMS_NBYTES + blocks * FACTORS_NBYTES
        given_stride = blocks * ROUNDED_NBYTES
        for t in range(count):
            round_blocks(x + t * stride, blocks, given + t * given_stride)
    bias, scales = matrix[BIAS], 0 if in_blocks(weight_format) else matrix[SCALES]
    whole = start
    if matrix[COLUMNS] % BLOCK == 0:
        whole = end - (end - start) % 4
    for row in range(start, whole, 4):
        done = 0
        while done < count:
            at = given + done * given_stride
            n = _four_rows(weight_format, matrix, row, at, count - done, sums)
            for t in range(n):
                at = y + (done + t) * height + 4 * row
                for i in range(0, 16, 4):
                    value = load1(F32, sums + 16 * t + i)
                    if scales != 0:
                        value *= load1(F32, scales + 4 * row + i)
                    if bias != 0:
                        value += load1(F32, bias + 4 * row + i)
                    if plus:
                        value += load1(F32, at + i)
                    store1(F32, at + i, value)
            done += n
    if in_fours(weight_format):  # four rows again, for those that make no four of their own
        row = max(end - 4, 0)
        for t in range(count if whole < end else 0):
            _four_rows(weight_format, matrix, row, given + t * given_stride, 1, sums)
            for i in range(whole, end):
                value = load1(F32, sums + 4 * (i - row))
                _put(weight_format, matrix, i, value, plus, y + t * height + 4 * i)
        return
    for row in range(whole, end, 2):
        other = min(row + 1, end - 1)  # of an odd number of rows, the last is done twice
        for t in range(count):
            first, second = dot_pair(weight_format, matrix, row, other, x + t * stride)
            at = y + t * height
            _put(weight_format, matrix, row, first, plus, at + 4 * row)
            if other > row:
                _put(weight_format, matrix, other, second, plus, at + 4 * other)


@compiled
def _four_rows(weight_format, matrix, row, x, count, sums):
    """The products of four rows of a matrix with some vectors, as many as are returned.

    Of formats that are multiplied as whole numbers, the vectors are what `round_blocks` makes.
    """
    columns, blocks = matrix[COLUMNS], matrix[COLUMNS] // BLOCK
    stride = row_nbytes(weight_format, columns)
    p, s = matrix[DATA] + row * stride, matrix[SCALES] + 2 * row * blocks
    if in_integers(weight_format):
        if count >= 2:
            integer_dots_4_by_2(weight_format, p, stride, s, 2 * blocks, x, blocks, sums)
            return 2
        integer_dots_4_by_1(weight_format, p, stride, s, 2 * blocks, x, blocks, sums)
        return 1
    if count >= 6 and MOST_VECTORS >= 6:
        dots_4_by_6(weight_format, p, stride, s, 2 * blocks, x, blocks, sums)
        return 6
    if count >= 4 and MOST_VECTORS >= 4:
        dots_4_by_4(weight_format, p, stride, s, 2 * blocks, x, blocks, sums)
        return 4
    if count >= 2:
        dots_4_by_2(weight_format, p, stride, s, 2 * blocks, x, blocks, sums)
        return 2
    dots_4_by_1(weight_format, p, stride, s, 2 * blocks, x, blocks, sums)
    return 1
