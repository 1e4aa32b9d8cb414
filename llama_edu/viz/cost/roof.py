"""Where a pass spends its bytes and operations, and the roof no program gets through."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import NullFormatter

from llama_edu.analysis.roofline import Cost, Number, seconds_at_least, total_cost
from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import (
    INK,
    MUTED,
    PAPER,
    WIDTH,
    Picture,
    board,
    panel,
    picture,
    write,
)

__all__ = ["cost_bars", "roofline"]

BYTES, FLOPS = "#0b6b8f", "#c98a2b"
MARKS = ("o", "s", "^", "D", "v", "P")


@picture
def cost_bars(costs: Sequence[Cost]) -> Picture:
    """The parts of a pass, their shares of the bytes read and of the operations done.

    Raises `InputError` for no parts.
    """
    if not costs:
        raise InputError("expected at least one part, got none")
    total = total_cost(costs)
    figure, ax = board(0.5 + 0.34 * len(costs))
    write(ax, 1.0, 0.18, "share of the bytes read", 9.5, color=BYTES, weight="bold")
    write(ax, 3.35, 0.18, "share of the operations", 9.5, color=FLOPS, weight="bold")
    said = []
    for row, cost in enumerate(costs):
        y = 0.5 + 0.34 * row
        write(ax, 0.9, y, cost.part, 10, ha="right")
        shares = cost.nbytes / total.nbytes, cost.flops / total.flops
        for x, share, color in ((1.0, shares[0], BYTES), (3.35, shares[1], FLOPS)):
            ax.barh(y, 1.5 * share, 0.2, left=x, color=color)
            write(ax, x + 1.5 * share + 0.06, y, f"{100 * share:.1f}%", 9.5)
        said.append(f"{cost.part} {100 * shares[0]:.1f}% and {100 * shares[1]:.1f}%")
    alt = (
        f"Shares of {_amount(total.nbytes)} bytes read and of {_amount(total.flops)} operations: "
        f"{', '.join(said)}."
    )
    caption = f"{_amount(total.nbytes)} bytes and {_amount(total.flops)} operations, by part."
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
    took, by the same names: a hollow mark below. Raises `InputError` for nothing to draw, for more
    than six passes, and for times that are not above 0 or are of no pass.
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
    figure, _ = board(3.5)
    ax = panel(figure, 0.75, 0.15, WIDTH - 0.95, 2.55)
    x = np.geomspace(low, high, 200)
    ax.plot(x, np.minimum(bytes_per_s * x, flops_per_s), color=INK, lw=1.8)
    ax.axvline(ridge, color=MUTED, lw=0.8, ls=(0, (3, 3)))
    for mark, (name, cost) in zip(MARKS, costs.items(), strict=False):
        height = cost.flops / seconds_at_least(cost, bytes_per_s, flops_per_s)
        color = BYTES if cost.intensity < ridge else FLOPS
        ax.plot([cost.intensity], [height], mark, color=color, ms=8, label=name, ls="")
        if name in taken:
            real = cost.flops / taken[name]
            ax.plot([cost.intensity] * 2, [height, real], color=color, lw=1)
            ax.plot([cost.intensity], [real], mark, color=color, ms=8, mfc=PAPER, mew=1.6, ls="")
    ax.set_xscale("log")
    ax.set_yscale("log")
    for side in (ax.xaxis, ax.yaxis):
        side.set_minor_formatter(NullFormatter())
    ax.set_xlabel("operations for each byte read")
    ax.set_ylabel("operations a second")
    ax.legend(loc="lower right", fontsize=9, frameon=False)
    said = "; ".join(
        _under_the_roof(name, c, bytes_per_s, flops_per_s)
        + (f", measured {taken[name]:.2g} s" if name in taken else "")
        for name, c in costs.items()
    )
    alt = f"A roof that rises until {_plain(ridge)} operations a byte, then is level. {said}."
    caption = (
        "The roof of a machine: memory to the left of the dashed line, arithmetic to the right."
    )
    if taken:
        caption += " Hollow: measured."
    return Picture(figure, alt=alt, caption=caption)


def _under_the_roof(name: str, cost: Cost, bytes_per_s: Number, flops_per_s: Number) -> str:
    wall = "memory" if cost.intensity < flops_per_s / bytes_per_s else "arithmetic"
    seconds = seconds_at_least(cost, bytes_per_s, flops_per_s)
    return (
        f"{name}: {_plain(cost.intensity)} operations a byte, {wall} is its wall, "
        f"{seconds:.2g} s at least"
    )


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
