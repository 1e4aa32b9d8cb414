"""What rounding costs: errors per operator, sums that stop growing, bytes against accuracy."""

from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from llama_edu.analysis.precision_cost import OperatorError, Quality
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import WEIGHTS_MAP
from llama_edu.viz.parts.figure import (
    INK,
    MUTED,
    WIDTH,
    Number,
    Picture,
    board,
    panel,
    picture,
    write,
)
from llama_edu.viz.parts.heatmap import cell_numbers, paint

__all__ = ["bytes_and_gap", "error_map", "running_sums"]

FORMATS: dict[str, Callable[[Number], Number]] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
LINES = {"float32": ("#0b6b8f", "-"), "float16": ("#8f4a0e", "--"), "bfloat16": ("#a0287d", "-.")}
EXACT = "exact"  # what stands for a difference of 0
NOISE = 1e-6  # below, an error is float32's own, and another processor has another


@picture
def error_map(errors: Sequence[OperatorError], *, largest: bool = False) -> Picture:
    """Errors, operators by precisions, as powers of ten: darker is less exact.

    Shown are the mean errors, or with `largest` the largest of all elements. Raises `InputError`
    unless every operator has every precision once.
    """
    operators = list(dict.fromkeys(e.operator for e in errors))
    precisions = list(dict.fromkeys(e.precision for e in errors))
    found = {(e.operator, e.precision): e.largest if largest else e.mean for e in errors}
    if not errors or len(found) != len(errors) or len(found) != len(operators) * len(precisions):
        raise InputError(
            f"expected one error for each of {len(operators)} operators in each of "
            f"{len(precisions)} precisions, got {len(errors)}"
        )
    sizes = np.array([[found[o, p] for p in precisions] for o in operators], dtype=np.float64)
    powers = np.log10(np.maximum(sizes, 1e-12))
    figure, _ = board(0.75 + 0.34 * len(operators))
    ax = panel(figure, 1.05, 0.6, WIDTH - 1.2, 0.34 * len(operators))
    norm = Normalize(vmin=-9, vmax=-2)
    paint(ax, powers, WEIGHTS_MAP, norm)
    texts = [[_power(size) for size in row] for row in sizes]
    cell_numbers(ax, powers, texts, WEIGHTS_MAP, norm)
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(precisions)), [p.replace("-", "-\n") for p in precisions], fontsize=9)
    ax.set_yticks(range(len(operators)), operators)
    ax.tick_params(length=0)
    worst = max(found, key=lambda pair: found[pair])
    which = "Largest" if largest else "Mean"
    rows = "; ".join(
        f"{o}: " + ", ".join(f"{p} {_power(found[o, p])}" for p in precisions) for o in operators
    )
    alt = (
        f"{which} error of each operator in each precision, as a share of its largest result: "
        f"{rows}. The largest is {worst[0]} in {worst[1]}."
    )
    caption = (
        f"{which} error against float64, as a share of the largest result. Darker is less exact."
    )
    return Picture(figure, alt=alt, caption=caption)


def _power(value: Number) -> str:
    """A size to one digit: `3e-4`. What float32 does by itself depends on the processor's order."""
    text = f"{value:.0e}" if value >= NOISE else f"<{NOISE:.0e}"
    return text.replace("e-0", "e-")


@picture
def running_sums(count: int = 10_000, term: Number = 1.0) -> Picture:
    """The same number added again and again, the sum rounded each time, in three formats.

    `count` is how often; `term` what. Raises `InputError` for a count below 2.
    """
    if count < 2:
        raise InputError(f"expected at least 2 additions, got {count}")
    figure, _ = board(3.0)
    ax = panel(figure, 0.75, 0.2, WIDTH - 2.1, 2.2)
    ends = {}
    for name, form in FORMATS.items():
        sums = _sums(form, count, term)
        ends[name] = float(sums[-1])
        color, style = LINES[name]
        steps = np.unique(np.geomspace(1, count, 200).astype(np.int64)) - 1
        ax.plot(steps + 1, sums[steps], color=color, ls=style, lw=2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(1, count)
    ax.set_xlabel("additions")
    ax.set_ylabel("sum so far")
    _end_labels(ax, ends)
    words = ", ".join(f"{name} ends at {_plain(end)}" for name, end in ends.items())
    alt = f"{count:,} times {_plain(float(term))} added up, the sum rounded each time: {words}."
    caption = f"{count:,} additions of {_plain(float(term))}, the sum kept in each format."
    return Picture(figure, alt=alt, caption=caption)


def _sums(form: Callable[[Number], Number], count: int, term: Number) -> np.ndarray:
    total, step = form(0.0), form(term)
    sums = np.empty(count, dtype=np.float64)
    for i in range(count):
        total = form(total + step)
        sums[i] = float(total)
    return sums


def _end_labels(ax: Axes, ends: dict[str, float]) -> None:
    """Each line's name and end beside it; lines that end together share one label."""
    by_end: dict[float, list[str]] = {}
    for name, end in ends.items():
        by_end.setdefault(end, []).append(name)
    for end, names in by_end.items():
        # Lines that end together are told apart by their dashes; the label takes the first's ink.
        ax.annotate(
            "\n".join([*names, _plain(end)]),
            (1, end),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=LINES[names[0]][0] if len(names) == 1 else INK,
            annotation_clip=False,
        )


def _plain(number: Number) -> str:
    return f"{number:,.10g}"


@picture
def bytes_and_gap(qualities: Sequence[Quality]) -> Picture:
    """Each precision as a bar of its weights' bytes, with how far its logits are from float32's.

    Raises `InputError` for none.
    """
    if not qualities:
        raise InputError("expected at least one precision, got none")
    figure, ax = board(0.55 + 0.34 * len(qualities))
    largest = max(q.weight_nbytes for q in qualities)
    write(ax, 0.95, 0.2, "weights", 9.5, color=MUTED)
    write(ax, 3.55, 0.2, "logits off by", 9.5, color=MUTED)
    write(ax, 4.6, 0.2, "perplexity", 9.5, color=MUTED)
    for row, quality in enumerate(qualities):
        y = 0.52 + 0.34 * row
        write(ax, 0.85, y, quality.precision, 10, ha="right", weight="bold")
        width = 1.6 * quality.weight_nbytes / largest
        ax.barh(y, width, 0.2, left=0.95, color=LINES["float32"][0])
        write(ax, 1.0 + width, y, _bytes(quality.weight_nbytes), 9.5)
        write(ax, 3.55, y, f"{quality.gap:.2g}" if quality.gap else EXACT, 9.5)
        write(ax, 4.6, y, f"{quality.perplexity:.3g}", 9.5)
    rows = "; ".join(
        f"{q.precision}: {_bytes(q.weight_nbytes)}, "
        f"logits off by {f'{q.gap:.2g}' if q.gap else 'nothing'}, perplexity {q.perplexity:.3g}"
        for q in qualities
    )
    alt = f"Bytes of the weights and what they cost in accuracy, by precision: {rows}."
    return Picture(figure, alt=alt, caption="What each precision saves, and what it costs.")


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count < 1e8 else f"{count / 1e6:.0f} MB"
