"""Where a model's numbers are: every tensor a rectangle, as large as its count of numbers.

The rectangles are laid out so that they come near to squares: Bruls, Huizing and van Wijk 2000,
"Squarified Treemaps".
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS, tinted
from llama_edu.viz.parts.figure import INK, MUTED, PAPER, Picture, board, box, picture, write

__all__ = ["parameter_treemap"]

# Pale, for the names stand on them. The kinds differ in lightness, so that they stay apart
# without colour.
KINDS = {
    "embedding, head": tinted(PARTS["embedding"][0], 0.36),
    "attention": tinted(PARTS["attention"][0], 0.22),
    "MLP": tinted(PARTS["mlp"][0], 0.5),
    "norms": tinted(PARTS["norm"][0], 0.85),
}
_LAYER = re.compile(r"(?:model\.)?layers\.(\d+)\.(?:self_attn\.|mlp\.)?(\w+)\.(?:weight|bias)")
WIDTH = 4.05  # inches: with words of 10 points, a fold on a phone holds all of it
TOP, HEIGHT, MARGIN = 0.92, 3.3, 0.08
ZOOM = 1.35  # on a wide page
MANY_GROUPS = 12  # layers and tables; the tensors of more are too small to name
TINY = 0.012  # inches; a thinner rectangle would be all edge


class Area(NamedTuple):
    """A rectangle in inches: its top left corner, width and height."""

    x: float
    y: float
    width: float
    height: float


@picture
def parameter_treemap(sizes: Mapping[str, int]) -> Picture:
    """Every tensor by its share of all numbers, the tensors of a layer side by side.

    `sizes` maps names of a checkpoint to counts of numbers, such as
    `{name: array.size for name, array in checkpoint.items()}`: a tied table is there once. Raises
    `InputError` without tensors and for a count below 1.
    """
    if not sizes or min(sizes.values()) < 1:
        raise InputError(f"expected tensors of at least 1 number each, got {dict(sizes)}")
    total = sum(sizes.values())
    groups: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        groups.setdefault(_group(name), {})[name] = size
    figure, ax = board(TOP + HEIGHT + MARGIN, WIDTH)
    _legend(ax, sizes, total)
    page = Area(MARGIN, TOP, WIDTH - 2 * MARGIN, HEIGHT)
    whole = {group: sum(parts.values()) for group, parts in groups.items()}
    for group, area in _placed(whole, page).items():
        _draw_tensors(ax, groups[group], area, total, named=len(groups) <= MANY_GROUPS)
        if group.startswith("layer "):
            corner = area.x, area.y
            ax.add_patch(Rectangle(corner, area.width, area.height, fill=False, ec=INK, lw=1.3))
    caption = _caption(sizes, total)
    return Picture(figure, alt=_alt(sizes, groups, total), caption=caption, zoom=ZOOM)


def _placed(whole: Mapping[str, int], page: Area) -> dict[str, Area]:
    """An area per group; many layers of one size lie in a grid, so that all have one shape."""
    layers = [group for group in whole if group.startswith("layer ")]
    if len(layers) <= MANY_GROUPS or len({whole[group] for group in layers}) > 1:
        return squarified(whole, page)
    others = {group: size for group, size in whole.items() if group not in layers}
    beside = sum(others.values()) / sum(whole.values())
    placed: dict[str, Area] = {}
    if others:
        placed = squarified(others, page._replace(width=beside * page.width))
    across = (1 - beside) * page.width
    columns = min(
        (n for n in range(1, len(layers) + 1) if len(layers) % n == 0),
        key=lambda n: abs(np.log(across / n / (page.height / (len(layers) // n)))),
    )
    width, height = across / columns, page.height / (len(layers) // columns)
    left = page.x + beside * page.width
    for index, group in enumerate(layers):
        down, along = divmod(index, columns)
        placed[group] = Area(left + along * width, page.y + down * height, width, height)
    return placed


def _group(name: str) -> str:
    match = _LAYER.fullmatch(name)
    return f"layer {match[1]}" if match else name


def _kind(name: str) -> str:
    if "norm" in name:
        return "norms"
    if _LAYER.fullmatch(name) is None:
        return "embedding, head"
    return "MLP" if ".mlp." in name else "attention"


def _draw_tensors(ax: Axes, parts: dict[str, int], area: Area, total: int, *, named: bool) -> None:
    """The tensors of a layer, or one that belongs to none, with their names where they fit."""
    for name, inner in squarified(parts, area).items():
        if min(inner.width, inner.height) >= TINY:
            box(ax, *inner, KINDS[_kind(name)], edgecolor=PAPER, linewidth=0.9)
        match = _LAYER.fullmatch(name)
        if match:
            lines = [match[2].removesuffix("_proj")] if named else []
        else:
            lines = [name.removeprefix("model.").removesuffix(".weight")]
            lines.append(_share(parts[name], total))
        widest = 0.09 * max(map(len, lines), default=0) + 0.06
        if lines and inner.width > widest and inner.height > 0.2 * len(lines):
            write(ax, *_middle(inner), "\n".join(lines), ha="center", linespacing=1.35)


def _middle(area: Area) -> tuple[float, float]:
    return area.x + area.width / 2, area.y + area.height / 2


def _legend(ax: Axes, sizes: Mapping[str, int], total: int) -> None:
    write(ax, MARGIN, 0.2, f"{total:,} numbers in {len(sizes)} tensors", 10.5, weight="bold")
    for index, (kind, count) in enumerate(_by_kind(sizes).items()):
        x, y = MARGIN + 2.1 * (index % 2), 0.38 + 0.25 * (index // 2)
        box(ax, x, y, 0.18, 0.16, KINDS[kind], edgecolor=MUTED, linewidth=0.6)
        words = f"{kind} {_share(count, total)}"
        write(ax, x + 0.25, y + 0.08, words, color=MUTED)


def _by_kind(sizes: Mapping[str, int]) -> dict[str, int]:
    counts = dict.fromkeys(KINDS, 0)
    for name, size in sizes.items():
        counts[_kind(name)] += size
    return {kind: count for kind, count in counts.items() if count}


def squarified(sizes: Mapping[str, int], area: Area) -> dict[str, Area]:
    """A rectangle of the area per name, its share of the whole; the largest first."""
    order = sorted(sizes, key=lambda name: -sizes[name])
    scale = area.width * area.height / sum(sizes.values())
    placed: dict[str, Area] = {}
    while order:
        side = min(area.width, area.height)
        row = 1
        while row < len(order) and _worst(sizes, order[: row + 1], scale, side) <= _worst(
            sizes, order[:row], scale, side
        ):
            row += 1
        strip, area = _row(sizes, order[:row], scale, area)
        placed |= strip
        order = order[row:]
    return placed


def _worst(sizes: Mapping[str, int], names: Sequence[str], scale: float, side: float) -> float:
    """The longest rectangle of a row along `side`, as its length over its width."""
    depth = sum(sizes[name] for name in names) * scale / side
    lengths = [sizes[name] * scale / depth for name in names]
    return max(max(length / depth, depth / length) for length in lengths)


def _row(
    sizes: Mapping[str, int], names: Sequence[str], scale: float, area: Area
) -> tuple[dict[str, Area], Area]:
    """One row along the shorter side, and what is left of the area."""
    x, y, width, height = area
    upright = height <= width
    depth = sum(sizes[name] for name in names) * scale / min(width, height)
    placed = {}
    for name in names:
        length = sizes[name] * scale / depth
        if upright:
            placed[name] = Area(x, y, depth, length)
            y += length
        else:
            placed[name] = Area(x, y, length, depth)
            x += length
    if upright:
        return placed, Area(area.x + depth, area.y, width - depth, height)
    return placed, Area(area.x, area.y + depth, width, height - depth)


def _share(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f}%" if share >= 0.1 else "< 0.1%"


def _alt(sizes: Mapping[str, int], groups: Mapping[str, Mapping[str, int]], total: int) -> str:
    kinds = "; ".join(f"{kind} {_share(n, total)}" for kind, n in _by_kind(sizes).items())
    layers = [sum(parts.values()) for group, parts in groups.items() if group.startswith("layer ")]
    words = f"{total:,} numbers in {len(sizes)} tensors, by area: {kinds}."
    if layers:
        each = f" of {layers[0]:,} numbers each" if len(set(layers)) == 1 else ""
        words += f" {len(layers)} layer{'s' if len(layers) > 1 else ''}{each}."
    biggest = max(sizes, key=lambda name: sizes[name])
    return f"{words} The largest tensor is {biggest} with {sizes[biggest]:,} numbers."


def _caption(sizes: Mapping[str, int], total: int) -> str:
    biggest = max(sizes, key=lambda name: sizes[name])
    share = _share(sizes[biggest], total)
    return f"Every tensor by its share, each layer in a frame; {biggest} holds {share}."
