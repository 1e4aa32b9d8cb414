"""Numbers as the figures write them: few digits, a minus that is one, powers that are raised."""

from llama_edu.viz.parts.figure import Number

__all__ = ["short", "superscript"]


def short(value: Number, digits: int = 9) -> str:
    """A number in up to so many digits, without zeros at the end: −0.5, 1e−05, −inf."""
    return f"{value:.{digits}g}".replace("-", "−")


def superscript(power: int) -> str:
    """A whole number as an exponent: ⁻¹²."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
