"""The parity staircase: how far each array of a forward pass is from a reference's, in order.

Rounding climbs a little with every step of a pass. A mistake stands out as a jump, at the first
array behind its cause. Exact sizes of rounding differ between processors, so the text says only
what holds on all of them: which arrays are beyond the bound, and which is the first.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import FAINT, INK, MUTED, Picture, board, panel, picture

__all__ = ["parity_staircase"]

WIDTH = 4.05  # inches: with words of 10 points, a fold on a phone holds all of it
PANEL = WIDTH - 0.98
CHARACTER = 6.2  # points: the width of a letter
FLOOR = 1e-9  # what is equal to the last bit has no place on a logarithmic scale
CEILING = 1e2
FINE, BEYOND = "#1568e8", "#b3261e"
BAND = "#f1f4f8"
MAX_BANDS_NAMED = 6
FEW = 120  # so many arrays are joined by a line; of more one sees only dots


@picture
def parity_staircase(gaps: Mapping[str, float], *, bound: float) -> Picture:
    """One step per array, in the order they are computed; a jump over `bound` is a mistake.

    `gaps` maps the names of a trace to the largest difference from a reference, in units of the
    reference array's largest number; infinite or NaN where they cannot be compared. Raises
    `InputError` without arrays, for a negative gap and for a bound that is not positive.
    """
    if not gaps:
        raise InputError("expected the gap of at least one array, got none")
    if min(gaps.values()) < 0 or not bound > 0:
        raise InputError(f"expected gaps of 0 or more and a positive bound, got bound {bound}")
    names = list(gaps)
    heights = np.array([_height(gap) for gap in gaps.values()])
    beyond = ~(np.array(list(gaps.values())) <= bound)
    figure, _ = board(3.1, WIDTH)
    ax = panel(figure, 0.88, 0.3, PANEL, 2.45)
    _layer_bands(ax, names)
    places = np.arange(len(names))
    few = len(names) <= FEW
    if few:
        ax.step(places, heights, where="mid", color=MUTED, lw=0.9)
    size = 5 if few else 2.5
    for chosen, color, mark in ((~beyond, FINE, "o"), (beyond, BEYOND, "D")):
        if chosen.any():
            ax.plot(places[chosen], heights[chosen], mark, color=color, ms=size, mec="none")
    ax.axhline(bound, color=INK, lw=1.1, ls=(0, (4, 3)))
    _axes_words(ax, bound, lowest=min(gaps.values()))
    if beyond.any():
        _mark_first(ax, names, heights, int(beyond.argmax()))
    return Picture(figure, alt=_alt(names, beyond, bound), caption=_caption(names, beyond))


def _height(gap: float) -> float:
    return CEILING if np.isnan(gap) else float(np.clip(gap, FLOOR, CEILING))


def _layer_bands(ax: Axes, names: Sequence[str]) -> None:
    """Every other layer on a tint, with its number where there is room."""
    layers: dict[int, list[int]] = {}
    for place, name in enumerate(names):
        if match := re.match(r"layers\.(\d+)\.", name):
            layers.setdefault(int(match[1]), []).append(place)
    every = max(1, -(-len(layers) // MAX_BANDS_NAMED))
    for layer, places in layers.items():
        if layer % 2 == 0:
            ax.axvspan(places[0] - 0.5, places[-1] + 0.5, color=BAND, lw=0)
        if layer % every == 0:
            middle = (places[0] + places[-1]) / 2
            words = f"layer {layer}" if layer == 0 or every == 1 else str(layer)
            ax.text(middle, CEILING * 2.2, words, ha="center", fontsize=10, color=MUTED)


def _axes_words(ax: Axes, bound: float, *, lowest: float) -> None:
    ax.set_yscale("log")
    ax.set_ylim(FLOOR / 2, CEILING * 1.6)
    ticks = {1e-8: "1e-8", 1e-6: "1e-6", 1e-4: "1e-4", 1e-2: "0.01", 1.0: "1", 1e2: "100"}
    if lowest < FLOOR:  # what lies on the floor is drawn higher than it is
        ticks[FLOOR] = "0" if lowest == 0 else "less"
    ax.set_yticks(list(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_yticklabels(list(ticks.values()))
    ax.grid(axis="y", color=FAINT, lw=0.5)
    ax.set_axisbelow(True)
    ax.margins(x=0.012)
    ax.set_xticks([])
    ax.tick_params(labelsize=10)
    ax.set_xlabel("arrays, in the order they are computed")
    ax.set_ylabel("largest difference, as a share")
    words: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 10, "color": INK}
    ax.annotate(f"bound {bound:g}", (1.0, bound), xycoords=("axes fraction", "data"), **words)


def _mark_first(ax: Axes, names: Sequence[str], heights: np.ndarray, first: int) -> None:
    # The words stand beside the point where they fit, and else as far left as they must begin.
    wide, room = CHARACTER * len(names[first]), 72 * PANEL
    at = room * first / max(1, len(names) - 1)
    start = at + 14 if at + 14 + wide <= room else at - 14 - wide
    high = heights[first] > 1.0  # then the words go below
    ax.annotate(
        names[first],
        (first, heights[first]),
        (max(2.0, start) - at, -16 if high else 16),
        textcoords="offset points",
        ha="left",
        va="top" if high else "bottom",
        fontsize=10,
        color=BEYOND,
        arrowprops={"arrowstyle": "-", "color": BEYOND, "lw": 0.9},
        parse_math=False,
    )


def _alt(names: Sequence[str], beyond: np.ndarray, bound: float) -> str:
    count = f"{len(names)} array{'s' if len(names) > 1 else ''}"
    start = (
        f"The largest difference of {count} from the reference, each in units of its array's "
        f"largest number, in the order they are computed, on a logarithmic scale."
    )
    if not beyond.any():
        return f"{start} All stay below the bound of {bound:g}."
    first = int(beyond.argmax())
    before = f"the {first} before it stay below" if first else "it is the first of all"
    return f"{start} The first beyond the bound of {bound:g} is {names[first]}; {before}."


def _caption(names: Sequence[str], beyond: np.ndarray) -> str:
    if beyond.any():
        return f"The first jump is at {names[int(beyond.argmax())]}: the cause stands just before."
    return "Every step below the bound: the two engines agree up to rounding."
