"""Number formats: every bit pattern of every float, by the arithmetic of its definition."""

import dataclasses
import math
import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import InputError, NumericsError
from llama_edu.formats.precision import (
    DTYPES,
    PRECISIONS,
    cast,
    dtype_name,
    is_float,
    precision_named,
    to_float32,
)

# Sign bit, exponent bits, mantissa bits, exponent bias; and the patterns that stand for no number.
# IEEE 754 for F16; for BF16 the upper half of a float32; for the 8-bit ones, Micikevicius et al.
# 2022 (arXiv:2209.05433), and Noune et al. 2022 (arXiv:2206.02915) for the FNUZ variants, which
# have no infinity and use the pattern of -0 for NaN.
IEEE = {"F16": (5, 10, 15), "BF16": (8, 7, 127), "F8_E5M2": (5, 2, 15)}
FNUZ = {"F8_E5M2FNUZ": (5, 2, 16), "F8_E4M3FNUZ": (4, 3, 8)}
FINITE = {"F8_E4M3": (4, 3, 7)}  # NaN is all ones, and nothing else is special


def by_hand(name, pattern):
    """The number a bit pattern stands for, in Python's float64, which holds each exactly."""
    if name == "F8_E8M0":  # a bare exponent, used as a scale (OCP MX v1.0, section 5.4.1)
        return math.nan if pattern == 255 else 2.0 ** (pattern - 127)
    exponent_nbits, mantissa_nbits, bias = (IEEE | FNUZ | FINITE)[name]
    sign = -1.0 if pattern >> (exponent_nbits + mantissa_nbits) else 1.0
    exponent = (pattern >> mantissa_nbits) % 2**exponent_nbits
    mantissa = pattern % 2**mantissa_nbits
    if name in IEEE and exponent == 2**exponent_nbits - 1:
        return math.nan if mantissa else sign * math.inf
    if name in FNUZ and (sign, exponent, mantissa) == (-1.0, 0, 0):
        return math.nan
    if name in FINITE and (exponent, mantissa) == (15, 7):
        return math.nan
    fraction = mantissa / 2**mantissa_nbits
    if exponent == 0:  # subnormal: no leading one
        return sign * math.ldexp(fraction, 1 - bias)
    return sign * math.ldexp(1 + fraction, exponent - bias)


@pytest.mark.parametrize("name", [*IEEE, *FNUZ, *FINITE, "F8_E8M0"])
def test_every_small_float_becomes_exactly_the_number_it_stands_for(name):
    dtype = DTYPES[name]
    bits = np.dtype(f"u{dtype.itemsize}")
    patterns = np.arange(256**dtype.itemsize, dtype=bits)
    got = to_float32(patterns.view(dtype))
    want = [by_hand(name, int(pattern)) for pattern in patterns]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.array(want, dtype=np.float64))
    zeros = got == 0  # array_equal takes -0 for 0
    assert np.signbit(got[zeros]).tolist() == [math.copysign(1, x) < 0 for x in want if x == 0]
    assert zeros.any() == (name != "F8_E8M0")


@pytest.mark.parametrize("name", ["F16", "BF16", "F8_E4M3"])
def test_widening_and_narrowing_again_changes_no_bit(name):
    dtype = DTYPES[name]
    patterns = np.arange(256**dtype.itemsize, dtype=np.dtype(f"u{dtype.itemsize}"))
    stored = patterns.view(dtype)
    wide = to_float32(stored)
    number = ~np.isnan(wide)
    back = wide[number].astype(dtype).view(patterns.dtype)
    np.testing.assert_array_equal(back, patterns[number])


def test_float64_is_rounded_to_nearest_and_ties_to_even():
    third, tie = 1 / 3, 1 + 2.0**-24  # half-way between 1 and the next float32
    got = to_float32(np.array([third, tie, tie + 2.0**-40, -0.0, 1e-46], dtype=np.float64))
    assert got.dtype == np.float32
    assert got.tolist() == [np.float32(third), 1.0, 1 + 2.0**-23, 0.0, 0.0]
    assert np.signbit(got[3])


def test_float64_past_float32_overflows_aloud():
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert to_float32(np.array([1e300], dtype=np.float64)).tolist() == [math.inf]


def test_float32_comes_back_as_it_is():
    stored = np.arange(6, dtype=np.float32).reshape(2, 3)
    for array in (stored, stored.T, stored[:, 1:], np.empty((0, 2), dtype=np.float32)):
        assert to_float32(array) is array


def test_float32_across_machine_words_is_copied_once():
    raw = np.zeros(13, dtype=np.uint8)
    stored = raw[1:].view(np.float32)
    stored[:] = [1.5, -2.0, 3.0]
    assert not stored.flags.aligned
    got = to_float32(stored)
    assert got.flags.aligned
    assert got.tolist() == [1.5, -2.0, 3.0]
    assert not np.shares_memory(got, raw)


def test_other_byte_orders_become_the_machines_own():
    for dtype in (">f4", ">f2", ">f8"):
        got = to_float32(np.array([1.5, -2.0], dtype=dtype))
        assert got.dtype == np.float32
        assert got.dtype.isnative
        assert got.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("name", DTYPES)
def test_the_stored_array_is_not_written(name):
    stored = np.arange(8, dtype=np.uint8).view(DTYPES[name])
    before = stored.tobytes()
    stored.flags.writeable = False
    if is_float(stored.dtype):
        to_float32(stored)
    assert stored.tobytes() == before


@pytest.mark.parametrize("name", DTYPES)
def test_a_dtype_is_known_by_its_name_in_either_byte_order(name):
    dtype = DTYPES[name]
    assert dtype_name(dtype) == name
    assert dtype_name(dtype.newbyteorder("=")) == name
    assert dtype_name(dtype.newbyteorder(">")) == name


def test_names_say_how_many_bits_there_are():
    """Two names for one dtype, or a name for the wrong one, would pass the test above."""
    assert len(set(DTYPES.values())) == len(DTYPES)
    for name, dtype in DTYPES.items():
        digits = "".join(c for c in name.split("_")[0] if c.isdigit())
        assert dtype.itemsize * 8 == int(digits or 8)
    kinds = {name: dtype.kind for name, dtype in DTYPES.items() if "_" not in name}
    assert kinds.pop("BF16") == "V"  # how `ml_dtypes` registers it
    letters = {"F": "f", "I": "i", "U": "u", "B": "b", "C": "c"}
    assert all(kind == letters[name[0]] for name, kind in kinds.items())


@pytest.mark.parametrize(
    "dtype", ["O", "U2", "c16", "M8[s]", "f4,f4", "V2", ml_dtypes.int4, ml_dtypes.float4_e2m1fn]
)
def test_other_dtypes_have_no_name(dtype):
    with pytest.raises(InputError, match=r"expected a dtype safetensors can store .*, got "):
        dtype_name(np.dtype(dtype))


def test_floats_are_told_from_the_rest():
    floats = {name for name, dtype in DTYPES.items() if is_float(dtype)}
    assert floats == {"F64", "F32", "F16", "BF16", *IEEE, *FNUZ, *FINITE, "F8_E8M0"}


@pytest.mark.parametrize("name", [name for name in DTYPES if not is_float(DTYPES[name])])
def test_what_is_no_float_is_refused(name):
    with pytest.raises(InputError, match=f"expected floating-point weights, got {name}"):
        to_float32(np.zeros(2, dtype=DTYPES[name]))


@given(st.floats(width=32, allow_nan=False))
def test_bfloat16_is_a_float32_with_half_its_bits(x):
    """A float32 whose lower half is empty survives storage as bfloat16 untouched."""
    bits = np.array([x], dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    kept = bits.view(np.float32)
    assert to_float32(kept.astype(DTYPES["BF16"])).view(np.uint32)[0] == bits[0]


# Rounding to the format a precision keeps

KEPT = ["F32", "BF16", "F16"]


@pytest.mark.parametrize("name", KEPT)
def test_what_is_in_the_format_comes_back_as_it_is_unless_it_straddles_words(name):
    stored = np.arange(6, dtype=np.float32).astype(DTYPES[name])
    assert cast(stored, name) is stored
    raw = np.frombuffer(b"\0" + stored.tobytes(), dtype=np.uint8)[1:]
    copied = cast(raw.view(DTYPES[name]), name)
    assert copied.flags.aligned
    assert copied.dtype == DTYPES[name]
    assert copied.tolist() == stored.tolist()


def test_rounding_goes_to_the_nearest_and_ties_to_even():
    step = 2.0**-7  # between 1 and 2, bfloat16 has 7 bits of mantissa
    x = np.array(
        [1, 1 + step / 2, 1 + step * 0.51, 1 + step * 1.5, -1 - step / 2], dtype=np.float32
    )
    assert cast(x, "BF16").tolist() == [1, 1, 1 + step, 1 + 2 * step, -1]
    assert cast(x, "BF16").dtype == DTYPES["BF16"]
    step = 2.0**-10
    x = np.array([1 + step / 2, 1 + step * 1.5, 65519.0, 1e-8], dtype=np.float32)
    assert cast(x, "F16").tolist() == [1, 1 + 2 * step, 65504, 0]


@pytest.mark.parametrize(
    ("value", "dtype", "name", "message"),
    [
        (65520.0, "F32", "F16", "expected numbers up to 65504, the end of float16, got 65520"),
        (-1e5, "F64", "F16", "expected numbers up to 65504, the end of float16, got 100000"),
        (1e5, "BF16", "F16", "expected numbers up to 65504, the end of float16, got 99840"),
        (3.4e38, "F32", "BF16", "expected numbers up to 3.39e38, the end of bfloat16, got 3.4e+38"),
        (1e39, "F64", "BF16", "expected numbers up to 3.39e38, the end of bfloat16, got 1e+39"),
        (1e39, "F64", "F32", "expected numbers up to 3.40e38, the end of float32, got 1e+39"),
    ],
)
def test_numbers_past_the_end_of_a_format_are_refused(value, dtype, name, message):
    array = np.array([1.0, value, 0.5], dtype=np.float64).astype(DTYPES[dtype])
    with pytest.raises(NumericsError, match=re.escape(message)):
        cast(array, name)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "F16"])
def test_the_largest_number_fits_and_infinity_stays(name, dtype):
    largest = min(float(ml_dtypes.finfo(DTYPES[n]).max) for n in (name, dtype))
    if {name, dtype} == {"F16", "BF16"}:
        largest = 255 * 256.0  # eight bits of float16's eleven: the largest that both have
    stored = np.array([largest, -np.inf, np.nan], dtype=np.float64).astype(DTYPES[dtype])
    got = cast(stored, name).astype(np.float64)
    np.testing.assert_array_equal(got, [largest, -np.inf, np.nan])


def test_a_precision_cannot_be_changed_by_one_who_was_given_it():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRECISIONS["bf16"].storage = "F32"


def test_only_pure_precisions_round_every_result():
    pure = {name for name, precision in PRECISIONS.items() if precision.is_pure}
    assert pure == {"bf16-pure", "f16-pure"}


# What weights, embedding table, steps and cache are kept in, and how many weights share a scale.
KEPT_IN = {
    "f32": ("F32", "F32", "F32", "F32", 0),
    "bf16": ("BF16", "BF16", "F32", "BF16", 0),
    "f16": ("F16", "F16", "F32", "F16", 0),
    "bf16-pure": ("BF16", "BF16", "BF16", "BF16", 0),
    "f16-pure": ("F16", "F16", "F16", "F16", 0),
    "int8": ("I8", "I8", "F32", "F16", 32),
    "int8-row": ("I8", "I8", "F32", "F16", 0),
    "f8": ("F8_E4M3", "F8_E4M3", "F32", "F16", 0),
    "q4": ("Q4_1", "I8", "F32", "F16", 32),
    "q4_0": ("Q4_0", "I8", "F32", "F16", 32),
}


def test_what_each_precision_keeps():
    assert {
        name: (p.storage, p.head_storage, p.compute, p.cache, p.block)
        for name, p in PRECISIONS.items()
    } == KEPT_IN
    assert {p.accumulate for p in PRECISIONS.values()} == {"F32"}
    assert [name for name, p in PRECISIONS.items() if p.is_quantized] == list(KEPT_IN)[5:]


@pytest.mark.parametrize("name", ["f32", "int8"])
@pytest.mark.parametrize(("dtype", "kept"), [("f32", "F32"), ("bf16", "BF16"), ("f16", "F16")])
def test_a_cache_may_be_kept_in_another_format(name, dtype, kept):
    asked = precision_named(name, dtype)
    assert asked.cache == kept
    assert dataclasses.replace(asked, cache=PRECISIONS[name].cache) == PRECISIONS[name]


def test_a_cache_of_a_pure_precision_is_in_its_own_format():
    assert precision_named("bf16-pure", "bf16") == PRECISIONS["bf16-pure"]
    with pytest.raises(InputError, match=r"a BF16 cache for precision 'bf16-pure', got 'f16'"):
        precision_named("bf16-pure", "f16")
    with pytest.raises(InputError, match=r"a precision of f32, bf16, .*, got 'f64'"):
        precision_named("f64")
    with pytest.raises(InputError, match=r"a cache of f32, bf16, f16, got 'int8'"):
        precision_named("f32", "int8")
