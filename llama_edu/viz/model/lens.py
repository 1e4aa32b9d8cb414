"""Where an answer stands among all tokens, layer by layer, if each layer were the last.

The idea is the logit lens: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    Picture,
    board,
    panel,
    picture,
    write,
)

__all__ = ["rank_by_layer"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
HEIGHT = 3.3
ZOOM = 1.35  # on a wide page
DASHES = ("solid", (0, (2, 1.5)))
ATTENTION, MLP = PARTS["attention"][0], PARTS["mlp"][0]
FULL: dict[str, Any] = {"color": ATTENTION, "mec": ATTENTION}
HOLLOW: dict[str, Any] = {"color": MLP, "mfc": PAPER, "mew": 1.2}


@picture
def rank_by_layer(
    after_attention: Sequence[int],
    after_mlp: Sequence[int],
    word: str,
    vocab_size: int,
    others: Mapping[str, Sequence[int]] | None = None,
) -> Picture:
    """The rank of `word` among `vocab_size` tokens after each layer's attention and its MLP.

    Rank 1 is the likeliest. The axis of ranks is logarithmic, with the best on top. `others` are
    up to two words for comparison, each with its rank after every layer, drawn as grey lines.
    Raises `InputError` for lists of different lengths and for ranks outside 1 … `vocab_size`.
    """
    beside = dict(others or {})
    _check(after_attention, after_mlp, beside, vocab_size)
    layers = np.arange(len(after_mlp), dtype=np.float64)
    figure, ax = board(HEIGHT, WIDTH)
    plot = panel(figure, 0.78, 0.55, WIDTH - 0.86, HEIGHT - 1.1)
    ranks = np.stack([after_attention, after_mlp], axis=1).reshape(-1)
    at = np.stack([layers, layers + 0.5], axis=1).reshape(-1)
    _draw_others(ax, plot, beside)
    plot.plot(at, ranks, color=INK, lw=0.8)
    # Full and hollow, so that the two stay apart where they overlap, and without colour.
    plot.plot(layers, after_attention, "o", ms=5.0, **FULL)
    plot.plot(layers + 0.5, after_mlp, "s", ms=4.2, **HOLLOW)
    _scale(plot, len(layers), vocab_size)
    write(ax, 0.08, 0.16, f"rank of “{word}”", color=MUTED)
    ax.plot([0.85], [0.41], "o", ms=5.0, **FULL)
    write(ax, 0.98, 0.4, "after attention", color=ATTENTION, weight="bold")
    ax.plot([2.5], [0.41], "s", ms=4.2, **HOLLOW)
    write(ax, 2.63, 0.4, "after the MLP", color=MLP, weight="bold")
    drops = (
        after_attention[0],
        *(b / a for a, b in zip(after_attention[1:], after_mlp[:-1], strict=True)),
    )
    jump = int(np.argmax(drops[1:])) + 1 if len(drops) > 1 else 0
    plot.annotate(
        f"layer {jump}",
        (jump, after_attention[jump]),
        (jump - 0.35 * len(layers), after_attention[jump]),
        arrowprops={"arrowstyle": "->", "color": INK, "lw": 0.9},
        fontsize=10,
        va="center",
    )
    alt = (
        f"The rank of “{word}” among {vocab_size:,} tokens over {len(layers)} layers, best on top. "
        f"It begins at {after_attention[0]:,} and ends at {after_mlp[-1]:,}. The steepest rise by "
        f"attention is in layer {jump}, from {after_mlp[jump - 1]:,} to {after_attention[jump]:,}."
    )
    for name, its in beside.items():
        alt += (
            f" “{name}” stands between {min(its):,} and {max(its):,}, at {its[jump]:,} after layer "
            f"{jump} and at {its[-1]:,} in the end."
        )
    caption = f"If each layer were the last: where “{word}” stands."
    return Picture(figure, alt=alt, caption=caption, zoom=ZOOM)


def _check(
    after_attention: Sequence[int],
    after_mlp: Sequence[int],
    beside: Mapping[str, Sequence[int]],
    vocab_size: int,
) -> None:
    lengths = [len(ranks) for ranks in beside.values()]
    if len(beside) > len(DASHES) or any(length != len(after_mlp) for length in lengths):
        raise InputError(
            f"expected up to {len(DASHES)} other words with {len(after_mlp)} ranks each, got "
            f"{lengths}"
        )
    both = [*after_attention, *after_mlp, *(rank for ranks in beside.values() for rank in ranks)]
    if len(after_attention) != len(after_mlp) or not both:
        raise InputError(
            f"expected a rank after attention and one after the MLP for every layer, got "
            f"{len(after_attention)} and {len(after_mlp)}"
        )
    if min(both) < 1 or max(both) > vocab_size:
        raise InputError(f"expected ranks from 1 to {vocab_size}, got {min(both)} to {max(both)}")


def _scale(plot: Axes, n_layers: int, vocab_size: int) -> None:
    plot.set_yscale("log")
    plot.set_ylim(vocab_size, 0.7)
    plot.set_xlim(-0.8, n_layers + 0.3)
    last = n_layers - 1
    plot.set_xticks([*(i for i in range(0, last, 5) if last - i >= 3), last])
    ticks = [t for t in (1, 10, 100, 1_000, 10_000) if t <= vocab_size]
    plot.set_yticks(ticks, [f"{t:,}" for t in ticks])
    plot.minorticks_off()
    plot.grid(axis="y", color=FAINT, lw=0.6)
    plot.tick_params(labelsize=10)
    plot.set_xlabel("layer")
    plot.xaxis.labelpad = 1


def _draw_others(ax: Axes, plot: Axes, beside: Mapping[str, Sequence[int]]) -> None:
    for row, (name, its) in enumerate(beside.items()):
        style: dict[str, Any] = {"color": MUTED, "lw": 1.0, "ls": DASHES[row], "alpha": 0.8}
        plot.plot(np.arange(len(its)) + 0.5, its, **style)
        x = 1.55 + 1.2 * row
        ax.plot([x, x + 0.3], [0.16, 0.16], **style)
        write(ax, x + 0.37, 0.16, f"“{name}”", color=MUTED)
