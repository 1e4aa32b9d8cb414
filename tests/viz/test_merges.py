"""The merge tree and the token strip: what they show is what was encoded."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from figure_samples import texts
from picture_checks import CHECKS, drawn

from llama_edu import Tokenizer, viz
from llama_edu.errors import InputError


def states(*rows: str) -> list[list[bytes]]:
    return [[piece.encode() for piece in row.split("|")] for row in rows]


THEN = states("t|h|e|n", "t|he|n", "the|n")
BANANA = states("b|a|n|a|n|a", "b|an|an|a", "b|an|ana")
CHAIN = [[b"a"] * 12, *([b"a" * i] + [b"a"] * (12 - i) for i in range(2, 13))]

PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "then": lambda: viz.merge_tree(THEN, {(b"h", b"e"): 0, (b"t", b"he"): 99_999}),
    "banana": lambda: viz.merge_tree(BANANA),
    "as deep as can be": lambda: viz.merge_tree(CHAIN),
    "bytes that are no text": lambda: viz.merge_tree([[b"\xf0", b"\x9f", b"\xa6"]]),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_a_tree_says_each_merge_and_what_remains() -> None:
    picture = viz.merge_tree(THEN, {(b"h", b"e"): 0, (b"t", b"he"): 3})
    assert "4 bytes: t h e n. Merge 1, rank 0: “h” and “e”." in picture.alt
    assert "Merge 2, rank 3: “t” and “he”. Tokens that remain: “the”, “n”." in picture.alt
    assert {"t", "h", "e", "n", "he", "the", "rank 3"} <= set(texts(picture))


def test_a_piece_is_drawn_once_and_joined_to_its_two_parts() -> None:
    picture = viz.merge_tree(BANANA)
    said = texts(picture)
    assert (said.count("an"), said.count("ana"), said.count("a")) == (2, 1, 3)
    assert "Merge 1: “a” and “n” (2 times)." in picture.alt
    assert len(picture.figure.axes[0].lines) == 2 * 3  # three new pieces, two branches each
    assert "tokens: 3,\nthe pieces with nothing above (green)" in said


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[]],
        states("ab|c"),
        states("a|b|c", "abc"),
        states("a|b|c", "a|b|c"),
        states("a|b|c", "ab|d"),
        states("a|b|c", "b|ac"),
        [[b"a"] * 13],
    ],
    ids=["none", "empty", "no bytes", "three", "nothing", "other", "apart", "long"],
)
def test_a_tree_refuses_what_is_no_row_of_merges(rows: list[list[bytes]]) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.merge_tree(rows)


# --- the strip -----------------------------------------------------------------------------------


class Pieces:
    """A tokenizer whose ids count the pieces it was given."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def token_bytes(self, token_id: int) -> bytes:
        return self.pieces[token_id]


def rows_of(strip: viz.Html) -> list[list[tuple[int, str]]]:
    """For each table row, the width in bytes and the text of its cells."""
    found = []
    for row in re.findall(r"<tr.*?</tr>", strip.html):
        cells = re.findall(r'<td colspan="(\d+)"[^>]*>(.*?)</td>', row)
        found.append([(int(width), text) for width, text in cells])
    return found


def test_a_strip_sets_characters_bytes_and_tokens_above_each_other() -> None:
    strip = viz.token_strip(Pieces(b"a ", b"\xe4\xbd", b"\xa0<"), [0, 1, 2])
    assert rows_of(strip) == [
        [(1, "a"), (1, "·"), (3, "你"), (1, "&lt;")],
        [(1, byte) for byte in ("61", "20", "E4", "BD", "A0", "3C")],
        [(2, "a·<br>0"), (2, "&lt;E4BD&gt;<br>1"), (2, "&lt;A03C&gt;<br>2")],
    ]
    lines = strip.text.splitlines()
    assert lines[0].split() == ["id", "token", "bytes", "completes"]
    assert lines[1].endswith("'a '")
    assert lines[2].split() == ["1", "<E4BD>", "E4", "BD", "''"]
    assert lines[3].endswith("'你<'")


def test_half_a_character_is_shown_as_broken() -> None:
    strip = viz.token_strip(Pieces(b"\xe4\xbd", b"ok\n"), [0, 1])
    assert [text for _, text in rows_of(strip)[0]] == ["�", "�", "o", "k", "⏎"]
    assert "'��'" in strip.text


@pytest.mark.parametrize(
    "text", ["Once upon a time 🦙🦙🦙 sat 你好世界 and then", "你" * 20, "é" * 9]
)
def test_every_line_is_complete(text: str) -> None:
    tokenizer = Tokenizer.from_pretrained("story")
    ids = tokenizer.encode(text, add_special=False)
    rows = rows_of(viz.token_strip(tokenizer, ids))
    assert len(rows) % 3 == 0
    widths = [sum(width for width, _ in row) for row in rows]
    assert widths[0::3] == widths[1::3] == widths[2::3]
    assert sum(widths[0::3]) == len(text.encode())
    assert max(widths) <= 8
    assert "".join(text for row in rows[0::3] for _, text in row) == text.replace(" ", "·")


def test_a_token_that_covers_many_characters_makes_a_longer_line() -> None:
    rows = rows_of(viz.token_strip(Pieces(b"x" * 30, b"y"), [0, 1]))
    assert [len(row) for row in rows] == [30, 30, 1, 1, 1, 1]


@pytest.mark.parametrize("pieces", [[], [b"x" * 201]], ids=["none", "long"])
def test_a_strip_needs_some_bytes_and_not_too_many(pieces: list[bytes]) -> None:
    with pytest.raises(InputError, match="tokens of 1 to 200 bytes"):
        viz.token_strip(Pieces(*pieces), range(len(pieces)))
