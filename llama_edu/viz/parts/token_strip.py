"""Characters, their bytes, and the tokens that cover the bytes, in one strip.

An HTML table and not a picture: the reader's own fonts have the characters.
"""

from collections.abc import Iterable, Iterator
from operator import index
from typing import SupportsIndex

from llama_edu.errors import InputError
from llama_edu.viz.parts.html import Html, aligned, escape
from llama_edu.viz.parts.labels import TokenBytes, token_label

__all__ = ["token_strip"]

Piece = tuple[int, int, str]  # where it begins and ends, in bytes, and what to write
# Bytes, as many as a phone shows; a line may be longer where no character and token end together.
PER_LINE = 6
MAX_BYTES = 200
BROKEN = "�"
_LINE = "1px solid color-mix(in srgb,currentColor 35%,transparent)"
_TINTS = (
    "background:color-mix(in srgb,#f5a524 22%,transparent)",
    "background:color-mix(in srgb,#1568e8 16%,transparent)",
)


def token_strip(tokenizer: TokenBytes, token_ids: Iterable[SupportsIndex]) -> Html:
    """Three rows over the bytes of a text: its characters, its bytes in hexadecimal, its tokens.

    A byte that belongs to no whole character stands under �. Raises `InputError` for no tokens,
    and for more than 200 bytes.
    """
    ids = [index(token_id) for token_id in token_ids]
    parts = [tokenizer.token_bytes(token_id) for token_id in ids]
    data = b"".join(parts)
    if not 0 < len(data) <= MAX_BYTES:
        raise InputError(f"expected tokens of 1 to {MAX_BYTES} bytes, got {len(data)}")
    characters = list(_characters(data))
    tokens, at = [], 0
    for token_id, part in zip(ids, parts, strict=True):
        tokens.append((at, at + len(part), f"{token_label(part)}\n{token_id}"))
        at += len(part)
    lines = [
        _line(data, start, end, characters, tokens)
        for start, end in _cuts(characters, tokens, len(data))
    ]
    side_by_side = "display:flex;flex-wrap:wrap;column-gap:1.5em"
    html = f'<div class="llama-strip" style="{side_by_side}">{"".join(lines)}</div>'
    return Html(html, _text(ids, parts, characters))


def _characters(data: bytes) -> Iterator[Piece]:
    at = 0
    while at < len(data):
        for width in range(1, 5):
            try:
                text = data[at : at + width].decode("utf-8")
            except UnicodeDecodeError:
                continue
            break
        else:
            width, text = 1, BROKEN
        yield at, at + width, text
        at += width


def _cuts(characters: list[Piece], tokens: list[Piece], size: int) -> Iterator[tuple[int, int]]:
    """Lines of about `PER_LINE` bytes, cut where a character and a token end together."""
    common = sorted({end for _, end, _ in characters} & {end for _, end, _ in tokens})
    start = 0
    for here, following in zip(common, [*common[1:], size + PER_LINE], strict=True):
        if following - start > PER_LINE:
            yield start, here
            start = here
    if start < size:
        yield start, size


def _line(data: bytes, start: int, end: int, characters: list[Piece], tokens: list[Piece]) -> str:
    # Every second character and token is tinted, counted from the start of the text.
    rows = [
        ("character", [(i, j, _visible(c)) for i, j, c in characters], "font-size:1.25em"),
        ("byte", [(i, i + 1, f"{byte:02X}") for i, byte in enumerate(data)], "font-size:.85em"),
        ("token, id", tokens, "font-size:.9em"),
    ]
    body = "".join(_row(title, pieces, (start, end), style) for title, pieces, style in rows)
    return (
        '<div class="llama-table" style="overflow-x:auto;max-width:100%;margin:.6em 0">'
        '<table style="border-collapse:collapse;margin:0;color:inherit;background:none">'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(title: str, pieces: list[Piece], cut: tuple[int, int], style: str) -> str:
    cells = []
    for number, (start, end, text) in enumerate(pieces):
        if cut[0] <= start < end <= cut[1]:
            tint = "" if title == "byte" else _TINTS[number % 2]
            lines = "<br>".join(escape(line) for line in text.split("\n"))
            cells.append(
                f'<td colspan="{end - start}" style="border:{_LINE};padding:.2em .2em;'
                f'text-align:center;white-space:nowrap;{style};{tint}">{lines}</td>'
            )
    head = (
        '<th scope="row" style="text-align:right;padding:.2em .4em .2em 0;border:0;'
        f'font-size:.85em;font-weight:400;opacity:.75;white-space:nowrap">{title}</th>'
    )
    return f'<tr style="background:none">{head}{"".join(cells)}</tr>'


def _visible(character: str) -> str:
    return {" ": "·", "\n": "⏎", "\t": "⇥"}.get(character, character)


def _text(ids: list[int], parts: list[bytes], characters: list[Piece]) -> str:
    """One row per token, with the characters that end in it."""
    rows, at = [["id", "token", "bytes", "completes"]], 0
    for token_id, part in zip(ids, parts, strict=True):
        ended = "".join(text for _, end, text in characters if at < end <= at + len(part))
        rows.append([str(token_id), token_label(part), part.hex(" ").upper(), repr(ended)])
        at += len(part)
    return aligned(rows, right={"id"})
