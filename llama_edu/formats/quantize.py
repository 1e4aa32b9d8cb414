"""Eight-bit weights: codes and scales instead of numbers, for storage only.

A weight matrix is cut into blocks, each of one row's neighbours; a block keeps one scale and a
one-byte code per weight, and weight ≈ scale · code. The codes are whole numbers from -127 to 127
("I8", symmetric: no offset) or 8-bit floats ("F8_E4M3", up to 448). Arithmetic never happens on
codes: they are widened to float32 first. Activations are not quantised.

Sources: the block of 32 with one float16 scale is GGML's Q8_0; Micikevicius et al. 2022, FP8
Formats for Deep Learning, arXiv:2209.05433, for E4M3.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from llama_edu.errors import NumericsError
from llama_edu.formats.four_bits import BLOCK as FOUR_BITS_BLOCK
from llama_edu.formats.four_bits import FourBits, dequantize_four, quantize_four
from llama_edu.formats.precision import DTYPES, to_float32

__all__ = ["Quantized", "Stored", "dequantize", "quantize", "rows_as_float32", "stored_as"]

Rows = slice | np.ndarray
FOUR_BITS = ("Q4_0", "Q4_1")
LEAST_ROWS = 4  # that a kernel takes at a time
LARGEST_CODE = {"I8": 127.0, "F8_E4M3": 448.0}


@dataclass(frozen=True)
class Quantized:
    """A weight matrix as one-byte codes and their scales. See `dequantize` for the numbers.

    Column j of the codes takes scale j // block; the last block of a row may be shorter.
    """

    codes: np.ndarray  # (out_features, in_features), int8 or float8_e4m3fn
    scales: np.ndarray  # (out_features, blocks per row): float16 for blocks, float32 for rows
    block: int  # weights per scale

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Rows) -> "Quantized":
        """Some of the rows. A slice gives views."""
        return Quantized(self.codes[rows], self.scales[rows], self.block)


Stored = Quantized | FourBits
"""A matrix as codes and scales, in 8 bits or in 4."""


def stored_as(
    weight: Float[np.ndarray, "out_features in_features"], storage: str, block: int = 0
) -> Stored:
    """The matrix in codes of a storage, four bits included.

    A matrix that cannot be cut into blocks of four bits is kept in 8, as GGML does. Raises as
    `quantize` and `quantize_four` do.
    """
    if storage not in FOUR_BITS:
        return quantize(weight, storage, block)
    rows, columns = weight.shape
    if columns % FOUR_BITS_BLOCK or rows < LEAST_ROWS:
        return quantize(weight, "I8", block)
    return quantize_four(weight, storage)


def quantize(
    weight: Float[np.ndarray, "out_features in_features"], storage: str, block: int = 0
) -> Quantized:
    """Codes and scales for a matrix; `block` 0 means one block per row.

    The largest weight of a block gets the largest code, so no weight is cut off. Raises
    `NumericsError` if a weight is not finite: no scale could hold it.
    """
    wide = to_float32(weight)
    rows, columns = wide.shape
    kept = np.dtype(np.float16 if block else np.float32)
    block = block or columns
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), dtype=np.float32)
    padded[:, :columns] = wide
    by_block = padded.reshape(rows, blocks, block)
    largest = np.max(np.abs(by_block), axis=-1)
    if not np.isfinite(largest).all():
        raise NumericsError("expected finite weights to quantise, got an infinity or a NaN")
    exact = largest / LARGEST_CODE[storage]
    with np.errstate(over="ignore"):
        scales = exact.astype(kept)
    if not np.isfinite(scales).all():
        raise NumericsError(f"expected scales up to 65504, got {float(np.max(exact)):g}")
    # The codes are made for the scale as stored, so its rounding costs nothing more.
    stored = scales.astype(np.float32)[..., None]
    scaled = np.divide(by_block, stored, out=np.zeros_like(by_block), where=stored > 0)
    codes = _codes(scaled, storage).reshape(rows, -1)[:, :columns]
    return Quantized(np.ascontiguousarray(codes), scales, block)


def _codes(scaled: Float32[np.ndarray, "..."], storage: str) -> np.ndarray:
    end = LARGEST_CODE[storage]
    clipped = np.clip(scaled, -end, end)
    return (np.rint(clipped) if storage == "I8" else clipped).astype(DTYPES[storage])


def dequantize(weight: Stored) -> Float32[np.ndarray, "out_features in_features"]:
    """scale · code for every weight, as a new float32 array."""
    if isinstance(weight, FourBits):
        return dequantize_four(weight)
    columns = weight.codes.shape[1]
    scales = weight.scales.astype(np.float32)
    if scales.shape[1] > 1:
        scales = np.repeat(scales, weight.block, axis=1)[:, :columns]
    wide: np.ndarray = weight.codes.astype(np.float32)
    wide *= scales
    return wide


def rows_as_float32(
    weight: np.ndarray | Stored, rows: Rows
) -> Float32[np.ndarray, "n_rows in_features"]:
    """Some rows of a stored matrix as float32: what looking up an embedding takes."""
    chosen = weight[rows]
    return to_float32(chosen) if isinstance(chosen, np.ndarray) else dequantize(chosen)
