"""How the loss fell while a model was trained."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import LINES, Picture, board, panel, picture, write

__all__ = ["loss_curves"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
ROUND_LOSSES = (4.0, 2.0, 1.0, 0.5)  # where the alt text says how many tokens it took


@picture
def loss_curves(runs: Mapping[str, Path]) -> Picture:
    """Loss in nats per token over the tokens seen, one curve for each of up to three runs.

    Each run is a CSV file with columns `tokens` and `loss`, as `training` writes them. Raises
    `InputError` unless there are 1 to 3 runs of at least two rows.
    """
    if not 0 < len(runs) <= len(LINES):
        raise InputError(f"expected 1 to {len(LINES)} runs, got {len(runs)}")
    figure, words = board(3.5 + 0.24 * len(runs), WIDTH)
    ax = panel(figure, 0.72, 0.15, 3.45, 2.7)
    told = []
    for number, (name, path) in enumerate(runs.items()):
        tokens, losses = _read(path)
        color, width, dashes, _ = LINES[number]
        ax.plot(tokens, losses, color=color, lw=width, ls=dashes)
        y = 3.56 + 0.24 * number
        words.plot([0.75, 1.25], [y, y], color=color, lw=width, ls=dashes)
        write(words, 1.35, y, name, 10)
        told.append(f"“{name}”: {_told(tokens, losses)}")
    ax.set_yscale("log")
    ticks = (0.5, 1, 2, 4, 8)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.tick_params(labelsize=10)
    ax.set_xlim(left=0)
    ax.set_xlabel("million tokens seen")
    ax.set_ylabel("loss, nats per token")
    return Picture(
        figure,
        alt=f"Loss while training over the tokens seen, in nats per token. {'; '.join(told)}.",
        caption="How the loss fell while the model was trained.",
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Millions of tokens seen, and the loss there."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(float(row["tokens"]), float(row["loss"])) for row in csv.DictReader(file)]
    if len(rows) < 2:
        raise InputError(f"expected at least two rows in {path.name}, got {len(rows)}")
    tokens, losses = np.array(rows).T
    return tokens / 1e6, losses


def _told(tokens: np.ndarray, losses: np.ndarray) -> str:
    below = [
        f"below {bound:g} after {tokens[np.argmax(losses < bound)]:.1f} million"
        for bound in ROUND_LOSSES
        if losses[0] > bound > losses.min()
    ]
    return ", ".join([f"from {losses[0]:.1f}", *below, f"{losses[-1]:.2f} at the end"])
