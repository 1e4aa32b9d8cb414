"""One-byte codes with shared scales: what is kept, what is lost, what is refused."""

import ml_dtypes
import numpy as np
import pytest
from helpers import random

from llama_edu.errors import NumericsError
from llama_edu.formats.quantize import dequantize, quantize, stored_as

ROWS, COLUMNS, BLOCK = 3, 10, 4
WEIGHT = random(np.random.default_rng(0), ROWS, COLUMNS)


def blocks(block):
    """Where each block of a row begins and ends."""
    return [(j, min(j + block, COLUMNS)) for j in range(0, COLUMNS, block)]


@pytest.mark.parametrize(("storage", "most"), [("I8", 127.0), ("F8_E4M3", 448.0)])
def test_the_largest_of_a_row_gets_the_largest_code(storage, most):
    made = quantize(WEIGHT, storage)
    assert made.scales.dtype == np.float32
    np.testing.assert_array_equal(made.scales[:, 0], np.abs(WEIGHT).max(axis=1) / np.float32(most))
    assert np.abs(made.codes.astype(np.float32)).max(axis=1).tolist() == [most] * ROWS


def test_each_block_has_a_scale_of_its_own():
    made = quantize(WEIGHT, "I8", BLOCK)
    assert made.scales.dtype == np.float16
    for row in range(ROWS):
        for number, (begin, end) in enumerate(blocks(BLOCK)):
            part = WEIGHT[row, begin:end]
            scale = np.float16(np.abs(part).max() / np.float32(127.0))
            assert made.scales[row, number] == scale
            want = np.clip(np.rint(part / np.float32(scale)), -127, 127)
            assert made.codes[row, begin:end].tolist() == want.tolist()
    back = dequantize(made)
    assert np.abs(back - WEIGHT).max() <= made.scales.max() * 0.51


def test_rows_and_sizes_are_those_of_the_codes_with_their_scales():
    made = quantize(WEIGHT, "I8", BLOCK)
    assert (made.shape, len(made)) == ((ROWS, COLUMNS), ROWS)
    assert made.nbytes == ROWS * COLUMNS + ROWS * len(blocks(BLOCK)) * 2
    np.testing.assert_array_equal(dequantize(made[1:]), dequantize(made)[1:])
    assert np.shares_memory(made[1:].codes, made.codes)


def test_without_blocks_a_row_has_one_scale():
    for made in (quantize(WEIGHT, "I8"), stored_as(WEIGHT, "I8")):
        assert (made.block, made.scales.shape, made.scales.dtype) == (COLUMNS, (ROWS, 1), "f4")


def test_a_row_of_zeros_stays_zero():
    made = quantize(np.zeros((2, 5), np.float32), "I8", 2)
    assert not made.codes.any()
    assert not dequantize(made).any()


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_what_no_scale_could_hold_is_refused(wrong):
    weight = WEIGHT.copy()
    weight[1, 7] = wrong
    with pytest.raises(NumericsError, match="expected finite weights to quantise"):
        quantize(weight, "I8")


def test_a_scale_beyond_float16_is_refused():
    weight = WEIGHT.copy()
    weight[2, 3] = 1e9
    with pytest.raises(NumericsError, match=r"expected scales up to 65504, got 7\.87402e"):
        quantize(weight, "I8", BLOCK)
    assert np.isfinite(quantize(weight, "I8").scales).all()  # a whole row's is a float32


def test_bfloat16_is_read_as_what_it_says():
    narrow = WEIGHT.astype(ml_dtypes.bfloat16)
    made, wide = quantize(narrow, "I8"), quantize(narrow.astype(np.float32), "I8")
    assert made.codes.tolist() == wide.codes.tolist()
