"""The matrix product of a linear layer: C = α A Bᵀ + β C, and y = x Wᵀ + b as its common case.

A checkpoint stores a linear layer as one row per output, `(out_features, in_features)`, so the
weight is the transposed right-hand side. Nothing is copied to transpose it: BLAS reads either way.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["linear", "linear_small_batch", "matmul_transb"]

SMALL_BATCH = 16  # rows; for more, one large product is sooner
BLOCK = 64  # rows of a weight


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
    """y = x Wᵀ + b, one row of `weight` per output feature. Same dtype out as in.

    The same numbers in three ways, by the number of rows: for one, a dot product with each row of
    the weight, read as it lies in memory; for a few, see `linear_small_batch`; for many, `gemm`.
    """
    if len(x) == 1:
        y = np.vecdot(weight, x)[None]
    elif len(x) <= SMALL_BATCH:
        y = linear_small_batch(x, weight)
    else:
        y = matmul_transb(x, weight)
    return y if bias is None else y + bias


def linear_small_batch(
    x: Float[np.ndarray, "seq in_features"],
    weight: Float[np.ndarray, "out_features in_features"],
) -> Float[np.ndarray, "seq out_features"]:
    """x Wᵀ, sooner than `matmul_transb` for a few rows, from 2 to about 16.

    A large `gemm` first copies both its matrices into the order that suits it, which pays if each
    number is then used often. Few rows use a weight too seldom. Blocks of it small enough for the
    nearest cache are multiplied as they lie.
    """
    seq, in_features = x.shape
    y = np.empty((seq, len(weight)), dtype=x.dtype)
    whole = len(weight) // BLOCK * BLOCK
    blocks = weight[:whole].reshape(-1, BLOCK, in_features)  # (n_blocks, BLOCK, in_features)
    out = y[:, :whole].reshape(seq, -1, BLOCK).transpose(1, 0, 2)  # (n_blocks, seq, BLOCK)
    np.matmul(x, blocks.transpose(0, 2, 1), out=out)
    np.matmul(x, weight[whole:].T, out=y[:, whole:])
    return y
