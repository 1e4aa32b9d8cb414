"""The shape table: name, axes, shape, dtype and bytes of what a trace recorded, copied or not."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from llama_edu.engine.trace import Record
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import AXES, badge, chip
from llama_edu.viz.parts.html import Html, aligned, cell_style, escape, table, td, th

__all__ = ["shape_table"]

_LEGEND = "line-height:1.9;margin:.4em 0;text-align:center;font-size:.92em"


def shape_table(
    trace: Iterable[Record], names: Sequence[str] | None = None, *, step: int | None = None
) -> Html:
    """Name, axes, shape, dtype, bytes and memory of the recorded arrays, in order.

    `trace` is a `Trace` or any records. `names` keeps those that match one of its patterns
    (`layers.0.self_attn.*`), `step` those of one forward pass. "view" in the last column means
    that the engine made no copy. Raises `InputError` if a pattern matches nothing.
    """
    records = [record for record in trace if step is None or record.step == step]
    for pattern in names or ():
        if not any(fnmatchcase(record.name, pattern) for record in records):
            raise InputError(f"expected a recorded name, got {pattern!r}, which matches none")
    if names is not None:
        records = [r for r in records if any(fnmatchcase(r.name, name) for name in names)]
    if not records:
        raise InputError("expected at least one record, got an empty trace")
    several = len({record.step for record in records}) > 1
    head = [*(["step"] if several else []), "name", "axes", "shape", "dtype", "bytes", "memory"]
    rows = [[*([str(r.step)] if several else []), *_shape_row(r)] for r in records]
    text = aligned([head, *rows], right={"bytes"})
    return Html(_shape_html(records, several), text)


def _shape_row(record: Record) -> list[str]:
    shape = f"({', '.join(map(str, record.shape))}{',' if len(record.shape) == 1 else ''})"
    memory = "view" if record.is_view else "own"
    axes = ", ".join(record.axes)
    return [record.name, axes, shape, str(record.dtype), f"{record.nbytes:,}", memory]


def _shape_html(records: Sequence[Record], has_steps: bool) -> str:
    """Rows under the module they belong to; sizes carry the badge of their axis."""
    titles = [("name", "left"), ("shape", "left"), ("dtype", "left")]
    titles += [("bytes", "right"), ("memory", "left")]
    head = "".join(th(title, align=align) for title, align in titles)
    body: list[str] = []
    place = None if has_steps else ("", records[0].step)
    for record in records:
        module, _, name = record.name.rpartition(".")
        if (module, record.step) != place:
            place = (module, record.step)
            title = f"<code>{escape(module)}</code>" if module else "model"
            step = f"forward pass {record.step}: " if has_steps else ""
            style = f"{cell_style('left')};padding-top:.7em;font-weight:400;opacity:.8"
            group = f'<th colspan="5" scope="rowgroup" style="{style}">{step}{title}</th>'
            body.append(f"<tr>{group}</tr>")
        sizes = zip(record.axes, record.shape, strict=True)
        shape = " × ".join(f"{badge(names)}{size:,}" for names, size in sizes)
        cells = [td(f"<code>{escape(name)}</code>"), td(shape), td(str(record.dtype))]
        cells += [td(f"{record.nbytes:,}", align="right"), td(_shape_row(record)[-1])]
        body.append(f"<tr>{''.join(cells)}</tr>")
    used = dict.fromkeys(part for r in records for axis in r.axes for part in axis.split("*"))
    legend = " ".join(
        f'<span style="margin-right:.9em">{chip(name)}</span>' for name in used if name in AXES
    )
    return (
        table(f"<tr>{head}</tr>", body) + f'<p class="llama-legend" style="{_LEGEND}">{legend}</p>'
    )
