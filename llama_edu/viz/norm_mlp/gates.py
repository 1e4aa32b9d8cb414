"""The SiLU curve, and where the numbers that go through it really lie."""

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.ops.mlp import silu
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, MUTED, Picture, board, panel, picture

__all__ = ["silu_gate"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
ZOOM = 1.35  # on a wide page
SPAN = 6.0  # the curve is drawn from -SPAN to SPAN; it is straight beyond
BINS = 48


@picture
def silu_gate(gate: np.ndarray) -> Picture:
    """SiLU with a line for comparison, and below it a histogram of `gate`, any shape.

    Numbers beyond ±6 are counted in the outermost bars. Raises `InputError` unless there is at
    least one number and all are finite.
    """
    values = np.asarray(gate, dtype=np.float32).ravel()
    if values.size == 0 or not np.isfinite(values).all():
        raise InputError(f"expected at least 1 finite number, got {values.size} numbers")
    figure, _ = board(4.6, WIDTH)
    curve = panel(figure, 0.72, 0.15, WIDTH - 0.87, 2.5)
    bars = panel(figure, 0.72, 2.85, WIDTH - 0.87, 1.15)
    _curve(curve)
    counts, edges = np.histogram(np.clip(values, -SPAN, SPAN), BINS, range=(-SPAN, SPAN))
    middle = (edges[:-1] + edges[1:]) / 2
    bars.bar(middle, counts / values.size, SPAN / 24 * 0.9, color=axis("intermediate_size").color)
    bars.set_xlim(-SPAN, SPAN)
    bars.axvline(0, color=MUTED, lw=0.8)
    bars.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")
    for ax in (curve, bars):
        ax.tick_params(labelsize=10)
    bars.set_xlabel("gate: the real numbers, counted")
    negative = float(np.mean(values < 0))
    least = float(silu(np.linspace(-2, 0, 20_001, dtype=np.float32)).min())
    return Picture(
        figure,
        alt=(
            f"SiLU is close to 0 far left, dips to {least:.2f} near x = −1.28, and approaches the "
            f"line y = x far right. Below it {values.size:,} gate values from {values.min():.1f} "
            f"to {values.max():.1f}: {100 * negative:.0f}% are negative, "
            f"{100 * float(np.mean(values > 1)):.0f}% above 1."
        ),
        caption="SiLU, and how often the gate takes each value. Left is almost shut, right open.",
        zoom=ZOOM,
    )


def _curve(ax: Axes) -> None:
    x = np.linspace(-SPAN, SPAN, 241, dtype=np.float32)
    ax.plot(x, np.maximum(x, 0), color=MUTED, lw=1.2, ls=(0, (4, 3)))
    ax.plot(x, silu(x), color=axis("intermediate_size").color, lw=2.4)
    ax.set_xlim(-SPAN, SPAN)
    ax.set_ylim(-1.0, SPAN)
    ax.axhline(0, color=FAINT, lw=0.8)
    ax.axvline(0, color=MUTED, lw=0.8)
    ax.text(2.2, 4.6, "max(x, 0)", color=MUTED, fontsize=10, ha="center")
    ax.text(4.3, 2.9, "silu(x)", color=axis("intermediate_size").color, fontsize=11)
    ax.text(-5.8, 0.35, "shut", fontsize=10)
    ax.text(5.8, 0.35, "open", fontsize=10, ha="right")
    ax.set_xticklabels([])
    ax.set_ylabel("what the gate lets through")
