"""Where the bytes of a checkpoint go: the file as a ribbon, its parts, one layer unfolded."""

import re
from collections.abc import Sequence

from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.formats.safetensors import Header, TensorInfo
from llama_edu.viz.parts.axes import PARTS
from llama_edu.viz.parts.figure import INK, MUTED, PAPER, Picture, board, box, picture, write
from llama_edu.viz.parts.labels import byte_count, shortened

__all__ = ["byte_offsets", "share_text"]

WIDTH = 3.4  # inches, as wide as a phone's page

# Which part of the model a tensor belongs to, by its name; the parts have their colours.
KINDS = (
    ("embedding", r"embed_tokens", PARTS["embedding"][0]),
    ("attention", r"self_attn", PARTS["attention"][0]),
    ("MLP", r"\.mlp\.", PARTS["mlp"][0]),
    ("norms", r"norm", PARTS["norm"][0]),
    ("lm_head", r"lm_head", PARTS["head"][0]),
    ("other", r"", PARTS["around"][0]),
)


def _kind(name: str) -> int:
    return next(i for i, (_, pattern, _) in enumerate(KINDS) if re.search(pattern, name))


@picture
def byte_offsets(header: Header, *, zoom: str = "model.layers.0.") -> Picture:
    """Where the bytes of a file go: the whole file as a ribbon, its parts, and one layer unfolded.

    `zoom` is the prefix of the tensors to list. Raises `InputError` if no tensor has it.
    """
    infos = [info for info in header.tensors.values() if info.nbytes]
    listed = [info for info in infos if info.name.startswith(zoom)]
    if not listed:
        raise InputError(f"expected tensors whose names start with {zoom!r}, got none")
    totals = [sum(i.nbytes for i in infos if _kind(i.name) == kind) for kind in range(len(KINDS))]
    data_nbytes = sum(totals)
    shown = [kind for kind, total in enumerate(totals) if total]
    figure, ax = board(2.0 + 0.3 * len(shown) + 0.46 * len(listed), WIDTH)
    _ribbon(ax, 0.42, infos, header)
    for row, kind in enumerate(shown):
        _share(ax, 1.4 + 0.3 * row, kind, totals[kind], data_nbytes)
    _listing(ax, 1.62 + 0.3 * len(shown), zoom, listed)
    words = [f"{KINDS[k][0]} {totals[k]:,} ({share_text(totals[k], data_nbytes)})" for k in shown]
    alt = (
        f"A file of {header.file_nbytes:,} bytes: {header.data_start:,} of header, then "
        f"{data_nbytes:,} of numbers in {len(infos)} tensors. By part: {', '.join(words)}. "
        f"In {zoom.rstrip('.')}: "
        + ", ".join(f"{i.name.removeprefix(zoom)} {i.nbytes:,}" for i in listed)
        + "."
    )
    caption = "Where the bytes go: the whole file, its parts, and one layer tensor by tensor."
    return Picture(figure, alt=alt, caption=caption)


def _ribbon(ax: Axes, y: float, infos: Sequence[TensorInfo], header: Header) -> None:
    left, width = 0.1, WIDTH - 0.2
    write(ax, left, y - 0.22, "the whole file", 11.5, weight="bold")
    write(ax, left + width, y - 0.22, byte_count(header.file_nbytes), 10, ha="right")
    scale = width / header.file_nbytes
    box(ax, left, y, max(header.data_start * scale, 0.01), 0.46, INK, linewidth=0)
    for info in infos:
        x = left + (header.data_start + info.start) * scale
        face = KINDS[_kind(info.name)][2]
        line = 0.5 if info.nbytes * scale > 0.02 else 0
        box(ax, x, y, info.nbytes * scale, 0.46, face, edgecolor=PAPER, linewidth=line)
    write(ax, left, y + 0.6, f"byte 0; data from {header.data_start:,}", 9, color=MUTED)
    write(ax, left + width, y + 0.6, f"{header.file_nbytes:,}", 9, ha="right", color=MUTED)


def share_text(part: int, whole: int) -> str:
    """A share in whole per cent, or `<1%`."""
    percent = 100 * part / whole
    return f"{percent:.0f}%" if percent >= 1 else "<1%"


def _share(ax: Axes, y: float, kind: int, nbytes: int, data_nbytes: int) -> None:
    name, _, color = KINDS[kind]
    share = nbytes / data_nbytes
    write(ax, 0.95, y, name, 10, ha="right")
    box(ax, 1.05, y - 0.1, max(share * 1.1, 0.015), 0.2, color, linewidth=0)
    text = f"{share_text(nbytes, data_nbytes)} · {byte_count(nbytes)}"
    write(ax, 1.13 + share * 1.1, y, text, 10)


def _listing(ax: Axes, y: float, zoom: str, infos: Sequence[TensorInfo]) -> None:
    write(ax, 0.1, y, zoom.rstrip("."), 11.5, weight="bold")
    write(ax, WIDTH - 0.1, y, "on a scale of its own", 9, color=MUTED, ha="right")
    largest = max(info.nbytes for info in infos)
    for row, info in enumerate(infos):
        at = y + 0.3 + 0.46 * row
        name = info.name.removeprefix(zoom).removesuffix(".weight")
        write(ax, 0.1, at, shortened(name, 36), 9.5)
        width = max(info.nbytes / largest * 1.5, 0.012)
        box(ax, 0.1, at + 0.12, width, 0.16, KINDS[_kind(info.name)][2], linewidth=0)
        shape = " × ".join(f"{size:,}" for size in info.shape)
        write(ax, 0.18 + width, at + 0.2, f"{byte_count(info.nbytes)} · {shape}", 9)
