"""What the bytes of a tensor give away about how its numbers are stored."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llama_edu.errors import InputError
from llama_edu.viz.bytes.filemap import share_text
from llama_edu.viz.parts.figure import MUTED, Picture, board, panel, picture, write

__all__ = ["byte_histogram"]

LEFT, TOP, STEP, WIDTH = 0.15, 0.62, 1.2, 3.1  # inches; as wide as a phone's page
FILL = "#2f6fb0"


@picture
def byte_histogram(data: bytes | np.ndarray, itemsize: int) -> Picture:
    """How often each byte value stands at each position inside a number.

    Exponent bytes crowd on a few values, mantissa bytes spread evenly, and bytes that are always
    zero give away numbers stored wider than they are. Raises `InputError` unless `data` is a
    whole number of items.
    """
    raw = np.ascontiguousarray(data).tobytes() if isinstance(data, np.ndarray) else data
    flat = np.frombuffer(raw, dtype=np.uint8)
    if itemsize < 1 or flat.size == 0 or flat.size % itemsize:
        raise InputError(f"expected whole items of {itemsize} bytes, got {flat.size} bytes")
    items = flat.reshape(-1, itemsize)
    counts = np.stack([np.bincount(column, minlength=256) for column in items.T])
    figure, ax = board(TOP + STEP * itemsize + 0.3, 3.4)
    write(
        ax, 0.15, 0.2, f"{len(items):,} groups of {itemsize} bytes, by position", 9, weight="bold"
    )
    texts = []
    for position in range(itemsize):
        bits, most, share = _summary(counts[position])
        _one_position(figure, ax, position, counts[position], (bits, most, share))
        texts.append(f"byte {position}: {bits} bits, most often {most} ({share})")
    y = TOP + STEP * itemsize + 0.08
    words = "value of the byte (hexadecimal)"
    write(ax, LEFT + WIDTH / 2, y, words, 9, ha="center", color=MUTED)
    alt = (
        f"Histograms of the {itemsize} byte positions in {len(items):,} groups, with the entropy "
        f"of each (8 bits would be even): {'; '.join(texts)}."
    )
    return Picture(figure, alt=alt, caption="What each byte of a number looks like over a tensor.")


def _summary(counts: np.ndarray) -> tuple[str, str, str]:
    """Entropy in bits, the commonest value in hexadecimal, and its share."""
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * np.log2(shares)).sum()) + 0.0
    most = int(counts.argmax())
    return f"{entropy:.1f}", f"{most:02x}", share_text(int(counts[most]), int(counts.sum()))


def _one_position(
    figure: Figure, ax: Axes, position: int, counts: np.ndarray, summary: tuple[str, str, str]
) -> None:
    top = TOP + STEP * position
    here = panel(figure, LEFT, top, WIDTH, 0.68)
    here.set_label(f"byte {position}")
    here.stairs(counts, np.arange(257, dtype=np.float64) - 0.5, fill=True, color=FILL)
    here.set_xlim(-1, 256)
    here.set_yticks([])
    here.set_xticks([0, 64, 128, 192, 255], ["00", "40", "80", "C0", "FF"])
    here.tick_params(labelsize=8)
    write(ax, LEFT, top - 0.14, f"byte {position}", 8.5, weight="bold")
    words = "surprise {} of 8 bits; most {}: {}".format(*summary)
    write(ax, LEFT + WIDTH, top - 0.14, words, 8, ha="right")
