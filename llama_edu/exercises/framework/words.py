"""Texts with marks for code and emphasis, as a terminal shows them."""

import re

__all__ = ["plain", "unstressed"]


def plain(text: str) -> str:
    """Text without the marks for code and emphasis."""
    return unstressed(text).replace("`", "")


def unstressed(text: str) -> str:
    """Text without the marks for emphasis: a star in code is no mark."""
    flat = re.sub(r"\*\*([^*]+)\*\*", r"\1", " ".join(text.split()))
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"\1", flat)
