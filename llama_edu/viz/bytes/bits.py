"""The bits of a number in the three formats a checkpoint uses: sign, exponent, mantissa."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import (
    MUTED,
    PAPER,
    Number,
    Picture,
    board,
    box,
    picture,
    write,
)
from llama_edu.viz.parts.numerals import short, superscript

__all__ = ["dtype_bits"]

SIGN, EXPONENT, MANTISSA = "#eab8d3", "#f5d58c", "#b3d9f2"
WIDTH = 3.4  # inches, as wide as a phone's page
BIT = 0.097
GAP = 0.045  # between sign, exponent and mantissa


@dataclass(frozen=True)
class _Format:
    """An IEEE-like binary format: one sign bit, then exponent, then mantissa."""

    name: str
    dtype: np.dtype
    exponent: int
    mantissa: int
    note: str

    def bits(self, value: Number) -> str:
        with np.errstate(over="ignore"):  # 70,000 is ∞ in float16, and the figure says so
            stored = np.array(value, dtype=np.float32).astype(self.dtype)
        size = self.dtype.itemsize
        return f"{int.from_bytes(stored.tobytes(), 'little'):0{8 * size}b}"

    def stored(self, value: Number) -> float:
        return float(
            np.array(int(self.bits(value), 2), dtype=f"u{self.dtype.itemsize}").view(self.dtype)
        )


FORMATS = (
    _Format("float32", np.dtype(np.float32), 8, 23, ""),
    _Format("bfloat16", np.dtype(ml_dtypes.bfloat16), 8, 7, "the upper half of float32, rounded"),
    _Format("float16", np.dtype(np.float16), 5, 10, "finer steps, shorter reach (up to 65,504)"),
)


@picture
def dtype_bits(value: Number) -> Picture:
    """Sign, exponent and mantissa of one number in float32, bfloat16 and float16.

    Under each row of bits stands what it is worth, and how far that is from `value`. Raises
    `InputError` for a value that is not finite.
    """
    value = float(value)
    if not np.isfinite(value):
        raise InputError(f"expected a finite number, got {value}")
    figure, ax = board(0.62 + 1.76 * len(FORMATS), WIDTH)
    x = 0.1
    for name, face in (("sign", SIGN), ("exponent", EXPONENT), ("mantissa", MANTISSA)):
        box(ax, x, 0.16, 0.2, 0.2, face, edgecolor=MUTED)
        write(ax, x + 0.28, 0.26, name, 10)
        x += 1.08
    parts = []
    for row, form in enumerate(FORMATS):
        _bits_row(ax, 0.62 + 1.76 * row, form, value)
        bits = form.bits(value)
        fields = f"{bits[0]} {bits[1 : 1 + form.exponent]} {bits[1 + form.exponent :]}"
        parts.append(f"{form.name} {fields}, which is {_worth(form, value)}")
    alt = f"The number {short(value)} in bits, as sign, exponent, mantissa. {'; '.join(parts)}."
    caption = f"The number {short(value)}, stored three ways."
    return Picture(figure, alt=alt, caption=caption)


def _bits_row(ax: Axes, y: float, form: _Format, value: Number) -> None:
    write(ax, 0.1, y + 0.14, form.name, 11.5, weight="bold")
    sizes = f"1 + {form.exponent} + {form.mantissa} bits"
    write(ax, WIDTH - 0.1, y + 0.14, sizes, 9, color=MUTED, ha="right")
    if form.note:
        write(ax, 0.1, y + 0.36, form.note, 8, color=MUTED)
    for i, bit in enumerate(form.bits(value)):
        face = SIGN if i == 0 else EXPONENT if i <= form.exponent else MANTISSA
        x = 0.1 + i * BIT + GAP * ((i > 0) + (i > form.exponent))
        box(ax, x, y + 0.5, BIT, 0.34, face, edgecolor=PAPER)
        mono = {"ha": "center", "family": "DejaVu Sans Mono"}
        write(ax, x + BIT / 2, y + 0.67, bit, 8.5, **mono)
    write(ax, 0.1, y + 1.02, f"= {_worth(form, value)}", 8.5)
    for line, words in enumerate(_error(form, value).split(";  ")):
        write(ax, 0.1, y + 1.21 + 0.18 * line, words, 8, color=MUTED)


def _worth(form: _Format, value: Number) -> str:
    """The stored number as sign × power of two × mantissa."""
    bits, stored = form.bits(value), form.stored(value)
    sign = "−" if bits[0] == "1" else "+"
    exponent = int(bits[1 : 1 + form.exponent], 2)
    fraction = int(bits[1 + form.exponent :], 2) / 2**form.mantissa
    bias = 2 ** (form.exponent - 1) - 1
    if exponent == 2**form.exponent - 1:
        return f"{sign}∞: the exponent is all ones"
    if exponent == 0 and fraction == 0:
        return f"{sign}0: all bits are zero"
    whole, power = (1, exponent - bias) if exponent else (0, 1 - bias)
    return f"{sign} 2{superscript(power)} × {whole + fraction:.9g} = {short(stored)}"


def _error(form: _Format, value: Number) -> str:
    bias = 2 ** (form.exponent - 1) - 1
    field = int(form.bits(value)[1 : 1 + form.exponent], 2)
    error = abs(form.stored(value) - float(value))
    if not np.isfinite(error):
        return "too large for this format"
    exponent = f"exponent {field} − {bias} = {short(field - bias)}"
    if field == 0:  # a subnormal number, or zero
        exponent = f"exponent 0: the smallest power, 2{superscript(1 - bias)}, and no leading 1"
    return f"{exponent};  {f'off by {short(error, 2)}' if error else 'exactly the number'}"
