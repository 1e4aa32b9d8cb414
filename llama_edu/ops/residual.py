"""The residual connection: what a block computes is added to what it was given."""

import numpy as np
from jaxtyping import Float

__all__ = ["residual"]


def residual(
    x: Float[np.ndarray, "seq hidden_size"], block: Float[np.ndarray, "seq hidden_size"]
) -> Float[np.ndarray, "seq hidden_size"]:
    """x + block(x), given both. A new array of their dtype.

    Where several processes each compute a part of what a block returns, this is where the parts
    are summed (`llama_edu.parallel`).
    Source: He et al. 2015, Deep Residual Learning, section 3.2, arXiv:1512.03385.
    """
    return x + block
