"""The matrix product of a linear layer: C = α A Bᵀ + β C, and y = x Wᵀ + b as its common case.

A checkpoint stores a linear layer as one row per output, `(out_features, in_features)`, so the
weight is the transposed right-hand side. Nothing is copied to transpose it: BLAS reads either way.
"""

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

__all__ = ["RowProduct", "linear", "linear_small_batch", "matmul_transb", "row_product"]

SMALL_BATCH = 32  # rows; for more, one large product is sooner
ONE_BY_ONE = 3  # rows, and for so few each by itself is soonest
LARGE = 65_536  # numbers of a matrix from which on it matters how it is read
TIMED = 12  # products of one shape, half of them of each kind

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

    Up to three go one by one: after the first, most of a weight is still in the processor's cache,
    while a general product would copy all of it first, to have it in another order. From four on
    this computes (W xᵀ)ᵀ, which is the same. OpenBLAS multiplies a tall matrix by a few columns
    sooner than a few rows by a wide one: by a tenth for 8 rows, by a fifth for 16.
    """
    if len(x) > ONE_BY_ONE:
        return np.matmul(weight, x.T).T.copy()
    return np.stack([np.matmul(weight, row) for row in x])
