"""One head on its way from scores to weights, in three maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import SCORES_MAP, WEIGHTS_MAP
from llama_edu.viz.parts.figure import WIDTH as WIDE
from llama_edu.viz.parts.figure import Number, Picture, board, panel, picture, write
from llama_edu.viz.parts.heatmap import (
    WEIGHTS_NORM,
    cell_numbers,
    hatch_future,
    paint,
    percent,
    scores_norm,
    signed,
    token_ticks,
)
from llama_edu.viz.parts.labels import checked_labels, shortened

__all__ = ["score_triptych"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
FEW = 9  # tokens that fit it
NUMBERED = 0.33  # inches a cell needs to hold a number
WORDS = 0.5  # inches above each map
ROOMY = 0.42  # inches a cell needs, so that "−8.7" does not touch its neighbour


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
    page = WIDTH if total_seq <= FEW else WIDE
    cell = min(0.42, (page - left - 0.12) / total_seq)
    width, height = cell * total_seq, max(cell, 0.28 if seq <= 2 else 0.0) * seq
    step = height + 0.45 + WORDS
    figure, ax = board(3 * step + text_inches - 0.2, page)
    for index in range(3):
        _stage(figure, ax, index, stages, labels, (left, 0.1 + WORDS + index * step, width, height))
        if index < 2:
            arrow, x = ("mask", "softmax")[index], left + width / 2
            write(ax, x, 0.1 + (index + 1) * step - 0.26, f"↓ {arrow}", 11, ha="center")
    alt = _triptych_alt(stages, labels, head)
    stages_named = "Scores" if head is None else f"Query head {head}: scores"
    unit = ", in %: each row sums to 100" if cell >= NUMBERED else ": each row sums to 1"
    caption = f"{stages_named}, masked scores, attention weights{unit}."
    return Picture(figure, alt=alt, caption=caption)


_STAGES = (
    ("① scores", "orange above 0, blue below"),
    ("② masked scores", "the future gets −∞"),
    ("③ attention weights", "each row sums to {}"),
)


def _stage(
    figure: Figure,
    ax: Axes,
    index: int,
    stages: list[np.ndarray],
    labels: list[str],
    place: tuple[float, float, float, float],
) -> None:
    stage = stages[index]
    seq, total_seq = stage.shape
    past = total_seq - seq
    left, top, width, height = place
    is_last = index == 2
    colors, norm = (WEIGHTS_MAP, WEIGHTS_NORM) if is_last else (SCORES_MAP, scores_norm(stages[0]))
    here = panel(figure, left, top, width, height)
    here.set_label(_STAGES[index][0])
    paint(here, np.where(np.isfinite(stage), stage, 0.0), colors, norm)
    if index == 1:
        hatch_future(here, seq, total_seq, past)
    is_numbered = min(width / total_seq, height / seq) >= NUMBERED
    if is_numbered:
        places = int(width / total_seq >= ROOMY)
        texts = [
            [
                _cell_text(value, is_last, index > 0 and j > past + i, places)
                for j, value in enumerate(row)
            ]
            for i, row in enumerate(stage.tolist())
        ]
        cell_numbers(here, np.where(np.isfinite(stage), stage, 0.0), texts, colors, norm)
    token_ticks(here, labels[past:], height / seq, "left")
    if is_last:  # the maps above share these labels
        token_ticks(here, labels, width / total_seq, "bottom")
    for text in (*here.get_xticklabels(), *here.get_yticklabels(), *here.texts):
        text.set_fontsize(10 if total_seq <= FEW else text.get_fontsize())
    title, words = _STAGES[index]
    words = words.format("100, in %" if is_numbered else "1")
    write(ax, 0.05, top - 0.38, title, 11.5, weight="bold")
    write(ax, 0.05, top - 0.15, words, 10)


def _cell_text(value: Number, is_weight: bool, is_future: bool, places: int) -> str:
    if is_future:
        return "0" if is_weight else "−∞"
    if is_weight:
        return f"{100 * value:.0f}"
    return signed(value, places if abs(float(value)) < 9.95 else 0)  # "−11.3" is wider than a cell


def _triptych_alt(stages: list[np.ndarray], labels: list[str], head: int | None) -> str:
    scores, masked, weights = stages
    seq, total_seq = scores.shape
    hidden = int(np.isneginf(masked).sum())
    i, j = np.unravel_index(int(np.argmax(scores)), scores.shape)
    past = total_seq - seq
    last = int(np.argmax(weights[-1]))
    whose = "" if head is None else f" of query head {head}"
    return (
        f"Scores{whose}, {seq} × {total_seq} (seq × total_seq), from {signed(scores.min())} to "
        f"{signed(scores.max())}; the highest is query “{labels[past + int(i)]}”, key "
        f"“{labels[int(j)]}”. The mask sets {hidden} of {scores.size} entries to −∞. After the "
        f"softmax, the last row, “{labels[-1]}”, gives most to “{labels[last]}”: "
        f"{percent(weights[-1, last])}."
    )
