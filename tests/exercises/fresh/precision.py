"""Narrow numbers."""

import ml_dtypes
import numpy as np
from fresh_answers import right, wrong

TB, BL, BN, IR = "to_bf16", "bf16_linear", "bf16_rms_norm", "int8_row"
BF16 = np.dtype(ml_dtypes.bfloat16)


def bits_add(x, *, add=0x7FFF, odd=True):
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + add + ((bits >> 16) & 1 if odd else 0)) >> 16).astype(np.uint16)


def bits_compare(x):
    bits = x.view(np.uint32)
    low, high = bits & 0xFFFF, bits >> 16
    up = (low > 0x8000) | ((low == 0x8000) & (high % 2 == 1))
    return (high + up).astype(np.uint16)


def wide_linear(x, w):
    return (x.astype(np.float32) @ w.astype(np.float32).T).astype(BF16)


def loop_linear(x, w):
    out = np.zeros((len(x), len(w)), np.float32)
    a, b = x.astype(np.float32), w.astype(np.float32)
    for k in range(x.shape[1]):
        out += a[:, k, None] * b[None, :, k]
    return out.astype(BF16)


def narrow_sum(x, w):
    out = np.zeros((len(x), len(w)), BF16)
    for k in range(x.shape[1]):
        out = (out + x[:, k, None] * w[None, :, k]).astype(BF16)
    return out


def products_rounded(x, w):
    products = (x[:, None] * w[None]).astype(BF16)
    return products.astype(np.float32).sum(-1).astype(BF16)


def cut(a):
    return (
        (np.ascontiguousarray(a.astype(np.float32)).view(np.uint32) >> 16)
        .astype(np.uint16)
        .view(BF16)
    )


def by_halves(x, w):
    h = x.shape[1] // 2
    return wide_linear(x[:, :h], w[:, :h]) + wide_linear(x[:, h:], w[:, h:])


def rms(
    x,
    w,
    eps,
    *,
    outside=False,
    narrow=False,
    first=False,
    mean=True,
    wide_out=False,
    gain=True,
    cast=True,
    fixed=None,
):
    y = x.astype(np.float32)
    eps = np.float32(eps if fixed is None else fixed)
    if narrow:
        square = (x * x).astype(np.float32).mean(-1, keepdims=True)
    else:
        square = (y * y).mean(-1, keepdims=True) if mean else (y * y).sum(-1, keepdims=True)
    y = y / (np.sqrt(square) + eps) if outside else y / np.sqrt(square + eps)
    if first:
        return (y * w.astype(np.float32)).astype(BF16)
    y = y.astype(BF16)
    if not gain:
        return y
    out = y * w
    return out.astype(np.float32) if wide_out else out


def rms_reciprocal(x, w, eps):
    y = x.astype(np.float32)
    scale = 1.0 / np.sqrt(np.mean(y * y, axis=-1, keepdims=True) + np.float32(eps))
    return (y * scale).astype(x.dtype) * w


def rms_rows(x, w, eps):
    out = np.empty_like(x)
    for i, row in enumerate(x.astype(np.float32)):
        scale = np.float32(1) / np.sqrt(np.mean(row * row) + np.float32(eps))
        out[i] = (row * scale).astype(BF16) * w
    return out


def codes(row, *, most=127, cut_off=False, scale_from="abs", unsigned=False, zero=0.0, one=False):
    largest = {"abs": np.abs(row).max(), "max": row.max(), "range": np.ptp(row) / 2}[scale_from]
    if largest == 0:
        return np.zeros(row.shape, np.int8), zero
    scale = 1.0 if one else float(largest) / most
    x = row / scale
    x = np.trunc(x) if cut_off else np.round(x)
    x = np.clip(x, -128, 127)
    return x.astype(np.uint8 if unsigned else np.int8), scale


def codes_loop(row):
    largest = max(abs(float(x)) for x in row)
    if not largest:
        return np.zeros(len(row), np.int8), 0.0
    scale = largest / 127
    return np.array([round(float(x) / scale) for x in row], dtype=np.int8), scale


def codes_inverse(row):
    c, s = codes(row)
    return c, 1 / s if s else 0.0


def codes_offset(row):
    low = float(row.min())
    scale = float(np.ptp(row)) / 255 or 0.0
    x = np.round((row - low) / scale) - 128 if scale else np.zeros(row.shape)
    return x.astype(np.int8), scale


ANSWERS = (
    wrong(TB, "added, a NaN too", bits_add, "nan"),
    wrong(TB, "compared, a NaN too", bits_compare, "nan"),
    right(TB, "added, NaNs apart", lambda x: np.where(np.isnan(x), np.uint16(0x7FC0), bits_add(x))),
    right(TB, "ml_dtypes", lambda x: x.astype(BF16).view(np.uint16)),
    wrong(TB, "cut off", lambda x: (x.view(np.uint32) >> 16).astype(np.uint16), "cut"),
    wrong(TB, "ties up", lambda x: bits_add(x, add=0x8000, odd=False), "half_up"),
    wrong(TB, "ties down", lambda x: bits_add(x, odd=False), "half_down"),
    wrong(TB, "always up", lambda x: bits_add(x, add=0xFFFF, odd=False), "always_up"),
    wrong(TB, "lower half", lambda x: x.view(np.uint32).astype(np.uint16), "low_half"),
    wrong(TB, "float16", lambda x: x.astype(np.float16).view(np.uint16), "float16"),
    wrong(TB, "uint32", lambda x: bits_add(x).astype(np.uint32)),
    wrong(TB, "bfloat16", lambda x: x.astype(BF16), "as_numbers"),
    wrong(TB, "numbers", lambda x: x.astype(np.uint16)),
    wrong(TB, "float32 back", lambda x: x.astype(BF16).astype(np.float32), "widened"),
    wrong(TB, "int16", lambda x: bits_add(x).view(np.int16), "signed"),
    wrong(TB, "sign lost", lambda x: bits_add(np.abs(x)), "sign_lost"),
    right(BL, "wide", wide_linear),
    right(BL, "loop", loop_linear),
    wrong(BL, "sum narrow", narrow_sum, "narrow_sum"),
    wrong(BL, "products rounded", products_rounded, "products_rounded"),
    wrong(
        BL, "float32 out", lambda x, w: x.astype(np.float32) @ w.astype(np.float32).T, "left_wide"
    ),
    wrong(BL, "cut off", lambda x, w: cut(x.astype(np.float32) @ w.astype(np.float32).T), "cut"),
    wrong(
        BL, "not turned", lambda x, w: (x.astype(np.float32) @ w.astype(np.float32)).astype(BF16)
    ),
    wrong(BL, "two halves", by_halves, "two_halves"),
    wrong(
        BL,
        "float16",
        lambda x, w: (x.astype(np.float16) @ w.astype(np.float16).T).astype(BF16),
        "in_float16",
    ),
    wrong(BL, "turned", lambda x, w: wide_linear(w, x), "turned"),
    wrong(BL, "bits", lambda x, w: wide_linear(x, w).view(np.uint16)),
    wrong(BL, "float16 out", lambda x, w: wide_linear(x, w).astype(np.float16), "float16_out"),
    wrong(
        BL,
        "matmul of NumPy, as float64",
        lambda x, w: x.astype(np.float64) @ w.astype(np.float64).T,
        "float64",
    ),
    right(BN, "rounded twice", rms_reciprocal),
    right(BN, "rows", rms_rows),
    wrong(BN, "rounded once", lambda x, w, e: rms(x, w, e, first=True), "gain_first"),
    wrong(BN, "eps outside", lambda x, w, e: rms(x, w, e, outside=True), "eps_outside"),
    wrong(BN, "narrow squares", lambda x, w, e: rms(x, w, e, narrow=True), "square_rounded"),
    wrong(BN, "sum", lambda x, w, e: rms(x, w, e, mean=False), "sum"),
    wrong(BN, "float32 out", lambda x, w, e: rms(x, w, e, wide_out=True)),
    wrong(BN, "no gain", lambda x, w, e: rms(x, w, e, gain=False), "no_gain"),
    wrong(BN, "eps fixed", lambda x, w, e: rms(x, w, e, fixed=1e-6), "fixed_eps"),
    wrong(BN, "no eps", lambda x, w, e: rms(x, w, e, fixed=0.0), "no_eps"),
    wrong(
        BN,
        "one plus gain",
        lambda x, w, e: rms(x, (w + BF16.type(1)).astype(BF16), e),
        "one_plus_gain",
    ),
    wrong(BN, "float64", lambda x, w, e: rms(x, w, e).astype(np.float64)),
    wrong(BN, "float16", lambda x, w, e: rms(x, w, e).astype(np.float16)),
    right(IR, "rounded", codes),
    right(IR, "loop", codes_loop),
    wrong(IR, "cut off", lambda r: codes(r, cut_off=True), "cut"),
    wrong(IR, "by 128", lambda r: codes(r, most=128), "by_128"),
    wrong(IR, "by 255", lambda r: codes(r, most=255), "by_255"),
    wrong(IR, "by the maximum", lambda r: codes(r, scale_from="max")),
    wrong(IR, "by the range", lambda r: codes(r, scale_from="range"), "half_range"),
    wrong(IR, "uint8", lambda r: codes(r, unsigned=True)),
    wrong(IR, "zeros get 1", lambda r: codes(r, zero=1.0), "scale_one"),
    wrong(IR, "scale upside down", codes_inverse, "scale_inverted"),
    wrong(IR, "an offset", codes_offset),
    wrong(IR, "exchanged", lambda r: codes(r)[::-1], "exchanged"),
    wrong(IR, "by 100", lambda r: codes(r, most=100), "by_100"),
    wrong(IR, "int32", lambda r: (codes(r)[0].astype(np.int32), codes(r)[1]), "wide_codes"),
    wrong(IR, "scale 1", lambda r: codes(r, one=True), "no_scale"),
    wrong(IR, "no codes", lambda r: codes(r)[1]),
)
