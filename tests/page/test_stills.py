"""The drawings of the stills: words are those of the rows, and lengths and shades their numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np
import pytest

from llama_edu.page import stills
from llama_edu.page.stills import (
    WIDTH,
    bits_svg,
    cache_svg,
    clocks_svg,
    maps_svg,
    ranks_svg,
    shares_svg,
    tokens_svg,
    turns_svg,
)

STRONG, WEAK = f"{stills.STRONG:g}", f"{stills.WEAK:g}"


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    ink: str


@dataclass
class Drawing:
    """What a reader sees: words with their places, boxes, circles, lines."""

    label: str
    height: float
    words: list[tuple[str, float, float]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    circles: list[tuple[float, float]] = field(default_factory=list)
    lines: list[tuple[float, float, float, float]] = field(default_factory=list)
    path: str = ""

    @property
    def texts(self) -> list[str]:
        return [text for text, _, _ in self.words]


def drawn(svg: str) -> Drawing:
    """A drawing as it is read; nothing in it lies outside its frame."""
    root = ElementTree.fromstring(svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (left, top, width) == (0, 0, WIDTH)
    found = Drawing(root.attrib["aria-label"], height)
    for part in root:
        at = part.attrib
        match part.tag:
            case "text":
                found.words.append((part.text or "", float(at["x"]), float(at["y"])))
                assert 0 < float(at["y"]) <= height
            case "rect":
                x, y, wide, high = (float(at[name]) for name in ("x", "y", "width", "height"))
                box = Box(x, y, wide, high, at["fill-opacity"])
                found.boxes.append(box)
                assert box.x >= 0
                assert box.x + box.width <= WIDTH + 0.1
                assert box.y >= 0
                assert box.y + box.height <= height
            case "circle":
                found.circles.append((float(at["cx"]), float(at["cy"])))
            case "line":
                x1, y1, x2, y2 = (float(at[name]) for name in ("x1", "y1", "x2", "y2"))
                found.lines.append((x1, y1, x2, y2))
            case "polyline":
                found.path = at["points"]
    return found


def test_tokens_stand_in_order_with_their_ids_in_boxes_that_do_not_touch() -> None:
    pieces = ["<s>", "Once", "␣upon", "␣a", "␣time", "&", "␣extraordinarily", "␣there", "␣was"]
    rows = [[piece, str(97 * i), "6f"] for i, piece in enumerate(pieces)]
    drawing = drawn(tokens_svg("The “last” tokens", rows))
    assert drawing.label == "The “last” tokens"
    assert drawing.texts == [text for row in rows for text in row[:2]]
    assert len(drawing.boxes) == len(rows)
    for before, after in zip(drawing.boxes, drawing.boxes[1:], strict=False):
        beside = after.y == before.y and after.x > before.x + before.width
        assert beside or (after.y > before.y + before.height and after.x == drawing.boxes[0].x)
    assert len({box.y for box in drawing.boxes}) > 1
    for box, (_, x, y) in zip(drawing.boxes, drawing.words[::2], strict=True):
        assert x == pytest.approx(box.x + box.width / 2, abs=0.1)
        assert box.y < y < box.y + box.height
    assert drawing.boxes[6].width > drawing.boxes[3].width  # a longer piece has more room


def test_a_rank_is_the_lower_the_larger_it_is_and_the_line_goes_through_all() -> None:
    ranks = [1000, 1, 10, 100]
    rows = [[f"layer {i}", str(rank), "a, b, c"] for i, rank in enumerate(ranks)]
    drawing = drawn(ranks_svg("ranks", rows))
    heights = [y for _, y in drawing.circles]
    step = (heights[0] - heights[1]) / 3  # each power of ten is as far from the next
    assert [round((y - heights[1]) / step, 2) for y in heights] == [3, 0, 1, 2]
    assert drawing.path == " ".join(f"{x:.4g},{y:.4g}" for x, y in drawing.circles)
    told = [text for i in range(4) for text in (f"rank {ranks[i]}", f"layer {i}", "a")]
    assert drawing.texts == told
    # Words stand below a point that lies deeper than its neighbours, and above any other.
    sides = [y > heights[i] for i, (_, _, y) in enumerate(drawing.words[::3])]
    assert sides == [True, False, False, True]


def test_an_answer_that_is_first_everywhere_lies_at_the_top() -> None:
    drawing = drawn(ranks_svg("ranks", [["embedding", "1", "a"], ["layer 0", "1", "a"]]))
    assert len({y for _, y in drawing.circles}) == 1
    assert {y < drawing.circles[0][1] for text, _, y in drawing.words if text == "rank 1"} == {True}


def test_a_hand_points_where_its_pair_has_turned_to() -> None:
    turns, positions = [1.0, 0.5, 0.25, 0.1, 0.01], (1, 8)
    drawing = drawn(clocks_svg("clocks", turns, positions))
    assert len(drawing.circles) == len(turns)
    assert len({y for _, y in drawing.circles}) == 2  # four in a row
    for i, (x1, y1, x2, y2) in enumerate(drawing.lines):
        turn, hand = turns[i // 2], i % 2
        assert (x1, y1) == drawing.circles[i // 2]
        assert math.hypot(x2 - x1, y2 - y1) == pytest.approx(16 * (hand + 1), abs=0.1)
        want = (positions[hand] * turn) % (2 * math.pi)
        assert math.atan2(y1 - y2, x2 - x1) % (2 * math.pi) == pytest.approx(want, abs=0.02)
    assert drawing.texts[:5] == ["0 and 5", "1 and 6", "2 and 7", "3 and 8", "4 and 9"]
    assert drawing.texts[5] == "Short to long, the hands at positions 1, 8"


def test_a_map_is_as_dark_as_its_weights_and_shows_nothing_ahead() -> None:
    pieces = ["Once", "␣upon", "␣a"]
    rng = np.random.default_rng(0)
    maps = rng.random((2, 3, 3)).astype(np.float32)
    drawing = drawn(maps_svg("maps", ["Query head 2", "Query head 3"], pieces, maps))
    seen = [w[i, j] for w in maps for i in range(3) for j in range(i + 1)]
    inks = [float(box.ink) for box in drawing.boxes]
    np.testing.assert_allclose(inks, np.sqrt(seen), atol=0.006)
    twice = [piece for piece in pieces for _ in range(2)]  # for its row and for its column
    assert drawing.texts == ["Query head 2", *twice, "Query head 3", *twice]
    left, *_, last = drawing.boxes[:6]
    assert last.x == pytest.approx(left.x + 2 * left.width, abs=0.1)
    assert last.y == pytest.approx(left.y + 2 * left.height, abs=0.1)


def test_bars_of_the_cache_are_as_long_as_their_rows() -> None:
    rows = [["0", "14", "0", "14"], ["1", "1", "14", "15"]]
    drawing = drawn(cache_svg("cache", rows))
    fed0, all0, fed1, kept1, all1 = drawing.boxes[2:]  # behind those of the key
    unit = all1.width / 15
    for box, count in ((fed0, 14), (all0, 14), (fed1, 1), (kept1, 14)):
        assert box.width == pytest.approx(count * unit, abs=0.1)
    assert [box.ink for box in drawing.boxes[2:]] == [STRONG, STRONG, STRONG, WEAK, STRONG]
    assert kept1.x == pytest.approx(fed1.x + fed1.width, abs=0.1)
    key, steps = drawing.texts[:2], drawing.texts[2:]
    assert key == ["computed", "read from the cache"]
    assert steps == [
        "step 0",
        "with",
        "without",
        "14",
        "14",
        "step 1",
        "with",
        "without",
        "1",
        "15",
    ]


def test_bars_of_chances_are_as_long_as_these_and_what_is_cut_has_none() -> None:
    head = ["T 1, k 0, p 1, m 0", "T 0.8, k 40, p 0.95, m 0"]
    rows = [["␣go", "60%", "80%"], ["␣<see>", "30%", "20%"], ["␣be", "10%", "cut"]]
    drawing = drawn(shares_svg("shares", head, rows))
    assert drawing.texts[:4] == ["T 1", "no cut", "T 0.8", "k 40, p 0.95"]
    assert drawing.texts[4:] == [cell for row in rows for cell in row]
    widths = [box.width for box in drawing.boxes]
    assert [round(width / widths[0] * 60) for width in widths] == [60, 80, 30, 20, 10]
    # A number stands behind its bar, and in its setting's column where there is none.
    places = {text: (x, y) for text, x, y in drawing.words}
    assert places["60%"][0] == pytest.approx(drawing.boxes[0].x + widths[0] + 4, abs=0.1)
    assert places["cut"][0] == pytest.approx(drawing.boxes[1].x + 4, abs=0.1)


def test_every_bit_has_a_box_in_the_shade_of_its_field() -> None:
    rows = [
        ["float16", "0 01011 1001100110", "0.0999755859", "6.1e-05"],
        ["tiny", "1 0 11", "-3", "1"],
    ]
    drawing = drawn(bits_svg("bits", rows))
    assert drawing.texts[:3] == ["sign", "exponent", "mantissa"]
    assert drawing.texts[3:] == ["float16: 0.0999755859", *"0010111001100110", "tiny: -3", *"1011"]
    sign, exponent, mantissa = (box.ink for box in drawing.boxes[:3])
    assert len({sign, exponent, mantissa}) == 3
    inks = [box.ink for box in drawing.boxes[3:]]
    assert inks == [sign] + 5 * [exponent] + 10 * [mantissa] + [sign, exponent] + 2 * [mantissa]


def test_prompts_are_as_long_as_their_tokens_and_what_is_reused_comes_first() -> None:
    rows = [
        ["My name is “Mia”.", "20", "0", "20", "0", "Hi"],
        ["And?", "50", "40", "10", "0", "Yes"],
    ]
    drawing = drawn(turns_svg("turns", rows))
    assert drawing.texts == ["reused", "computed", "My name is “Mia”.", "20", "And?", "50"]
    first, kept, computed = drawing.boxes[2:]
    assert [round(box.width / first.width * 20) for box in (kept, computed)] == [40, 10]
    assert [box.ink for box in (first, kept, computed)] == [STRONG, WEAK, STRONG]
    assert computed.x == pytest.approx(kept.x + kept.width, abs=0.1)
