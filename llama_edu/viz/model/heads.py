"""One number for every attention head of a model: layers from left to right, heads downwards."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS
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

__all__ = ["head_map"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
ZOOM = 1.35  # on a wide page
MAX_HEADS, MAX_LAYERS = 64, 80
FEW_LAYERS = 16  # of which each can be named below the cells


@picture
def head_map(
    shares: np.ndarray, what: str, *, first_layer: int = 0, lowest: bool = False
) -> Picture:
    """A cell per head, white for the smallest share and dark for the largest; two are framed.

    `shares` is `(layers, heads)`, from 0 to 1, and `what` names it. Framed and told is the largest
    share, or the smallest with `lowest`, which is then drawn dark; and in a thin frame the next.
    Raises `InputError` for another number of axes, for shares outside 0 to 1, and for more than 80
    layers of 64 heads.
    """
    given = np.asarray(shares, dtype=np.float64)
    if given.ndim != 2 or given.size == 0:
        raise InputError(f"expected shares (layers, heads), got shape {given.shape}")
    n_layers, n_heads = given.shape
    if n_layers > MAX_LAYERS or n_heads > MAX_HEADS:
        raise InputError(
            f"expected up to {MAX_LAYERS} layers of {MAX_HEADS} heads, got {n_layers} of {n_heads}"
        )
    if not (given.min() >= 0 and given.max() <= 1):
        raise InputError(f"expected shares from 0 to 1, got {given.min()} to {given.max()}")
    order = np.argsort(given if lowest else -given, axis=None, kind="stable").tolist()
    (layer, head), second = (divmod(int(place), n_heads) for place in (order[0], order[:2][-1]))
    height = max(0.9, 0.17 * n_heads)
    figure, ax = board(height + 1.26, WIDTH)
    write(ax, 0.08, 0.18, what, weight="bold")
    plot = panel(figure, 0.55, 0.66, WIDTH - 0.65, height)
    seen = -given.T if lowest else given.T
    color = PARTS["attention"][0]
    ends = sorted((float(given.min()), float(given.max())), reverse=lowest)
    shades = LinearSegmentedColormap.from_list("share", [PAPER, color])
    for x, share, side in ((1.02, ends[0], "right"), (2.48, ends[1], "left")):
        write(ax, x, 0.46, f"{100 * share:.0f}%", color=MUTED, ha=side)
    # Pixels as well, so that a dark page turns the scale over together with the cells.
    scale = panel(figure, 1.1, 0.38, 1.3, 0.16)
    scale.imshow(np.linspace(0, 1, 64)[np.newaxis], cmap=shades, aspect="auto")
    scale.set_xticks([])
    scale.set_yticks([])
    plot.imshow(seen, cmap=shades, aspect="auto", interpolation="nearest")
    for place, width in (((layer, head), 1.8), (second, 0.8)):
        _frame(plot, place, width)
    plot.set_xlim(-0.5, n_layers - 0.5)
    plot.set_ylim(n_heads - 0.5, -0.5)
    every = 1 if n_layers <= FEW_LAYERS else 5
    ticks = [i for i in range(n_layers) if (first_layer + i) % every == 0]
    plot.set_xticks(ticks, [str(first_layer + i) for i in ticks])
    plot.set_yticks(range(0, n_heads, 2))
    plot.tick_params(labelsize=10, length=2)
    plot.set_xlabel("layer")
    plot.set_ylabel("head")
    kind = "smallest" if lowest else "largest"
    names = [
        f"{100 * given[at]:.0f}% at head {at[1]} of layer {first_layer + at[0]}"
        for at in ((layer, head), second)
    ]
    return Picture(
        figure,
        alt=(
            f"{what}: a cell for each of {given.size} heads, {n_heads} in each of {n_layers} "
            f"layers. The {kind} is {names[0]}, the next {names[1]}."
        ),
        caption=f"Framed, the {kind}: {names[0]}; in a thin frame, the next: {names[1]}.",
        zoom=ZOOM,
    )


def _frame(plot: Axes, place: tuple[int, int], width: float) -> None:
    """A line around the cell of a layer and a head."""
    (left, top), (right, bottom) = ((at - 0.5 for at in place), (at + 0.5 for at in place))
    across, down = [left, right, right, left, left], [top, top, bottom, bottom, top]
    plot.plot(across, down, color=INK, lw=width)
