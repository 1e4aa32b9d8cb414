"""The parts every attention picture is made of: cells, hatched futures, token labels, a key.

Rows are queries, columns are keys, and row `i` is position `past + i`, so that key `j` lies in
its future when `j > past + i`.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize, PowerNorm, to_rgb
from matplotlib.figure import Figure

from llama_edu.viz.parts.axes import SCORES_MAP, WEIGHTS_MAP
from llama_edu.viz.parts.figure import FAINT, INK, MUTED, PAPER, Number, box, panel
from llama_edu.viz.parts.labels import shortened

__all__ = [
    "WEIGHTS_NORM",
    "cell_numbers",
    "hatch_future",
    "paint",
    "percent",
    "scores_key",
    "scores_norm",
    "signed",
    "token_ticks",
    "weights_key",
]

LABEL_POINTS = 9.0
LABEL_INCHES = 0.115  # one line of labels at their smallest, 8 points

FUTURE = "#f4f5f7"

# A square root spreads the small weights out; the key's ticks show what that does.
WEIGHTS_NORM: Normalize = PowerNorm(0.5, vmin=0.0, vmax=1.0)


def percent(weight: Number) -> str:
    """A weight as the reader sees it: `31%`, `<1%`, `0%`."""
    rounded = round(100 * float(weight))
    return "<1%" if rounded == 0 and weight > 0 else f"{rounded}%"


def signed(number: Number, digits: int = 2) -> str:
    """A number with a real minus sign, and no minus before what rounds to 0."""
    return f"{round(float(number), digits) + 0.0:.{digits}f}".replace("-", "−")


def scores_norm(scores: np.ndarray) -> Normalize:
    """White at 0, the same reach on both sides."""
    reach = float(np.max(np.abs(scores[np.isfinite(scores)]), initial=1e-6))
    return Normalize(vmin=-reach, vmax=reach)


def paint(ax: Axes, rows: np.ndarray, colors: Colormap, norm: Normalize) -> None:
    """A matrix as coloured cells, row 0 on top, one unit per cell."""
    seq, total_seq = rows.shape
    ax.imshow(rows, cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
    ax.set_xlim(-0.5, total_seq - 0.5)
    ax.set_ylim(seq - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(True)
        side.set_color(MUTED)


def hatch_future(
    ax: Axes, seq: int, total_seq: int, past: int, *, is_thumbnail: bool = False
) -> None:
    """Cover the keys each query cannot see; in a thumbnail with plain grey, or it would blur."""
    face, pattern = ("#e4e7eb", "") if is_thumbnail else (FUTURE, "//")
    for i in range(seq):
        first = past + i + 1
        if first < total_seq:
            cell = (first - 0.5, i - 0.5, total_seq - first, 1)
            box(ax, *cell, face, hatch=pattern, edgecolor=FAINT, linewidth=0)


def cell_numbers(
    ax: Axes, rows: np.ndarray, texts: list[list[str]], colors: Colormap, norm: Normalize
) -> None:
    """A number in each cell, in whichever of ink and paper stands out; "" leaves it blank."""
    for i, line in enumerate(texts):
        for j, text in enumerate(line):
            if text:
                face = np.array(to_rgb(colors(norm(rows[i, j])) if text != "−∞" else FUTURE))
                color = INK if _luminance(face) > 0.18 else PAPER
                ax.text(j, i, text, ha="center", va="center", fontsize=8, color=color)


def _luminance(rgb: np.ndarray) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float64))


def token_ticks(
    ax: Axes, labels: list[str], cell: float, side: str, bold_from: int | None = None
) -> None:
    """Token labels along one side; where cells are smaller than a line, every n-th is written."""
    every = max(1, int(np.ceil(LABEL_INCHES / cell)))
    shown = range(0, len(labels), every)
    texts = [shortened(labels[i]) for i in shown]
    horizontal = side == "bottom"
    if horizontal:
        ax.set_xticks(list(shown), texts, rotation=90)
    else:
        ax.set_yticks(list(shown), texts)
    ticks = ax.get_xticklabels() if horizontal else ax.get_yticklabels()
    for index, text in zip(shown, ticks, strict=True):
        text.set_fontsize(LABEL_POINTS if every * cell > 0.14 else 8.0)
        text.set_parse_math(False)
        if bold_from is not None and index >= bold_from:
            text.set_fontweight("bold")
    ax.tick_params(length=0, pad=3)


def weights_key(figure: Figure, x: float, y: float, width: float) -> None:
    """The colour bar of the weights, its top left corner at inches (x, y)."""
    bar = _key(figure, x, y, width, ScalarMappable(WEIGHTS_NORM, WEIGHTS_MAP))
    bar.set_ticks([0.0, 0.05, 0.25, 0.5, 1.0], labels=["0", "5%", "25%", "50%", "100%"])
    bar.ax.set_title("attention: darker looks harder", fontsize=9, pad=4)


def scores_key(figure: Figure, x: float, y: float, width: float, norm: Normalize) -> None:
    """The colour bar of the scores, its top left corner at inches (x, y)."""
    bar = _key(figure, x, y, width, ScalarMappable(norm, SCORES_MAP))
    reach = float(norm.vmax or 1.0)
    bar.set_ticks([-reach, 0.0, reach], labels=[f"−{reach:.1f}", "0", f"+{reach:.1f}"])
    bar.ax.set_title("score: q · k / √head_dim", fontsize=9, pad=4)


def _key(figure: Figure, x: float, y: float, width: float, source: ScalarMappable) -> Colorbar:
    bar = figure.colorbar(source, cax=panel(figure, x, y, width, 0.12), orientation="horizontal")
    bar.ax.tick_params(length=2, labelsize=8.5)
    bar.outline.set_linewidth(0.5)
    return bar
