"""RMSNorm: scale a vector to a root mean square of 1, then by one learned weight per feature."""

import numpy as np
from jaxtyping import Float

__all__ = ["rms_norm"]


def rms_norm(
    x: Float[np.ndarray, "seq hidden_size"],
    weight: Float[np.ndarray, " hidden_size"],
    eps: float,
) -> Float[np.ndarray, "seq hidden_size"]:
    """weight · x / √(mean(x²) + eps), each row by itself. Same dtype out as in.

    No mean is subtracted and no bias added. `eps` stands inside the root and keeps a row of zeros
    from dividing by zero. Source: Zhang and Sennrich 2019, equation 4, arXiv:1910.07467.
    """
    mean_square = np.vecdot(x, x)[:, None] / x.shape[1]  # (seq, 1)
    return weight * (x / np.sqrt(mean_square + float(eps)))
