"""How a number lies in its bits: sign, exponent and mantissa, and the 1 that is not stored."""

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.bytes.bits import EXPONENT, FORMATS, MANTISSA, SIGN
from llama_edu.viz.parts.figure import MUTED, PAPER, Number, Picture, board, box, picture, write
from llama_edu.viz.parts.numerals import short, superscript

__all__ = ["bit_fields"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
BIT = 0.122  # inches; 32 of them and the 1 that is not stored fit
LEFT = 0.08
ROW = 1.06
KNOWN = {form.name: form for form in FORMATS}


@picture
def bit_fields(value: Number, formats: tuple[str, ...] = tuple(KNOWN)) -> Picture:
    """A number's bits in each format, with its first digit, which is always 1 and not stored.

    Under each row stands what the fields say: the digits, times two to the exponent less its bias.
    Raises `InputError` for an unknown format, and for a value that a format has no usual number
    for: 0, what is not finite, and what lies beyond the ends of its range.
    """
    unknown = [name for name in formats if name not in KNOWN]
    if unknown or not formats:
        raise InputError(f"expected formats among {', '.join(KNOWN)}, got {list(formats)}")
    figure, ax = board(0.45 + ROW * len(formats), WIDTH)
    x = LEFT
    for name, face, width in (
        ("sign", SIGN, 0.75),
        ("exponent", EXPONENT, 1.1),
        ("mantissa", MANTISSA, 1.1),
        ("not stored", PAPER, 0.0),
    ):
        box(ax, x, 0.14, 0.16, 0.16, face, edgecolor=MUTED, ls="--" if face == PAPER else "-")
        write(ax, x + 0.22, 0.22, name, 10)
        x += width + 0.06
    said = [_row(ax, 0.5 + ROW * row, name, float(value)) for row, name in enumerate(formats)]
    alt = (
        f"The number {short(float(value))} as sign, exponent and mantissa; the 1 before the point "
        f"is not stored. {'; '.join(said)}."
    )
    caption = f"The number {short(float(value))}. The dashed 1 is not stored: it is always there."
    return Picture(figure, alt=alt, caption=caption)


def _row(ax: Axes, y: float, name: str, value: float) -> str:
    """One format's bits and what they are worth; the same in words."""
    form = KNOWN[name]
    bits, kept = form.bits(value), form.stored(value)
    sign, field, digits = bits[0], bits[1 : 1 + form.exponent], bits[1 + form.exponent :]
    raised = int(field, 2)
    if not np.isfinite(kept) or raised == 0:
        raise InputError(f"expected a number in the usual range of {name}, got {value:g}")
    bias = 2 ** (form.exponent - 1) - 1
    worth = 1 + int(digits, 2) / 2**form.mantissa
    write(ax, LEFT, y + 0.1, name, 10.5, weight="bold")
    sizes = f"1 + {form.exponent} + {form.mantissa} bits"
    write(ax, WIDTH - LEFT, y + 0.1, sizes, 10, color=MUTED, ha="right")
    x = LEFT
    for i, bit in enumerate([sign, *field, "1.", *digits]):
        hidden = i == form.exponent + 1
        face = SIGN if i == 0 else EXPONENT if i <= form.exponent else PAPER if hidden else MANTISSA
        wide = BIT * (1.6 if hidden else 1)
        edge = {"edgecolor": MUTED, "ls": "--"} if hidden else {"edgecolor": PAPER}
        box(ax, x, y + 0.24, wide, 0.28, face, **edge)
        mono = {"ha": "center", "family": "DejaVu Sans Mono"}
        write(ax, x + wide / 2, y + 0.38, bit, 10, **mono)
        x += wide
    power = superscript(raised - bias)
    minus = "−" if sign == "1" else ""
    words = f"2 to the {raised} − {bias}:  {minus}{worth:.9g} · 2{power} = {short(kept)}"
    write(ax, LEFT, y + 0.68, words, 10)
    return (
        f"{name} {sign} {field} (1.){digits}: exponent {raised} − {bias} = "
        f"{short(raised - bias)}, so {minus}{worth:.9g} · 2{power} = {short(kept)}"
    )
