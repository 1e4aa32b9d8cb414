"""The bits lab's number formats against NumPy's: every code of a byte, many of the wider ones."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from page_engine import called

DTYPES = [np.float32, ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn]


def test_codes_and_numbers_are_those_of_numpy(node: str) -> None:
    rng = np.random.default_rng(12)
    codes = [
        np.unique(np.r_[rng.integers(0, 2**size, 3000), 0, 2**size - 1, 2 ** (size - 1)])
        for size in (32, 16, 16, 8)
    ]
    with np.errstate(over="ignore"):
        ties = np.r_[257.0, 259.0, 449.0, 464.0, 465.0, 65519.0, 65520.0, 2.0**-25, 2.0**-10]
        wide = np.exp(rng.uniform(-110, 90, 3000)) * rng.choice([-1, 1], 3000)
        values = np.r_[ties, -ties, 0.0, -0.0, np.inf, -np.inf, wide].astype(np.float32)
    request = {
        "codes": [c.tolist() for c in codes],
        "values": [repr(float(v)).replace("inf", "Infinity") for v in values],
    }
    made = called("floats", request)
    for dtype, numbers, got in zip(DTYPES, codes, made, strict=True):
        word = f"u{np.dtype(dtype).itemsize}"
        with np.errstate(invalid="ignore"):  # some codes are signalling NaNs
            want = numbers.astype(word).view(dtype).astype(np.float64)
        read = np.array([float(x.replace("Infinity", "inf")) for x in got["decoded"]])
        assert np.array_equal(read, want, equal_nan=True)
        assert np.array_equal(np.signbit(read[want == 0]), np.signbit(want[want == 0]))
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values.astype(dtype)
        assert np.array_equal(np.array(got["encoded"], word), stored.view(word))
        step = float(np.finfo(dtype).eps if dtype in DTYPES[::2] else ml_dtypes.finfo(dtype).eps)
        assert got["around"] == [1 - step, 1 - step / 2, 1, 1 + step, 1 + 2 * step]
