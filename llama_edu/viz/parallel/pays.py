"""When splitting pays: tokens a second over machines, for networks of several speeds."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import (
    INK,
    LINES,
    MUTED,
    Number,
    Picture,
    board,
    panel,
    picture,
    write,
)

__all__ = ["split_pays"]

WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points


@picture
def split_pays(
    machines: Sequence[int], rates: Mapping[str, Sequence[Number]], groups: int | None = None
) -> Picture:
    """Tokens a second for each number of machines, a curve for each network.

    Where a curve turns, its peak has a circle.

    Both axes double from tick to tick, so that speed in proportion to the machines would be a
    straight line. It is drawn, too, from the first point of the first curve. `groups` are the KV
    groups of the model: a line stands where each machine has one of them.

    Raises `InputError` for no curve or more than three, and for curves of another length.
    """
    if not 0 < len(rates) <= len(LINES) or any(len(r) != len(machines) for r in rates.values()):
        raise InputError(
            f"expected 1 to {len(LINES)} curves of {len(machines)} points, got "
            f"{[len(curve) for curve in rates.values()]}"
        )
    figure, page = board(3.7, WIDTH)
    ax = panel(figure, 0.7, 0.45, WIDTH - 0.95, 2.6)
    said, turns = [], False
    for (name, given), (color, width, dashes, mark) in zip(rates.items(), LINES, strict=False):
        curve = [float(rate) for rate in given]
        ax.plot(machines, curve, color=color, lw=width, ls=dashes, marker=mark, ms=5, label=name)
        top = curve.index(max(curve))
        if top < len(curve) - 1:
            ax.plot([machines[top]], [curve[top]], "o", ms=13, mfc="none", mec=color, mew=1.4)
            turns = True
        said.append(
            f"{name}: {_rate(curve[0])} on {machines[0]}, at most {_rate(curve[top])} on "
            f"{machines[top]}, {_rate(curve[-1])} on {machines[-1]}"
        )
    start = float(next(iter(rates.values()))[0])
    ideal = [start * n / machines[0] for n in machines]
    ax.plot(machines, ideal, color=MUTED, lw=1.0, zorder=0)
    ax.text(
        0.84,
        0.93,
        "twice as many,\ntwice as fast",
        transform=ax.transAxes,
        fontsize=SIZE,
        color=MUTED,
        ha="right",
        va="center",
    )
    every = [float(rate) for curve in rates.values() for rate in curve] + ideal
    ax.set_ylim(0.75 * min(every), 1.25 * max(every))
    _double(ax, machines)
    if groups is not None:
        _mark_groups(ax, groups)
    ax.legend(frameon=False, fontsize=SIZE, loc="upper left")
    write(page, 0.1, 0.2, "tokens a second", SIZE, color=INK)
    alt = (
        f"Tokens a second over machines. {'; '.join(said)}. A straight line, twice as fast on "
        f"twice as many, ends at {_rate(ideal[-1])}."
    )
    if groups is not None:
        alt += f" A vertical line marks {groups} machines, with one of the model's KV groups each."
    caption = (
        "What memory and network allow one text, by machines. Each tick is twice the one before."
    )
    if turns:
        caption += " Circles: where a curve turns."
    return Picture(figure, alt=alt, caption=caption)


def _double(ax: Axes, machines: Sequence[int]) -> None:
    """Both axes double from tick to tick."""
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(list(machines))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(labelsize=SIZE)
    ax.set_xlabel("machines", fontsize=SIZE)


def _mark_groups(ax: Axes, groups: int) -> None:
    ax.axvline(groups, ymax=0.8, color=MUTED, lw=1.0, zorder=0)
    place, words = ax.get_xaxis_transform(), f"{groups} KV groups:\none a machine"
    ax.text(1.06 * groups, 0.06, words, transform=place, fontsize=SIZE)


def _rate(value: float) -> str:
    return f"{value:.3g}"
