"""A page of maps: one row of them per KV group, one map per query head in the group.

This is the layout that weights and scores share. What the numbers mean, and the words about
them, are the caller's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text

from llama_edu.viz.parts.figure import INK, MUTED, WIDTH, board, box, panel, tag, write
from llama_edu.viz.parts.heatmap import cell_numbers, hatch_future, paint, token_ticks
from llama_edu.viz.parts.labels import shortened

__all__ = ["Ink", "Maps"]

TOP = 0.5  # inches above the first row, for the names of the axes
SIDE = 0.34  # inches left of the labels and right of the maps, for the names of rows
TITLE = 0.27  # inches above each map, for its name
GAP = 0.18  # inches between two maps, at least
TALLEST, LONG_TALLEST = 8.6, 10.4  # inches of maps on one page, of few and of many tokens
MANY_TOKENS = 13
LARGEST_CELL = 0.42
FRAME = "#b3261e"
ONLY_TOP = 0.8  # the same, where they stand one below the other
PHONE = 4.3  # inches across: what a phone shows without pushing


@dataclass(frozen=True)
class Ink:
    """How a number becomes a cell: its colour, and its text where the cell can hold one."""

    colors: Colormap
    norm: Normalize
    text: Callable[[float], str]
    text_inches: float  # the smallest cell that can hold the text
    is_causal: bool  # cover what lies in a query's future


@dataclass(frozen=True)
class Maps:
    """Arrays `(n_kv_heads, n_groups, seq, total_seq)` on their way to a page.

    `labels` name the `total_seq` positions; rows from position `prompt` on were generated; the row
    of position `framed` has a frame. `only` is the one query head to draw, on a page for a phone.
    """

    rows: np.ndarray
    labels: list[str]
    prompt: int
    ink: Ink
    framed: int | None = None
    only: int | None = None

    @property
    def seq(self) -> int:
        """Rows of each map."""
        return int(self.rows.shape[2])

    @property
    def past(self) -> int:
        """Positions before the first row."""
        return int(self.rows.shape[3] - self.seq)

    def draw(self, key: Callable[[Figure, float, float, float], None]) -> Figure:
        """The page, with `key(figure, x, y, width)` drawn under the maps."""
        if self.only is not None:
            return self._draw_only(key)
        layout = _layout(self.rows.shape, self.labels)
        n_kv_heads = self.rows.shape[0]
        foot = TOP + n_kv_heads * layout.row + layout.label_inches + 0.3
        figure, ax = board(foot + 0.55)
        tag(ax, 0.08, 0.2, "seq", "query: who looks (rows)", ha="left")
        tag(ax, WIDTH - 0.08, 0.2, "total_seq", "key: looked at (columns)", ha="right")
        for group in range(n_kv_heads):
            top = TOP + group * layout.row + TITLE
            tag(ax, 0.17, top + layout.height / 2, "n_kv_heads", f"KV {group}", rotation=90)
            for j in range(self.rows.shape[1]):
                self._draw_map(figure, ax, layout, group, j)
            self._draw_roles(ax, layout, top)
        key(figure, WIDTH / 2 - 1.3, foot, 2.6)
        return figure

    def _draw_only(self, key: Callable[[Figure, float, float, float], None]) -> Figure:
        """The map of one head, with the names of the axes one below the other."""
        group, j = divmod(self.only or 0, self.rows.shape[1])
        layout = _layout((1, 1, *self.rows.shape[2:]), self.labels, PHONE)
        foot = ONLY_TOP + layout.row + layout.label_inches + 0.3
        figure, ax = board(foot + 0.55, PHONE)
        tag(ax, 0.08, 0.2, "seq", "query: who looks (rows)", ha="left", size=10.0)
        tag(ax, 0.08, 0.55, "total_seq", "key: looked at (columns)", ha="left", size=10.0)
        self._draw_map(figure, ax, layout, group, j)
        key(figure, PHONE / 2 - 1.3, foot, 2.6)
        for text in figure.findobj(Text):  # a phone shrinks no figure below what can be read
            if isinstance(text, Text):
                text.set_fontsize(max(text.get_fontsize(), 10))
        return figure

    def _draw_map(self, figure: Figure, ax: Axes, layout: "_Layout", group: int, j: int) -> None:
        n_kv_heads, n_groups, seq, total_seq = self.rows.shape
        x, y = layout.left + j * (layout.width + layout.gap), TOP + group * layout.row + TITLE
        if self.only is not None:
            x, y = layout.left, ONLY_TOP + TITLE
        head, cells = group * n_groups + j, self.rows[group, j]
        name = f"query head {head}" if layout.width > 1.05 else f"q{head}"
        write(ax, x + layout.width / 2, y - 0.12, name, 9.5, ha="center")
        here = panel(figure, x, y, layout.width, layout.height)
        here.set_label(f"KV group {group}, query head {head}")
        paint(here, cells, self.ink.colors, self.ink.norm)
        if self.ink.is_causal:
            hatch_future(here, seq, total_seq, self.past)
        if layout.cell >= self.ink.text_inches:
            texts = [
                ["" if self._hides(i, k) else self.ink.text(value) for k, value in enumerate(row)]
                for i, row in enumerate(cells.tolist())
            ]
            cell_numbers(here, cells, texts, self.ink.colors, self.ink.norm)
        if self.framed is not None:
            row = self.framed - self.past - 0.5
            box(here, -0.5, row, total_seq, 1, "none", edgecolor=FRAME, linewidth=1.6, zorder=4)
        if self.past < self.prompt < total_seq:
            here.axhline(self.prompt - self.past - 0.5, color=INK, linewidth=2.2)
        if j == 0 or self.only is not None:
            bold = self.prompt - self.past
            token_ticks(here, self.labels[self.past :], layout.height / seq, "left", bold)
        if group == n_kv_heads - 1 or self.only is not None:  # the maps above share these labels
            token_ticks(here, self.labels, layout.width / total_seq, "bottom", self.prompt)

    def _hides(self, i: int, k: int) -> bool:
        return self.ink.is_causal and k > self.past + i

    def _draw_roles(self, ax: Axes, layout: "_Layout", top: float) -> None:
        """Bars at the right that say which rows are prompt and which were generated."""
        end, cell = self.past + self.seq, layout.height / self.seq
        split = min(max(self.prompt, self.past), end)
        roles = (("prompt", self.past, split, MUTED), ("generated", split, end, INK))
        for name, first, last, color in roles:
            if first == last:
                continue
            y0, y1 = top + (first - self.past) * cell, top + (last - self.past) * cell
            bold = "bold" if name == "generated" else "normal"
            thick = 2.6 if name == "generated" else 1.2
            ax.plot([layout.right + 0.09] * 2, [y0 + 0.03, y1 - 0.03], color=color, lw=thick)
            if y1 - y0 > 0.066 * len(name):
                words = {"rotation": 270, "ha": "center", "color": color, "weight": bold}
                write(ax, layout.right + 0.21, (y0 + y1) / 2, name, 8, **words)


@dataclass(frozen=True)
class _Layout:
    """Where things go, in inches."""

    left: float
    right: float
    width: float
    height: float
    cell: float
    gap: float
    label_inches: float

    @property
    def row(self) -> float:
        return TITLE + self.height + GAP


def _layout(shape: tuple[int, ...], labels: list[str], page: float = WIDTH) -> _Layout:
    n_kv_heads, n_groups, seq, total_seq = shape
    label_inches = 0.12 + 0.079 * max(len(shortened(label)) for label in labels)
    left = SIDE + label_inches
    room = (page - left - SIDE - GAP * (n_groups - 1)) / n_groups
    tallest = (TALLEST if total_seq < MANY_TOKENS else LONG_TALLEST) / n_kv_heads - TITLE - GAP
    across = min(room / total_seq, LARGEST_CELL, max(tallest / seq, 0.05))
    down = max(across, 0.28) if seq <= 2 else across  # a decode step is one row: keep it legible
    width = across * total_seq
    # What the maps leave free goes between and around them.
    free = (room - width) * n_groups / (n_groups + 1)
    left += free / 2
    right = left + n_groups * width + (n_groups - 1) * (GAP + free)
    return _Layout(left, right, width, down * seq, min(across, down), GAP + free, label_inches)
