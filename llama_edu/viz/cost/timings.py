"""How long several ways to one result took, as bars side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import MUTED, PAPER, Number, Picture, board, panel, picture, write

__all__ = ["time_bars"]

BAR = "#0b6b8f"
WIDTH = 3.4  # inches, as wide as a phone's page
LEFT, RIGHT, ROW = 0.32, 1.5, 0.52  # room for the scale, for times, for a name and its bar
MAX_BARS = 8
LONGEST_NAME = 24  # characters that fit above a bar
SHORTEST, LONGEST = 1e-9, 1e3  # seconds
FARTHEST = 1_000_000  # times the fastest


@picture
def time_bars(seconds: Mapping[str, Number]) -> Picture:
    """Named times as bars on a logarithmic scale, each with how often the fastest fits into it.

    Bars begin at a power of ten below the fastest, so what compares is where they end, not how
    long they are. Raises `InputError` for nothing to draw, for more than eight, for a name of more
    than 24 characters, for a time that is not between a nanosecond and a thousand seconds, and
    for times more than a million apart.
    """
    if not 0 < len(seconds) <= MAX_BARS:
        raise InputError(f"expected 1 to {MAX_BARS} times, got {len(seconds)}")
    for name, taken in seconds.items():
        if len(name) > LONGEST_NAME:
            raise InputError(f"expected a name of at most {LONGEST_NAME} characters, got {name!r}")
        if not SHORTEST <= taken <= LONGEST:
            raise InputError(
                f"expected {SHORTEST:g} to {LONGEST:g} seconds for {name!r}, got {taken}"
            )
    fastest, slowest = min(seconds.values()), max(seconds.values())
    if slowest > FARTHEST * fastest:
        raise InputError(f"expected times at most {FARTHEST:,} apart, got {fastest} and {slowest}")
    height = ROW * len(seconds)
    figure, canvas = board(height + 0.6, WIDTH)
    ax, low = _scale(figure, height, fastest, slowest)
    said = []
    for row, (name, taken) in enumerate(seconds.items()):
        ax.barh(ROW * (row + 0.74), taken - low, 0.36 * ROW, left=low, color=BAR)
        y = 0.15 + ROW * (row + 0.74)
        times = f"{_two_digits(taken / fastest)} ×"
        frame = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}
        place = {"transform": ax.get_yaxis_transform(), "bbox": frame}
        write(ax, 0.02, ROW * (row + 0.3), name, 9, **place)
        write(canvas, WIDTH - RIGHT + 0.08, y, f"{_duration(taken)}, {times}", 8.5, weight="bold")
        said.append(f"{name} {_duration(taken)}, {times} the fastest")
    alt = f"{len(seconds)} measured times on a logarithmic scale. {'; '.join(said)}."
    caption = "Times, and how often the fastest fits in. Each dotted line is ten times the last."
    return Picture(figure, alt=alt, caption=caption)


def _scale(figure: Figure, height: float, fastest: Number, slowest: Number) -> tuple[Axes, float]:
    """Axes from a power of ten below the fastest to one not below the slowest, and the former."""
    first = np.ceil(np.log10(fastest)) - 1
    powers = 10.0 ** np.arange(first, max(first + 1, np.ceil(np.log10(slowest))) + 0.5)
    ax = panel(figure, LEFT, 0.15, WIDTH - LEFT - RIGHT, height)
    ax.set_xscale("log")
    ax.set_xlim(powers[0], powers[-1])
    ax.set_ylim(height, 0.0)
    ax.yaxis.set_major_locator(NullLocator())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(FixedLocator(powers[:: 1 + len(powers) // 5].tolist()))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _duration(value)))
    for power in powers[1:]:
        ax.axvline(power, color=MUTED, lw=0.5, ls=(0, (2, 3)), zorder=0)
    return ax, float(powers[0])


def _duration(seconds: Number) -> str:
    """Two digits and a unit: `2.8 µs`, `23 ms`, `1 s`."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.995 * size:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(seconds / 1e-9)} ns"


def _two_digits(value: Number) -> str:
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}"
