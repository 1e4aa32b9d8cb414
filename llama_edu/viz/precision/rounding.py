"""What rounding costs: errors per operator, sums that stop growing, bytes against accuracy."""

from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import NullFormatter

from llama_edu.analysis.precision_cost import OperatorError, Quality
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import WEIGHTS_MAP
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    Number,
    Picture,
    board,
    panel,
    picture,
    write,
)
from llama_edu.viz.parts.heatmap import paint

__all__ = ["bytes_and_gap", "error_map", "number_line", "running_sums"]

FORMATS: dict[str, Callable[[Number], Number]] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
LINES = {"float32": ("#0b6b8f", "-"), "float16": ("#8f4a0e", "--"), "bfloat16": ("#a0287d", "-.")}
WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
EXACT = "exact"  # what stands for a difference of 0
MAX_MARKS = 40  # more of them run into each other
MAX_HOPS = 12
LINE_Y = 0.75  # inches from the top: where the number line runs
NOISE = 1e-6  # below, an error is float32's own, and another processor has another
DOT = "·"  # what stands for it
# The colours of the errors: all light enough for dark words, and in the dark the other way about.
SHADES = Normalize(vmin=-6.5, vmax=4.5)


@picture
def error_map(errors: Sequence[OperatorError], *, largest: bool = False) -> Picture:
    """Errors, operators by precisions, as powers of ten: darker is less exact.

    Shown are the mean errors, or with `largest` the largest of all elements; a dot stands for
    float32's own, below a millionth. Raises `InputError` unless every operator has every
    precision once.
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
    figure, _ = board(0.65 + 0.32 * len(operators), WIDTH)
    ax = panel(figure, 0.93, 0.5, WIDTH - 0.98, 0.32 * len(operators))
    paint(ax, powers, WEIGHTS_MAP, SHADES)
    for (i, j), size in np.ndenumerate(sizes):
        text = _power(size) if size >= NOISE else DOT
        ax.text(j, i, text, ha="center", va="center", fontsize=10, color=INK)
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(precisions)), [p.replace("-", "-\n") for p in precisions], fontsize=10)
    ax.set_yticks(range(len(operators)), operators, fontsize=10)
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
        f"{which} error against float64, as a share of the largest result. Darker is less exact; "
        "a dot is below a millionth."
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
    figure, _ = board(3.05, WIDTH)
    ax = panel(figure, 0.78, 0.36, WIDTH - 1.6, 2.15)
    ax.tick_params(labelsize=10)
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
    for line in (ax.xaxis, ax.yaxis):  # 1,000 for 10³, whose 3 would be too small for a phone
        line.set_major_formatter(lambda number, _: _plain(number))
        line.set_minor_formatter(NullFormatter())
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
            fontsize=10,
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
    figure, ax = board(0.65 + 0.32 * len(qualities), WIDTH)
    largest = max(q.weight_nbytes for q in qualities)
    columns = {"weights": 0.85, "a logit is\noff by": 2.12, "flips": 2.98, "perplexity": 3.47}
    for head, x in columns.items():
        write(ax, x, 0.25, head, 10, color=MUTED, linespacing=1.1)
    for row, quality in enumerate(qualities):
        y = 0.62 + 0.32 * row
        write(ax, 0.77, y, quality.precision, 10, ha="right", weight="bold")
        width = 0.6 * quality.weight_nbytes / largest
        ax.barh(y, width, 0.2, left=0.85, color=LINES["float32"][0])
        write(ax, 0.9 + width, y, _bytes(quality.weight_nbytes), 10)
        gap = f"{quality.gap:.2g}" if quality.gap else EXACT
        told = gap, f"{quality.flips}", f"{quality.perplexity:.2f}"
        for x, text in zip(list(columns.values())[1:], told, strict=True):
            write(ax, x, y, text, 10)
    rows = "; ".join(
        f"{q.precision}: {_bytes(q.weight_nbytes)}, "
        f"{f'a logit off by up to {q.gap:.2g}' if q.gap else 'every logit equal'}, "
        f"{q.flips} of {q.positions} flips, perplexity {q.perplexity:.2f}"
        for q in qualities
    )
    alt = f"Bytes of the weights and what they cost in accuracy, by precision: {rows}."
    caption = (
        "What each precision saves, and what it costs: the largest difference of any logit from "
        "float32's, and the places where another token became the likeliest."
    )
    return Picture(figure, alt=alt, caption=caption)


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count < 1e8 else f"{count / 1e6:.0f} MB"


@picture
def number_line(start: Number, term: Number, adds: int, form: str = "bfloat16") -> Picture:
    """A running sum as hops along the numbers a format has, until a hop falls between two of them.

    From `start`, which `form` must hold, `term` is added up to `adds` times, the sum rounded each
    time. A hop that lands between two numbers is drawn back to the one it is rounded to; after a
    hop that gets nowhere the drawing ends. Raises `InputError` for an unknown format, a start the
    format does not hold, a term that is not positive, and more than 12 additions or none.
    """
    if form not in FORMATS:
        raise InputError(f"expected a format among {', '.join(FORMATS)}, got {form!r}")
    kept = FORMATS[form]
    if float(kept(start)) != start or not term > 0 or not 0 < adds <= MAX_HOPS:
        raise InputError(
            f"expected a start that {form} holds, a term above 0 and 1 to {MAX_HOPS} additions, "
            f"got {start}, {term} and {adds}"
        )
    hops = _hops(kept, float(start), float(term), adds)
    low = float(start - 2 * term)
    high = float(max(end for _, end, _ in hops) + 5 * term)
    held = _numbers_between(kept, low, high)
    figure, ax = board(1.75, WIDTH)

    def x_of(number: float) -> float:
        return 0.25 + (WIDTH - 0.5) * (number - low) / (high - low)

    ax.plot([0.1, WIDTH - 0.1], [LINE_Y, LINE_Y], color=FAINT, lw=1.5)
    # Where numbers lie too close to be told apart, only those that the sum touches are marked.
    touched = sorted({place for begin, _, end in hops for place in (begin, end)})
    marked = held if len(held) <= MAX_MARKS else touched
    for number in marked:
        ax.plot([x_of(number)] * 2, [LINE_Y - 0.07, LINE_Y + 0.07], color=INK, lw=1.6)
        clear = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}  # of a bow drawn over it
        write(ax, x_of(number), LINE_Y + 0.2, f"{number:g}", 10, ha="center", bbox=clear)
    for begin, exact, end in hops:
        _arc(ax, (x_of(begin), x_of(exact)), -0.42, LINES["float32"][0], "-")
        if end != exact:
            color = LINES["bfloat16"][0]
            ax.plot([x_of(exact)], [LINE_Y], "x", color=color, ms=7, mew=2)
            _arc(ax, (x_of(exact), x_of(end)), 0.62, color, "--")
            words = f"{exact:g} is not there: back to {end:g}"
            room = WIDTH / 2 - abs(x_of(exact) - WIDTH / 2) - 0.1  # to the nearer edge
            half = min(0.041 * len(words), WIDTH / 2 - 0.1)
            shift = max(0.0, half - room) * (1 if x_of(exact) < WIDTH / 2 else -1)
            write(ax, x_of(exact) + shift, LINE_Y + 0.78, words, 10, ha="center", color=color)
    steps = ", ".join(
        f"{begin:g} + {term:g} = {exact:g}" + ("" if end == exact else f", rounded to {end:g}")
        for begin, exact, end in hops
    )
    alt = (
        f"The numbers of {form} from {held[0]:g} to {held[-1]:g}"
        f"{'' if marked is held else f', {len(marked)} of {len(held):,} marked'}: "
        f"{', '.join(f'{number:g}' for number in marked)}. A sum hops along them: {steps}."
    )
    caption = f"Every tick is a number that {form} has. The hops add {term:g}."
    return Picture(figure, alt=alt, caption=caption)


def _hops(
    kept: Callable[[Number], Number], total: float, term: float, adds: int
) -> list[tuple[float, float, float]]:
    """Each addition's sum before, its exact result, and the sum after; a hop that fails is last."""
    hops = []
    for _ in range(adds):
        exact = total + term
        end = float(kept(exact))
        hops.append((total, exact, end))
        if end == total:
            break
        total = end
    return hops


def _numbers_between(kept: Callable[[Number], Number], low: float, high: float) -> list[float]:
    """Every number of a format from `low` to `high`, both rounded to the format first."""
    numbers = [float(kept(low))]
    while numbers[-1] < high:
        step = float(np.spacing(kept(numbers[-1])))
        numbers.append(numbers[-1] + step)
    return numbers if numbers[-1] <= high else numbers[:-1]


def _arc(ax: Axes, ends: tuple[float, float], height: float, color: str, style: str) -> None:
    """A bow from one place on the line to another, with a dot where it ends."""
    t = np.linspace(0.0, 1.0, 24)
    x = ends[0] + (ends[1] - ends[0]) * t
    ax.plot(x, LINE_Y + height * 4 * t * (1 - t) * 0.9, color=color, ls=style, lw=1.6)
    ax.plot([ends[1]], [LINE_Y], "o", color=color, ms=4)
