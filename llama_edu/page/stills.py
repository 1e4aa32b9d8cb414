"""The drawings of the labs' stills: what each lab shows of the sentence it begins with, as SVG.

Like the machine's drawing they are in the colour of the text and need no style sheet; shades are
opacities, so that they are black on white paper and light on a dark page. The table below each
says the same in words and numbers.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from llama_edu.viz.parts.html import escape

__all__ = [
    "bits_svg",
    "cache_svg",
    "clocks_svg",
    "maps_svg",
    "ranks_svg",
    "shares_svg",
    "tokens_svg",
    "turns_svg",
]

WIDTH = 400  # of every drawing, in its own units: a phone shows its words nearly at their size
SMALL, TEXT = 11, 13
FONT = "font-family:var(--llama-ui,'DejaVu Sans',sans-serif)"
STRONG, MIDDLE, WEAK = 0.75, 0.4, 0.15  # opacities of what is filled

Rows = list[list[str]]


def _svg(label: str, height: float, *parts: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img" style="{FONT}" '
        f'fill="currentColor" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    size = "" if "font-size" in more else f' font-size="{SMALL}"'
    return f'<text x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}"{size}{more}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, ink: float) -> str:
    """A filled box with an outline, so that a weak one is seen, too."""
    return (
        f'<rect x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}" '
        f'fill-opacity="{ink:g}" stroke="currentColor" stroke-width="0.7"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return (
        f'<line x1="{x1:.4g}" y1="{y1:.4g}" x2="{x2:.4g}" y2="{y2:.4g}" '
        f'stroke="currentColor"{more}/>'
    )


def _key(y: float, *entries: tuple[float, str]) -> str:
    """What the shades mean, side by side."""
    step = WIDTH / len(entries)
    return "".join(
        _box(4 + i * step, y - 9, 10, 10, ink) + _text(19 + i * step, y, words)
        for i, (ink, words) in enumerate(entries)
    )


def _room(text: str) -> float:
    """How wide a token may become, in any of the fonts a reader may have."""
    return 8.2 * len(text)


def tokens_svg(label: str, rows: Rows) -> str:
    """Each token in a box with its id below, in as many lines as they take."""
    x, y, parts = 4.0, 4.0, []
    for piece, token_id, *_ in rows:
        width = max(_room(piece), _room(token_id)) + 12
        if x + width > WIDTH - 4:
            x, y = 4.0, y + 46
        middle = x + width / 2
        parts.append(_box(x, y, width, 38, WEAK / 2))
        parts.append(_text(middle, y + 17, piece, "middle", f' font-size="{TEXT}"'))
        parts.append(_text(middle, y + 32, token_id, "middle"))
        x += width + 6
    return _svg(label, y + 44, *parts)


def ranks_svg(label: str, rows: Rows) -> str:
    """The answer's rank after each layer, 1 at the top, on a logarithmic scale."""
    top, bottom = 26, 136
    step = WIDTH / len(rows)
    ranks = [int(rank) for _, rank, _ in rows]
    most = max(1.0, math.log10(max(ranks)))
    points, parts = [], []
    for i, (place, rank, favourites) in enumerate(rows):
        x = (i + 0.5) * step
        y = top + (bottom - top) * math.log10(int(rank)) / most
        # Below a valley of the line and above the rest, where it does not run.
        is_valley = all(ranks[j] < ranks[i] for j in (i - 1, i + 1) if 0 <= j < len(ranks))
        points.append(f"{x:.4g},{y:.4g}")
        parts.append(f'<circle cx="{x:.4g}" cy="{y:.4g}" r="4"/>')
        parts.append(_text(x, y + 17 if is_valley else y - 9, f"rank {rank}", "middle"))
        parts.append(_text(x, bottom + 36, place, "middle", ' font-weight="600" font-size="12"'))
        parts.append(_text(x, bottom + 52, favourites.split(", ")[0], "middle"))
    line = f'<polyline points="{" ".join(points)}" fill="none" stroke="currentColor"/>'
    return _svg(label, bottom + 60, line, *parts)


def clocks_svg(label: str, turns: Sequence[float], positions: Sequence[int]) -> str:
    """A clock for each pair, with a hand for each position; the longer the hand, the later."""
    across, size = 4, WIDTH / 4
    parts = []
    for j, turn in enumerate(turns):
        x, y = (j % across + 0.5) * size, 36 + (j // across) * 92
        face = 'r="32" fill="none" stroke="currentColor" opacity="0.5"'
        parts.append(f'<circle cx="{x:g}" cy="{y:g}" {face}/>')
        for i, position in enumerate(positions):
            length = 32 * (i + 1) / len(positions)
            angle = position * turn
            end = x + length * math.cos(angle), y - length * math.sin(angle)
            parts.append(_line(x, y, *end, f' stroke-width="{4 - 1.2 * i:g}"'))
        parts.append(_text(x, y + 47, f"{j} and {j + len(turns)}", "middle"))
    height = 36 + math.ceil(len(turns) / across) * 92
    hands = "Short to long, the hands at positions " + ", ".join(map(str, positions))
    below = "Below each, its two numbers. Position 0 points right."
    parts.append(_text(WIDTH / 2, height - 24, hands, "middle"))
    parts.append(_text(WIDTH / 2, height - 9, below, "middle"))
    return _svg(label, height, *parts)


def maps_svg(
    label: str, names: Sequence[str], pieces: Sequence[str], maps: Float32[np.ndarray, "n seq seq"]
) -> str:
    """Attention weights of some heads, below each other: a row looks at its columns."""
    left, cell = 92.0, (WIDTH - 96) / len(pieces)
    header = max(map(_room, pieces)) * 0.85 + 22
    height, parts = 0.0, []
    for name, weights in zip(names, maps, strict=True):
        parts.append(_text(4, height + 14, name, more=' font-weight="600" font-size="12"'))
        top = height + header
        for i, piece in enumerate(pieces):
            x, y = left + (i + 0.65) * cell, top + (i + 0.68) * cell
            turned = f' transform="rotate(-90 {x:.4g} {top - 4:.4g})"'
            parts.append(_text(x, top - 4, piece, more=turned))
            parts.append(_text(left - 5, y, piece, "end"))
            for j in range(i + 1):
                ink = round(math.sqrt(float(weights[i, j])), 2)
                parts.append(_box(left + j * cell, top + i * cell, cell, cell, ink))
        height = top + len(pieces) * cell + 12
    return _svg(label, height, *parts)


def cache_svg(label: str, rows: Rows) -> str:
    """Two bars for each step: with the cache, computed and read; without it, all computed."""
    left, y, parts = 92, 24, [_key(14, (STRONG, "computed"), (WEAK, "read from the cache"))]
    unit = (WIDTH - left - 34) / max(int(without) for *_, without in rows)
    for step, computed, read, without in rows:
        fed, kept, all_of_them = int(computed), int(read), int(without)
        parts.append(_text(4, y + 19, f"step {step}", more=' font-weight="600"'))
        parts.append(
            _text(left - 5, y + 11, "with", "end") + _text(left - 5, y + 26, "without", "end")
        )
        parts.append(_box(left, y + 1, fed * unit, 12, STRONG))
        if kept:
            parts.append(_box(left + fed * unit, y + 1, kept * unit, 12, WEAK))
        parts.append(_box(left, y + 16, all_of_them * unit, 12, STRONG))
        parts.append(_text(left + (fed + kept) * unit + 5, y + 11, computed))
        parts.append(_text(left + all_of_them * unit + 5, y + 26, without))
        y += 38
    return _svg(label, y, *parts)


def shares_svg(label: str, head: Sequence[str], rows: Rows) -> str:
    """A bar for each token's chance, in a column for each setting."""
    left, top, parts = 62, 42, []
    step = (WIDTH - left) / len(head)
    shares = [[0 if cell == "cut" else int(cell.rstrip("%")) for cell in row[1:]] for row in rows]
    unit = (step - 38) / max(map(max, shares))
    for c, settings in enumerate(head):
        temperature, *cuts = settings.split(", ")
        x = left + c * step
        kept = [cut for cut in cuts if cut not in ("k 0", "p 1", "m 0")]
        parts.append(_text(x, 14, temperature, more=' font-weight="600"'))
        parts.append(_text(x, 29, ", ".join(kept) or "no cut"))
    for r, (piece, *cells) in enumerate(rows):
        y = top + r * 20
        parts.append(_text(left - 6, y + 11, piece, "end"))
        for c, cell in enumerate(cells):
            x, width = left + c * step, shares[r][c] * unit
            if width:
                parts.append(_box(x, y, width, 14, MIDDLE))
            parts.append(_text(x + width + 4, y + 11, cell))
    return _svg(label, top + len(rows) * 20 + 4, *parts)


def bits_svg(label: str, rows: Rows) -> str:
    """Each format's bits in boxes; how dark they are says whose they are."""
    inks = (STRONG, MIDDLE, WEAK / 2)
    key = zip(inks, ("sign", "exponent", "mantissa"), strict=True)
    y, parts = 26, [_key(14, *key)]
    for name, fields, value, _ in rows:
        words = f"{name}: {value}"
        parts.append(_text(4, y + 13, words, more=' font-weight="600" font-size="12"'))
        x = 4.0
        for ink, field in zip(inks, fields.split(), strict=True):
            for bit in field:
                parts.append(_box(x, y + 20, 11.5, 5, ink))
                parts.append(_text(x + 5.75, y + 37, bit, "middle"))
                x += 11.5
            x += 5
        y += 50
    return _svg(label, y - 4, *parts)


def turns_svg(label: str, rows: Rows) -> str:
    """Each prompt as a bar of its tokens, below the message it ends with."""
    inks = ((WEAK, "reused"), (STRONG, "computed"))
    y, parts = 26, [_key(14, *inks)]
    unit = (WIDTH - 40) / max(int(prompt) for _, prompt, *_ in rows)
    for message, prompt, reused, computed, *_ in rows:
        parts.append(_text(4, y + 12, message))
        kept = int(reused) * unit
        if kept:
            parts.append(_box(4, y + 18, kept, 14, WEAK))
        parts.append(_box(4 + kept, y + 18, int(computed) * unit, 14, STRONG))
        parts.append(_text(9 + int(prompt) * unit, y + 29, prompt))
        y += 46
    return _svg(label, y - 4, *parts)
