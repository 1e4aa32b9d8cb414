"""Guesses that one pass checks, and what is kept of a guess that was drawn."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    Number,
    Picture,
    board,
    box,
    panel,
    picture,
    write,
)

__all__ = ["guess_shares", "guessed_pass"]

WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
CELL = 0.6
KEPT = "#e3eefb"
GONE = "#e6e8eb"
STAYS = "#b5d3f6"  # next to unshaded cells, told apart on a dark page and a phone as well
COLOR = axis("seq").color


@picture
def guessed_pass(said: Sequence[int], guesses: Sequence[int]) -> Picture:
    """The rows of one pass: what was fed, what the model says after it, and what of both stays.

    `said` has the likeliest token of each row, one more than there are guesses. Raises
    `InputError` for another number, and for more than four guesses.
    """
    if len(said) != len(guesses) + 1 or not 1 <= len(guesses) <= 4:
        raise InputError(
            f"expected 1 to 4 guesses and one token more, got {len(guesses)} and {len(said)}"
        )
    right = next((i for i, guess in enumerate(guesses) if guess != said[i]), len(guesses))
    figure, ax = board(2.25, WIDTH)
    left, words = 1.45, (("fed", 0.4), ("the model says", 1.05), ("guessed", 1.5))
    for word, y in words:
        write(ax, 0.08, y + 0.17, word, SIZE, color=MUTED)
    for row, token in enumerate(said):
        x, stays = left + row * (CELL + 0.02), row <= right
        write(ax, x + CELL / 2, 0.2, f"row {row}", SIZE, ha="center", color=MUTED)
        fed = str(guesses[row - 1]) if row else "new"
        _cell(ax, x, 0.4, fed, stays)
        _cell(ax, x, 1.05, str(token), stays, own=row == right)
        if row < len(guesses):
            _cell(ax, x, 1.5, str(guesses[row]), row < right)
    write(ax, 0.08, 2.07, f"tokens of this pass: {', '.join(map(str, said[: right + 1]))}", SIZE)
    alt = (
        f"A pass with the guesses {', '.join(map(str, guesses))}. Its rows say "
        f"{', '.join(map(str, said))}. Guesses kept: {right}. New tokens: "
        f"{', '.join(map(str, said[: right + 1]))}. Of the {len(said)} fed tokens {right + 1} stay "
        "in the cache."
    )
    caption = (
        "Blue: stays. Grey, a corner struck off: leaves the cache, or is worth nothing. "
        "Framed: the model's own."
    )
    return Picture(figure, alt=alt, caption=caption)


def _cell(ax: Axes, x: Number, y: Number, text: str, stays: bool, own: bool = False) -> None:
    edge, line = (COLOR, 2.2) if own else (FAINT, 0.8)
    box(ax, x, y, CELL, 0.36, STAYS if stays else GONE, edgecolor=edge, linewidth=line)
    color = INK if stays else MUTED
    write(ax, x + CELL / 2, y + 0.18, text, SIZE, ha="center", color=color)
    if not stays:
        left, low = float(x), float(y)
        # Across a corner and not across the cell, where the line would run through the number.
        ax.plot([left, left + 0.16], [low + 0.16, low], color=MUTED, lw=1.4)


@picture
def guess_shares(p: Sequence[Number], q: Sequence[Number]) -> Picture:
    """For each token: the guesses kept, those refused, and what is drawn in their place.

    `p` are the probabilities of the model and `q` those of the guesser. Raises `InputError`
    unless both have the same length, from 2 to 6, and add up to 1.
    """
    model, guesser = np.array(p, float), np.array(q, float)
    if len(model) != len(guesser) or not 2 <= len(model) <= 6:
        raise InputError(f"expected 2 to 6 tokens of p and q, got {len(model)} and {len(guesser)}")
    if not np.allclose([model.sum(), guesser.sum()], 1):
        raise InputError(
            f"expected p and q to add up to 1, got {model.sum():g} and {guesser.sum():g}"
        )
    kept = np.minimum(model, guesser)
    figure, page = board(3.35, WIDTH)
    ax = panel(figure, 0.6, 0.75, WIDTH - 0.75, 2.1)
    places = np.arange(len(model))
    ax.bar(places, kept, 0.6, color=COLOR)
    ax.bar(places, model - kept, 0.6, bottom=kept, color=KEPT, edgecolor=COLOR, hatch="///")
    ax.bar(
        places,
        guesser - kept,
        0.6,
        bottom=kept,
        color="none",
        edgecolor=INK,
        ls=(0, (3, 2)),
        lw=1.2,
    )
    ax.set_xticks(places, [f"p {a:g}\nq {b:g}" for a, b in zip(model, guesser, strict=True)])
    ax.set_ylim(0, 1.1 * max(model.max(), guesser.max()))
    ax.tick_params(labelsize=SIZE)
    key = (("kept", COLOR, "", "solid"), ("drawn instead", KEPT, "///", "solid"))
    for x, (word, face, hatch, line) in zip(
        (0.1, 1.0, 2.75), (*key, ("refused", PAPER, "", (0, (3, 2)))), strict=True
    ):
        edge = INK if word == "refused" else COLOR
        box(page, x, 0.12, 0.24, 0.2, face, edgecolor=edge, hatch=hatch, linestyle=line)
        write(page, x + 0.32, 0.22, word, SIZE)
    write(page, 0.1, 0.55, "probability", SIZE, color=MUTED)
    said = "; ".join(
        f"token {i}: {k:.2f} kept, {a - k:.2f} drawn instead, {b - k:.2f} refused"
        for i, (a, b, k) in enumerate(zip(model, guesser, kept, strict=True))
    )
    alt = f"Guesses drawn from q where the model says p. {said}."
    caption = "Full and striped bars together are p. Full and dashed ones together are q."
    return Picture(figure, alt=alt, caption=caption)
