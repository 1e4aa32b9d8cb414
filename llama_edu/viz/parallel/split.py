"""Whose part is what: the matrices of a layer, cut by rows and by columns."""

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.parallel.shards import tensor_config
from llama_edu.viz.parts.figure import INK, MUTED, PAPER, Picture, board, box, picture, write

__all__ = ["RANKS", "layer_split"]

# Colours and patterns of the ranks, told apart without colour by pattern and number.
RANKS = (("#0b6b8f", ""), ("#a0620c", "//"), ("#7a4fa3", ".."), ("#3f7d3f", "xx"))
WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
UNIT = 0.86  # inches of hidden_size
BORDER = 4.4  # points: a KV group ends here, and a hatched part has lines of its own
LEFT, GAP = 0.48, 0.12  # inches: the numbers of rows stand left of the first matrix
ROOM = 0.3  # inches that a number or "group 0" needs beside the next


@picture
def layer_split(config: LlamaConfig, size: int) -> Picture:
    """The matrices of one layer, (out_features, in_features), cut for `size` ranks.

    A wide gap inside q, k, v and o is the border of a KV group, and every cut lies on one. Numbers
    at the edges count rows and columns, up to each cut.
    Sizes that do not divide are filled up, as `tensor_config` says. Raises `InputError` as it does,
    and for more ranks than there are colours.
    """
    if size > len(RANKS):
        raise InputError(f"expected at most {len(RANKS)} ranks, got {size}")
    share = tensor_config(config, size, pad=True)
    groups = share.num_key_value_heads * size
    per_q = config.n_groups * config.head_dim
    rows = {
        "q_proj": (groups * per_q, groups),
        "k_proj": (groups * config.head_dim, groups),
        "v_proj": (groups * config.head_dim, groups),
    }
    scale = UNIT / config.hidden_size
    wide = share.intermediate_size * size
    inter = min(1.9, wide * scale)  # a wide MLP is drawn narrower, or the rest would vanish
    tall = max(rows["q_proj"][0] * scale, 0.5)
    figure, ax = board(1.3 + tall + 0.55 + inter + 0.2, WIDTH)
    _key(ax, size)
    x = LEFT
    for name, (count, borders) in rows.items():
        height = max(count * scale, 0.32)
        _matrix(ax, (x, 0.95), (UNIT, height), name, size)
        for i in range(1, borders):
            y = 0.95 + height * i / borders
            ax.plot([x, x + UNIT], [y, y], color=PAPER, lw=BORDER, solid_capstyle="butt")
        x += UNIT + GAP
    _matrix(ax, (x, 0.95), (tall, UNIT), "o_proj", size, by_columns=True)
    for i in range(1, groups):
        border = x + tall * i / groups
        ax.plot([border] * 2, [0.95, 0.95 + UNIT], color=PAPER, lw=BORDER, solid_capstyle="butt")
    for i in range(groups):
        at = (i + 0.5) / groups
        ground = RANKS[i // share.num_key_value_heads][0]
        height = rows["q_proj"][0] * scale
        _group(ax, LEFT + UNIT / 2, 0.95 + height * at, f"group {i}", height / groups, ground)
        _group(ax, x + tall * at, 0.95 + UNIT / 2, str(i), tall / groups, ground)
    of_q = [groups * per_q * i // size for i in range(size + 1)]
    of_mlp = [wide * i // size for i in range(size + 1)]
    _count_rows(ax, 0.95, rows["q_proj"][0] * scale, of_q)
    _count_columns(ax, (x, 0.95 + UNIT), tall, of_q)
    top = 1.3 + tall + 0.45
    for i, name in enumerate(("gate_proj", "up_proj")):
        _matrix(ax, (LEFT + i * (UNIT + GAP), top), (UNIT, inter), name, size)
    x = LEFT + 2 * (UNIT + GAP)
    _matrix(ax, (x, top), (inter, UNIT), "down_proj", size, by_columns=True)
    _count_rows(ax, top, inter, of_mlp)
    _count_columns(ax, (x, top + UNIT), inter, of_mlp)
    alt, caption = _told(config, share, size, of_q)
    return Picture(figure, alt=alt, caption=caption)


def _told(config: LlamaConfig, share: LlamaConfig, size: int, of_q: list[int]) -> tuple[str, str]:
    """The figure in words, and its caption."""
    groups, wide = share.num_key_value_heads * size, share.intermediate_size * size
    padding = groups - config.num_key_value_heads
    filled = f"; {padding} of {groups} groups are zeros" if padding else ""
    alt = (
        f"One layer on {size} ranks. By rows: q_proj, k_proj and v_proj, "
        f"{share.num_key_value_heads} of {groups} KV groups a rank, gate_proj and up_proj, "
        f"{share.intermediate_size} of {wide} rows a rank. By columns: o_proj and down_proj, the "
        f"same groups and the same numbers{filled}. Rows of q_proj and columns of o_proj, up to "
        f"each cut: {', '.join(map(str, of_q))}. Wide gaps are borders of KV groups."
    )
    caption = (
        f"Rows for what comes out, columns for what goes in: a layer on {size} ranks. Wide gaps "
        f"are borders of KV groups, which the MLP does not have{filled}. The numbers count rows "
        f"and columns."
    )
    return alt, caption


def _key(ax: Axes, size: int) -> None:
    for rank in range(size):
        color, hatch = RANKS[rank]
        x = 0.2 + 1.05 * rank
        box(ax, x, 0.14, 0.2, 0.2, color, hatch=hatch, edgecolor=PAPER)
        write(ax, x + 0.27, 0.24, f"rank {rank}", SIZE, color=INK)


def _group(ax: Axes, x: float, y: float, text: str, room: float, ground: str) -> None:
    """The number of a KV group in the middle of its part, where there is room for it."""
    if room < SIZE / 72:
        return
    around = [withStroke(linewidth=3, foreground=ground)]  # or a pattern would cross the letters
    write(ax, x, y, text, SIZE, ha="center", va="center_baseline", color=PAPER, path_effects=around)


def _count_rows(ax: Axes, y: float, height: float, counts: list[int]) -> None:
    for i, count in enumerate(counts):
        at = y + height * i / (len(counts) - 1)
        write(ax, LEFT - 0.06, at, f"{count}", SIZE, ha="right", color=MUTED)


def _count_columns(ax: Axes, at: tuple[float, float], width: float, counts: list[int]) -> None:
    """Numbers below the first edge and the last, and below the cuts where they have room."""
    last = len(counts) - 1
    for i, count in enumerate(counts):
        if i not in (0, last) and width / last < ROOM:
            continue
        side = "left" if i == 0 else "right" if i == last else "center"
        write(ax, at[0] + width * i / last, at[1] + 0.12, f"{count}", SIZE, ha=side, color=MUTED)


def _matrix(
    ax: Axes,
    at: tuple[float, float],
    extent: tuple[float, float],
    name: str,
    size: int,
    *,
    by_columns: bool = False,
) -> None:
    """One matrix, cut in `size` equal parts, its name above it."""
    (x, y), (width, height) = at, extent
    write(ax, x, y - 0.15, name, SIZE, color=MUTED)
    for rank in range(size):
        color, hatch = RANKS[rank]
        if by_columns:
            part = (x + width * rank / size, y, width / size, height)
        else:
            part = (x, y + height * rank / size, width, height / size)
        box(ax, *part, color, hatch=hatch, edgecolor=PAPER)
