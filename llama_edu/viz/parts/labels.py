"""Token labels that can be drawn with one Latin font and read without guessing.

A space becomes ·, a line break ⏎; bytes that are no character of their own, and characters the
figures' font cannot be trusted with, are shown as hexadecimal bytes.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from operator import index
from typing import Protocol, SupportsIndex, runtime_checkable

from llama_edu.errors import InputError

__all__ = ["TokenBytes", "byte_count", "checked_labels", "shortened", "token_label", "token_labels"]

SPACE, LINE_BREAK, TAB, NOTHING = "·", "⏎", "⇥", "∅"
_MARKS = {" ": SPACE, "\n": LINE_BREAK, "\t": TAB}
# What vocabulary files write for a space, a line break and a tab.
_SPELLED = {"▁": " ", "Ġ": " ", "Ċ": "\n", "ĉ": "\t"}
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
_LAST_LETTER = "\u052f"  # the end of Cyrillic; later blocks of these scripts lack glyphs


@runtime_checkable
class TokenBytes(Protocol):
    """Anything that knows the bytes of a token id, such as `llama_edu.Tokenizer`."""

    def token_bytes(self, token_id: int, /) -> bytes:
        """The bytes one token stands for."""
        ...


def token_label(token: str | bytes) -> str:
    """One token, readable: ` cat` → `·cat`, a line break → `⏎`, the bytes E4 BD → `<E4BD>`.

    Bytes are taken as they are. In a `str`, the markers of vocabulary files count as what they
    stand for: `▁` and `Ġ` are a space, `Ċ` is a line break, `<0x0A>` is that byte.
    """
    if isinstance(token, bytes):
        try:
            text = token.decode("utf-8")
        except UnicodeDecodeError:
            return _hex(token)
    elif byte := _BYTE_TOKEN.fullmatch(token):
        return token_label(bytes.fromhex(byte[1]))
    else:
        text = token.translate({ord(mark): char for mark, char in _SPELLED.items()})
    return "".join(map(_readable, text)) or NOTHING


def _readable(char: str) -> str:
    if char in _MARKS:
        return _MARKS[char]
    if char in (*_MARKS.values(), NOTHING):  # a label labelled again stays as it is
        return char
    typographic = "\u2010" <= char <= "\u2026"
    letter = char <= _LAST_LETTER and unicodedata.name(char, "").startswith(_SCRIPTS)
    if char not in _SPELLED and char.isprintable() and (char.isascii() or letter or typographic):
        return char
    # "surrogatepass": half a surrogate pair is no text, and still has to be shown.
    return _hex(char.encode("utf-8", "surrogatepass"))


def _hex(data: bytes) -> str:
    return f"<{data.hex().upper()}>"


def token_labels(tokenizer: TokenBytes, token_ids: Iterable[SupportsIndex]) -> list[str]:
    """The labels of `token_ids`, from the bytes the tokenizer knows them by."""
    return [token_label(tokenizer.token_bytes(index(token_id))) for token_id in token_ids]


def checked_labels(tokens: Sequence[str | bytes], count: int, axis_name: str) -> list[str]:
    """Labels for an axis of `count` entries. Raises `InputError` if there are more or fewer."""
    if len(tokens) != count:
        raise InputError(f"expected {count} token labels, one per {axis_name}, got {len(tokens)}")
    return [token_label(token) for token in tokens]


def shortened(label: str, limit: int = 10) -> str:
    """A label cut in the middle to at most `limit` characters: `<|endoftext|>` → `<|endo…t|>`."""
    if len(label) <= limit:
        return label
    return f"{label[: limit - 4]}…{label[-3:]}"


def byte_count(nbytes: int) -> str:
    """Bytes as a reader takes them in: `512 B`, `65.5 kB`, `1.05 MB` (thousands, not 1,024)."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.3g} {unit}"
    return f"{nbytes} B"
