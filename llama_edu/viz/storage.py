"""How numbers are stored: the bits of a float, where a file's bytes go, what bytes give away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from matplotlib.axes import Axes

from llama_edu.checkpoint import Header, TensorInfo
from llama_edu.errors import InputError
from llama_edu.viz.figure import (
    INK,
    MUTED,
    PAPER,
    WIDTH,
    Picture,
    board,
    box,
    panel,
    picture,
    write,
)
from llama_edu.viz.labels import byte_count, shortened

__all__ = ["byte_histogram", "byte_offsets", "dtype_bits"]

SIGN, EXPONENT, MANTISSA = "#eab8d3", "#f5d58c", "#b3d9f2"
BIT = (WIDTH - 0.3) / 32  # inches


@dataclass(frozen=True)
class _Format:
    """An IEEE-like binary format: one sign bit, then exponent, then mantissa."""

    name: str
    dtype: np.dtype
    exponent: int
    mantissa: int
    note: str

    def bits(self, value: float) -> str:
        with np.errstate(over="ignore"):  # 70,000 is ∞ in float16, and the figure says so
            stored = np.array(value, dtype=np.float32).astype(self.dtype)
        size = self.dtype.itemsize
        return f"{int.from_bytes(stored.tobytes(), 'little'):0{8 * size}b}"

    def stored(self, value: float) -> float:
        return float(
            np.array(int(self.bits(value), 2), dtype=f"u{self.dtype.itemsize}").view(self.dtype)
        )


FORMATS = (
    _Format("float32", np.dtype(np.float32), 8, 23, ""),
    _Format("bfloat16", np.dtype(ml_dtypes.bfloat16), 8, 7, "the upper half of float32, rounded"),
    _Format("float16", np.dtype(np.float16), 5, 10, "finer steps, shorter reach (up to 65,504)"),
)


@picture
def dtype_bits(value: float) -> Picture:
    """Sign, exponent and mantissa of one number in float32, bfloat16 and float16.

    Under each row of bits stands what it is worth, and how far that is from `value`. Raises
    `InputError` for a value that is not finite.
    """
    value = float(value)
    if not np.isfinite(value):
        raise InputError(f"expected a finite number, got {value}")
    figure, ax = board(0.62 + 1.42 * len(FORMATS))
    x = 0.15
    for name, face in (("sign", SIGN), ("exponent", EXPONENT), ("mantissa", MANTISSA)):
        box(ax, x, 0.16, 0.2, 0.2, face, edgecolor=MUTED)
        write(ax, x + 0.28, 0.26, name, 10)
        x += 1.3
    parts = []
    for row, form in enumerate(FORMATS):
        _bits_row(ax, 0.62 + 1.42 * row, form, value)
        bits = form.bits(value)
        fields = f"{bits[0]} {bits[1 : 1 + form.exponent]} {bits[1 + form.exponent :]}"
        parts.append(f"{form.name} {fields}, which is {_worth(form, value)}")
    alt = f"The number {_short(value)} in bits, as sign, exponent, mantissa. {'; '.join(parts)}."
    caption = f"The number {_short(value)}, stored three ways."
    return Picture(figure, alt=alt, caption=caption)


def _bits_row(ax: Axes, y: float, form: _Format, value: float) -> None:
    write(ax, 0.15, y + 0.14, form.name, 11.5, weight="bold")
    sizes = f"1 + {form.exponent} + {form.mantissa} bits"
    note = f"{sizes}: {form.note}" if form.note else sizes
    write(ax, WIDTH - 0.15, y + 0.14, note, 9.5, color=MUTED, ha="right")
    for i, bit in enumerate(form.bits(value)):
        face = SIGN if i == 0 else EXPONENT if i <= form.exponent else MANTISSA
        box(ax, 0.15 + i * BIT, y + 0.32, BIT, 0.34, face, edgecolor=PAPER)
        mono = {"ha": "center", "family": "DejaVu Sans Mono"}
        write(ax, 0.15 + (i + 0.5) * BIT, y + 0.49, bit, 11, **mono)
    write(ax, 0.15, y + 0.85, f"= {_worth(form, value)}", 10)
    write(ax, 0.15, y + 1.06, _error(form, value), 9.5, color=MUTED)


def _worth(form: _Format, value: float) -> str:
    """The stored number as sign × power of two × mantissa."""
    bits, stored = form.bits(value), form.stored(value)
    sign = "−" if bits[0] == "1" else "+"
    exponent = int(bits[1 : 1 + form.exponent], 2)
    fraction = int(bits[1 + form.exponent :], 2) / 2**form.mantissa
    bias = 2 ** (form.exponent - 1) - 1
    if exponent == 2**form.exponent - 1:
        return f"{sign}∞: the exponent is all ones"
    if exponent == 0 and fraction == 0:
        return f"{sign}0: all bits are zero"
    whole, power = (1, exponent - bias) if exponent else (0, 1 - bias)
    return f"{sign} 2{_superscript(power)} × {whole + fraction:.9g} = {_short(stored)}"


def _error(form: _Format, value: float) -> str:
    bias = 2 ** (form.exponent - 1) - 1
    field = int(form.bits(value)[1 : 1 + form.exponent], 2)
    error = abs(form.stored(value) - value)
    if not np.isfinite(error):
        return "too large for this format"
    exponent = f"exponent {field} − {bias} = {_short(field - bias)}"
    if field == 0:  # a subnormal number, or zero
        exponent = f"exponent 0: the smallest power, 2{_superscript(1 - bias)}, and no leading 1"
    return f"{exponent};  {f'off by {_short(error, 2)}' if error else 'exactly the number'}"


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _short(value: float, digits: int = 9) -> str:
    return f"{value:.{digits}g}".replace("-", "−")


# Which part of the model a tensor belongs to, by its name; the colours are Okabe and Ito's, which
# stay apart for colour-blind eyes.
KINDS = (
    ("embedding", r"embed_tokens", "#e69f00"),
    ("attention", r"self_attn", "#56b4e9"),
    ("MLP", r"\.mlp\.", "#009e73"),
    ("norms", r"norm", "#4d4d4d"),
    ("lm_head", r"lm_head", "#cc79a7"),
    ("other", r"", "#b8bec5"),
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
    figure, ax = board(2.0 + 0.3 * len(shown) + 0.29 * len(listed))
    _ribbon(ax, 0.42, infos, header)
    for row, kind in enumerate(shown):
        _share(ax, 1.4 + 0.3 * row, kind, totals[kind], data_nbytes)
    _listing(ax, 1.62 + 0.3 * len(shown), zoom, listed)
    words = [f"{KINDS[k][0]} {totals[k]:,} ({_share_text(totals[k], data_nbytes)})" for k in shown]
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
    left, width = 0.15, WIDTH - 0.3
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


def _share_text(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 1 else "<1 %"


def _share(ax: Axes, y: float, kind: int, nbytes: int, data_nbytes: int) -> None:
    name, _, color = KINDS[kind]
    share = nbytes / data_nbytes
    write(ax, 0.95, y, name, 10, ha="right")
    box(ax, 1.05, y - 0.1, max(share * 2.9, 0.015), 0.2, color, linewidth=0)
    text = f"{_share_text(nbytes, data_nbytes)}  {byte_count(nbytes)}"
    write(ax, 1.13 + share * 2.9, y, text, 10)


def _listing(ax: Axes, y: float, zoom: str, infos: Sequence[TensorInfo]) -> None:
    write(ax, 0.15, y, zoom.rstrip("."), 11.5, weight="bold")
    largest = max(info.nbytes for info in infos)
    for row, info in enumerate(infos):
        at = y + 0.32 + 0.29 * row
        name = info.name.removeprefix(zoom).removesuffix(".weight")
        write(ax, 2.25, at, shortened(name, 25), 10, ha="right")
        width = max(info.nbytes / largest * 1.3, 0.012)
        box(ax, 2.35, at - 0.1, width, 0.2, KINDS[_kind(info.name)][2], linewidth=0)
        shape = " × ".join(f"{size:,}" for size in info.shape)
        write(ax, 2.42 + width, at, f"{byte_count(info.nbytes)}   {shape}", 9.5)


@picture
def byte_histogram(data: bytes | np.ndarray, itemsize: int) -> Picture:
    """How often each byte value stands at each position inside a number.

    Exponent bytes crowd on a few values, mantissa bytes spread evenly, and bytes that are always
    zero give away numbers stored wider than they are. Raises `InputError` unless `data` is a
    whole number of items.
    """
    flat = np.frombuffer(
        np.ascontiguousarray(data).tobytes() if isinstance(data, np.ndarray) else data,
        dtype=np.uint8,
    )
    if itemsize < 1 or flat.size == 0 or flat.size % itemsize:
        raise InputError(f"expected whole items of {itemsize} bytes, got {flat.size} bytes")
    items = flat.reshape(-1, itemsize)
    counts = np.stack([np.bincount(column, minlength=256) for column in items.T])
    shares = counts / len(items)
    safe = np.where(shares > 0, shares, 1.0)
    entropies = -(shares * np.log2(safe)).sum(axis=1) + 0.0
    figure, ax = board(0.55 + 0.95 * itemsize + 0.35)
    write(ax, 0.15, 0.2, f"bytes of {len(items):,} numbers, by position", 11.5, weight="bold")
    for position in range(itemsize):
        top = 0.5 + 0.95 * position
        here = panel(figure, 0.85, top, 3.3, 0.68)
        here.set_label(f"byte {position}")
        here.stairs(shares[position], np.arange(257) - 0.5, fill=True, color="#2f6fb0")
        here.set_xlim(-1, 256)
        here.set_yticks([])
        is_last = position == itemsize - 1
        here.set_xticks([0, 64, 128, 192, 255], ["00", "40", "80", "C0", "FF"] if is_last else [])
        write(ax, 0.75, top + 0.34, f"byte {position}", 10, ha="right")
        most = int(shares[position].argmax())
        words = f"{entropies[position]:.1f} of 8 bits\nof surprise; most\noften {most:02X}: "
        write(
            ax,
            4.3,
            top + 0.34,
            words + _share_text(int(counts[position, most]), len(items)),
            9.5,
            linespacing=1.35,
        )
    write(
        ax,
        0.85 + 3.3 / 2,
        0.5 + 0.95 * itemsize + 0.15,
        "value of the byte (hexadecimal)",
        9,
        ha="center",
        color=MUTED,
    )
    texts = [
        f"byte {i}: {entropies[i]:.1f} bits, most often {int(shares[i].argmax()):02X} "
        f"({_share_text(int(counts[i].max()), len(items))})"
        for i in range(itemsize)
    ]
    alt = (
        f"Histograms of the {itemsize} byte positions of {len(items):,} numbers, with the entropy "
        f"of each (8 bits would be even): {'; '.join(texts)}."
    )
    return Picture(figure, alt=alt, caption="What each byte of a number looks like over a tensor.")
