"""Rotary position embedding: turn each pair of a query's and a key's numbers by its position.

Two layouts of the pairs exist. Hugging Face checkpoints pair number j with j + head_dim/2
("half-split"); Meta's own files and GGUF pair 2j with 2j + 1 ("interleaved"). Neither is wrong:
permuting the rows of the q and k weights turns one into the other. Loading one as the other gives
text that starts well and falls apart. This engine computes half-split.

Source: Su et al. 2021, RoFormer, section 3.2.2, arXiv:2104.09864.
"""

import math

import numpy as np
from jaxtyping import Float, Float32

from llama_edu.formats.config import LlamaConfig, RopeScaling

__all__ = [
    "apply_rope",
    "apply_rope_interleaved",
    "half_split_to_interleaved",
    "interleaved_to_half_split",
    "inverse_frequencies",
    "rope_cos_sin",
]


def inverse_frequencies(config: LlamaConfig) -> Float32[np.ndarray, " half_dim"]:
    """The angle each pair turns per position, radians: theta^(-2j / head_dim), then scaled.

    `half_dim` is head_dim / 2. Computed on Python floats and rounded to float32 once.
    """
    pairs = range(config.head_dim // 2)
    inv_freq = [config.rope_theta ** (-2 * j / config.head_dim) for j in pairs]
    scaling = config.rope_scaling
    if scaling is not None and scaling.rope_type == "yarn":
        inv_freq = _yarn(inv_freq, config.rope_theta, scaling)
    elif scaling is not None:
        inv_freq = [_scaled(angle, scaling) for angle in inv_freq]
    return np.array(inv_freq, dtype=np.float32)


def _scaled(angle: float, scaling: RopeScaling) -> float:
    """One scaled frequency (transformers, `modeling_rope_utils.py`, "linear" and "llama3")."""
    if scaling.rope_type == "linear":
        return angle / scaling.factor
    wavelength = 2 * math.pi / angle  # positions per full turn
    turns_in_context = scaling.original_max_position_embeddings / wavelength
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    # 1 for pairs that turn often within the trained context, 0 for those that hardly do.
    keep = min(1.0, max(0.0, (turns_in_context - low) / (high - low)))
    return keep * angle + (1 - keep) * angle / scaling.factor


def _yarn(inv_freq: list[float], theta: float, scaling: RopeScaling) -> list[float]:
    """Frequencies by YaRN: fast pairs stay, slow ones are divided, a ramp along the pairs between.

    Peng et al. 2023, section 3.2, arXiv:2309.00071, with the bounds as transformers rounds them
    (`modeling_rope_utils.py`, "yarn").
    """
    head_dim = 2 * len(inv_freq)

    def pair_that_turns(times: float) -> float:
        wavelength = scaling.original_max_position_embeddings / times
        return head_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = (high - low) or 0.001
    slow = [min(1.0, max(0.0, (j - low) / width)) for j in range(len(inv_freq))]
    return [
        (1 - share) * angle + share * angle / scaling.factor
        for share, angle in zip(slow, inv_freq, strict=True)
    ]


def rope_cos_sin(
    inv_freq: Float32[np.ndarray, " half_dim"], past: int, seq: int
) -> tuple[Float32[np.ndarray, "seq half_dim"], Float32[np.ndarray, "seq half_dim"]]:
    """Cosine and sine of every pair's angle at positions past … past + seq - 1."""
    positions = np.arange(past, past + seq, dtype=np.float32)
    angles = positions[:, None] * inv_freq
    return np.cos(angles), np.sin(angles)


def apply_rope(
    x: Float[np.ndarray, "*heads seq head_dim"],
    cos: Float[np.ndarray, "seq half_dim"],
    sin: Float[np.ndarray, "seq half_dim"],
) -> Float[np.ndarray, "*heads seq head_dim"]:
    """Rotate the pairs (j, j + head_dim/2) of every head: the half-split layout.

    Returns a new array of x's shape and dtype.
    """
    halves = x.reshape(*x.shape[:-1], 2, -1)  # (*heads, seq, 2, half_dim)
    rotated = np.empty(halves.shape, dtype=x.dtype)
    np.multiply(halves, cos[:, None], out=rotated)
    first, second = rotated[..., 0, :], rotated[..., 1, :]
    first -= halves[..., 1, :] * sin
    second += halves[..., 0, :] * sin
    return rotated.reshape(x.shape)


def apply_rope_interleaved(
    x: Float[np.ndarray, "*heads seq head_dim"],
    cos: Float[np.ndarray, "seq half_dim"],
    sin: Float[np.ndarray, "seq half_dim"],
) -> Float[np.ndarray, "*heads seq head_dim"]:
    """Rotate the pairs (2j, 2j + 1) of every head: the layout of Meta's files and GGUF of Llama."""
    first, second = x[..., 0::2], x[..., 1::2]
    rotated = np.empty(x.shape, dtype=x.dtype)
    np.subtract(first * cos, second * sin, out=rotated[..., 0::2])
    np.add(second * cos, first * sin, out=rotated[..., 1::2])
    return rotated


def interleaved_to_half_split(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of a q or k weight (or bias) per head: row 2j goes to j, row 2j+1 to j+half.

    `weight` is (n_heads · head_dim, …) of any dtype. Returns a new array.
    """
    rows, rest = weight.shape[0], weight.shape[1:]
    by_pair = weight.reshape(n_heads, rows // n_heads // 2, 2, *rest)
    return by_pair.swapaxes(1, 2).reshape(rows, *rest)


def half_split_to_interleaved(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """The way back: row j goes to 2j, and row j + half to 2j + 1."""
    rows, rest = weight.shape[0], weight.shape[1:]
    by_half = weight.reshape(n_heads, 2, rows // n_heads // 2, *rest)
    return by_half.swapaxes(1, 2).reshape(rows, *rest)
