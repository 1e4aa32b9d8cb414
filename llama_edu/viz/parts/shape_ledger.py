"""The whole ledger of a forward pass: every named array once, its axes, its shape in each call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llama_edu.engine.trace import Record
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import AXES, badge, chip
from llama_edu.viz.parts.html import Html, aligned, cell_style, escape, table, td, th

__all__ = ["shape_ledger"]

_LEGEND = "line-height:1.9;margin:.4em 0;text-align:center;font-size:.92em"

_BREAKS = "white-space:normal"


@dataclass
class _Row:
    """One name, without the number of its layer, and its shape in each forward pass."""

    axes: tuple[str, ...]
    shapes: dict[int, tuple[int, ...]]
    layers: set[str]


def shape_ledger(trace: Iterable[Record], *, notes: Mapping[str, str] | None = None) -> Html:
    """All arrays of one or more forward passes; what repeats in every layer stands there once.

    `notes` maps names, as the table shows them, to a few words for a last column. Raises
    `InputError` for an empty trace, a note on a name that is not there, and for a name whose
    shape is not the same in all layers.
    """
    rows: dict[str, _Row] = {}
    for record in trace:
        name, layer = _without_layer(record.name)
        row = rows.setdefault(name, _Row(record.axes, {}, set()))
        row.layers.add(layer)
        if row.shapes.setdefault(record.step, record.shape) != record.shape:
            raise InputError(
                f"expected {name} to be {row.shapes[record.step]} in every layer, "
                f"got {record.shape} in layer {layer}"
            )
    if not rows:
        raise InputError("expected at least one record, got an empty trace")
    notes = notes or {}
    if unknown := notes.keys() - rows.keys():
        raise InputError(f"expected notes on recorded names, got {', '.join(sorted(unknown))}")
    return Html(_html(rows, notes), _text(rows, notes))


def _without_layer(name: str) -> tuple[str, str]:
    if not name.startswith("layers."):
        return name, ""
    _, layer, rest = name.split(".", 2)
    return f"layers.*.{rest}", layer


def _steps(rows: Mapping[str, _Row]) -> list[int]:
    return sorted({step for row in rows.values() for step in row.shapes})


def _call(step: int, several: bool) -> str:
    return f"call {step}" if several else "shape"


def _text(rows: Mapping[str, _Row], notes: Mapping[str, str]) -> str:
    steps = _steps(rows)
    calls = [_call(step, len(steps) > 1) for step in steps]
    lines = [["name", "axes", *calls, *(["note"] if notes else [])]]
    for name, row in rows.items():
        shapes = [str(row.shapes.get(step, "")) for step in steps]
        lines.append(
            [name, ", ".join(row.axes), *shapes, *([notes.get(name, "")] if notes else [])]
        )
    return aligned(lines, right=set())


def _html(rows: Mapping[str, _Row], notes: Mapping[str, str]) -> str:
    steps = _steps(rows)
    titles = [
        "name",
        *(_call(step, len(steps) > 1) for step in steps),
        *(["note"] if notes else []),
    ]
    body: list[str] = []
    place: str | None = None
    for name, row in rows.items():
        module, _, short = name.rpartition(".")
        if module != place:
            place = module
            body.append(_group_row(module, len(row.layers), len(titles)))
        # A phone breaks the lines, so that the calls stand side by side there as well.
        broken = escape(short).replace("_", "_<wbr>")
        cells = [td(f"<code>{broken}</code>", style=_BREAKS)]
        cells += [td(_badged(row.axes, row.shapes.get(step, ())), style=_BREAKS) for step in steps]
        if notes:
            cells.append(td(escape(notes.get(name, "")), style=_BREAKS))
        body.append(f"<tr>{''.join(cells)}</tr>")
    used = dict.fromkeys(p for row in rows.values() for axis in row.axes for p in axis.split("*"))
    chips = (f'<span style="margin-right:.9em">{chip(n)}</span>' for n in used if n in AXES)
    legend = f'<p class="llama-legend" style="{_LEGEND}">{" ".join(chips)}</p>'
    return table(f"<tr>{''.join(th(title) for title in titles)}</tr>", body) + legend


def _group_row(module: str, layers: int, columns: int) -> str:
    title = f"<code>{escape(module)}</code>" if module else "model"
    times = f", {layers} times" if module and layers > 1 else ""
    style = f"{cell_style('left')};padding-top:.7em;font-weight:400;opacity:.8"
    return f'<tr><th colspan="{columns}" scope="rowgroup" style="{style}">{title}{times}</th></tr>'


def _badged(axes: tuple[str, ...], shape: tuple[int, ...]) -> str:
    sizes = zip(axes, shape, strict=False)
    factors = [f"{badge(name)}{size:,}" for name, size in sizes]
    factors[1:] = [f"× {factor}" for factor in factors[1:]]
    return " ".join(f'<span style="white-space:nowrap">{factor}</span>' for factor in factors)
