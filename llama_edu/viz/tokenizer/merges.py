"""How byte-pair encoding builds tokens out of bytes, drawn as a tree: bytes below, tokens above."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, MUTED, Picture, board, picture, rounded, write
from llama_edu.viz.parts.labels import shortened, token_label

__all__ = ["merge_tree"]

Pieces = Sequence[bytes]
Ranks = Mapping[tuple[bytes, bytes], int]

WIDTH = 3.4  # inches, as wide as a phone's page
LEFT, STEP, TOP = 0.72, 0.52, 0.6  # LEFT leaves room for the name of each step
MAX_BYTES, MAX_STEPS = 12, 12
LEAF, NODE, TOKEN = "#f3f5f7", "#fdeccb", "#d9eee3"


@picture
def merge_tree(states: Sequence[Pieces], ranks: Ranks | None = None) -> Picture:
    """The states of an encoding, first the bytes, last the tokens, as a tree.

    Each state is a row of pieces; the next one has neighbours of it joined. `ranks` adds the rank
    of each merge. Raises `InputError` for states of other bytes, for a piece made of more than
    two, and for more than 12 bytes or steps.
    """
    spans = [_spans(state) for state in states]
    _check(states, spans)
    steps = len(states) - 1
    figure, ax = board(TOP + STEP * (steps + 1) + 0.18, WIDTH)
    unit = (WIDTH - LEFT - 0.1) / spans[0][-1][1]
    level_of: dict[tuple[int, int], int] = {}
    words = []
    for level, (state, row) in enumerate(zip(states, spans, strict=True)):
        y = TOP + STEP * (steps - level) + 0.2
        new = [span for span in row if span not in level_of]
        joined = [_parts(span, spans[level - 1]) for span in new] if level else []
        for span, parts in zip(new, joined, strict=False):
            _branches(ax, span, parts, unit, y, [_y(level_of[part], steps) for part in parts])
        level_of |= dict.fromkeys(new, level)
        if level:
            pairs = [_pair(parts, spans[level - 1], states[level - 1]) for parts in joined]
            words.append(_step(ax, y, level, pairs, ranks))
        for span, piece in zip(row, state, strict=True):
            if span in new:
                _node(ax, span, piece, unit, y, _face(level, span in spans[-1]))
    write(ax, 0.08, _y(0, steps), "bytes", 9, color=MUTED)
    tokens = ", ".join(f"“{token_label(piece)}”" for piece in states[-1])
    note = f"tokens: {len(states[-1])},\nthe pieces with nothing above (green)"
    write(ax, 0.08, 0.24, note, 9, color=MUTED, linespacing=1.3)
    alt = (
        f"{len(states[0])} bytes: {' '.join(map(token_label, states[0]))}. {' '.join(words)} "
        f"Tokens that remain: {tokens}."
    )
    return Picture(figure, alt=alt, caption="Merges from the bytes, below, to the tokens.")


def _spans(state: Pieces) -> list[tuple[int, int]]:
    """Where each piece begins and ends, in bytes."""
    ends, at = [], 0
    for piece in state:
        ends.append((at, at + len(piece)))
        at += len(piece)
    return ends


def _check(states: Sequence[Pieces], spans: list[list[tuple[int, int]]]) -> None:
    if not states or not states[0] or any(len(piece) != 1 for piece in states[0]):
        raise InputError(f"expected states that begin with single bytes, got {list(states)[:1]}")
    if len(states[0]) > MAX_BYTES or len(states) - 1 > MAX_STEPS:
        raise InputError(
            f"expected at most {MAX_BYTES} bytes and {MAX_STEPS} steps, "
            f"got {len(states[0])} and {len(states) - 1}"
        )
    for before, after, old, new in zip(states, states[1:], spans, spans[1:], strict=False):
        joins = all(len(_parts(span, old)) in (1, 2) for span in new)
        if b"".join(before) != b"".join(after) or not joins or len(after) >= len(before):
            raise InputError(f"expected {list(before)} with neighbours joined, got {list(after)}")


def _parts(span: tuple[int, int], row: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pieces of the row that make up the span; none if they do not add up to it."""
    inside = [part for part in row if span[0] <= part[0] and part[1] <= span[1]]
    return inside if sum(end - start for start, end in inside) == span[1] - span[0] else []


def _pair(
    parts: list[tuple[int, int]], row: list[tuple[int, int]], state: Pieces
) -> tuple[bytes, bytes]:
    pieces = dict(zip(row, state, strict=True))
    return pieces[parts[0]], pieces[parts[1]]


def _y(level: int, steps: int) -> float:
    return TOP + STEP * (steps - level) + 0.2


def _face(level: int, is_token: bool) -> str:
    return TOKEN if is_token else NODE if level else LEAF


def _step(
    ax: Axes, y: float, level: int, pairs: list[tuple[bytes, bytes]], ranks: Ranks | None
) -> str:
    """The step's name on the left; the same in words."""
    rank = "" if ranks is None else f", rank {ranks[pairs[0]]}"
    label = f"step {level}" if ranks is None else f"rank {ranks[pairs[0]]}"
    write(ax, 0.08, y, label, 8, color=MUTED)
    one, two = (f"“{token_label(piece)}”" for piece in pairs[0])
    times = f" ({len(pairs)} times)" if len(pairs) > 1 else ""
    return f"Merge {level}{rank}: {one} and {two}{times}."


def _branches(
    ax: Axes,
    span: tuple[int, int],
    parts: list[tuple[int, int]],
    unit: float,
    y: float,
    below: list[float],
) -> None:
    for part, end in zip(parts, below, strict=True):
        xs = [LEFT + unit * (span[0] + span[1]) / 2, LEFT + unit * (part[0] + part[1]) / 2]
        ax.plot(xs, [y, end], color=axis("vocab_size").color, lw=1.4, zorder=0)


def _node(ax: Axes, span: tuple[int, int], piece: bytes, unit: float, y: float, face: str) -> None:
    label = shortened(token_label(piece), 12)
    middle = LEFT + unit * (span[0] + span[1]) / 2
    width = max(0.2, 0.085 * len(label) + 0.1)
    style = {"facecolor": face, "edgecolor": FAINT, "linewidth": 0.8}
    rounded(ax, middle - width / 2, y - 0.14, width, 0.28, **style)
    write(ax, middle, y, label, 9, ha="center")
