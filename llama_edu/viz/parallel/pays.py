"""When splitting pays: tokens a second over machines, for networks of several speeds."""

from collections.abc import Mapping, Sequence

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
    """Tokens a second for each number of machines, a curve for each network, its peak marked.

    `groups` are the KV groups of the model: a line stands where each machine has one of them.

    Raises `InputError` for no curve or more than three, and for curves of another length.
    """
    if not 0 < len(rates) <= len(LINES) or any(len(r) != len(machines) for r in rates.values()):
        raise InputError(
            f"expected 1 to {len(LINES)} curves of {len(machines)} points, got "
            f"{[len(curve) for curve in rates.values()]}"
        )
    figure, page = board(3.7, WIDTH)
    ax = panel(figure, 0.7, 0.45, WIDTH - 0.95, 2.6)
    said = []
    for (name, given), (color, width, dashes, mark) in zip(rates.items(), LINES, strict=False):
        curve = [float(rate) for rate in given]
        ax.plot(machines, curve, color=color, lw=width, ls=dashes, marker=mark, ms=5, label=name)
        top = curve.index(max(curve))
        ax.plot([machines[top]], [curve[top]], "o", ms=13, mfc="none", mec=color, mew=1.4)
        said.append(
            f"{name}: {_rate(curve[0])} on {machines[0]}, at most {_rate(curve[top])} on "
            f"{machines[top]}, {_rate(curve[-1])} on {machines[-1]}"
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(machines))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(0, 1.15 * max(float(rate) for curve in rates.values() for rate in curve))
    if groups is not None:
        ax.axvline(groups, color=MUTED, lw=1.2, ls=(0, (2, 2)), zorder=0)
        place = ax.get_xaxis_transform()
        ax.text(
            1.06 * groups,
            0.06,
            f"{groups} KV groups:\none a machine",
            transform=place,
            fontsize=SIZE,
        )
    ax.tick_params(labelsize=SIZE)
    ax.set_xlabel("machines", fontsize=SIZE)
    ax.legend(frameon=False, fontsize=SIZE, loc="upper left")
    write(page, 0.1, 0.2, "tokens a second", SIZE, color=INK)
    alt = f"Tokens a second over machines. {'; '.join(said)}."
    if groups is not None:
        alt += f" A line marks {groups} machines, with one of the model's KV groups each."
    caption = "What memory and network allow one text, by machines. Circles: the most."
    return Picture(figure, alt=alt, caption=caption)


def _rate(value: float) -> str:
    return f"{value:.3g}"
