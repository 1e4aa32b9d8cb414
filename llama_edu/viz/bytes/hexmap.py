"""A safetensors file, byte by byte: the header's length, the JSON, the first numbers.

Eight bytes to a row, so that the length fills the first row exactly. Offsets count from the start
of the file. Only the bytes shown are read.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.formats.precision import DTYPES
from llama_edu.formats.safetensors import Header, TensorInfo, read_header
from llama_edu.viz.parts.figure import MUTED, PAPER, Picture, board, box, picture, write
from llama_edu.viz.parts.labels import shortened
from llama_edu.viz.parts.numerals import short

__all__ = ["hex_map"]

PER_ROW = 8
WIDTH = 3.4  # inches, as wide as a phone's page: nothing has to scroll
CELL, ROW = 0.33, 0.5
LEFT = 0.7
LENGTH, JSON, DATA = ("#fde6bd", "#e2ebfb", "#dcf1e5")  # the three regions of the file
EDGES = {LENGTH: "#b97a00", JSON: "#4a73b8", DATA: "#2c8a5b"}


@picture
def hex_map(
    source: str | os.PathLike[str] | bytes,
    header: Header | None = None,
    *,
    json_rows: int = 3,
    tensor_rows: int = 2,
    tensors: int = 2,
) -> Picture:
    """The first bytes of each region of a real file, with what they mean underneath.

    `source` is a path or the file's bytes; `header` saves reading it again. Shows `json_rows` rows
    of the JSON and `tensor_rows` rows of each of the first `tensors` tensors. Raises
    `CheckpointError` for a file that is not in the format, `InputError` for negative counts.
    """
    if min(json_rows, tensor_rows, tensors) < 0:
        raise InputError(
            f"expected counts of rows ≥ 0, got {json_rows}, {tensor_rows} and {tensors}"
        )
    header = read_header(source) if header is None else header
    shown = [info for info in header.tensors.values() if info.nbytes][:tensors]
    json_bytes = _read(source, PER_ROW, min(header.header_nbytes, json_rows * PER_ROW))
    pieces = [
        _read(source, header.data_start + i.start, min(i.nbytes, tensor_rows * PER_ROW))
        for i in shown
    ]
    rows = 1 + sum(-(-len(piece) // PER_ROW) for piece in (json_bytes, *pieces))
    figure, ax = board(rows * ROW + 2.68 + 0.94 * len(shown), WIDTH)
    y = _length_block(ax, 0.1, _read(source, 0, PER_ROW), header)
    y = _json_block(ax, y, json_bytes, header)
    note = f"from byte {header.data_start:,}: one tensor after the other"
    y = _heading(ax, y, "③", "data", note)
    for info, piece in zip(shown, pieces, strict=True):
        y = _tensor_block(ax, y, info, piece, header)
    values = [
        f"{info.name} ({info.dtype}) starts with {_texts(info, piece)[0]}"
        for info, piece in zip(shown, pieces, strict=True)
        if piece
    ]
    alt = (
        f"Bytes of a safetensors file of {header.file_nbytes:,} bytes. Bytes 0 to 7, "
        f"{_hex(_read(source, 0, PER_ROW))}, are the header's length, little-endian: "
        f"{header.header_nbytes:,}. Bytes 8 to {header.data_start - 1:,} are JSON. Data begins at "
        f"byte {header.data_start:,}" + (": " + "; ".join(values) if values else "") + "."
    )
    caption = "A checkpoint is one number, one JSON object, and then numbers without a gap."
    return Picture(figure, alt=alt, caption=caption)


def _read(source: str | os.PathLike[str] | bytes, start: int, count: int) -> bytes:
    if isinstance(source, bytes):
        return source[start : start + count]
    with Path(source).open("rb") as file:
        file.seek(start)
        return file.read(count)


def _hex(data: bytes) -> str:
    return data.hex(" ")


def _heading(ax: Axes, y: float, number: str, title: str, note: str) -> float:
    write(ax, 0.08, y + 0.17, f"{number} {title}", 11.5, weight="bold")
    write(ax, 0.08, y + 0.37, note, 8, color=MUTED)
    return y + 0.52


def _bytes_row(ax: Axes, y: float, offset: int, data: bytes, face: str, notes: list[str]) -> None:
    """One row: the offset, a cell per byte, a note under each."""
    write(ax, LEFT - 0.05, y + 0.22, f"{offset:,}", 8, ha="right", color=MUTED)
    for i, byte in enumerate(data):
        x = LEFT + i * CELL
        box(ax, x, y, CELL, ROW - 0.06, face, edgecolor=EDGES[face])
        mono = {"ha": "center", "family": "DejaVu Sans Mono"}
        write(ax, x + CELL / 2, y + 0.14, f"{byte:02x}", 11, weight="bold", **mono)
        if notes[i]:
            write(ax, x + CELL / 2, y + 0.34, notes[i], 8, color=MUTED, ha="center")


def _length_block(ax: Axes, y: float, data: bytes, header: Header) -> float:
    note = "8 bytes, little-endian: least significant first"
    y = _heading(ax, y, "①", "length", note)
    worth = ["×1", "256", *(f"256{'⁰¹²³⁴⁵⁶⁷'[i]}" for i in range(2, PER_ROW))]
    _bytes_row(ax, y, 0, data, LENGTH, worth)
    y += ROW
    factors = {i: f" × {256**i:,}" if i else "" for i, byte in enumerate(data) if byte}
    digits = " + ".join(f"0x{data[i]:02x}{factor}" for i, factor in factors.items())
    terms = " + ".join(f"{data[i]}{factor}" for i, factor in factors.items())
    total = f"{digits}\n= {terms} = {header.header_nbytes:,}"
    write(
        ax, 0.08, y + 0.31, total, 9 if max(map(len, total.split("\n"))) < 40 else 8, weight="bold"
    )
    return y + 0.6


def _json_block(ax: Axes, y: float, data: bytes, header: Header) -> float:
    note = f"bytes 8 to {header.data_start - 1:,}: name, dtype, shape, offsets"
    y = _heading(ax, y, "②", "header, JSON", note)
    for start in range(0, len(data), PER_ROW):
        part = data[start : start + PER_ROW]
        _bytes_row(ax, y, PER_ROW + start, part, JSON, [_character(byte) for byte in part])
        y += ROW
    rest = header.header_nbytes - len(data)
    if rest:
        write(ax, LEFT, y + 0.12, f"⋮ {rest:,} more bytes of JSON", 9, color=MUTED)
    return y + 0.38


def _character(byte: int) -> str:
    char = chr(byte)
    return ("·" if char == " " else char) if 32 <= byte < 127 else ""


def _tensor_block(ax: Axes, y: float, info: TensorInfo, data: bytes, header: Header) -> float:
    size = DTYPES[info.dtype].itemsize
    shape = " × ".join(f"{n:,}" for n in info.shape) or "one number"
    write(ax, 0.08, y + 0.12, shortened(info.name, 40), 9, weight="bold")
    note = f"{info.dtype}, {shape}, {size} bytes each"
    write(ax, 0.08, y + 0.32, note, 8, color=MUTED)
    y += 0.47
    texts = _texts(info, data)
    for start in range(0, len(data), PER_ROW):
        part = data[start : start + PER_ROW]
        _bytes_row(ax, y, header.data_start + info.start + start, part, DATA, [""] * len(part))
        for i in range(0, len(part) - size + 1, size):  # the number under its bytes
            x, width = LEFT + i * CELL, size * CELL
            box(ax, x, y + 0.25, width, ROW - 0.31, PAPER, edgecolor=EDGES[DATA])
            text = texts[(start + i) // size]
            write(ax, x + width / 2, y + 0.345, text, 8, ha="center")
        y += ROW
    rest = info.nbytes - len(data)
    if rest:
        write(ax, LEFT, y + 0.1, f"⋮ {rest:,} more bytes", 9, color=MUTED)
    return y + 0.32


def _texts(info: TensorInfo, data: bytes) -> list[str]:
    """The numbers the bytes stand for, to four digits."""
    dtype = DTYPES[info.dtype]
    whole = data[: len(data) // dtype.itemsize * dtype.itemsize]
    values = np.frombuffer(whole, dtype=dtype)
    if dtype.kind in "iub":
        return [str(value) for value in values]
    return [short(float(value), 4) for value in values]
