"""Exercises on precision: rounding to bfloat16, where sums are held, norms in 16 bits, int8."""

from collections.abc import Callable

import ml_dtypes
import numpy as np

from llama_edu.engine.backends import pure16 as pure
from llama_edu.exercises.framework.draw import f32, noise, seed_from, seeded_noise, whole
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.formats.quantize import quantize

Array = np.ndarray
BF16 = np.dtype(ml_dtypes.bfloat16)


# ★ to_bf16(x) -> the sixteen bits of each number as uint16


def _bits(x: Array) -> Array:
    return x.astype(BF16).view(np.uint16)


def _bits_by_steps(x: Array) -> Array:
    bits = x.view(np.uint32)
    odd = (bits >> 16) & 1
    rounded = ((bits + 0x7FFF + odd) >> 16).astype(np.uint16)
    quiet = ((bits >> 16) | 0x40).astype(np.uint16)
    return np.where(np.isnan(x), quiet, rounded)


def _bits_nan_rounded(x: Array) -> Array:
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _bits_cut(x: Array) -> Array:
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def _bits_half_up(x: Array) -> Array:
    return ((x.view(np.uint32) + 0x8000) >> 16).astype(np.uint16)


def _bits_low(x: Array) -> Array:
    return (x.view(np.uint32) & 0xFFFF).astype(np.uint16)


def _bits_of_float16(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return x.astype(np.float16).view(np.uint16)


def _bits_value(x: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.clip(x, 0, 65535).astype(np.uint16)


def _any_nan(answer: Callable[[Array], Array], x: Array) -> Array:
    """The bits, with one NaN for all: which digits of a NaN stay is not asked."""
    codes = np.asarray(answer(x))
    if codes.dtype != np.uint16:
        return codes
    return np.where((codes & 0x7FFF) > 0x7F80, np.uint16(0x7FC0), codes)


def _to_bf16_drawn(rng: np.random.Generator) -> list[Case]:
    x = noise(rng, 40)
    halves = (x.view(np.uint32) & np.uint32(0xFFFF0000) | np.uint32(0x8000)).view(np.float32)
    return [Case("other numbers", (x,)), Case("others half-way between two", (halves,))]


TO_BF16 = Exercise(
    name="to_bf16",
    topic="precision",
    books=("llama_edu.formats.precision.cast",),
    stars=1,
    task="Round float32 numbers to bfloat16, to nearest, ties to even; return the bits as uint16. "
    "A NaN stays one.",
    section="bfloat16 is the upper half of float32",
    cases=lambda: [
        Case("numbers of all sizes", (seeded_noise(1, 37) * f32(1e-3, 1.0, 1e6).repeat(13)[:37],)),
        # 1 + 1/256 lies half-way: to 1. 1 + 3/256 lies half-way: to 1 + 4/256.
        Case("numbers half-way between two", (f32(1 + 1 / 256, 1 + 3 / 256, -1 - 1 / 256),)),
        Case("zeros and the largest", (f32(0.0, -0.0, 3.3e38, 70000.0, np.inf),)),
        # Rounded like numbers, these run over: to -0 and to 0.
        Case(
            "NaN whose digits are all ones",
            (np.array([0x7FFFFFFF, 0x3F800000, 0xFFFFFFFF], np.uint32).view(np.float32),),
        ),
    ],
    drawn=_to_bf16_drawn,
    correct=(_bits, _bits_by_steps),
    harness=_any_nan,
    axes="number",
    tolerance=0.0,
    mutants=(
        Mutant("cut", _bits_cut, "when the low half is cut off instead of rounded"),
        Mutant("nan", _bits_nan_rounded, "when a NaN is rounded like a number, and becomes a zero"),
        Mutant("half_up", _bits_half_up, "when ties go up instead of to the even one"),
        Mutant("low_half", _bits_low, "when the low half of the float32 is kept, not the high one"),
        Mutant(
            "float16",
            _bits_of_float16,
            "when the other 16-bit format is written",
            section="Range or resolution",
        ),
        Mutant("value", _bits_value, "when the number is converted instead of its bits"),
        Mutant(
            "half_down",
            lambda x: ((x.view(np.uint32).astype(np.uint64) + 0x7FFF) >> 16).astype(np.uint16),
            "when a half is rounded down, odd or even",
        ),
        Mutant(
            "always_up",
            lambda x: ((x.view(np.uint32).astype(np.uint64) + 0xFFFF) >> 16).astype(np.uint16),
            "when everything is rounded up in size",
        ),
        Mutant("sign_lost", lambda x: _bits(np.abs(x)), "when the sign is lost"),
        Mutant(
            "as_numbers",
            lambda x: _bits(x).view(BF16),
            "when the numbers come back and not their bits",
        ),
        Mutant(
            "signed",
            lambda x: _bits(x).view(np.int16),
            "when the bits are taken for signed numbers",
        ),
        Mutant(
            "widened",
            lambda x: _bits(x).view(BF16).astype(np.float32),
            "when the rounded numbers come back in float32",
        ),
    ),
)


# ★★ bf16_linear(x, weight) -> x Wᵀ in bfloat16, the sum held in float32


def _wide_sum(x: Array, weight: Array) -> Array:
    return pure.linear(x, weight)


def _wide_sum_loop(x: Array, weight: Array) -> Array:
    y = np.zeros((len(x), len(weight)), dtype=np.float32)
    for i in range(x.shape[1]):
        y += x[:, i, None].astype(np.float32) * weight[None, :, i].astype(np.float32)
    return y.astype(x.dtype)


def _narrow_sum(x: Array, weight: Array) -> Array:
    y = np.zeros((len(x), len(weight)), dtype=x.dtype)
    for i in range(x.shape[1]):
        y = y + x[:, i, None] * weight[None, :, i]
    return y


def _products_rounded(x: Array, weight: Array) -> Array:
    products = (x[:, None] * weight[None]).astype(np.float32)
    return products.sum(axis=-1).astype(x.dtype)


def _left_wide(x: Array, weight: Array) -> Array:
    return x.astype(np.float32) @ weight.astype(np.float32).T


def _not_transposed(x: Array, weight: Array) -> Array:
    shuffled = weight.reshape(weight.shape[::-1])
    return (x.astype(np.float32) @ shuffled.astype(np.float32)).astype(x.dtype)


def _bf16_linear_drawn(rng: np.random.Generator) -> list[Case]:
    # Whole numbers and eighths, so that a float32 sum is exact in whatever order.
    seq, out, n = whole(rng, 2, 4), whole(rng, 5, 7), whole(rng, 200, 400)
    x = rng.integers(1, 90, size=(seq, n)).astype(np.float32)
    weight = (rng.integers(-3, 20, size=(out, n)) / 8).astype(np.float32)
    return [Case("exact sums", (x.astype(BF16), weight.astype(BF16)))]


BF16_LINEAR = Exercise(
    name="bf16_linear",
    topic="precision",
    books=(
        "llama_edu.ops.linear.linear",
        "llama_edu.ops.linear.in_blocks",
        "llama_edu.ops.linear.linear_small_batch",
        "llama_edu.ops.linear.matmul_transb",
    ),
    stars=2,
    task="Repair x Wᵀ for bfloat16 arrays: hold the sum in float32 and round once, at the end.",
    section="The sum that stops",
    cases=lambda: [
        Case(
            "seq 3, 300 terms of one sign",
            (
                np.abs(seeded_noise(2, 3, 300)).astype(BF16),
                np.abs(seeded_noise(3, 5, 300)).astype(BF16),
            ),
        ),
        Case(
            "seq 1, 64 terms",
            (seeded_noise(4, 1, 64).astype(BF16), seeded_noise(5, 7, 64).astype(BF16)),
        ),
        Case("a sum of 1,000 ones", (np.ones((1, 1000), BF16), np.ones((2, 1000), BF16))),
        # Each product is 1 + 2⁻⁸ − 2⁻¹⁵, which rounds to 1; their sum, 514.99, rounds to 516.
        Case(
            "products that lie between two numbers",
            (np.full((1, 513), 1 + 2**-7).astype(BF16), np.full((3, 513), 1 - 2**-8).astype(BF16)),
        ),
    ],
    drawn=_bf16_linear_drawn,
    correct=(_wide_sum, _wide_sum_loop),
    axes="seq out_features",
    # Another order of the sum may end on the neighbour, one step of bfloat16 away.
    tolerance=2.0**-8,
    mutants=(
        Mutant(
            "narrow_sum",
            _narrow_sum,
            "when the running sum is rounded to bfloat16 at every step: it stops growing",
        ),
        Mutant(
            "products_rounded",
            _products_rounded,
            "when each product is rounded to bfloat16 before it is added",
        ),
        Mutant(
            "left_wide",
            _left_wide,
            "when the result is not rounded back to bfloat16",
            section="The three questions in an engine",
        ),
        Mutant(
            "not_transposed",
            _not_transposed,
            "when the weight is reshaped where it should be transposed",
        ),
        Mutant(
            "cut",
            lambda x, weight: (
                ((x.astype(np.float32) @ weight.astype(np.float32).T).view(np.uint32) >> 16)
                .astype(np.uint16)
                .view(BF16)
            ),
            "when the sum is cut to 16 bits and not rounded",
        ),
        Mutant(
            "two_halves",
            lambda x, weight: (
                _wide_sum(x[:, : x.shape[1] // 2], weight[:, : x.shape[1] // 2])
                + _wide_sum(x[:, x.shape[1] // 2 :], weight[:, x.shape[1] // 2 :])
            ),
            "when parts of the sum are rounded before they are added",
        ),
        Mutant("turned", lambda x, weight: _wide_sum(weight, x), "when x and weight change places"),
        Mutant(
            "float64",
            lambda x, weight: x.astype(np.float64) @ weight.astype(np.float64).T,
            "when the sum stays in float64",
        ),
        Mutant(
            "in_float16",
            lambda x, weight: (x.astype(np.float16) @ weight.astype(np.float16).T).astype(BF16),
            "when the sum is held in float16",
        ),
        Mutant(
            "float16_out",
            lambda x, weight: _wide_sum(x, weight).astype(np.float16),
            "when the result is float16",
        ),
    ),
)


# ★★ bf16_rms_norm(x, weight, eps): the order in which a checkpoint's own code rounds


def _norm(x: Array, weight: Array, eps: float) -> Array:
    return pure.rms_norm(x, weight, eps)


def _norm_by_rows(x: Array, weight: Array, eps: float) -> Array:
    rows = []
    for row in x:
        wide = row.astype(np.float32)
        scale = np.float32(1.0) / np.sqrt(np.dot(wide, wide) / np.float32(len(wide)) + eps)
        rows.append(weight * (wide * scale).astype(x.dtype))
    return np.stack(rows)


def _norm_gain_first(x: Array, weight: Array, eps: float) -> Array:
    wide = x.astype(np.float32)
    mean_square = np.mean(wide * wide, axis=-1)[..., None]
    scaled = wide * (1.0 / np.sqrt(mean_square + eps)) * weight.astype(np.float32)
    return scaled.astype(x.dtype)


def _norm_narrow(x: Array, weight: Array, eps: float) -> Array:
    total = np.zeros((len(x), 1), dtype=x.dtype)
    for i in range(x.shape[1]):
        total = total + x[:, i, None] * x[:, i, None]
    mean_square = total / x.dtype.type(x.shape[1])
    return weight * (x / np.sqrt(mean_square + x.dtype.type(eps)))


def _norm_no_eps(x: Array, weight: Array, eps: float) -> Array:
    wide = x.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = wide / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True))
        return weight * scaled.astype(x.dtype)


def _norm_eps_outside(x: Array, weight: Array, eps: float) -> Array:
    wide = x.astype(np.float32)
    size = np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True)) + np.float32(eps)
    return weight * (wide / size).astype(x.dtype)


def _norm_float32(x: Array, weight: Array, eps: float) -> Array:
    return _norm_gain_first(x.astype(np.float32), weight, eps)


def _bf16_rms_norm_drawn(rng: np.random.Generator) -> list[Case]:
    # No row whose normalised numbers lie near the middle of two: there, right answers may differ.
    while True:
        x = (noise(rng, 1, 24) / 3).astype(BF16)
        wide, eps = x.astype(np.float64), whole(rng, 1, 9) / 20
        normed = wide / np.sqrt((wide * wide).mean() + eps)
        places = np.abs(normed) / 2.0 ** (np.floor(np.log2(np.abs(normed) + 1e-30)) - 7) % 1
        if np.abs(places - 0.5).min() > 1e-3:
            return [Case("an eps that counts", (x, _gain(seed_from(rng), 24), eps))]


BF16_RMS_NORM = Exercise(
    name="bf16_rms_norm",
    topic="precision",
    books=("llama_edu.ops.norm.rms_norm",),
    stars=2,
    task="Repair RMSNorm for bfloat16: normalise in float32, round, then multiply by the gain.",
    section="The order of two roundings",
    # Chosen so that no number lies so near a tie that another order of the sum could tip it.
    cases=lambda: [
        Case("seq 3, hidden 96", (seeded_noise(39, 3, 96).astype(BF16), _gain(7, 96), 1e-5)),
        Case(
            "seq 1, large values", ((seeded_noise(32, 1, 64) * 90).astype(BF16), _gain(9, 64), 1e-6)
        ),
        Case("a row of zeros", (np.zeros((2, 48), BF16), _gain(10, 48), 1e-5)),
        Case("a row near 0", ((seeded_noise(33, 1, 64) / 1000).astype(BF16), _gain(11, 64), 1e-5)),
    ],
    drawn=_bf16_rms_norm_drawn,
    correct=(_norm, _norm_by_rows),
    axes="seq hidden_size",
    tolerance=0.0,
    mutants=(
        Mutant(
            "gain_first",
            _norm_gain_first,
            "when the gain is multiplied before the rounding: one rounding where there are two",
            "https://github.com/tinygrad/tinygrad/pull/5095",
        ),
        Mutant(
            "narrow",
            _norm_narrow,
            "when the squares are added up in bfloat16",
            section="The sum that stops",
        ),
        Mutant("no_eps", _norm_no_eps, "when eps is left out"),
        Mutant("eps_outside", _norm_eps_outside, "when eps is added outside the root"),
        Mutant(
            "float32",
            _norm_float32,
            "when the result stays float32",
            section="The three questions in an engine",
        ),
        Mutant(
            "sum",
            lambda x, weight, eps: (
                _norm((x.astype(np.float32) * np.float32(1)).astype(BF16), weight, eps)
                if x.shape[1] < 0
                else weight
                * (
                    x.astype(np.float32)
                    / np.sqrt(
                        (x.astype(np.float32) ** 2).sum(axis=-1, keepdims=True) + np.float32(eps)
                    )
                ).astype(BF16)
            ),
            "when squares are added, and not averaged",
        ),
        Mutant(
            "no_gain",
            lambda x, weight, eps: _norm(x, np.ones_like(weight), eps),
            "when the gain is left out",
        ),
        Mutant(
            "fixed_eps",
            lambda x, weight, eps: _norm(x, weight, 1e-6),
            "when eps is 1e-6, whatever the config says",
        ),
        Mutant(
            "one_plus_gain",
            lambda x, weight, eps: _norm(x, (weight + BF16.type(1)).astype(BF16), eps),
            "when 1 is added to the gain",
        ),
        Mutant(
            "square_rounded",
            lambda x, weight, eps: (
                weight
                * (
                    x.astype(np.float32)
                    / np.sqrt(
                        (x * x).astype(np.float32).mean(axis=-1, keepdims=True) + np.float32(eps)
                    )
                ).astype(BF16)
            ),
            "when each square is rounded to 16 bits",
        ),
    ),
)


def _gain(seed: int, n: int) -> Array:
    return (1 + seeded_noise(seed, n) / 4).astype(BF16)


# ★★★ int8_row(row) -> (codes, scale): symmetric, one scale for the row


def _codes(row: Array) -> tuple[Array, float]:
    made = quantize(row[None], "I8")
    return made.codes[0], float(made.scales[0, 0])


def _codes_by_hand(row: Array) -> tuple[Array, float]:
    scale = np.float32(np.abs(row).max()) / np.float32(127)
    if scale == 0:
        return np.zeros(len(row), dtype=np.int8), 0.0
    return np.rint(row / scale).astype(np.int8), float(scale)


def _codes_cut(row: Array) -> tuple[Array, float]:
    _, scale = _codes_by_hand(row)
    return (row / np.float32(scale or 1.0)).astype(np.int8), scale


def _codes_128(row: Array) -> tuple[Array, float]:
    scale = np.float32(np.abs(row).max()) / np.float32(128)
    codes = np.rint(row / (scale or np.float32(1))).astype(np.int32)
    return codes.astype(np.int8), float(scale)


def _codes_signed_max(row: Array) -> tuple[Array, float]:
    scale = np.float32(row.max()) / np.float32(127)
    if scale <= 0:
        return np.zeros(len(row), dtype=np.int8), 0.0
    return np.rint(row / scale).astype(np.int32).astype(np.int8), float(scale)


def _codes_zero_divides(row: Array) -> tuple[Array, float]:
    scale = np.float32(np.abs(row).max()) / np.float32(127)
    with np.errstate(invalid="ignore"):
        return np.rint(row / scale).astype(np.int8), float("nan") if not scale else float(scale)


def _codes_unsigned(row: Array) -> tuple[Array, float]:
    low, high = float(row.min()), float(row.max())
    scale = (high - low) / 255 or 1.0
    codes = np.rint((row - np.float32(low)) / np.float32(scale)).astype(np.uint8)
    return codes.view(np.int8), scale


def _codes_scale_one(row: Array) -> tuple[Array, float]:
    codes, scale = _codes(row)
    return codes, scale or 1.0


def _restored(answer: Callable[[Array], tuple[Array, float]], row: Array) -> list[object]:
    """The codes, the scale, and what they say the row was."""
    codes, scale = answer(row)
    codes = np.asarray(codes)
    return [codes, float(scale), codes.astype(np.float32) * np.float32(scale)]


def _int8_row_drawn(rng: np.random.Generator) -> list[Case]:
    return [
        Case("other weights", (noise(rng, whole(rng, 9, 20)) * whole(rng, 1, 9),)),
        Case("all negative", (-np.abs(noise(rng, 11)),)),
    ]


def _codes_by(row: Array, most: float) -> tuple[Array, float]:
    scale = float(np.abs(row).max()) / most
    codes = np.round(row / scale) if scale else np.zeros_like(row)
    return np.clip(codes, -128, 127).astype(np.int8), scale


def _codes_of_range(row: Array) -> tuple[Array, float]:
    scale = float(np.ptp(row)) / 2 / 127
    codes = np.round(row / scale) if scale else np.zeros_like(row)
    return np.clip(codes, -128, 127).astype(np.int8), scale


INT8_ROW = Exercise(
    name="int8_row",
    topic="precision",
    books=("llama_edu.formats.quantize.quantize",),
    stars=3,
    task="Quantise one row of weights to int8 codes and one scale, so that scale · code ≈ weight.",
    section="Eight bits need a scale",
    cases=lambda: [
        Case("29 weights", (seeded_noise(11, 29),)),
        Case("the largest is negative", (f32(0.1, -2.0, 0.7, 1.3, -0.05),)),
        Case("very small weights", (seeded_noise(12, 13) * np.float32(1e-6),)),
        Case("a row of zeros", (np.zeros(7, dtype=np.float32),)),
    ],
    drawn=_int8_row_drawn,
    correct=(_codes, _codes_by_hand),
    harness=_restored,
    parts=("the codes", "the scale", "scale · codes"),
    axes="number",
    tolerance=1e-6,
    mutants=(
        Mutant("cut", _codes_cut, "when codes are cut towards zero instead of rounded"),
        Mutant("scale_128", _codes_128, "when the largest weight gets 128, which int8 cannot hold"),
        Mutant(
            "signed_max", _codes_signed_max, "when the largest is looked for without its sign gone"
        ),
        Mutant("zero_divides", _codes_zero_divides, "when a row of zeros divides by its scale"),
        Mutant("scale_one", _codes_scale_one, "when a row of zeros gets the scale 1, not 0"),
        Mutant("unsigned", _codes_unsigned, "when codes start from the smallest weight, unsigned"),
        Mutant(
            "by_255",
            lambda row: _codes_by(row, 255.0),
            "when the largest weight gets the code 255, which int8 does not have",
        ),
        Mutant(
            "by_100",
            lambda row: _codes_by(row, 100.0),
            "when the largest weight gets the code 100 and not 127",
        ),
        Mutant(
            "by_128",
            lambda row: _codes_by(row, 128.0),
            "when the largest weight gets the code 128, cut to 127",
        ),
        Mutant(
            "scale_inverted",
            lambda row: (_codes(row)[0], 1 / _codes(row)[1] if _codes(row)[1] else 0.0),
            "when one over the scale comes back",
        ),
        Mutant("exchanged", lambda row: _codes(row)[::-1], "when codes and scale change places"),
        Mutant(
            "wide_codes",
            lambda row: (_codes(row)[0].astype(np.int32), _codes(row)[1]),
            "when the codes are int32",
        ),
        Mutant(
            "no_scale",
            lambda row: (
                np.clip(np.round(row), -128, 127).astype(np.int8),
                1.0 if row.any() else 0.0,
            ),
            "when weights are rounded as they are, with a scale of 1",
        ),
        Mutant(
            "half_range",
            lambda row: _codes_of_range(row),
            "when half the range is taken for the largest weight",
        ),
    ),
)

EXERCISES = (TO_BF16, BF16_LINEAR, BF16_RMS_NORM, INT8_ROW)
