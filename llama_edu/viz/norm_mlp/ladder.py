"""The residual stream as a ledger: what each sub-layer added, and the length of the sum so far."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from llama_edu.engine.trace import Record
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS, axis
from llama_edu.viz.parts.figure import (
    FAINT,
    MUTED,
    Number,
    Picture,
    board,
    box,
    picture,
    write,
)

__all__ = ["residual_ladder"]

SUB_LAYERS = (
    ("attention", "self_attn.o_proj", "attn_residual"),
    ("MLP", "mlp.down_proj", "mlp_residual"),
)
COLORS = {"attention": PARTS["attention"][0], "MLP": PARTS["mlp"][0]}
STREAM = axis("hidden_size").color
MAX_LAYERS = 60
WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
ZOOM = 1.35  # on a wide page
FEW_LAYERS = 4  # so many have a row with words per sub-layer; more get thin bars
Entry = tuple[int, str, float, float]  # layer, sub-layer, length added, length after


@picture
def residual_ladder(trace: Iterable[Record], position: int = -1) -> Picture:
    """One token's vector through all layers: length of each addition, length of the stream after.

    `trace` holds a forward pass (of several, the newest); `position` counts its tokens, from the
    end if negative. Lengths are Euclidean norms. Raises `InputError` for a trace without a forward
    pass, for a position outside it, and for more than 60 layers.
    """
    records = {record.name: record.array for record in trace}
    if "embed_tokens" not in records:
        raise InputError("expected the trace of a forward pass, got one without embed_tokens")
    seq = len(records["embed_tokens"])
    if not -seq <= position < seq:
        raise InputError(f"expected a position from {-seq} to {seq - 1}, got {position}")
    start = _length(records["embed_tokens"][position])
    entries = _entries(records, position)
    if not 0 < len(entries) <= 2 * MAX_LAYERS:
        raise InputError(f"expected 1 to {MAX_LAYERS} layers, got {len(entries) // 2}")
    has_words = len(entries) <= 2 * FEW_LAYERS
    row = 0.3 if has_words else 0.085
    top = 0.86
    figure, ax = board(top + row * (len(entries) + 1) + 0.15, WIDTH)
    _titles(ax)
    widest = max([start, *(n for entry in entries for n in entry[2:])])
    if has_words:
        write(ax, 0.08, top + row / 2, "embedding")
    else:
        write(ax, 0.08, top, "embedding")
    _bar(ax, (1, top, row), start, widest, STREAM, has_words=has_words)
    for index, (layer, name, added, after) in enumerate(entries, start=1):
        y = top + index * row
        if has_words:
            write(ax, 0.08, y + row / 2, f"layer {layer} {name}")
        elif name == "attention" and layer % 5 == 0 and layer > 0:
            write(ax, 0.08, y + row, f"layer {layer}", color=MUTED)
        _bar(ax, (0, y, row), added, widest, COLORS[name], has_words=has_words)
        _bar(ax, (1, y, row), after, widest, STREAM, has_words=has_words)
    return Picture(
        figure,
        alt=_ladder_alt(start, entries, seq, position % seq),
        caption="One token's residual stream: what is added, and the length of the sum so far.",
        zoom=ZOOM,
    )


def _length(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


def _entries(records: dict[str, np.ndarray], position: int) -> list[Entry]:
    entries, layer = [], 0
    while f"layers.{layer}.mlp_residual" in records:
        for name, addition, after in SUB_LAYERS:
            lengths = [
                _length(records[f"layers.{layer}.{part}"][position]) for part in (addition, after)
            ]
            entries.append((layer, name, lengths[0], lengths[1]))
        layer += 1
    return entries


COLUMNS = (1.4, 2.88)  # where the bars of the additions and of the stream begin
BAR = 0.92  # the longest bar, in inches; a number follows it


def _titles(ax: Axes) -> None:
    write(ax, COLUMNS[0], 0.2, "added", 11, weight="bold")
    write(ax, COLUMNS[1], 0.2, "stream after it", 11, weight="bold", color=STREAM)
    for x, (name, color) in zip((1.4, 2.4), COLORS.items(), strict=True):
        box(ax, x, 0.42, 0.14, 0.14, color, linewidth=0)
        write(ax, x + 0.19, 0.49, name)
    ax.plot([0.08, WIDTH - 0.08], [0.7, 0.7], color=FAINT, lw=0.8)


def _bar(
    ax: Axes,
    place: tuple[int, Number, Number],
    length: Number,
    widest: Number,
    color: str,
    *,
    has_words: bool,
) -> None:
    column, y, row = place
    x, width = COLUMNS[column], max(BAR * length / widest, 0.01)
    pad = 0.05 if has_words else 0.008
    box(ax, x, y + pad, width, row - 2 * pad, color, linewidth=0)
    if has_words:
        write(ax, x + width + 0.07, y + row / 2, f"{length:.1f}")


def _ladder_alt(start: float, entries: list[Entry], seq: int, position: int) -> str:
    words = f"The vector of token {position} of {seq}. It begins with length {start:.1f}. "
    if len(entries) <= 2 * FEW_LAYERS:
        words += "; ".join(
            f"layer {layer} {name} adds {added:.1f}, after it {after:.1f}"
            for layer, name, added, after in entries
        )
        return words + "."
    largest = max(entries, key=lambda entry: entry[2])
    return (
        f"{words}{len(entries) // 2} layers add twice each; the longest addition is "
        f"{largest[2]:.0f}, by the {largest[1]} of layer {largest[0]}. At the end the length is "
        f"{entries[-1][3]:.0f}."
    )
