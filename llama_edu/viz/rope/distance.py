"""What a score makes of distance: curves over the positions between a query and a key."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, INK, Picture, board, panel, picture, write

__all__ = ["distance_curve"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
# Told apart by dashes and width as much as by colour, for curves that lie on each other.
STYLES = (
    (axis("seq").color, 5.0, "solid", 0.35),
    (axis("n_kv_heads").color, 2.2, (0, (4, 3)), 1.0),
    (INK, 1.2, (0, (1, 2)), 1.0),
)


@picture
def distance_curve(curves: Mapping[str, np.ndarray], *, ylabel: str = "q · k") -> Picture:
    """Up to three curves over the distances 0, 1, 2, …: one number per distance each.

    Curves that agree lie on each other and are told apart by their dashes. Raises `InputError`
    unless there are 1 to 3 curves of one length, at least 2, with finite numbers.
    """
    values = {name: np.asarray(curve, dtype=np.float64) for name, curve in curves.items()}
    shapes = {curve.shape for curve in values.values()}
    if not 0 < len(values) <= len(STYLES) or len(shapes) != 1 or not _is_row(next(iter(shapes))):
        raise InputError(
            f"expected 1 to {len(STYLES)} curves of one length, got shapes "
            f"{[curve.shape for curve in values.values()]}"
        )
    if not all(np.isfinite(curve).all() for curve in values.values()):
        raise InputError("expected finite numbers, got NaN or infinity")
    figure, board_ax = board(3.3 + 0.24 * len(values), WIDTH)
    ax = panel(figure, 0.72, 0.15, WIDTH - 0.82, 2.6)
    count = next(iter(shapes))[0]
    ax.axhline(0, color=FAINT, lw=0.8)
    for row, (name, curve) in enumerate(values.items()):
        color, width, dashes, alpha = STYLES[row]
        style: dict[str, Any] = {"color": color, "lw": width, "ls": dashes, "alpha": alpha}
        ax.plot(np.arange(count), curve, label=name, **style)
        y = 3.38 + 0.24 * row
        board_ax.plot([0.75, 1.25], [y, y], **style)
        write(board_ax, 1.35, y, name)
    ax.set_xlim(0, count - 1)
    ax.tick_params(labelsize=10)
    ax.set_xlabel("distance: positions between query and key")
    ax.set_ylabel(ylabel)
    return Picture(
        figure,
        alt=_curve_alt(values, ylabel),
        caption="The score of one query and one key, the key further and further back.",
    )


def _is_row(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 and shape[0] > 1


def _curve_alt(values: dict[str, np.ndarray], ylabel: str) -> str:
    curves = list(values.values())
    gap = max(float(np.abs(curve - curves[0]).max()) for curve in curves)
    spread = float(np.ptp(curves[0]))
    agree = gap <= 1e-3 * spread
    words = "; ".join(
        f"“{name}” goes from {curve[0]:.2f} at distance 0 to {curve[-1]:.2f} at {len(curve) - 1}, "
        f"its highest {curve.max():.2f} at {int(curve.argmax())}, its lowest {curve.min():.2f} "
        f"at {int(curve.argmin())}"
        for name, curve in list(values.items())[: 1 if agree else None]
    )
    others = list(values)[1:] if agree else []
    lie = f" The others ({', '.join(others)}) lie on it." if others else ""
    return f"{ylabel} over distance: {words}.{lie}"
