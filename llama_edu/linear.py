"""The matrix product of a linear layer: C = α A Bᵀ + β C, and y = x Wᵀ + b as its common case.

A checkpoint stores a linear layer as one row per output, `(out_features, in_features)`, so the
weight is the transposed right-hand side. Nothing is copied to transpose it: BLAS reads either way.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["linear", "linear_few", "matmul_transb"]

SMALL_PRODUCT = 500_000  # multiplications; OpenBLAS takes its short way up to a million


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
    `c` is not read at all, so it may be missing or hold anything, NaN included.
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
    """y = x Wᵀ + b, one row of `weight` per output feature. Same dtype out as in."""
    y = matmul_transb(x, weight)
    return y if bias is None else y + bias


def linear_few(
    x: Float[np.ndarray, "seq in_features"],
    weight: Float[np.ndarray, "out_features in_features"],
    bias: Float[np.ndarray, " out_features"] | None = None,
) -> Float[np.ndarray, "seq out_features"]:
    """The same as `linear`, sooner for a few rows, from 2 to about 16.

    For a large product BLAS first copies the weights into an order it likes. With many rows that
    pays; with a few, the copy takes longer than the product. It leaves it out when a product is
    small, so the weights are taken some rows at a time.
    """
    out_features, in_features = weight.shape
    step = max(1, SMALL_PRODUCT // (len(x) * in_features))
    y = np.empty((len(x), out_features), dtype=x.dtype)
    for start in range(0, out_features, step):
        np.matmul(x, weight[start : start + step].T, out=y[:, start : start + step])
    return y if bias is None else y + bias
