"""A sum that goes round a ring, step by step, on numbers small enough to add in one's head."""

from collections.abc import Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parallel.split import RANKS
from llama_edu.viz.parts.figure import FAINT, INK, MUTED, PAPER, Picture, board, box, picture, write

__all__ = ["ring_states", "ring_sum"]

WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
CELL = 0.36
LINE = 0.62
DONE = "#a9cdf0"  # neither so light nor so dark that it vanishes on a dark page


def ring_states(parts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """What every rank holds before the first step and after each: (n_ranks, n_ranks) numbers.

    `parts[r][i]` is piece i of rank r, one number. The steps are those of
    `llama_edu.parallel.world.World.summed`. Raises `InputError` unless there are as many pieces as
    ranks, from 2 to 4.
    """
    held = np.array(parts)
    size = len(held)
    if held.shape != (size, size) or not 2 <= size <= len(RANKS):
        raise InputError(f"expected 2 to {len(RANKS)} ranks with as many pieces, got {held.shape}")
    states = [held]
    for step in range(2 * (size - 1)):
        before, held = held, held.copy()
        for rank in range(size):
            piece = (rank - step - 1) % size
            came = before[rank - 1, piece]
            held[rank, piece] = held[rank, piece] + came if step < size - 1 else came
        states.append(held)
    return states


@picture
def ring_sum(parts: Sequence[Sequence[int]]) -> Picture:
    """An all-reduce round a ring, a row for each step, a column of cells for each rank.

    What came in a step has a thick frame; a finished sum has a ground of its own.
    """
    states = ring_states(parts)
    size = len(states[0])
    totals = states[0].sum(axis=0)
    gap = (WIDTH - 0.75 - size * size * CELL) / max(1, size - 1)
    gap = min(gap, 0.45)
    figure, ax = board(0.55 + LINE * len(states), WIDTH)
    left = 0.62
    for rank in range(size):
        x = left + rank * (size * CELL + gap)
        write(ax, x + size * CELL / 2, 0.2, f"rank {rank}", SIZE, ha="center", color=INK)
    said = []
    for step, held in enumerate(states):
        y = 0.42 + LINE * step
        write(ax, 0.08, y + 0.2, str(step) if step else "start", SIZE, color=MUTED)
        for rank in range(size):
            x = left + rank * (size * CELL + gap)
            for piece in range(size):
                came = step > 0 and piece == (rank - step) % size
                done = held[rank, piece] == totals[piece]
                box(
                    ax,
                    x + piece * CELL,
                    y,
                    CELL,
                    0.4,
                    DONE if done else PAPER,
                    edgecolor=INK if came else FAINT,
                    linewidth=2.2 if came else 0.8,
                    zorder=3 if came else 1,
                )
                middle, number = x + (piece + 0.5) * CELL, str(held[rank, piece])
                write(ax, middle, y + 0.2, number, SIZE, ha="center", color=INK, zorder=4)
        ranks = "; ".join(f"rank {r} {', '.join(map(str, row))}" for r, row in enumerate(held))
        said.append(f"{'start' if not step else f'step {step}'}: {ranks}")
    alt = f"A sum over {size} ranks round a ring. {'. '.join(said)}."
    caption = (
        f"Each step, every rank hands one piece to the rank on its right, and the one at the end "
        f"hands its piece to rank 0. In the first {size - 1} what comes is added, in the others it "
        f"is kept. Framed: what came. Blue: done."
    )
    return Picture(figure, alt=alt, caption=caption)
