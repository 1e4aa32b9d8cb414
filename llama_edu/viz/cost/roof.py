"""Where a pass spends its bytes and operations, and the roof no program gets through."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from llama_edu.analysis.roofline import Cost, Number, seconds_at_least, total_cost
from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import (
    INK,
    MUTED,
    PAPER,
    Picture,
    board,
    panel,
    picture,
    write,
)

__all__ = ["cost_bars", "roofline"]

BYTES, FLOPS = "#0b6b8f", "#a0620c"  # words are written in them, too, on light and dark pages
MARKS = ("o", "s", "^", "D", "v", "P")
WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
LETTER = 0.1  # inches that a letter of this size takes, or less
BEHIND = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}  # so that no line crosses words
LINE = 0.21  # inches from one line of words to the next


@picture
def cost_bars(costs: Sequence[Cost]) -> Picture:
    """The parts of a pass, their shares of the bytes read and of the operations done.

    Raises `InputError` for no parts.
    """
    if not costs:
        raise InputError("expected at least one part, got none")
    total = total_cost(costs)
    shares = {c.part: (c.nbytes / total.nbytes, c.flops / total.flops) for c in costs}
    largest = max(share for pair in shares.values() for share in pair)
    left = 0.2 + LETTER * max(map(len, shares))
    column = (WIDTH - left) / 2
    figure, ax = board(0.5 + 0.34 * len(costs), WIDTH)
    for x, words, color in ((left, "of the bytes", BYTES), (left + column, "of the work", FLOPS)):
        write(ax, x, 0.18, words, SIZE, color=color, weight="bold")
    said = []
    for row, (part, pair) in enumerate(shares.items()):
        y = 0.5 + 0.34 * row
        write(ax, left - 0.1, y, part, SIZE, ha="right")
        for x, share, color in zip((left, left + column), pair, (BYTES, FLOPS), strict=True):
            length = (column - 0.75) * share / largest
            ax.barh(y, length, 0.2, left=x, color=color)
            write(ax, x + length + 0.06, y, f"{100 * share:.1f}%", SIZE)
        said.append(f"{part} {100 * pair[0]:.1f}% and {100 * pair[1]:.1f}%")
    alt = (
        f"Shares of {_amount(total.nbytes)} bytes read and of {_amount(total.flops)} operations: "
        f"{', '.join(said)}."
    )
    caption = (
        f"{_amount(total.nbytes)} bytes read and {_amount(total.flops)} operations done, by part."
    )
    return Picture(figure, alt=alt, caption=caption)


@picture
def roofline(
    costs: Mapping[str, Cost],
    bytes_per_s: Number,
    flops_per_s: Number,
    *,
    measured: Mapping[str, Number] | None = None,
) -> Picture:
    """Named passes under a machine's roof: operations per byte against operations per second.

    Each stands where it would be if nothing but memory and arithmetic held it up. Left of the
    ridge memory is the wall, right of it arithmetic. `measured` are the seconds that passes really
    took, by the same names: a hollow mark below, with its share of what the roof allows. Raises
    `InputError` for nothing to draw, for more than six passes, and for times that are not above 0
    or are of no pass.
    """
    taken = dict(measured or {})
    if not taken.keys() <= costs.keys() or not all(seconds > 0 for seconds in taken.values()):
        raise InputError(
            f"expected seconds above 0 for passes among {', '.join(costs)}, got {taken}"
        )
    if not 0 < len(costs) <= len(MARKS):
        raise InputError(f"expected 1 to {len(MARKS)} passes, got {len(costs)}")
    ridge = flops_per_s / bytes_per_s
    intensities = {name: cost.intensity for name, cost in costs.items()}
    # Whole powers of ten, so that there is a labelled tick at either end.
    low = 10 ** np.floor(np.log10(0.5 * min(ridge, *intensities.values())))
    high = 10 ** np.ceil(np.log10(2 * max(ridge, *intensities.values())))
    figure, page = board(3.9, WIDTH)
    ax = panel(figure, 0.75, 0.4, WIDTH - 1.05, 2.9)
    x = np.geomspace(low, high, 200)
    ax.plot(x, np.minimum(bytes_per_s * x, flops_per_s), color=INK, lw=1.8)
    ax.axvline(ridge, color=MUTED, lw=0.8, ls=(0, (3, 3)))
    notes = []
    for mark, (name, cost) in zip(MARKS, costs.items(), strict=False):
        height = cost.flops / seconds_at_least(cost, bytes_per_s, flops_per_s)
        color = BYTES if cost.intensity < ridge else FLOPS
        ax.plot([cost.intensity], [height], mark, color=color, ms=8, label=name, ls="")
        words, real = name, height
        if name in taken:
            real = cost.flops / taken[name]
            ax.plot([cost.intensity] * 2, [height, real], color=color, lw=1)
            ax.plot([cost.intensity], [real], mark, color=color, ms=8, mfc=PAPER, mew=1.6, ls="")
            words = f"{name}: {real / height:.0%}"
        notes.append((cost.intensity, real, words, color))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(0.7 * low, 1.4 * high)
    ax.set_ylim(10 ** np.floor(np.log10(0.5 * min(real for _, real, *_ in notes))), 2 * flops_per_s)
    for side in (ax.xaxis, ax.yaxis):
        side.set_minor_formatter(NullFormatter())
        side.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        side.set_tick_params(labelsize=SIZE)
    ax.set_xlabel("operations for each byte read", fontsize=SIZE)
    write(page, 0.1, 0.18, "operations a second", SIZE)
    page.set_zorder(ax.get_zorder() + 1)  # the words stand on the drawing, not under it
    _name_marks(page, ax, notes)
    said = "; ".join(
        _under_the_roof(name, c, bytes_per_s, flops_per_s)
        + (_reached(c, taken[name], bytes_per_s, flops_per_s) if name in taken else "")
        for name, c in costs.items()
    )
    alt = f"A roof that rises until {_plain(ridge)} operations a byte, then is level. {said}."
    caption = (
        "The roof of a machine: memory to the left of the dashed line, arithmetic to the right."
    )
    if taken:
        caption += " Hollow: measured, and its share of what the roof allows."
    return Picture(figure, alt=alt, caption=caption)


def _under_the_roof(name: str, cost: Cost, bytes_per_s: Number, flops_per_s: Number) -> str:
    wall = "memory" if cost.intensity < flops_per_s / bytes_per_s else "arithmetic"
    seconds = seconds_at_least(cost, bytes_per_s, flops_per_s)
    return (
        f"{name}: {_plain(cost.intensity)} operations a byte, {wall} is its wall, "
        f"{seconds:.2g} s at least"
    )


def _reached(cost: Cost, taken: Number, bytes_per_s: Number, flops_per_s: Number) -> str:
    share = seconds_at_least(cost, bytes_per_s, flops_per_s) / taken
    return f", measured {taken:.2g} s: {share:.0%} of what the roof allows"


def _name_marks(page: Axes, ax: Axes, notes: Sequence[tuple[Number, Number, str, str]]) -> None:
    """Words to the right of each mark, or below it where there is no room; never over another."""
    height = page.get_ylim()[0]
    to_page = ax.transData + page.transData.inverted()
    placed: list[tuple[float, float, float]] = []
    for intensity, real, words, color in sorted(notes, key=lambda note: -note[1]):
        x, y = map(float, to_page.transform((intensity, real)))
        width = LETTER * len(words)
        beside = x + 0.14 + width < WIDTH
        start = x + 0.14 if beside else WIDTH - 0.05 - width
        y += 0.0 if beside else LINE
        while any(
            abs(y - other) < LINE and start < end and begin < start + width
            for begin, end, other in placed
        ):
            y += LINE
        y = min(y, height - 0.7)
        placed.append((start, start + width, y))
        style = {"ha": "left" if beside else "right", "bbox": dict(BEHIND)}
        write(page, start if beside else WIDTH - 0.05, y, words, SIZE, color=color, **style)


def _short(value: Number) -> str:
    """A power of ten for a tick: `0.1`, `100`, `1,000`, `10 G`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:,.0f} {letter}"
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _plain(number: Number) -> str:
    """Two digits, but no exponent: `0.51`, `226`."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def _amount(count: int) -> str:
    """`2.6 million`, `269 million`, `1.2 billion`."""
    for size, word in (
        (1e12, " trillion"),
        (1e9, " billion"),
        (1e6, " million"),
        (1e3, " thousand"),
    ):
        if count >= size:
            return f"{count / size:.3g}{word}"
    return str(count)
