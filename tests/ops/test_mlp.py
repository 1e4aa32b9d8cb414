"""SwiGLU three ways: an obvious loop, `swiglu`, and the reference module."""

import math

import numpy as np
from helpers import assert_close, operator_goldens, random
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.ops.linear import linear
from llama_edu.ops.mlp import silu, swiglu

TOLERANCE = 2e-6


def silu_loop(v):
    """The number x · sigmoid(x), with the sigmoid written so that neither branch overflows."""
    if v >= 0:
        return v / (1 + math.exp(-v))
    return v * math.exp(v) / (1 + math.exp(v))


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20))
def test_silu_equals_the_loop(values):
    got = silu(np.array(values, dtype=np.float32))
    want = [silu_loop(v) for v in values]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-30)
    assert got.dtype == np.float32


def test_silu_equals_pytorch_at_both_ends():
    golden = operator_goldens("mlp")
    # Warnings are errors in this suite, so an overflow would show.
    np.testing.assert_allclose(silu(golden["silu_x"]), golden["silu_y"], rtol=1e-5, atol=1e-37)


@given(seq=st.integers(1, 4), width=st.integers(1, 9), seed=st.integers(0, 999))
def test_swiglu_equals_the_loop(seq, width, seed):
    rng = np.random.default_rng(seed)
    gate, up = random(rng, seq, width) * np.float32(4), random(rng, seq, width)
    want = [
        [silu_loop(float(g)) * float(u) for g, u in zip(gate_row, up_row, strict=True)]
        for gate_row, up_row in zip(gate, up, strict=True)
    ]
    assert_close(swiglu(gate, up), want, TOLERANCE)


def test_the_block_equals_the_reference():
    golden = operator_goldens("mlp")
    gated = swiglu(golden["gate"], golden["up"])
    got = linear(gated, golden["down_weight"], golden["down_bias"])
    assert_close(got, golden["y"], TOLERANCE)


def test_only_the_gate_passes_through_silu():
    gate, up = np.float32([[-2.0]]), np.float32([[3.0]])
    assert swiglu(gate, up).item() != swiglu(up, gate).item()


def test_nothing_is_written():
    gate, up = random(np.random.default_rng(0), 2, 3), random(np.random.default_rng(1), 2, 3)
    gate.flags.writeable = up.flags.writeable = False
    swiglu(gate, up)
