"""An atlas: every head of several layers at once, small enough to compare."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.attention.maps import stacked
from llama_edu.viz.parts.axes import WEIGHTS_MAP
from llama_edu.viz.parts.figure import FAINT, INK, Picture, board, panel, picture, tag, write
from llama_edu.viz.parts.heatmap import WEIGHTS_NORM, hatch_future, paint, percent, weights_key

__all__ = ["attention_atlas"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
TOP, SIDE = 0.95, 0.8
PER_LINE = 4  # heads side by side, whole KV groups
LARGEST, LARGEST_OF_MANY = 0.8, 0.42  # inches of a thumbnail: of up to 16, and of more


@picture
def attention_atlas(
    weights_by_layer: Sequence[np.ndarray | Sequence[np.ndarray]],
    *,
    layers: Sequence[int] | None = None,
) -> Picture:
    """Thumbnails of every head of several layers: one line per layer, one column per query head.

    Each entry is what `attention_maps` takes. `layers` names them if they are not 0, 1, 2, ….
    Raises `InputError` if the layers differ in shape.
    """
    pages = [stacked(weights) for weights in weights_by_layer]
    names = list(range(len(pages)) if layers is None else layers)
    if not pages or len(names) != len(pages) or len({rows.shape for rows, _ in pages}) > 1:
        shapes = [rows.shape for rows, _ in pages]
        raise InputError(f"expected {len(names)} layers of one shape, got {shapes}")
    rows = np.stack([page for page, _ in pages])
    n_layers, n_kv_heads, n_groups, seq, total_seq = rows.shape
    first_call = pages[0][1]
    n_heads = n_kv_heads * n_groups
    beside = min(n_kv_heads, max(1, PER_LINE // n_groups))  # KV groups in a line
    lines = [range(k, min(k + beside, n_kv_heads)) for k in range(0, n_kv_heads, beside)]
    room = (WIDTH - SIDE - 0.1 - 0.1 * beside) / (beside * n_groups) - 0.04
    size = min(LARGEST if n_layers * n_heads <= 16 else LARGEST_OF_MANY, room)
    block = TOP + n_layers * (size + 0.07)
    figure, ax = board(len(lines) * block + 0.95, WIDTH)
    group_width = n_groups * (size + 0.04) + 0.1
    left = SIDE + (WIDTH - SIDE - 0.1 - beside * group_width) / 2
    for line, groups in enumerate(lines):
        _atlas_head(ax, groups, n_groups, (left, line * block), size)
    for i, name in enumerate(names):
        for head in range(n_heads):
            k, g = divmod(head, n_groups)
            line, column = divmod(k, beside)
            y = line * block + TOP + i * (size + 0.07)
            if head % (beside * n_groups) == 0:
                write(ax, left - 0.12, y + size / 2, str(name), 10, ha="right", weight="bold")
            here = panel(figure, left + column * group_width + g * (size + 0.04), y, size, size)
            here.set_label(f"layer {name}, KV group {k}, query head {head}")
            paint(here, rows[i, k, g], WEIGHTS_MAP, WEIGHTS_NORM)
            hatch_future(here, seq, total_seq, total_seq - seq, is_thumbnail=True)
            if 0 < first_call < seq:
                here.axhline(first_call - 0.5, color=INK, linewidth=1.0)
    weights_key(figure, WIDTH / 2 - 1.3, len(lines) * block + 0.42, 2.6)
    for text in (*figure.axes[-1].get_xticklabels(), figure.axes[-1].title):
        text.set_fontsize(10)
    caption = f"Every head of {n_layers} layers: rows look, columns are looked at"
    caption += f" ({seq} × {total_seq} positions)."
    if first_call < seq:
        caption += " Below the line: generated tokens."
    return Picture(figure, alt=_atlas_alt(rows, names, first_call), caption=caption)


def _atlas_head(
    ax: Axes, groups: range, n_groups: int, place: tuple[float, float], size: float
) -> None:
    left, top = place[0], place[1] + TOP
    group_width = n_groups * (size + 0.04) + 0.1
    tag(ax, left - 0.09, top - 0.2, "layers", "layer", ha="right", size=10.0)
    for column, k in enumerate(groups):
        x = left + column * group_width
        label = f"KV {k}" if group_width > 0.75 else f"{k}"
        tag(ax, x + (group_width - 0.14) / 2, top - 0.6, "n_kv_heads", label, size=10.0)
        ax.plot([x, x + group_width - 0.14], [top - 0.4] * 2, color=FAINT, lw=1)
        for g in range(n_groups):
            head = f"q{k * n_groups + g}" if size > 0.28 else str(k * n_groups + g)
            write(ax, x + g * (size + 0.04) + size / 2, top - 0.2, head, 10, ha="center")


def _atlas_alt(rows: np.ndarray, names: list[int], first_call: int) -> str:
    """Per layer, the heads that stand out: on the first token, and on the token before."""
    n_layers, n_kv_heads, n_groups, seq, total_seq = rows.shape
    past = total_seq - seq
    start = 1 if past == 0 and seq > 1 else 0
    heads = rows.reshape(n_layers, n_kv_heads * n_groups, seq, total_seq)[:, :, start:]
    positions = np.arange(past + start, total_seq, dtype=np.int64)
    steps = np.arange(len(positions), dtype=np.int64)
    sink = heads[..., 0].mean(axis=-1)
    before = heads[:, :, steps, np.maximum(positions - 1, 0)].mean(axis=-1)
    parts = [
        f"Attention weights of {n_layers} layers, {n_kv_heads} KV groups × {n_groups} query heads, "
        f"{seq} × {total_seq} positions. Shares averaged over the rows."
    ]
    for i, name in enumerate(names):
        to_first, to_previous = int(sink[i].argmax()), int(before[i].argmax())
        parts.append(
            f"Layer {name}: most to the first token, query head {to_first} "
            f"({percent(sink[i, to_first])}); most to the token before, query head {to_previous} "
            f"({percent(before[i, to_previous])})."
        )
    if first_call < seq:
        parts.append(f"Below the line, from position {past + first_call} on: generated tokens.")
    return " ".join(parts)
