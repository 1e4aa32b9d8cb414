"""How open a choice is at each temperature: the entropy of what a token is drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import LINES, MUTED, Number, Picture, board, panel, picture, write

__all__ = ["entropy_curve"]

COLDEST = 0.1
NARROW = 3.4  # inches: 340 CSS pixels, as wide as a phone shows
ZOOM = 1.5  # on a wide page
STEPS = 59  # between the coldest and the hottest


@picture
def entropy_curve(
    logits: np.ndarray,
    filters: Mapping[str, Sampling],
    *,
    temperatures: Sequence[Number] = (0.3, 0.7, 1.0, 1.5, 2.0, 3.0),
) -> Picture:
    """Entropy over temperature, one curve for each of up to three settings, whatever their own.

    `logits` is `(vocab_size,)`. The curves run from 0.1 to the hottest of `temperatures`; those
    are marked, and told in the text. Raises `InputError` unless there are 1 to 3 settings, at
    least two temperatures that rise, the first of at least 0.1, and one row of logits.
    """
    row = np.asarray(logits, dtype=np.float32)
    marks = [float(t) for t in temperatures]
    _check(row, len(filters), marks)
    figure, words = board(3.5 + 0.24 * len(filters), NARROW)
    ax = panel(figure, 0.62, 0.15, NARROW - 0.7, 2.7)
    line = np.linspace(COLDEST, marks[-1], STEPS + 1)
    ax.axhline(np.log(len(row)), color=MUTED, lw=0.9, ls=(0, (2, 3)))
    told = []
    for number, (name, sampling) in enumerate(filters.items()):
        color, width, dashes, mark = LINES[number]
        style: dict[str, Any] = {"color": color, "lw": width, "ls": dashes}
        ax.plot(line, [_entropy(row, sampling, t) for t in line], **style)
        entropies = [_entropy(row, sampling, t) for t in marks]
        ax.plot(marks, entropies, mark, color=color, ms=5)
        y = 3.56 + 0.24 * number
        words.plot([0.62, 1.12], [y, y], **style)
        words.plot([0.87], [y], mark, color=color, ms=5)
        write(words, 1.22, y, name, 9.5)
        told.append(f"“{name}”: " + _told(marks, entropies))
    ax.set_xlim(0, marks[-1] * 1.03)
    ax.set_ylim(0, np.log(len(row)) * 1.14)
    ax.set_xlabel("temperature")
    ax.set_ylabel("entropy, nats")
    label = f"all {len(row):,} tokens equally likely"
    ax.text(0.02 * marks[-1], np.log(len(row)) * 1.02, label, fontsize=9, color=MUTED)
    return Picture(
        figure,
        alt=f"Entropy over temperature for {len(row):,} tokens, as the number of equally likely "
        f"tokens that would be as surprising. {'; '.join(told)}.",
        caption="How open the choice of the next token is, from cold to hot.",
        zoom=ZOOM,
    )


def _check(row: np.ndarray, settings: int, marks: list[float]) -> None:
    if not 0 < settings <= len(LINES) or row.ndim != 1:
        raise InputError(
            f"expected one row of logits and 1 to {len(LINES)} settings, got shape {row.shape} "
            f"and {settings}"
        )
    if len(marks) < 2 or marks[0] < COLDEST or marks != sorted(set(marks)):
        raise InputError(f"expected two or more rising temperatures from {COLDEST}, got {marks}")


def _entropy(logits: np.ndarray, sampling: Sampling, temperature: Number) -> float:
    p = probabilities(logits, replace(sampling, temperature=float(temperature)))
    p = p[p > 0].astype(np.float64)
    return float(-(p * np.log(p)).sum())


def _told(marks: Sequence[float], entropies: Sequence[float]) -> str:
    pairs = zip(marks, entropies, strict=True)
    return ", ".join(f"{np.exp(entropy):,.0f} at {t:g}" for t, entropy in pairs)
