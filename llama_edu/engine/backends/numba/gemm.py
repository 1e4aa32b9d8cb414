"""Matrix times matrix, for the many rows of a prompt: y = W x + b for all of them at once.

Thirty-two rows of the weight at a time, one panel, are widened to float32 and laid out so that
the thirty-two weights of one column lie side by side. Then twelve rows of x meet the panel: for
every column, two vectors of weights and one number of each row make twenty-four products, whose
sums stay in registers until the end. So every number that is loaded is used many times, and the
processor multiplies in every cycle. The panel stays in the second-level cache while all rows of x
pass by.

Sixteen numbers fill one register of AVX-512, and the sums need twenty-four registers; where
registers are shorter, BLAS is sooner. So it may be where they are not: on a Zen 4 whose OpenBLAS
used them too, a prompt of 512 took 1.3 s this way and 1.0 s by BLAS. Source of the scheme: Goto
and van de Geijn 2008, Anatomy of High-Performance Matrix Multiplication, section 4.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

import numpy as np

from llama_edu.engine.backends.numba.gemv import BIAS, BLOCK, COLUMNS, DATA, ROWS, SCALES, partition
from llama_edu.engine.backends.numba.simd import (
    F16,
    F32,
    compiled,
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
    tile_1,
    tile_4,
    tile_12,
    transpose_16,
    widen_four,
)
from llama_edu.engine.backends.numba.threads import barrier

__all__ = [
    "DEPTH",
    "PANEL",
    "product_of_many",
    "product_of_panels",
    "rows_of_panels",
    "scratch_nbytes",
    "widen_row",
]

PANEL = 32  # rows of the weight at a time
DEPTH = 2048  # columns at a time, so that a panel of them fits into the second-level cache
EDGE = 4 * 4 * PANEL  # bytes of four rows of results, some of which nobody wants


def scratch_nbytes(columns):
    """What one thread writes on the way: widened rows, a panel of them, and a tile at the edge."""
    return 2 * 4 * PANEL * min(columns, DEPTH) + EDGE


@compiled
def product_of_many(weight_format, matrix, x, y, count, scratch, counter, rank, ranks):
    """y = W x + b for `count` rows of x, to `count` rows of y; every thread does its panels of W.

    `scratch` is the address of `scratch_nbytes` for each thread.
    """
    own = scratch + rank * (2 * 4 * PANEL * min(matrix[COLUMNS], DEPTH) + EDGE)
    product_of_panels(weight_format, matrix, x, y, count, own, False, rank, ranks)
    barrier(counter, ranks)


@compiled
def rows_of_panels(rows, rank, ranks):
    """The rows of a weight, whole panels of them, that one of several threads takes."""
    first, last = partition((rows + PANEL - 1) // PANEL, rank, ranks)
    return min(first * PANEL, rows), min(last * PANEL, rows)


@compiled
def product_of_panels(weight_format, matrix, x, y, count, scratch, plus, rank, ranks):
    """One thread's part of y = W x + b for many rows, or of y += W x + b if `plus`.

    `scratch` is this thread's own.
    """
    rows, columns, bias = matrix[ROWS], matrix[COLUMNS], matrix[BIAS]
    nbytes = 4 * PANEL * min(columns, DEPTH)
    panel, edge = scratch + nbytes, scratch + 2 * nbytes
    start, end = rows_of_panels(rows, rank, ranks)
    for row in range(start, end, PANEL):
        height, out = min(PANEL, rows - row), y + 4 * row
        for k in range(0, columns, DEPTH):
            depth = min(DEPTH, columns - k)
            _fill_panel(weight_format, matrix, row, height, k, depth, scratch, panel)
            sizes = (4 * columns, 4 * rows, count, height, depth)
            _panel_with_rows(x + 4 * k, panel, out, edge, sizes, plus or k > 0)
        if bias != 0:
            for i in range(count):
                _copy(bias + 4 * row, height, True, out + 4 * i * rows)


@compiled
def _panel_with_rows(x, panel, y, edge, sizes, plus):
    """All rows of x with one panel: twelve at a time, then four; what is left over at the end.

    `sizes`: bytes from one row of x, and of y, to the next; rows of x; columns of the panel that
    are somebody's; and its depth.
    """
    x_stride, y_stride, count, height, depth = sizes
    whole = 0
    if height == PANEL:
        whole = count // 12 * 12
        for i in range(0, whole, 12):
            tile_12(x + i * x_stride, x_stride, panel, depth, y + i * y_stride, y_stride, plus)
        for i in range(whole, count - 3, 4):
            tile_4(x + i * x_stride, x_stride, panel, depth, y + i * y_stride, y_stride, plus)
        whole = count // 4 * 4
    for i in range(whole, count, 4):
        # Four rows again, some of which may have been done, since fewer take as long.
        rows = min(4, count - i)
        start = max(0, i + rows - 4)
        if start + 4 <= count:
            tile_4(x + start * x_stride, x_stride, panel, depth, edge, 4 * PANEL, False)
        else:
            for j in range(count):
                tile_1(x + j * x_stride, x_stride, panel, depth, edge + 4 * j * PANEL, 4, False)
        for j in range(i, i + rows):
            _copy(edge + 4 * (j - start) * PANEL, height, plus, y + j * y_stride)


@compiled
def _copy(x, n, plus, y):
    for i in range(0, 4 * n, 4):
        value = load1(F32, x + i)
        if plus:
            value += load1(F32, y + i)
        store1(F32, y + i, value)


@compiled
def _fill_panel(weight_format, matrix, row, height, k, depth, wide, panel):
    """Columns k … k + depth - 1 of some rows as float32, column by column."""
    source, stride = wide, 4 * depth
    if itemsize(weight_format) == 4:
        stride = 4 * matrix[COLUMNS]
        source = matrix[DATA] + row * stride + 4 * k
    else:
        for r in range(height):
            widen_row(weight_format, matrix, row + r, k, depth, wide + r * stride)
    whole = depth // 16 * 16
    for r in range(0, PANEL, 16):
        ready = 0
        if r + 16 <= height:
            ready = whole
            for c in range(0, whole, 16):
                transpose_16(
                    source + r * stride + 4 * c, stride, panel + 4 * (c * PANEL + r), 4 * PANEL
                )
        for c in range(ready, depth):
            for i in range(r, r + 16):
                at = panel + 4 * (c * PANEL + i)
                store1(F32, at, load1(F32, source + i * stride + 4 * c) if i < height else 0.0)


@compiled
def widen_row(weight_format, matrix, row, first, count, y):
    """Columns first … first + count - 1 of a row as float32, scales applied.

    In the blocked format the first column begins a block.
    """
    columns, size = matrix[COLUMNS], itemsize(weight_format)
    if in_fours(weight_format):
        p = matrix[DATA] + row * row_nbytes(weight_format, columns)
        for block in range(first // BLOCK, (first + count) // BLOCK):
            widen_four(weight_format, p, block, y)
            y += 4 * BLOCK
        return
    p = matrix[DATA] + (row * columns + first) * size
    if in_blocks(weight_format):
        blocks = (columns + BLOCK - 1) // BLOCK
        s = matrix[SCALES] + 2 * (row * blocks + first // BLOCK)
        for done in range(0, count, BLOCK):
            n = min(BLOCK, count - done)
            _widen(weight_format, p + done, n, load1(F16, s), y + 4 * done)
            s += 2
    else:
        scale = np.float32(1)
        if matrix[SCALES] != 0:
            scale = load1(F32, matrix[SCALES] + 4 * row)
        _widen(weight_format, p, count, scale, y)


@compiled
def _widen(weight_format, p, n, scale, y):
    size, scales = itemsize(weight_format), splat(scale)
    for _ in range(n // 16):
        store(y, mul(load(weight_format, p), scales))
        p, y = p + 16 * size, y + 64
    for i in range(n % 16):
        store1(F32, y + 4 * i, load1(weight_format, p + i * size) * scale)
