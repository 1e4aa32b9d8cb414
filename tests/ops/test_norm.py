"""RMSNorm three ways: an obvious loop, `rms_norm`, and the reference module."""

import math

import numpy as np
import pytest
from helpers import assert_close, operator_goldens, random
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.ops.norm import rms_norm

TOLERANCE = 1e-6


def rms_norm_loop(x, weight, eps):
    """One row and one number at a time, in Python's float64."""
    out = np.zeros(x.shape, dtype=np.float64)
    for i, row in enumerate(x.tolist()):
        mean_square = math.fsum(v * v for v in row) / len(row)
        for j, v in enumerate(row):
            out[i, j] = float(weight[j]) * v / math.sqrt(mean_square + eps)
    return out


@given(
    seq=st.integers(1, 5),
    hidden=st.integers(1, 9),
    eps=st.sampled_from([1e-6, 1e-3, 0.5]),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 999),
)
def test_rms_norm_equals_the_loop(seq, hidden, eps, size, seed):
    rng = np.random.default_rng(seed)
    x, weight = random(rng, seq, hidden) * np.float32(size), random(rng, hidden)
    assert_close(rms_norm(x, weight, eps), rms_norm_loop(x, weight, eps), TOLERANCE)


def test_rms_norm_equals_the_reference():
    golden = operator_goldens("norm")
    got = rms_norm(golden["x"], golden["weight"], 1e-4)
    for row in range(len(got)):  # row by row: one is tiny, one is zero, one is huge
        assert_close(got[row], golden["y"][row], TOLERANCE, f"row {row}")


def test_a_row_comes_out_with_a_root_mean_square_of_1():
    x = random(np.random.default_rng(0), 3, 50) * np.float32(17)
    y = rms_norm(x, np.ones(50, dtype=np.float32), 1e-12)
    assert np.sqrt(np.mean(y * y, axis=-1)) == pytest.approx(1, abs=1e-6)


@given(factor=st.sampled_from([0.5, 2.0, 1024.0]), seed=st.integers(0, 99))
def test_the_length_of_a_row_is_forgotten(factor, seed):
    rng = np.random.default_rng(seed)
    x, weight = random(rng, 3, 7), random(rng, 7)
    got = rms_norm(x * np.float32(factor), weight, 1e-30)
    assert_close(got, rms_norm(x, weight, 1e-30), TOLERANCE)


def test_the_mean_is_not_subtracted():
    x = np.full((1, 4), 3.0, dtype=np.float32)
    assert rms_norm(x, np.ones(4, dtype=np.float32), 1e-12) == pytest.approx(1, abs=1e-6)


def test_a_row_of_zeros_stays_zero():
    x = np.zeros((2, 5), dtype=np.float32)
    assert not rms_norm(x, np.ones(5, dtype=np.float32), 1e-6).any()


def test_nothing_is_written():
    rng = np.random.default_rng(1)
    x, weight = random(rng, 3, 7), random(rng, 7)
    x.flags.writeable = weight.flags.writeable = False
    assert rms_norm(x, weight, np.float64(1e-5)).dtype == np.float32
