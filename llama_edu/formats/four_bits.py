"""Four-bit weights: blocks of 32 codes from 0 to 15 under one scale, in the bytes of GGML.

A block lies in memory as one run of bytes: the scale, for Q4_1 also an offset, both float16, and
sixteen bytes of two codes each. Byte j holds the code of weight j in its lower half and that of
weight j + 16 in its upper half. A row of a matrix is its blocks one behind the other, so a matrix
can be used where it lies in a file.

    Q4_0    18 bytes    weight = scale · (code - 8)         4.5 bits a weight
    Q4_1    20 bytes    weight = scale · code + offset      5 bits a weight

Source: GGML, ggml-quants.c, `quantize_row_q4_0_ref` and `quantize_row_q4_1_ref`; both are rounded
as it rounds, so that the bytes are the same.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from llama_edu.errors import InputError, NumericsError
from llama_edu.formats.precision import to_float32

__all__ = ["BLOCK", "BLOCK_NBYTES", "FourBits", "dequantize_four", "quantize_four"]

BLOCK = 32
BLOCK_NBYTES = {"Q4_0": 18, "Q4_1": 20}
CODES_NBYTES = BLOCK // 2

Rows = slice | np.ndarray


@dataclass(frozen=True)
class FourBits:
    """A weight matrix in blocks of four-bit codes. See `dequantize_four` for the numbers.

    Raises `InputError` for blocks of a size that no storage has.
    """

    blocks: UInt8[np.ndarray, "out_features n_blocks block_nbytes"]

    def __post_init__(self) -> None:
        if self.blocks.shape[-1] not in BLOCK_NBYTES.values():
            raise InputError(
                f"expected blocks of 18 or 20 bytes, got {self.blocks.shape[-1]} bytes"
            )

    @property
    def storage(self) -> str:
        """Its name, "Q4_0" or "Q4_1": the latter has an offset in each block."""
        return "Q4_0" if self.blocks.shape[-1] == BLOCK_NBYTES["Q4_0"] else "Q4_1"

    @property
    def shape(self) -> tuple[int, int]:
        return self.blocks.shape[0], self.blocks.shape[1] * BLOCK

    @property
    def nbytes(self) -> int:
        return self.blocks.nbytes

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, rows: Rows) -> "FourBits":
        """Some of the rows. A slice gives a view."""
        return FourBits(self.blocks[rows])


def quantize_four(
    weight: Float[np.ndarray, "out_features in_features"], storage: str = "Q4_1"
) -> FourBits:
    """Blocks for a matrix whose rows are whole blocks.

    Q4_0 gives the weight that lies farthest from 0 the code 0, which means -8 scales: so it alone
    decides the scale, sign and all. Q4_1 spreads the sixteen codes from the smallest weight of the
    block to the largest. Raises `InputError` for rows that are no whole blocks, `NumericsError`
    for a weight that is not finite and for a scale beyond float16.
    """
    wide = to_float32(weight)
    rows, columns = wide.shape
    if columns % BLOCK:
        raise InputError(f"expected rows of whole blocks of {BLOCK} weights, got {columns} weights")
    if not np.isfinite(wide).all():
        raise NumericsError("expected finite weights to quantise, got an infinity or a NaN")
    by_block = wide.reshape(rows, -1, BLOCK)
    if storage == "Q4_0":
        at = np.abs(by_block).argmax(axis=-1, keepdims=True)
        scales = np.take_along_axis(by_block, at, axis=-1) / np.float32(-8)
        offsets = None
        shifted = by_block * _inverse(scales) + np.float32(8.5)
    else:
        offsets = by_block.min(axis=-1, keepdims=True)
        scales = (by_block.max(axis=-1, keepdims=True) - offsets) / np.float32(15)
        shifted = (by_block - offsets) * _inverse(scales) + np.float32(0.5)
    codes = np.minimum(shifted.astype(np.uint8), np.uint8(15))
    heads = [part for part in (scales, offsets) if part is not None]
    with np.errstate(over="ignore"):
        narrow = [part.astype("<f2") for part in heads]
    if not all(np.isfinite(part).all() for part in narrow):
        largest = max(float(np.abs(part).max()) for part in heads)
        raise NumericsError(f"expected scales and offsets up to 65504, got {largest:g}")
    packed = codes[..., :CODES_NBYTES] | codes[..., CODES_NBYTES:] << 4
    return FourBits(np.concatenate([*(part.view(np.uint8) for part in narrow), packed], axis=-1))


def _inverse(scales: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """1 / scale, and 0 where a block has one value only."""
    return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)


def dequantize_four(weight: FourBits) -> Float32[np.ndarray, "out_features in_features"]:
    """The weight that each code stands for, as a new float32 array."""
    blocks = np.ascontiguousarray(weight.blocks)
    packed = blocks[..., -CODES_NBYTES:]
    codes = np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32)
    heads = np.ascontiguousarray(blocks[..., :-CODES_NBYTES]).view("<f2").astype(np.float32)
    if weight.storage == "Q4_0":
        wide = (codes - np.float32(8)) * heads
    else:
        wide = codes * heads[..., :1] + heads[..., 1:]
    return wide.reshape(weight.shape)
