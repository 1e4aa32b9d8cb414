"""Texts with marks for code and emphasis, as a terminal shows them."""

import re

__all__ = ["plain", "unstressed"]


def plain(text: str) -> str:
    """Text without the marks for code and emphasis."""
    return unstressed(text).replace("`", "")


def unstressed(text: str) -> str:
    """Text without the marks for emphasis: a star in code is no mark.

    Two stars open where no blank follows, and close where none is before them; behind a sign, such
    as a bracket, they close only at the end of a word (CommonMark 0.31.2, section 6.2).
    """
    closing = r"(?:(?<=\w)|(?<=[^\w\s])(?=\*\*(?!\w)))\*\*"
    flat = re.sub(r"\*\*(?=\S)([^*]+)" + closing, r"\1", " ".join(text.split()))
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"\1", flat)
