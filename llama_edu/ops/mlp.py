"""The gated feed-forward block: down( silu(gate(x)) · up(x) )."""

import numpy as np
from jaxtyping import Float

__all__ = ["silu", "swiglu"]


def silu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """x · sigmoid(x) = x / (1 + e⁻ˣ), element by element. Same dtype out as in.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415; Elfwing et al. 2017, arXiv:1702.03118.
    """
    # For very negative x, e⁻ˣ is infinite and x / ∞ is the right answer: 0.
    with np.errstate(over="ignore"):
        return x / (1.0 + np.exp(-x))


def swiglu(
    gate: Float[np.ndarray, "seq intermediate_size"],
    up: Float[np.ndarray, "seq intermediate_size"],
) -> Float[np.ndarray, "seq intermediate_size"]:
    """silu(gate) · up: one projection decides how much of the other passes.

    Source: Shazeer 2020, GLU Variants Improve Transformer, equation 6, arXiv:2002.05202.
    """
    return silu(gate) * up
