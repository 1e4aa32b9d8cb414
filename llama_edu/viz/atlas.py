"""Many small maps at once: an atlas of layers, and one head on its way from scores to weights."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llama_edu.errors import InputError
from llama_edu.viz.attention import stacked
from llama_edu.viz.axes import SCORES_MAP, WEIGHTS_MAP
from llama_edu.viz.figure import FAINT, INK, WIDTH, Picture, board, panel, picture, tag, write
from llama_edu.viz.heatmap import (
    WEIGHTS_NORM,
    cell_numbers,
    hatch_future,
    paint,
    percent,
    scores_norm,
    token_ticks,
    weights_key,
)
from llama_edu.viz.labels import checked_labels, shortened

__all__ = ["attention_atlas", "score_triptych"]

TOP = 0.95
SIDE = 0.72
MAX_THUMBNAIL = 0.9  # inches
WORDS = 1.95  # inches beside the maps of the triptych


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
    size = min(MAX_THUMBNAIL, (WIDTH - SIDE - 0.1 - 0.1 * n_kv_heads) / n_heads - 0.04)
    figure, ax = board(TOP + n_layers * (size + 0.07) + 0.95)
    group_width = n_groups * (size + 0.04) + 0.1
    left = SIDE + (WIDTH - SIDE - 0.1 - n_kv_heads * group_width) / 2
    _atlas_head(ax, n_kv_heads, n_groups, left, size)
    for i, name in enumerate(names):
        y = TOP + i * (size + 0.07)
        write(ax, left - 0.12, y + size / 2, str(name), 10, ha="right", weight="bold")
        for head in range(n_heads):
            k, g = divmod(head, n_groups)
            here = panel(figure, left + k * group_width + g * (size + 0.04), y, size, size)
            here.set_label(f"layer {name}, KV group {k}, query head {head}")
            paint(here, rows[i, k, g], WEIGHTS_MAP, WEIGHTS_NORM)
            hatch_future(here, seq, total_seq, total_seq - seq, is_thumbnail=True)
            if 0 < first_call < seq:
                here.axhline(first_call - 0.5, color=INK, linewidth=1.0)
    weights_key(figure, WIDTH / 2 - 1.3, TOP + n_layers * (size + 0.07) + 0.42, 2.6)
    caption = f"Every head of {n_layers} layers: rows look, columns are looked at"
    caption += f" ({seq} × {total_seq} positions)."
    if first_call < seq:
        caption += " Below the line: generated tokens."
    return Picture(figure, alt=_atlas_alt(rows, names), caption=caption)


def _atlas_head(ax: Axes, n_kv_heads: int, n_groups: int, left: float, size: float) -> None:
    group_width = n_groups * (size + 0.04) + 0.1
    tag(ax, left - 0.12, TOP - 0.2, "layers", "layer", ha="right")
    for k in range(n_kv_heads):
        x = left + k * group_width
        label = f"KV {k}" if group_width > 0.75 else f"{k}"
        tag(ax, x + (group_width - 0.14) / 2, TOP - 0.6, "n_kv_heads", label)
        ax.plot([x, x + group_width - 0.14], [TOP - 0.4] * 2, color=FAINT, lw=1)
        for g in range(n_groups):
            head = f"q{k * n_groups + g}" if size > 0.28 else str(k * n_groups + g)
            write(ax, x + g * (size + 0.04) + size / 2, TOP - 0.2, head, 9, ha="center")


def _atlas_alt(rows: np.ndarray, names: list[int]) -> str:
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
    return " ".join(parts)


@picture
def score_triptych(
    scores: np.ndarray,
    masked_scores: np.ndarray,
    weights: np.ndarray,
    tokens: Sequence[str | bytes],
    *,
    head: int | None = None,
) -> Picture:
    """One head three times: scores, the same with the future at −∞, and their softmax by row.

    Each array is `(seq, total_seq)`; `head` is only for the words. Raises `InputError` for other
    shapes, for scores that are not finite, or for labels that do not fit.
    """
    stages = [np.asarray(stage, dtype=np.float32) for stage in (scores, masked_scores, weights)]
    shapes = [stage.shape for stage in stages]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or not 0 < shapes[0][0] <= shapes[0][1]:
        raise InputError(f"expected three arrays of one shape (seq, total_seq), got {shapes}")
    if not np.isfinite(stages[0]).all():
        raise InputError("expected finite scores before the mask, got NaN or infinity")
    seq, total_seq = shapes[0]
    labels = checked_labels(tokens, total_seq, "position")
    text_inches = 0.12 + 0.079 * max(len(shortened(label)) for label in labels)
    left = text_inches + 0.05
    cell = min(0.42, (WIDTH - left - WORDS) / total_seq)
    place = (left, cell * total_seq, max(cell, 0.28 if seq <= 2 else 0.0) * seq)
    step = place[2] + 0.5
    figure, ax = board(3 * step + text_inches - 0.1)
    for index, stage in enumerate(stages):
        _stage(figure, ax, index, stage, stages[0], labels, 0.2 + index * step, place)
        if index < 2:
            arrow, x = ("mask", "softmax")[index], left + place[1] / 2
            write(ax, x, 0.2 + (index + 1) * step - 0.26, f"↓ {arrow}", 11, ha="center")
    alt = _triptych_alt(stages, labels, head)
    whose = "" if head is None else f"Query head {head}: "
    caption = f"{whose}scores, masked scores, weights. Each row of weights sums to 1."
    return Picture(figure, alt=alt, caption=caption)


_STAGES = (
    ("① scores", "q · k / √head_dim:\nany number, orange\nabove 0, blue below"),
    ("② masked scores", "a key in the future\nof its query gets −∞"),
    ("③ weights", "in %, rounded: every\nrow sums to 100, and\nthe future gets 0"),
)


def _stage(
    figure: Figure,
    ax: Axes,
    index: int,
    stage: np.ndarray,
    scores: np.ndarray,
    labels: list[str],
    top: float,
    place: tuple[float, float, float],
) -> None:
    seq, total_seq = stage.shape
    past = total_seq - seq
    left, width, height = place
    is_last = index == 2
    colors, norm = (WEIGHTS_MAP, WEIGHTS_NORM) if is_last else (SCORES_MAP, scores_norm(scores))
    here = panel(figure, left, top, width, height)
    here.set_label(_STAGES[index][0])
    paint(here, np.where(np.isfinite(stage), stage, 0.0), colors, norm)
    if index > 0:
        hatch_future(here, seq, total_seq, past)
    if min(width / total_seq, height / seq) >= 0.34:
        texts = [
            [_cell_text(value, is_last, index > 0 and j > past + i) for j, value in enumerate(row)]
            for i, row in enumerate(stage.tolist())
        ]
        cell_numbers(here, np.where(np.isfinite(stage), stage, 0.0), texts, colors, norm)
    token_ticks(here, labels[past:], height / seq, "left")
    if is_last:  # the maps above share these labels
        token_ticks(here, labels, width / total_seq, "bottom")
    title, words = _STAGES[index]
    write(ax, left + width + 0.15, top + 0.12, title, 11.5, weight="bold")
    write(ax, left + width + 0.15, top + 0.34, words, 10, va="top", linespacing=1.4)


def _cell_text(value: float, is_weight: bool, is_future: bool) -> str:
    if is_future:
        return "0" if is_weight else "−∞"
    return f"{100 * value:.0f}" if is_weight else f"{value:.1f}".replace("-", "−")


def _triptych_alt(stages: list[np.ndarray], labels: list[str], head: int | None) -> str:
    scores, masked, weights = stages
    seq, total_seq = scores.shape
    hidden = int(np.isneginf(masked).sum())
    i, j = np.unravel_index(int(np.argmax(scores)), scores.shape)
    past = total_seq - seq
    last = int(np.argmax(weights[-1]))
    whose = "" if head is None else f" of query head {head}"
    return (
        f"Scores{whose}, {seq} × {total_seq} (seq × total_seq), from {scores.min():.2f} to "
        f"{scores.max():.2f}; the highest is query “{labels[past + int(i)]}”, key "
        f"“{labels[int(j)]}”. The mask sets {hidden} of {scores.size} entries to −∞. After the "
        f"softmax, the last row, “{labels[-1]}”, gives most to “{labels[last]}”: "
        f"{percent(weights[-1, last])}."
    )
