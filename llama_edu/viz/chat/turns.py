"""Conversations: what each turn reused, computed and dropped, and where a prefix breaks.

The counts are the usage of a `ChatSession`'s turns, the times from a clock; the last figure
compares ids itself.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llama_edu.chat.usage import TurnUsage
from llama_edu.engine.prefix_cache import common_length
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    Number,
    Picture,
    board,
    box,
    picture,
    write,
)
from llama_edu.viz.parts.labels import TokenBytes, shortened, token_labels

__all__ = ["first_token_time", "first_token_work", "prefix_break", "turn_timeline"]

COMPUTED = axis("seq").color
REUSED = "#dbe9f1"
GENERATED = axis("head_dim").color
MAX_TURNS = 12
WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
LEFT = 0.76  # inches, after the name of the turn
ROW = 0.56
TURN_ROW = 0.66  # of a timeline, with room for two lines of words below a bar
LETTER = 0.084  # inches, of a monospaced letter of 10 points; others are narrower
LINE = 0.29  # of token boxes
EDGE, GAP = 0.06, 0.04  # around them, and between them


@picture
def turn_timeline(usages: Sequence[TurnUsage], names: Sequence[str] | None = None) -> Picture:
    """One bar per turn: the prompt, reused and computed, then the reply. Below it, what was lost.

    `names` stand before the bars in place of "turn 1", "turn 2" and so on. Raises `InputError`
    without a turn, for more than 12, or for more or fewer names.
    """
    _check_turns(usages)
    names = [f"turn {n}" for n in range(1, len(usages) + 1)] if names is None else names
    if len(names) != len(usages):
        raise InputError(f"expected a name for each of {len(usages)} turns, got {len(names)}")
    longest = max(max(t.prompt_tokens + t.generated, t.reused + t.dropped) for t in usages)
    scale = (WIDTH - LEFT - 0.2) / longest
    figure, ax = board(len(usages) * TURN_ROW + 0.95, WIDTH)
    _legend(ax, 0.22)
    for row, (name, turn) in enumerate(zip(names, usages, strict=True)):
        _turn_bar(ax, 0.62 + row * TURN_ROW, name, turn, scale)
    _ruler(ax, 0.62 + len(usages) * TURN_ROW, longest, scale)
    computed = sum(turn.computed for turn in usages)
    prompts = sum(turn.prompt_tokens for turn in usages)
    pairs = zip(names, usages, strict=True)
    alt = " ".join(f"{name.capitalize()}: {turn.in_words()}." for name, turn in pairs)
    alt += f" In all, {computed} of {prompts} prompt tokens were computed."
    caption = (
        f"Of {prompts} prompt tokens {computed} were computed and {prompts - computed} reused."
    )
    return Picture(figure, alt=alt, caption=caption)


def _check_turns(turns: Sequence[object]) -> None:
    if not 1 <= len(turns) <= MAX_TURNS:
        raise InputError(f"expected 1 to {MAX_TURNS} turns to draw, got {len(turns)}")


def _legend(ax: Axes, y: float) -> None:
    entries = (("reused", REUSED), ("computed", COMPUTED), ("generated", GENERATED))
    for x, (words, face) in zip((0.1, 0.94, 2.02), entries, strict=True):
        box(ax, x, y - 0.08, 0.16, 0.16, face, edgecolor=MUTED)
        write(ax, x + 0.21, y, words, 10)
    _dropped_mark(ax, 3.16, 3.36, y)
    write(ax, 3.44, y, "dropped", 10)


def _turn_bar(ax: Axes, y: float, name: str, turn: TurnUsage, scale: float) -> None:
    write(ax, LEFT - 0.1, y + 0.1, shortened(name, 7), 10, ha="right", color=MUTED)
    x = LEFT
    parts = ((turn.reused, REUSED), (turn.computed, COMPUTED), (turn.generated, GENERATED))
    for count, face in parts:
        width = count * scale
        if count:
            box(ax, x, y, width, 0.2, face, edgecolor=PAPER)
        if width > 0.05 + LETTER * len(str(count)):
            ink = INK if face == REUSED else PAPER
            write(ax, x + width / 2, y + 0.1, str(count), 10, ha="center", color=ink)
        x += width
    if turn.dropped:
        start = LEFT + turn.reused * scale
        end = start + turn.dropped * scale
        _dropped_mark(ax, start, end, y + 0.29)
        words = f"{turn.dropped} dropped: {turn.reason}"
        if turn.forgotten:
            words += f", {turn.forgotten} left out"
        beside = end + 0.1 + LETTER * len(words) < WIDTH
        place, side = (end + 0.08, "left") if beside else (WIDTH - 0.05, "right")
        write(ax, place, y + (0.29 if beside else 0.42), words, 10, ha=side, color=MUTED)


def _dropped_mark(ax: Axes, start: float, end: float, y: float) -> None:
    ax.plot([start, end], [y, y], color=axis("n_kv_heads").color, lw=2.2, ls=(0, (1.2, 0.8)))


def _ruler(ax: Axes, y: float, longest: int, scale: float) -> None:
    step = next(s for s in (5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10**9) if longest / s <= 6)
    for tokens in range(0, longest + 1, step):
        x = LEFT + tokens * scale
        ax.plot([x, x], [y, y + 0.05], color=MUTED, lw=0.8)
        if x < WIDTH - 0.15:
            write(ax, x, y + 0.16, str(tokens), 10, ha="center", color=MUTED)
    write(ax, LEFT - 0.1, y + 0.16, "tokens", 10, ha="right", color=MUTED)


@picture
def first_token_work(usages: Sequence[TurnUsage]) -> Picture:
    """Positions that run before the first token of each reply: with the kept cache, and without.

    Without one, a prompt runs whole. Raises `InputError` without a turn, or for more than 12.
    """
    _check_turns(usages)
    kept, whole = (
        [turn.computed for turn in usages],
        [turn.prompt_tokens for turn in usages],
    )
    figure = _pairs(whole, kept, "positions that run before the reply begins", str)
    alt = (
        f"Positions that run before each reply begins, over {len(usages)} turns. Read again from "
        f"the start: {_listed(whole)}, together {sum(whole)}. With the cache kept: "
        f"{_listed(kept)}, together {sum(kept)}."
    )
    caption = f"Before the first token: {sum(whole)} positions in all, or {sum(kept)} with a cache."
    return Picture(figure, alt=alt, caption=caption)


@picture
def first_token_time(kept_ms: Sequence[Number], anew_ms: Sequence[Number]) -> Picture:
    """Milliseconds until the first token of each reply: with the kept cache, and read anew.

    Both were measured, turn by turn. Raises `InputError` without a turn, for more than 12, for two
    lists of different lengths, and for a time that is not above 0.
    """
    _check_turns(kept_ms)
    kept, anew = [float(ms) for ms in kept_ms], [float(ms) for ms in anew_ms]
    if len(kept) != len(anew) or not all(0 < ms < math.inf for ms in kept + anew):
        raise InputError(f"expected two times above 0 for each turn, got {kept} and {anew}")
    figure = _pairs(anew, kept, "milliseconds until the reply begins", _shown_ms)
    times = anew[-1] / kept[-1]
    alt = (
        f"Milliseconds until each reply begins, over {len(kept)} turns. Read again from the start: "
        f"{', '.join(map(_shown_ms, anew))}. With the cache kept: "
        f"{', '.join(map(_shown_ms, kept))}. In the last turn the kept cache is {times:.1f} times "
        "as fast."
    )
    caption = (
        f"Until the last reply begins: {_shown_ms(anew[-1])} ms, or {_shown_ms(kept[-1])} ms with "
        "the cache kept."
    )
    return Picture(figure, alt=alt, caption=caption)


def _pairs(
    whole: Sequence[Number], kept: Sequence[Number], words: str, shown: Callable[[Any], str]
) -> Figure:
    """Two bars for each turn: read from the start, and with the cache kept."""
    longest = max(*whole, *kept)
    figure, ax = board(len(whole) * ROW + 0.85, WIDTH)
    scale = (WIDTH - LEFT - 0.55) / longest
    for x, label, face in ((LEFT, "cache kept", COMPUTED), (2.1, "read from the start", PAPER)):
        box(ax, x, 0.14, 0.16, 0.16, face, edgecolor=MUTED)
        write(ax, x + 0.23, 0.22, label, 10)
    for number, (anew, cached) in enumerate(zip(whole, kept, strict=True), 1):
        y = 0.55 + (number - 1) * ROW
        write(ax, LEFT - 0.1, y + 0.16, f"turn {number}", 10, ha="right", color=MUTED)
        for shift, count, face in ((0.0, anew, PAPER), (0.2, cached, COMPUTED)):
            box(ax, LEFT, y + shift, count * scale, 0.15, face, edgecolor=MUTED)
            write(ax, LEFT + count * scale + 0.06, y + shift + 0.075, shown(count), 10)
    write(ax, LEFT, 0.62 + len(whole) * ROW, words, 10, color=MUTED)
    return figure


def _shown_ms(ms: Number) -> str:
    return f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))


@picture
def prefix_break(
    tokenizer: TokenBytes, cached_ids: Sequence[int], prompt_ids: Sequence[int]
) -> Picture:
    """What is cached above the next prompt, token by token: the same up to the first that differs.

    The last id of the prompt always runs, since its logits are not cached. Raises `InputError` for
    an empty prompt.
    """
    if not prompt_ids:
        raise InputError("expected a prompt of at least one token, got none")
    same = common_length(cached_ids, prompt_ids)
    reused = min(same, len(prompt_ids) - 1)
    cached, prompt = (token_labels(tokenizer, ids) for ids in (cached_ids, prompt_ids))
    rows = [list(_lines(labels)) for labels in (cached, prompt)]
    heights = [len(lines) * LINE for lines in rows]
    figure, ax = board(sum(heights) + 1.15, WIDTH)
    dropped, computed = len(cached) - reused, len(prompt) - reused
    titles = (
        f"in the cache: {len(cached)} tokens, {dropped} dropped",
        f"the next prompt: {len(prompt)} tokens, {computed} computed",
    )
    y = 0.45
    for title, lines, height, new in zip(titles, rows, heights, (False, True), strict=True):
        write(ax, EDGE, y - 0.2, title, 10.5, weight="bold")
        _token_boxes(ax, y, lines, reused, new=new)
        y += height + 0.5
    return Picture(
        figure,
        alt=_break_alt(cached, prompt, same, reused),
        caption=f"The first {reused} tokens are reused; the other {computed} have to be computed.",
    )


def _lines(labels: Sequence[str]) -> Iterator[list[tuple[int, float, float, str]]]:
    """(index, x, width, label) of each token, in lines that fit the page."""
    line: list[tuple[int, float, float, str]] = []
    x = EDGE
    for index, label in enumerate(labels):
        text = shortened(label, 14)
        width = 0.08 + LETTER * len(text)
        if line and x + width > WIDTH - EDGE:
            yield line
            line, x = [], EDGE
        line.append((index, x, width, text))
        x += width + GAP
    if line:
        yield line


def _token_boxes(
    ax: Axes,
    y: float,
    lines: list[list[tuple[int, float, float, str]]],
    reused: int,
    *,
    new: bool,
) -> None:
    for number, line in enumerate(lines):
        top = y + number * LINE
        for index, x, width, text in line:
            fresh = index >= reused
            face = REUSED if not fresh else COMPUTED if new else PAPER
            ink = PAPER if fresh and new else MUTED if fresh else INK
            box(ax, x, top, width, 0.22, face, edgecolor=FAINT)
            style = {"ha": "center", "color": ink, "family": "DejaVu Sans Mono"}
            write(ax, x + width / 2, top + 0.11, text, 10, **style)
            if fresh and not new:
                ax.plot([x, x + width], [top + 0.11] * 2, color=axis("n_kv_heads").color, lw=1.2)


def _break_alt(cached: Sequence[str], prompt: Sequence[str], same: int, reused: int) -> str:
    words = (
        f"{len(cached)} tokens are cached, the next prompt has {len(prompt)}. "
        f"The first {same} are the same. "
    )
    if same < min(len(cached), len(prompt)):
        words += f"Then {cached[same]} meets {prompt[same]}. "
    elif same == len(prompt):
        words += "That is the whole prompt, and its last token runs again for its logits. "
    words += f"{reused} are reused, {len(prompt) - reused} computed"
    return words + f", {len(cached) - reused} dropped."
