"""Continuous batching: who is fed and who grows in every step, and the rows of one of them."""

from collections.abc import Mapping, Sequence, Set

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import WEIGHTS_MAP, axis
from llama_edu.viz.parts.figure import (
    FAINT,
    MUTED,
    PAPER,
    Picture,
    board,
    box,
    picture,
    write,
)

__all__ = ["batch_rows", "batch_steps"]

MOST_STEPS = 40
WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
LETTER = 0.1  # inches that a letter of this size takes, or less


@picture
def batch_steps(
    names: Sequence[str], prefilled: Sequence[Mapping[str, int]], chosen: Sequence[Set[str]]
) -> Picture:
    """Requests as rows, steps as columns.

    `prefilled[i]` has the prompt tokens fed for each request in step i, `chosen[i]` who got a new
    token in it: whoever fed the last one, and whoever's prompt came to its end. Raises
    `InputError` for names that are not listed, for unequal numbers of steps, and for more than 40
    of them.
    """
    steps = len(prefilled)
    if steps != len(chosen) or not 0 < steps <= MOST_STEPS or not names:
        raise InputError(
            f"expected names and 1 to {MOST_STEPS} steps in both lists, got {len(names)} names, "
            f"{steps} and {len(chosen)} steps"
        )
    strangers = {n for step in (*prefilled, *chosen) for n in step} - set(names)
    if strangers:
        raise InputError(f"expected requests of {', '.join(names)}, got {min(strangers)!r}")
    figure, ax = board(1.05 + 0.54 * len(names), WIDTH)
    left = 0.2 + LETTER * max(map(len, names))
    cell = (WIDTH - left - 0.1) / steps
    _key(ax)
    for row, name in enumerate(names):
        y = 0.5 + 0.54 * row
        write(ax, left - 0.08, y + 0.23, name, SIZE, ha="right")
        for i in range(steps):
            _cell(ax, left + i * cell, y, cell, prefilled[i].get(name, 0), name in chosen[i])
    foot = 0.58 + 0.54 * len(names)
    every = next(n for n in (1, 2, 5, 10) if n * cell > 0.25)
    for i in range(every - 1, steps, every):
        write(ax, left + (i + 0.5) * cell, foot, str(i + 1), SIZE, ha="center", color=MUTED)
    write(ax, left, foot + 0.24, "step →", SIZE, color=MUTED)
    return Picture(
        figure,
        alt=_alt(names, prefilled, chosen),
        caption="One column is one step, and one pass through the weights: the prompt tokens and "
        "the newest tokens in it are its rows. A prompt that ends gives a token in the same step.",
    )


def _key(ax: Axes) -> None:
    box(ax, 0.15, 0.12, 0.2, 0.2, axis("seq").color)
    write(ax, 0.42, 0.22, "prompt tokens fed", SIZE)
    box(ax, 2.45, 0.12, 0.2, 0.2, axis("vocab_size").color)
    write(ax, 2.72, 0.22, "a new token", SIZE)


def _cell(ax: Axes, x: float, y: float, width: float, fed: int, chosen: bool) -> None:
    """What a request fed and got in one step; at the end of a prompt both, the token below."""
    height = 0.46
    box(ax, x, y, width, height, PAPER, edgecolor=FAINT, linewidth=0.8)
    token = (0.17 if fed else height) if chosen else 0.0
    if fed:
        blue, prompt = axis("seq").color, height - token
        box(ax, x, y, width, prompt, blue, linewidth=0.8, edgecolor=PAPER)
        if width >= LETTER * len(str(fed)):
            middle = x + width / 2, y + prompt / 2
            write(ax, *middle, str(fed), SIZE, ha="center", color=PAPER, weight="bold")
    if chosen:
        green, top = axis("vocab_size").color, y + height - token
        box(ax, x, top, width, token, green, linewidth=0.8, edgecolor=PAPER)


def _alt(
    names: Sequence[str], prefilled: Sequence[Mapping[str, int]], chosen: Sequence[Set[str]]
) -> str:
    said = []
    for name in names:
        fed = [step[name] for step in prefilled if step.get(name)]
        got = [i for i, step in enumerate(chosen) if name in step]
        text = f"{name}: prompt in {len(fed)} step{'s' * (len(fed) != 1)} of {fed} tokens"
        if got:
            text += f", {len(got)} new tokens, from step {got[0] + 1} to step {got[-1] + 1}"
        said.append(text)
    tokens = sum(map(len, chosen))
    most = max(len({*fed, *got}) for fed, got in zip(prefilled, chosen, strict=True))
    return (
        f"{len(names)} requests in {len(chosen)} steps, each one pass through the weights; "
        f"{tokens} new tokens; at most {most} requests share a step. {'; '.join(said)}."
    )


@picture
def batch_rows(trace: Trace, names: Sequence[str], layer: int = 0) -> Picture:
    """Who looks at whom in one step of several sequences: a row for each token that is fed.

    `trace` holds a pass of `Llama.forward_chunks` or `forward_batch` over at least two sequences,
    the newest if there are several, and `names` are theirs, in order. Columns are the positions
    each sequence can look at, its past and its new ones. Each square is an attention weight, the
    largest of all query heads; a hatched one is masked. Between two sequences there is no square,
    since nothing is computed.
    Raises `InputError` for another number of names, for a layer that is not there, and for a trace
    of one sequence alone.
    """
    blocks = _blocks(trace, names, layer)
    rows = sum(block.shape[0] for block in blocks)
    columns = sum(block.shape[1] for block in blocks)
    left, top = 0.2 + LETTER * (7 + max(map(len, names))), 1.2
    size = min((WIDTH - left - 0.1) / (columns + 0.5 * len(blocks)), 0.2)
    gap = 0.5 * size
    figure, ax = board(top + rows * size + gap * len(blocks) + 0.1, WIDTH)
    _key_of_rows(ax)
    x, y = left, top
    for name, block in zip(names, blocks, strict=True):
        seq, total_seq = block.shape
        words = f"{name}: {seq} row{'s' * (seq != 1)}"
        write(ax, left - 0.1, y + seq * size / 2, words, SIZE, ha="right")
        write(ax, x + total_seq * size / 2, top - 0.28, name, SIZE, ha="center")
        _bars(ax, x, top - 0.13, (total_seq - seq) * size, seq * size)
        _squares(ax, x, y, size, block)
        x, y = x + total_seq * size + gap, y + seq * size + gap
    return Picture(
        figure, alt=_alt_of_rows(names, blocks, layer), caption=_caption_of_rows(rows, layer)
    )


def _key_of_rows(ax: Axes) -> None:
    box(ax, 0.15, 0.1, 0.2, 0.2, to_hex(WEIGHTS_MAP(0.7)))
    write(ax, 0.42, 0.2, "looks there, the stronger the more", SIZE)
    _masked(ax, 0.15, 0.45, 0.2)
    write(ax, 0.42, 0.55, "masked", SIZE)
    for x, name, words in ((1.35, "past", "cached"), (2.5, "seq", "new")):
        box(ax, x, 0.515, 0.2, 0.07, axis(name).color, linewidth=0.0)
        write(ax, x + 0.27, 0.55, words, SIZE)


def _bars(ax: Axes, x: float, y: float, past: float, new: float) -> None:
    """How much of a sequence's width is in the cache, and how much of it is new."""
    if past:
        box(ax, x, y, past, 0.07, axis("past").color, linewidth=0.0)
    box(ax, x + past, y, new, 0.07, axis("seq").color, linewidth=0.0)


def _squares(
    ax: Axes, x: float, y: float, size: float, block: Float32[np.ndarray, "seq total_seq"]
) -> None:
    """A square for each weight, and another kind for those that are masked."""
    seq, total_seq = block.shape
    for i, row in enumerate(block):
        for j, weight in enumerate(row[: total_seq - seq + i + 1]):
            color = to_hex(WEIGHTS_MAP(float(weight)))
            box(ax, x + j * size, y + i * size, size, size, color, linewidth=0.4)
        for j in range(total_seq - seq + i + 1, total_seq):
            _masked(ax, x + j * size, y + i * size, size)


def _masked(ax: Axes, x: float, y: float, size: float) -> None:
    box(ax, x, y, size, size, PAPER, linewidth=0.5, hatch="///", edgecolor=FAINT)


def _blocks(
    trace: Trace, names: Sequence[str], layer: int
) -> list[Float32[np.ndarray, "seq total_seq"]]:
    """Each sequence's attention weights in the newest pass, the largest over the heads."""
    step = trace.steps[-1] if trace.steps else {}
    prefix = f"layers.{layer}.self_attn.spans."
    found = [step[name] for name in step if name.startswith(prefix) and name.endswith(".weights")]
    if not found or len(found) != len(names):
        raise InputError(
            f"expected a traced pass of {len(names)} sequences, at least two, with a layer "
            f"{layer}, got {len(found)} sequences there"
        )
    return [record.array.max(axis=(0, 1)).astype(np.float32) for record in found]


def _caption_of_rows(rows: int, layer: int) -> str:
    return (
        f"{rows} rows go through every product together; only attention keeps the sequences apart. "
        f"Here, layer {layer}."
    )


def _alt_of_rows(names: Sequence[str], blocks: Sequence[np.ndarray], layer: int) -> str:
    said = [
        f"{name}: {seq} row{'s' * (seq != 1)} over {total - seq} cached and {seq} new positions"
        for name, (seq, total) in zip(names, (block.shape for block in blocks), strict=True)
    ]
    rows = sum(block.shape[0] for block in blocks)
    return (
        f"One step of {rows} rows. {'; '.join(said)}. Every row looks at its own sequence alone, "
        f"and at nothing after itself. Layer {layer}; of all query heads, the largest weight."
    )
