"""The residual connection: number by number the sum, in a new array."""

import numpy as np
from helpers import random
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.ops.residual import residual


@given(seq=st.integers(1, 4), width=st.integers(1, 9), seed=st.integers(0, 999))
def test_it_equals_the_loop(seq, width, seed):
    rng = np.random.default_rng(seed)
    x, block = random(rng, seq, width) * np.float32(1e3), random(rng, seq, width)
    x.flags.writeable = block.flags.writeable = False  # the stream and the answer stay as they are
    got = residual(x, block)
    want = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(x, block, strict=True)]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)
