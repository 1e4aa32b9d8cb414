"""Four-bit blocks: the bytes that GGML makes, and the numbers it reads from them."""

import gguf
import numpy as np
import pytest

from llama_edu.errors import InputError, NumericsError
from llama_edu.formats.four_bits import FourBits, dequantize_four, quantize_four
from llama_edu.formats.quantize import Quantized, rows_as_float32, stored_as

STORAGES = ("Q4_0", "Q4_1")


def weights(scale=1.0):
    weight = np.random.default_rng(4).standard_normal((7, 96), dtype=np.float32) * np.float32(scale)
    weight[1, :32], weight[2, 32:64] = 0.25, 0  # blocks of one value
    weight[3, :32:2], weight[3, 1:32:2] = scale, -scale  # as far to either side
    weight[4, :32:2], weight[4, 1:32:2] = -scale, scale
    return weight


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("scale", [1, 1e-3, 1e-7, 1e4])
def test_the_bytes_and_the_numbers_are_ggmls(storage, scale):
    kind = gguf.GGMLQuantizationType[storage]
    weight = weights(scale)
    ours, theirs = quantize_four(weight, storage), gguf.quantize(weight, kind)
    np.testing.assert_array_equal(ours.blocks.reshape(7, -1), theirs)
    np.testing.assert_array_equal(dequantize_four(ours), gguf.dequantize(theirs, kind))


def test_a_block_by_hand():
    """Code 9 of weight 0 in the lower half of the first byte, code 3 of weight 16 in the upper."""
    block = np.zeros((1, 1, 20), dtype=np.uint8)
    block[0, 0, :4] = np.array([0.5, -2], dtype="<f2").view(np.uint8)
    block[0, 0, 4] = 9 | 3 << 4
    wide = dequantize_four(FourBits(block))
    assert (wide[0, 0], wide[0, 16], wide[0, 1]) == (0.5 * 9 - 2, 0.5 * 3 - 2, -2)
    without_offset = FourBits(np.ascontiguousarray(np.delete(block, [2, 3], axis=-1)))
    assert dequantize_four(without_offset)[0, 0] == 0.5 * (9 - 8)


def test_no_weight_is_off_by_more_than_half_a_step():
    weight = weights()
    scales = quantize_four(weight).blocks[..., :2].copy().view("<f2").astype(np.float32)
    off = np.abs(dequantize_four(quantize_four(weight)) - weight).reshape(7, 3, 32)
    assert np.all(off <= 0.51 * scales + 1e-3)


def test_rows_are_looked_up_by_themselves():
    matrix = quantize_four(weights())
    assert matrix.shape == (7, 96)
    assert (len(matrix), matrix.nbytes, matrix[2:4].shape) == (7, 7 * 3 * 20, (2, 96))
    whole = dequantize_four(matrix)
    np.testing.assert_array_equal(rows_as_float32(matrix, np.array([5, 1])), whole[[5, 1]])


def test_what_has_no_whole_blocks_is_kept_in_eight_bits():
    for whole in (weights(), weights()[:4]):
        assert isinstance(stored_as(whole, "Q4_1", 32), FourBits)
    for odd in (weights()[:, :95], weights()[:3]):
        assert isinstance(stored_as(odd, "Q4_1", 32), Quantized)


def test_bad_input_is_refused_with_both_sides():
    with pytest.raises(InputError, match="whole blocks of 32 weights, got 95"):
        quantize_four(weights()[:, :95])
    with pytest.raises(InputError, match="18 or 20 bytes, got 19"):
        FourBits(np.zeros((1, 1, 19), dtype=np.uint8))
    for bad, match in ((np.nan, "infinity or a NaN"), (3e6, "up to 65504, got")):
        weight = weights()
        weight[3, 3] = bad
        with pytest.raises(NumericsError, match=match):
            quantize_four(weight)
