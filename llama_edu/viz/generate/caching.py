"""What the cache saves and what it costs: positions computed with and without it, and its bytes.

Everything drawn was counted by the caller; only the lines of `cache_growth` are computed here,
from the sizes, to stand beside what was measured. Both are as wide as a phone: what is larger
would have to be scrolled there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    FAINT,
    MUTED,
    PAPER,
    Picture,
    board,
    box,
    panel,
    picture,
    tag,
    write,
)
from llama_edu.viz.parts.labels import byte_count

__all__ = ["cache_growth", "work_with_and_without_cache"]

NARROW = 3.4  # inches: 340 CSS pixels
ZOOM = 1.5  # on a wide page
MOST_SQUARES = 600  # of one drawing, as strokes; more become pixels
COMPUTED = axis("seq").color
MAX_STEPS = 40  # rows of squares that fit a page


@picture
def work_with_and_without_cache(with_cache: Sequence[int], without_cache: Sequence[int]) -> Picture:
    """One square per position that went through the model, one row per forward call.

    Both arguments are the lengths of the calls that generated the same text, in order: the cached
    run computes the prompt once and then 1 position per call. Positions read from the cache are
    drawn hollow. Raises `InputError` if the runs differ in the count of calls, if lengths do not
    fit each other, or for more than 40 calls.
    """
    cached, full = [int(n) for n in with_cache], [int(n) for n in without_cache]
    if len(cached) != len(full) or not 0 < len(full) <= MAX_STEPS or min(cached + full) < 1:
        raise InputError(
            f"expected two runs of 1 to {MAX_STEPS} calls, at least 1 position each, "
            f"got {len(cached)} and {len(full)} calls"
        )
    if list(np.cumsum(cached)) != full:
        raise InputError(
            "expected each call without a cache to repeat everything the cached calls computed, "
            f"got {full} against {cached}"
        )
    cell = min(0.22, (NARROW - 1.05) / full[-1])
    row = min(max(cell, 0.13), 0.2)
    height = len(full) * row
    figure, ax = board(2 * height + 2.1, NARROW)
    _squares(ax, 0.6, "without a cache", full, full, (cell, row))
    _squares(ax, 0.6 + height + 0.8, "with a cache", cached, full, (cell, row))
    foot = 2 * height + 1.8
    for x, face, words in ((0.12, COMPUTED, "computed"), (1.35, PAPER, "read from the cache")):
        box(ax, x, foot - 0.08, 0.16, 0.16, face, edgecolor=MUTED)
        write(ax, x + 0.24, foot, words)
    saved = sum(full) / sum(cached)
    alt = (
        f"{len(full)} forward calls for a prompt of {full[0]} positions and {len(full) - 1} more "
        f"tokens. Without a cache {sum(full)} positions go through the model "
        f"({_run_words(full)}); with a cache {sum(cached)} ({_run_words(cached)}): "
        f"{saved:.1f} times fewer."
    )
    caption = (
        f"Positions computed: {sum(full)} without a cache, {sum(cached)} with one, for the same "
        "text. Hollow: read from the cache."
    )
    return Picture(figure, alt=alt, caption=caption, zoom=ZOOM)


def _run_words(run: list[int]) -> str:
    if len(run) <= 4:
        return ", ".join(map(str, run))
    return f"{run[0]}, {run[1]}, {run[2]}, … {run[-1]}"


def _squares(
    ax: Axes, top: float, title: str, run: list[int], lengths: list[int], size: tuple[float, float]
) -> None:
    cell, row = size
    left = 0.68
    write(ax, 0.12, top - 0.46, title, 11.5, weight="bold")
    total = f"{sum(run):,} positions computed"
    write(ax, 0.12, top - 0.2, total, 11.5, weight="bold", color=COMPUTED)
    every = max(1, round(0.17 / row))
    squares, faces = [], []
    for step, (computed, length) in enumerate(zip(run, lengths, strict=True)):
        y = top + step * row
        if step % every == 0:
            write(ax, left - 0.08, y + row / 2, f"call {step + 1}", 8.5, ha="right", color=MUTED)
        for position in range(length):
            squares.append(Rectangle((left + position * cell, y), cell, row))
            faces.append(COMPUTED if position >= length - computed else PAPER)
        write(ax, left + length * cell + 0.07, y + row / 2, str(computed), 8.5)
    # One collection: thousands of single patches would take seconds to draw, and as many elements.
    many = PatchCollection(squares, facecolors=faces, edgecolors=FAINT, linewidths=0.6, label=title)
    many.set_rasterized(len(squares) > MOST_SQUARES)
    ax.add_collection(many)


@picture
def cache_growth(  # noqa: PLR0913, options by keyword
    lengths: Sequence[int],
    nbytes: Sequence[int],
    *,
    layers: int,
    n_kv_heads: int,
    head_dim: int,
    itemsize: int = 4,
    n_heads: int | None = None,
) -> Picture:
    """Measured bytes of a cache at several lengths, on the line the sizes predict.

    The line is `2 × layers × n_kv_heads × head_dim × itemsize` bytes per position; with `n_heads`,
    a second one shows a cache that kept keys and values for every query head. Raises
    `InputError` if a measurement is off the line, or if there is none.
    """
    per_position = 2 * layers * n_kv_heads * head_dim * itemsize
    expected = [per_position * length for length in lengths]
    if not expected or list(nbytes) != expected:
        raise InputError(
            f"expected {expected} bytes at lengths {list(lengths)} "
            f"({per_position:,} per position), got {list(nbytes)}"
        )
    figure, ax = board(4.95, NARROW)
    write(ax, 0.1, 0.2, "bytes per position", 11.5, weight="bold")
    _product(ax, 0.58, {"layers": layers, "n_kv_heads": n_kv_heads, "head_dim": head_dim}, itemsize)
    write(ax, 0.1, 1.34, f"= {per_position:,} bytes,", 10.5)
    write(ax, 0.1, 1.58, "a key and a value in every layer", 10.5)
    here = panel(figure, 0.86, 1.9, NARROW - 0.98, 2.45)
    ratio = None if n_heads is None else n_heads / n_kv_heads
    _growth_lines(here, lengths, nbytes, ratio)
    return Picture(
        figure,
        alt=_growth_alt(lengths, nbytes, per_position, n_heads, n_kv_heads),
        caption="The cache grows in a straight line, one step per position.",
        zoom=ZOOM,
    )


def _growth_lines(
    ax: Axes, lengths: Sequence[int], nbytes: Sequence[int], ratio: float | None
) -> None:
    """The measured points on their line; above it, what `ratio` times the heads would take."""
    longest, most = max(lengths), max(nbytes)
    color = axis("n_kv_heads").color
    if ratio is not None:
        ax.plot([0, longest], [0, most * ratio], color=MUTED, lw=1.6, ls=(0, (4, 3)))
        words = f"a KV head for each\nquery head: {ratio:g} ×"
        style: dict[str, Any] = {"va": "top", "fontsize": 9.5, "color": MUTED}
        ax.text(0.03 * longest, most * ratio, words, **style)
    ax.plot([0, longest], [0, most], color=color, lw=2)
    ax.plot(lengths, nbytes, "o", color=color, ms=6, mec=PAPER)
    # Two short lines in the corner below the line, which rises to the right.
    words = f"measured:\n{byte_count(most)} at {longest:,}"
    ax.text(longest, 0.03 * most, words, ha="right", va="bottom", fontsize=9.5, color=color)
    ax.set_xlim(0, longest * 1.03)
    ax.set_ylim(0, None)
    ax.set_xlabel("positions in the cache", fontsize=10)
    ax.yaxis.set_major_formatter(lambda value, _: byte_count(round(value)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _growth_alt(
    lengths: Sequence[int],
    nbytes: Sequence[int],
    per_position: int,
    n_heads: int | None,
    n_kv_heads: int,
) -> str:
    pairs = zip(lengths, nbytes, strict=True)
    points = ", ".join(f"{n:,} bytes at {length:,}" for length, n in pairs)
    words = f"A straight line of {per_position:,} bytes per cached position. Measured: {points}."
    if n_heads is not None:
        words += (
            f" A cache of all {n_heads} query heads would be {n_heads / n_kv_heads:g} times as "
            "steep."
        )
    return words


def _product(ax: Axes, y: float, sizes: dict[str, int], itemsize: int) -> None:
    """`2 × layers × n_kv_heads × head_dim × itemsize`, the axes in their colours, in two lines."""
    (layers, n_layers), (kv, n_kv), (dim, n_dim) = sizes.items()
    write(ax, 0.1, y, "2 ×", 11)
    tag(ax, 0.42, y, layers, n_layers, ha="left")
    write(ax, 1.62, y, "×", 11)
    tag(ax, 1.84, y, kv, n_kv, ha="left")
    write(ax, 0.1, y + 0.38, "×", 11)
    tag(ax, 0.42, y + 0.38, dim, n_dim, ha="left")
    write(ax, 1.84, y + 0.38, f"× {itemsize} B", 11)
