"""The matrix product of a linear layer: C = α A Bᵀ + β C, and y = x Wᵀ + b as its common case.

A checkpoint stores a linear layer as one row per output, `(out_features, in_features)`, so the
weight is the transposed right-hand side. Nothing is copied to transpose it: BLAS reads either way.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["linear", "linear_few", "matmul_transb"]


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
    """The same as `linear`, sooner for a few rows, from 2 to about 30.

    This computes (W xᵀ)ᵀ, which is x Wᵀ. OpenBLAS multiplies a tall matrix by a few columns sooner
    than a few rows by a wide one: by a fifth for 8 rows, by a third for 16, measured on 2 cores.
    """
    y = np.ascontiguousarray(np.matmul(weight, x.T).T)
    return y if bias is None else y + bias
