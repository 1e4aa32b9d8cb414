"""Bits one can flip by hand: a number in three formats, a button for every bit."""

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.bytes.bits import FORMATS
from llama_edu.viz.parts.embed import interactive
from llama_edu.viz.parts.figure import Number
from llama_edu.viz.parts.html import Html, table, td, th
from llama_edu.viz.parts.numerals import short

__all__ = ["flip_bits"]


def flip_bits(value: Number) -> Html:
    """A number's bits in float32, bfloat16 and float16, to be flipped one at a time in the page.

    Each format is on its own: a flip changes what that row's number is, and its words say why.
    Where scripts are stripped, a table of the bits remains. Raises `InputError` for a value that
    is not finite.
    """
    value = float(value)
    if not np.isfinite(value):
        raise InputError(f"expected a finite number, got {value}")
    said = short(value)
    formats = [
        {"name": form.name, "bits": form.bits(value), "exponent": form.exponent} for form in FORMATS
    ]
    title = f"The bits of {said}"
    body = (
        f"<tr>{th(form.name, scope='row')}{td(_fields(form.bits(value), form.exponent))}"
        f"{td(_stored(form.stored(value)))}</tr>"
        for form in FORMATS
    )
    head = f"<tr>{th('format')}{th('sign, exponent, mantissa')}{th('is')}</tr>"
    lines = [
        f"{form.name} {_fields(form.bits(value), form.exponent)} is {_stored(form.stored(value))}"
        for form in FORMATS
    ]
    return interactive(
        "bits",
        f"Bits of {said} to flip, in three formats",
        {"title": f"{title}. Flip one.", "value": said, "formats": formats},
        table(head, body, caption=title),
        "\n".join([title, *lines]),
    )


def _fields(bits: str, exponent: int) -> str:
    return f"{bits[0]} {bits[1 : 1 + exponent]} {bits[1 + exponent :]}"


def _stored(number: float) -> str:
    return short(number).replace("inf", "∞")
