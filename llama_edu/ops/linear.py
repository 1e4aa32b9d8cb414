"""The matrix product of a linear layer: C = α A Bᵀ + β C, and y = x Wᵀ + b as its common case.

A checkpoint stores a linear layer as one row per output, `(out_features, in_features)`, so the
weight is the transposed right-hand side. Nothing is copied to transpose it: BLAS reads either way.
"""

import math
import time
from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float

from llama_edu.ops.threads import helper

__all__ = [
    "RowProduct",
    "in_blocks",
    "linear",
    "linear_small_batch",
    "matmul_transb",
    "row_product",
    "small_is_quick",
]

SMALL_BATCH = 32  # rows; for more, one large product is soonest
IN_BLOCKS = 16  # rows, at most, for which blocks are soonest
ONE_BY_ONE = 3  # rows, at most, for which a product for each is soonest
LARGE = 65_536  # numbers of a matrix from which on it matters how it is read
TIMED = 12  # products of one shape, half of them of each kind
# OpenBLAS copies nothing for up to 1,000,000 multiplications and 1,200 results, where it has
# kernels for that (its `sgemm_small_kernel_permit_skylakex.c`). Somewhat less is as quick.
BLOCK_MULTIPLICATIONS = 500_000
BLOCK_RESULTS = 1_000
HEAD_START = 100_000  # numbers of a matrix that one thread multiplies before another has woken up
WORTH_SHARING = 150_000  # numbers

_Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def matmul_transb(
    a: Float[np.ndarray, "m k"],
    b: Float[np.ndarray, "n k"],
    c: Float[np.ndarray, "m n"] | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> Float[np.ndarray, "m n"]:
    """C = alpha · A Bᵀ + beta · C, as BLAS `gemm` with its second operand transposed.

    Returns a new array of the dtype of `a`; `c` is read, never written. As in BLAS, `beta` 0 means
    `c` is not read at all, so it may hold anything, NaN included. Else `ValueError` if it is None.
    Source: BLAS Technical Forum Standard, GEMM, with transb = T.
    """
    product = np.matmul(a, b.T)
    # Python floats take the array's dtype (NEP 50); a NumPy float64 would widen it.
    if alpha != 1.0:
        product *= float(alpha)
    if beta != 0.0:
        if c is None:
            raise ValueError(f"expected c, since beta is {beta}, got None")
        product += float(beta) * c
    return product


def linear(
    x: Float[np.ndarray, "seq in_features"],
    weight: Float[np.ndarray, "out_features in_features"],
    bias: Float[np.ndarray, " out_features"] | None = None,
) -> Float[np.ndarray, "seq out_features"]:
    """y = x Wᵀ + b, one row of `weight` per output feature. Same dtype out as in.

    The same numbers in three ways, by the number of rows: for one, a product of matrix and vector,
    as `RowProduct` chooses it; for a few, see `linear_small_batch`; for many, `gemm`.
    """
    if len(x) == 1:
        y = row_product(weight, x[0])[None]
    elif 1 < len(x) <= SMALL_BATCH:
        y = linear_small_batch(x, weight)
    else:
        y = matmul_transb(x, weight)
    return y if bias is None else y + bias


class RowProduct:
    """W x by `np.dot` or by `np.vecdot`: for each shape of W by the one that was sooner at first.

    Such a product takes as long as memory needs to deliver the matrix. `np.dot` cuts a large one
    into blocks, one share for each processor. `np.vecdot` reads row after row, as they lie in
    memory, on a single one. Where one takes nearly all that memory delivers, its plain order wins,
    by a quarter and more; elsewhere two of them are up to twice as fast. Which of it holds is seen
    while working: the first products of a shape are made and timed in turn, and of each kind the
    shortest time counts, since whatever else the machine does takes longer. A small matrix, which
    stays in the processor's cache, goes to `np.dot` at once.
    """

    def __init__(self) -> None:
        self._kinds: tuple[_Product, _Product] = (np.dot, np.vecdot)
        self._seconds: dict[tuple[int, ...], list[tuple[float, int]]] = {}
        self._chosen: dict[tuple[int, ...], _Product] = {}

    def __call__(
        self,
        weight: Float[np.ndarray, "out_features in_features"],
        x: Float[np.ndarray, " in_features"],
    ) -> Float[np.ndarray, " out_features"]:
        """One number for each row of `weight`, of the same dtype as both."""
        if weight.size < LARGE:
            return np.dot(weight, x)
        product = self._chosen.get(weight.shape)
        return self._timed(weight, x) if product is None else product(weight, x)

    def chosen(self, shape: tuple[int, ...]) -> str | None:
        """`dot` or `vecdot` for matrices of this shape; None as long as it is not known."""
        product = self._chosen.get(shape)
        return None if product is None else product.__name__

    def _timed(self, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
        seconds = self._seconds.setdefault(weight.shape, [])
        # Not simply in turn: of two weights of a layer with one shape each would keep to one kind.
        kind = (0, 1, 1, 0)[len(seconds) % 4]
        start = time.perf_counter()
        y = self._kinds[kind](weight, x)
        seconds.append((time.perf_counter() - start, kind))
        if len(seconds) >= TIMED:
            self._chosen[weight.shape] = self._kinds[min(seconds)[1]]
        return y


row_product = RowProduct()


def linear_small_batch(
    x: Float[np.ndarray, "seq in_features"],
    weight: Float[np.ndarray, "out_features in_features"],
) -> Float[np.ndarray, "seq out_features"]:
    """x Wᵀ, sooner than `matmul_transb` for a few rows, from 2 to about 32.

    BLAS copies all of a matrix before it multiplies, to have it in an order that suits its
    innermost loop. For many rows that pays; for a few it takes longer than the product itself. Some
    BLAS leave it out for a product that is small enough, and for those `in_blocks` makes small ones
    of a large one. Else up to three rows go one by one: after the first, most of a weight is still
    in the processor's cache. For more, (W xᵀ)ᵀ, which is the same: for a tall matrix and a few
    columns OpenBLAS is sooner than for a few rows and a wide one, mostly.
    """
    if weight.size >= LARGE and len(x) <= IN_BLOCKS and helper.threads <= 2 and small_is_quick():
        return in_blocks(weight, x)
    if len(x) <= ONE_BY_ONE:
        return np.stack([np.matmul(weight, row) for row in x])
    return np.matmul(weight, x.T).T.copy()


def in_blocks(
    weight: Float[np.ndarray, "out_features in_features"],
    x: Float[np.ndarray, "seq in_features"],
) -> Float[np.ndarray, "seq out_features"]:
    """x Wᵀ, a few rows of W at a time, on two threads.

    BLAS itself would make so small products on one. The first thread begins with more than half,
    since the second has to wake up.
    """
    n_out, n_in = weight.shape
    y = np.empty((n_out, len(x)), dtype=np.result_type(weight, x))
    most = min(BLOCK_MULTIPLICATIONS // n_in, BLOCK_RESULTS) // len(x)
    rows = most // 4 * 4 or 1  # the innermost loop makes four rows, or eight, at once

    def fill(start: int, stop: int) -> None:
        whole = stop - (stop - start) % rows
        blocks = weight[start:whole].reshape(-1, rows, n_in)
        np.matmul(blocks, x.T, out=y[start:whole].reshape(-1, rows, len(x)))
        np.matmul(weight[whole:stop], x.T, out=y[whole:stop])  # the rest, if any

    ours = (weight.size // 2 + HEAD_START) // n_in // 4 * 4
    if (n_out - ours) * n_in < WORTH_SHARING:
        fill(0, n_out)
    else:
        helper.share(lambda: fill(0, ours), lambda: fill(ours, n_out))
    return y.T.copy()


@cache
def small_is_quick() -> bool:
    """Whether BLAS multiplies small matrices without copying them first.

    Copying takes equally long for four columns and for eight; multiplying does not.
    """
    weight = np.ones((64, 512), dtype=np.float32)
    seconds = {4: math.inf, 8: math.inf}
    for _ in range(20):
        for columns in seconds:
            x = np.ones((columns, weight.shape[1]), dtype=np.float32)
            start = time.perf_counter()
            np.matmul(weight, x.T)
            seconds[columns] = min(seconds[columns], time.perf_counter() - start)
    return seconds[4] < 0.8 * seconds[8]
