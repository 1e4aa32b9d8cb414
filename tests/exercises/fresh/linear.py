"""Products of matrices."""

import math

import numpy as np
from fresh_answers import right, wrong

PO, GE, TC, IB = "position", "gemm", "telling_case", "in_blocks"


def horner(index, shape):
    at = 0
    for i, n in zip(index, shape, strict=True):
        at = at * n + i
    return at


def by_strides(index, shape):
    return sum(i * math.prod(shape[axis + 1 :]) for axis, i in enumerate(index))


def fortran(index, shape):
    at, step = 0, 1
    for i, n in zip(index, shape, strict=True):
        at += i * step
        step *= n
    return at


def two_axes(index, shape):
    return index[0] * shape[-1] + index[-1]


def steps_one_off(index, shape):
    return sum(i * n for i, n in zip(index, shape, strict=True))


def gemm_with(f):
    """A gemm that writes what `f(c, beta, a, b, alpha)` gives."""

    def gemm(c, beta, a, b, alpha):
        c[...] = f(c, beta, a, b, alpha)

    return gemm


def gemm_right(c, beta, a, b, alpha):
    product = alpha * (a @ b.T)
    if beta == 0:
        c[:] = product
    else:
        c *= beta
        c += product


def gemm_rows(c, beta, a, b, alpha):
    for i in range(len(a)):
        for j in range(len(b)):
            old = 0.0 if beta == 0 else beta * c[i, j]
            c[i, j] = old + alpha * float(np.dot(a[i], b[j]))


def gemm_new(c, beta, a, b, alpha):
    c = beta * c + alpha * a @ b.T


def gemm_returns(c, beta, a, b, alpha):
    return beta * c + alpha * a @ b.T


def gemm_twice(c, beta, a, b, alpha):
    c[...] = alpha * a @ b.T
    c[...] = beta * c + alpha * a @ b.T


def gemm_one_by_one(c, beta, a, b, alpha):
    c *= beta
    c += alpha * (a @ b.T)


def gemm_beta_in_loop(c, beta, a, b, alpha):
    for k in range(a.shape[1]):
        c[...] = beta * c + alpha * np.outer(a[:, k], b[:, k])


def gemm_writes_a(c, beta, a, b, alpha):
    a *= alpha
    c[...] = (0 if beta == 0 else beta * c) + a @ b.T


def f32(*rows):
    return np.array(rows, dtype=np.float32)


def case(c, beta, a, b, alpha):
    return lambda: (c.copy(), beta, a.copy(), b.copy(), alpha)


A, B, C = f32([1, 2, 3], [4, 5, 6]), f32([7, 8, 9], [1, 3, 5]), f32([1, 2], [3, 4])
B3, C3 = f32([7, 8, 9], [1, 3, 5], [2, 2, 7]), f32([1, 2, 5], [3, 4, 9])


def tiled(a, b, block):
    m, n = len(a), len(b)
    c = np.zeros((m, n), a.dtype)
    for i in range(0, m, block):
        for j in range(0, n, block):
            for k in range(0, a.shape[1], block):
                left, right_ = a[i : i + block, k : k + block], b[j : j + block, k : k + block]
                c[i : i + block, j : j + block] += left @ right_.T
    return c


def tiled_ceil(a, b, block):
    c = np.zeros((a.shape[0], b.shape[0]), dtype=a.dtype)
    count = [-(-n // block) for n in (*a.shape, len(b))]
    for i, k, j in np.ndindex(*count):
        rows, inner, cols = (slice(t * block, (t + 1) * block) for t in (i, k, j))
        c[rows, cols] = c[rows, cols] + np.dot(a[rows, inner], np.transpose(b[cols, inner]))
    return c


def tiled_full_only(a, b, block):
    c = np.zeros((len(a), len(b)), a.dtype)
    for i in range(len(a) // block):
        for j in range(len(b) // block):
            for k in range(a.shape[1] // block):
                s, t, u = (slice(x * block, (x + 1) * block) for x in (i, j, k))
                c[s, t] += a[s, u] @ b[t, u].T
    return c


def tiled_overwrites(a, b, block):
    c = np.zeros((len(a), len(b)), a.dtype)
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            for k in range(0, a.shape[1], block):
                s, t, u = (slice(x, x + block) for x in (i, j, k))
                c[s, t] = a[s, u] @ b[t, u].T
    return c


def strips(a, b, block):
    c = np.zeros((len(a), len(b)), a.dtype)
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            c[i : i + block, j : j + block] = a[i : i + block] @ b[j : j + block].T
    return c


def one_axis(a, b, block):
    c = np.zeros((len(a), len(b)), a.dtype)
    for k in range(0, a.shape[1], block):
        c += a[:, k : k + block] @ b[:, k : k + block].T
    return c


def tiled_float32(a, b, block):
    return tiled(a.astype(np.float32), b.astype(np.float32), block)


def tiled_float64(a, b, block):
    return tiled(a.astype(np.float64), b.astype(np.float64), block)


def tiled_empty(a, b, block):
    c = np.full((len(a), len(b)), 7.0, a.dtype)
    return c + tiled(a, b, block)


def tiled_square(a, b, block):
    n = len(a)
    return tiled(a, b, block)[:n, :n]


def tiled_min(a, b, block):
    """Only as many inner tiles as there are rows of them."""
    c = np.zeros((len(a), len(b)), a.dtype)
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            for k in range(0, min(a.shape[1], len(a)), block):
                s, t, u = (slice(x, x + block) for x in (i, j, k))
                c[s, t] += a[s, u] @ b[t, u].T
    return c


ANSWERS = (
    right(PO, "Horner", horner),
    right(PO, "strides", by_strides),
    right(PO, "NumPy", lambda i, s: int(np.ravel_multi_index(i, s))),
    wrong(PO, "Fortran order", fortran, "columns_first"),
    wrong(PO, "two axes only", two_axes, "two_axes"),
    wrong(PO, "each with its own length", steps_one_off),
    wrong(PO, "a float", lambda i, s: float(horner(i, s))),
    wrong(PO, "in bytes", lambda i, s: 4 * horner(i, s), "in_bytes"),
    wrong(PO, "counted from one", lambda i, s: horner(i, s) + 1, "from_one"),
    wrong(PO, "sum of the index", lambda i, s: sum(i), "summed"),
    wrong(PO, "product", lambda i, s: math.prod(i), "multiplied"),
    wrong(PO, "last axis only", lambda i, s: i[-1], "last_only"),
    wrong(PO, "first stride only", lambda i, s: i[0] * math.prod(s[1:]) + sum(i[1:]), "one_stride"),
    wrong(PO, "reversed index", lambda i, s: horner(i[::-1], s[::-1]), "columns_first"),
    wrong(
        PO,
        "with the whole shape",
        lambda i, s: sum(x * math.prod(s[a:]) for a, x in enumerate(i)),
        "stride_with_itself",
    ),
    right(GE, "beta asked", gemm_right),
    right(GE, "loops", gemm_rows),
    wrong(
        GE,
        "beta ignored",
        gemm_with(lambda c, beta, a, b, alpha: c + alpha * a @ b.T),
        "beta_ignored",
    ),
    wrong(
        GE,
        "alpha ignored",
        gemm_with(lambda c, beta, a, b, alpha: beta * c + a @ b.T),
        "alpha_ignored",
    ),
    wrong(
        GE,
        "alpha on both",
        gemm_with(lambda c, beta, a, b, alpha: alpha * (beta * c + a @ b.T)),
        "alpha_on_all_and_zero",
    ),
    wrong(GE, "b not turned", gemm_with(lambda c, beta, a, b, alpha: beta * c + alpha * a @ b)),
    wrong(GE, "zero times NaN", gemm_one_by_one, "reads_at_zero"),
    wrong(GE, "a new array", gemm_new, "returns"),
    wrong(GE, "returned", gemm_returns, "returns"),
    wrong(
        GE,
        "c taken for empty",
        gemm_with(lambda c, beta, a, b, alpha: alpha * a @ b.T),
        "overwrites",
    ),
    wrong(
        GE,
        "beta on both",
        gemm_with(lambda c, beta, a, b, alpha: beta * (c + alpha * a @ b.T)),
        "beta_on_all",
    ),
    wrong(
        GE,
        "beta and alpha exchanged",
        gemm_with(lambda c, beta, a, b, alpha: alpha * c + beta * a @ b.T),
        "factors_exchanged",
    ),
    wrong(GE, "written too early", gemm_twice, "written_first"),
    wrong(GE, "beta in the loop", gemm_beta_in_loop, "beta_each_step"),
    wrong(GE, "a is changed", gemm_writes_a),
    wrong(
        GE,
        "nan_to_num",
        gemm_with(lambda c, beta, a, b, alpha: np.nan_to_num(c) * beta + alpha * a @ b.T),
        "infinity_cleaned",
    ),
    right(TC, "not square", case(C3, 2.0, A, B3, 3.0)),
    right(TC, "square c, other factors", case(C, 0.5, A, B, 3.0)),
    wrong(TC, "beta is 1", case(C3, 1.0, A, B3, 3.0)),
    wrong(TC, "alpha is 1", case(C3, 2.0, A, B3, 1.0)),
    wrong(TC, "beta is 0", case(C3, 0.0, A, B3, 3.0)),
    wrong(TC, "c is zero", case(np.zeros_like(C3), 2.0, A, B3, 3.0), "empty_buffer"),
    wrong(
        TC,
        "all ones",
        case(
            np.ones((2, 2), np.float32),
            1.0,
            np.ones((2, 3), np.float32),
            np.ones((2, 3), np.float32),
            1.0,
        ),
    ),
    wrong(TC, "a is b", case(C, 2.0, A, A, 3.0)),
    wrong(
        TC, "identity", case(C, 1.0, np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 1.0)
    ),
    wrong(TC, "shapes that do not fit", case(C, 2.0, A, B3, 3.0)),
    right(TC, "b square", case(C3, 2.0, A, B3.T, 3.0)),
    wrong(TC, "nothing", lambda: None),
    wrong(TC, "another order", lambda: (A, B3, C3, 2.0, 3.0)),
    wrong(TC, "lists", lambda: (C3.tolist(), 2.0, A.tolist(), B3.tolist(), 3.0)),
    right(IB, "slices", tiled),
    right(IB, "counted tiles", tiled_ceil),
    wrong(IB, "all at once", lambda a, b, block: a @ b.T, "at_once"),
    wrong(IB, "full tiles only", tiled_full_only, "whole_only"),
    wrong(IB, "overwritten", tiled_overwrites, "overwrites"),
    wrong(IB, "strips", strips, "stripes"),
    wrong(IB, "inner axis only", one_axis),
    wrong(IB, "always float32", tiled_float32, "float32"),
    wrong(IB, "always float64", tiled_float64, "float64"),
    wrong(IB, "buffer not empty", tiled_empty, "added_to_old"),
    wrong(IB, "square result", tiled_square),
    wrong(IB, "turned", lambda a, b, block: tiled(b, a, block), "turned"),
    wrong(IB, "inner tiles by rows", tiled_min, "depth_by_columns"),
    wrong(IB, "einsum", lambda a, b, block: np.einsum("ik,jk->ij", a, b), "at_once"),
)
