"""The figures of a conversation: turns, first tokens, and the place where a prefix breaks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from picture_checks import CHECKS, drawn, shown_texts

from llama_edu import Tokenizer, viz
from llama_edu.chat.usage import CacheMissReason, TurnUsage
from llama_edu.errors import InputError
from llama_edu.viz.chat.turns import EDGE, GAP, LEFT, LETTER, WIDTH
from llama_edu.viz.parts.labels import shortened, token_labels

TURNS = [
    TurnUsage(26, 0, 26, 8),
    TurnUsage(49, 33, 16, 11),
    TurnUsage(74, 59, 15, 6),
    TurnUsage(49, 42, 7, 11, dropped=37, reason=CacheMissReason.EDITED),
    TurnUsage(49, 48, 1, 11, dropped=11, reason=CacheMissReason.REGENERATED),
]
FULL = [
    *(TurnUsage(100 * n + 20, 100 * n - 40 * bool(n), 20 + 40 * bool(n), 38)
      for n in range(8)),
    TurnUsage(420, 60, 360, 40, dropped=700, reason=CacheMissReason.OVERFLOW, forgotten=4),
    TurnUsage(440, 0, 440, 40, dropped=459, reason=CacheMissReason.RERENDERED, forgotten=4),
]  # fmt: skip


KEPT_MS = [3.25, 1.6, 1.72, 1.81, 1.9, 2.04]
ANEW_MS = [3.3, 5.9, 9.1, 13.4, 17.8, 124.6]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained("chat")


def ids(text: str) -> list[int]:
    return tokenizer().encode(text, parse_special=True)


BEFORE = ids("<|im_start|>user\nMy favourite colour is green.<|im_end|>\n<|im_start|>assistant\n")
AFTER = ids("<|im_start|>user\nMy favourite animal is the owl.<|im_end|>\n<|im_start|>assistant\n")


PICTURES = {
    "turns": lambda: viz.turn_timeline(TURNS),
    "steps": lambda: viz.turn_timeline(TURNS, ["send", "send", "send", "edit", "retry"]),
    "long names": lambda: viz.turn_timeline(TURNS, ["regenerated"] * 5),
    "one turn": lambda: viz.turn_timeline(TURNS[:1]),
    "a full context": lambda: viz.turn_timeline(FULL),
    "first tokens": lambda: viz.first_token_work(TURNS),
    "many first tokens": lambda: viz.first_token_work(FULL),
    "first times": lambda: viz.first_token_time(KEPT_MS, ANEW_MS),
    "one time": lambda: viz.first_token_time([1234.5], [0.04]),
    "an edit": lambda: viz.prefix_break(tokenizer(), BEFORE, AFTER),
    "a turn that goes on": lambda: viz.prefix_break(tokenizer(), BEFORE, [*BEFORE, *AFTER]),
    "the same again": lambda: viz.prefix_break(tokenizer(), BEFORE, BEFORE),
    "nothing cached": lambda: viz.prefix_break(tokenizer(), [], AFTER),
}


def picture_of(name: str) -> viz.Picture:
    return drawn(PICTURES[name])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", PICTURES)
def test_every_figure(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(picture_of(name))


def test_the_timeline_tells_the_usage_of_every_turn() -> None:
    alt = picture_of("turns").alt
    for number, turn in enumerate(TURNS, 1):
        assert f"Turn {number}: {turn.in_words()}." in alt
    assert "In all, 65 of 247 prompt tokens were computed." in alt


def test_steps_may_have_names() -> None:
    alt = picture_of("steps").alt
    assert f"Edit: {TURNS[3].in_words()}. Retry: {TURNS[4].in_words()}." in alt
    with pytest.raises(InputError, match="a name for each of 5 turns, got 1"):
        viz.turn_timeline(TURNS, ["send"])


def test_the_timeline_draws_as_long_as_it_counts() -> None:
    figure = picture_of("turns").figure
    widths = sorted(round(float(p.get_width()), 6) for p in figure.axes[0].patches)
    longest = max(74 + 6, 49 + 11, 42 + 37)
    scale = (WIDTH - LEFT - 0.2) / longest
    counts = [n for t in TURNS for n in (t.reused, t.computed, t.generated) if n]
    legend = [0.16] * 3
    assert widths == sorted([round(n * scale, 6) for n in counts] + legend)


def test_what_was_dropped_stands_clear_of_the_next_turn() -> None:
    ax = picture_of("a full context").figure.axes[0]
    reasons = [text for text in ax.texts if "dropped: " in text.get_text()]
    assert len(reasons) == 2
    tops = sorted({round(float(p.get_y()), 6) for p in ax.patches})
    half = 10 / 72 / 2  # inches, of letters of 10 points
    for reason in reasons:
        y = float(reason.get_position()[1])
        assert all(top - (y + half) > 0.1 for top in tops if top > y)


def test_first_tokens_count_with_and_without() -> None:
    picture = picture_of("first tokens")
    assert "26, 49, 74, 49, 49, together 247" in picture.alt
    assert "26, 16, 15, 7, 1, together 65" in picture.alt


def test_first_times_are_told_and_drawn_to_scale() -> None:
    picture = picture_of("first times")
    assert "from the start: 3.3, 5.9, 9.1, 13.4, 17.8, 125." in picture.alt
    assert "kept: 3.2, 1.6, 1.7, 1.8, 1.9, 2.0." in picture.alt
    assert "61.1 times as fast" in picture.alt
    assert picture.caption == "Until the last reply begins: 125 ms, or 2.0 ms with the cache kept."
    widths = sorted(round(float(p.get_width()), 6) for p in picture.figure.axes[0].patches)
    scale = (WIDTH - LEFT - 0.55) / 124.6
    legend = [0.16] * 2
    assert widths == sorted([round(ms * scale, 6) for ms in KEPT_MS + ANEW_MS] + legend)


@pytest.mark.parametrize(
    ("kept", "anew"), [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [float("nan")]), ([], [])]
)
def test_times_that_were_not_measured(kept: list[float], anew: list[float]) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.first_token_time(kept, anew)


def test_a_break_is_where_the_first_id_differs() -> None:
    same = next(i for i, (a, b) in enumerate(zip(BEFORE, AFTER, strict=False)) if a != b)
    picture = picture_of("an edit")
    assert f"The first {same} are the same. Then ·colour meets ·animal." in picture.alt
    assert f"{same} are reused, {len(AFTER) - same} computed" in picture.alt
    texts = [text.get_text() for text in shown_texts(picture.figure)]
    assert "·colour" in texts
    assert "·owl" in texts


def token_boxes(picture: viz.Picture) -> list[list[tuple[str, float, bool]]]:
    """Lines of boxes from the top: the label, the right end, and whether it is struck out."""
    (ax,) = picture.figure.axes
    words = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    strokes = {
        tuple(np.round([np.min(line.get_xdata()), np.min(line.get_ydata())], 4).tolist())
        for line in ax.lines
    }
    lines: dict[float, list[tuple[str, float, bool]]] = {}
    for patch in ax.patches:
        x, y, width = patch.get_x(), patch.get_y(), patch.get_width()
        middle = (x + width / 2, y + 0.11)
        (label,) = [w for at, w in words.items() if np.allclose(at, middle, atol=1e-6)]
        struck = (round(float(x), 4), round(float(y) + 0.11, 4)) in strokes
        lines.setdefault(round(float(y), 4), []).append((label, float(x + width), struck))
    return [lines[y] for y in sorted(lines)]


@pytest.mark.parametrize("name", ["an edit", "a turn that goes on", "nothing cached"])
def test_lines_are_filled_and_only_what_is_dropped_is_struck_out(name: str) -> None:
    cached, prompt = {
        "an edit": (BEFORE, AFTER),
        "a turn that goes on": (BEFORE, [*BEFORE, *AFTER]),
        "nothing cached": ([], AFTER),
    }[name]
    same = next((i for i, (a, b) in enumerate(zip(cached, prompt, strict=False)) if a != b), None)
    reused = len(cached) if same is None else same
    lines = token_boxes(picture_of(name))
    drawn = [box for line in lines for box in line]
    want = [*token_labels(tokenizer(), cached), *token_labels(tokenizer(), prompt)]
    assert [label for label, _, _ in drawn] == [shortened(label, 14) for label in want]
    assert [struck for _, _, struck in drawn] == [
        *(index >= reused for index in range(len(cached))),
        *([False] * len(prompt)),
    ]
    # A line ends where the next token would not fit, or where the tokens end.
    ends, count = [], 0
    for line in lines:
        count += len(line)
        if count not in (len(cached), len(cached) + len(prompt)):
            ends.append((line[-1][1], drawn[count][0]))
    for right, following in ends:
        assert right + GAP + 0.08 + LETTER * len(following) > WIDTH - EDGE
    assert max(right for _, right, _ in drawn) <= WIDTH - EDGE


def test_the_last_token_of_a_prompt_always_runs() -> None:
    assert (
        f"{len(BEFORE) - 1} are reused, 1 computed, 1 dropped" in picture_of("the same again").alt
    )


@pytest.mark.parametrize("draw", [viz.turn_timeline, viz.first_token_work])
@pytest.mark.parametrize("count", [0, 13])
def test_too_few_or_too_many_turns(draw: Callable[..., viz.Picture], count: int) -> None:
    with pytest.raises(InputError, match=f"1 to 12 turns to draw, got {count}"):
        draw(TURNS[:1] * count)


def test_no_prompt() -> None:
    with pytest.raises(InputError, match="a prompt of at least one token"):
        viz.prefix_break(tokenizer(), BEFORE, [])
