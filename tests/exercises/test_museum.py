"""The bug museum: every exhibit is felt, every one is caught, and none stays in the model."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from picture_checks import CHECKS

from llama_edu import Llama, Tokenizer, viz
from llama_edu.errors import InputError
from llama_edu.exercises import check, museum
from llama_edu.exercises.museum.exhibit import Finding
from llama_edu.exercises.museum.exhibits import EXHIBITS, TEXT_EXHIBITS
from llama_edu.hub import BOOK_MODEL
from llama_edu.viz.museum.exhibits import bug_gaps, exhibit_card, two_digits

EVERYTHING = EXHIBITS | TEXT_EXHIBITS
each = pytest.mark.parametrize("name", EVERYTHING)
WORDS = "his friends: 你好"


@pytest.fixture(scope="module")
def model() -> Llama:
    return Llama.from_pretrained(BOOK_MODEL)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(BOOK_MODEL)


@pytest.fixture(scope="module")
def found(model: Llama, tokenizer: Tokenizer) -> dict[str, Finding]:
    return museum.tour(model, tokenizer, EXHIBITS, max_new_tokens=6)


def test_there_are_enough_to_walk_past() -> None:
    assert len(EVERYTHING) >= 15
    titles = [exhibit.title for exhibit in EVERYTHING.values()]
    assert len(titles) == len(set(titles))


@each
def test_the_named_check_rejects_it(name: str) -> None:
    exhibit = EVERYTHING[name]
    assert not exhibit.verdict.ok
    assert getattr(check, exhibit.exercise.name).exercise is exhibit.exercise


@each
def test_it_is_described(name: str) -> None:
    exhibit = EVERYTHING[name]
    assert re.match(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull|blob)/", exhibit.link)
    assert exhibit.right != exhibit.wrong
    assert "\n" not in exhibit.right + exhibit.wrong
    assert max(len(exhibit.right), len(exhibit.wrong)) <= 60
    assert len(exhibit.title) <= 34


@pytest.mark.parametrize("name", EXHIBITS)
def test_it_really_differs_from_the_right_model(name: str, found: dict[str, Finding]) -> None:
    finding, harmless = found[name], EXHIBITS[name].harmless
    if harmless:
        assert finding.comparison.same, f"not any more: {harmless}"
        return
    assert finding.comparison.array is not None
    assert finding.comparison.position is not None
    assert finding.gap > 1e-3


def test_some_write_the_right_text_and_some_do_not(found: dict[str, Finding]) -> None:
    quiet = [f for f in found.values() if f.token == "none" and not f.comparison.same]
    told = [f for f in found.values() if f.comparison.token is not None]
    assert quiet
    assert len(told) >= 5


def test_the_model_is_left_as_it_was(model: Llama, found: dict[str, Finding]) -> None:
    fresh = Llama.from_pretrained(BOOK_MODEL)
    assert vars(model).keys() == vars(fresh).keys()  # nothing was left on the instance
    assert model.operators == fresh.operators
    ids = [3, 14, 15, 9]
    assert (model.forward(ids) == fresh.forward(ids)).all()


@pytest.mark.parametrize("name", EXHIBITS)
def test_its_card_says_what_was_measured(name: str, found: dict[str, Finding]) -> None:
    finding = found[name]
    card, exhibit = finding.card(), EXHIBITS[name]
    said = str(card)
    assert said.startswith(f"right: {exhibit.right}\nwrong: {exhibit.wrong}\n")
    assert f"caught by: check.{exhibit.exercise.name}, chapter " in said
    array = finding.comparison.array
    assert f"first array that differs: {'none' if array is None else array.name}" in said
    is_quiet = finding.token == "none"
    assert said.count("\nit writes:\n") == (not is_quiet)
    assert said.count("\nit writes the right text, word for word:\n") == is_quiet
    assert said.count("\nthe right text:\n") == (not is_quiet)
    shown, place = finding.wrong_text, finding.comparison.token
    assert ("▶" in shown) == (place is not None)
    if place is not None:
        same, other = shown.removeprefix("… ").split(" ▶")
        assert same in finding.right_text
        assert same + other[:12] not in finding.right_text
    assert "<script" not in card.html


def test_the_right_text_on_a_card_is_as_long_as_the_other(found: dict[str, Finding]) -> None:
    told = [finding for finding in found.values() if finding.comparison.token is not None]
    for finding in told:
        lines = str(finding.card()).splitlines()
        right = lines[lines.index("the right text:") + 1].strip().removeprefix("… ")
        whole = finding.right_text
        assert right in whole
        assert (right == whole[-len(right) :]) == (
            len(finding.comparison.changed.ids) >= len(finding.comparison.right.ids)
        )


def test_a_tour_may_take_another_prompt(model: Llama, tokenizer: Tokenizer) -> None:
    one = {"gelu": EXHIBITS["gelu"]}
    other = museum.tour(model, tokenizer, one, prompts=["One day a small dog"], max_new_tokens=4)
    assert other["gelu"].right_text.startswith("One day a small dog")


def test_a_near_tie_is_not_taken_for_the_same_text(found: dict[str, Finding]) -> None:
    for finding in found.values():
        lengths = len(finding.comparison.changed.ids), len(finding.comparison.right.ids)
        if finding.token == "none":
            assert lengths[0] >= lengths[1]
        elif finding.comparison.token is None:
            assert finding.token == f"a tie at {lengths[0]}"
            assert lengths[0] < lengths[1]


def test_the_overview_has_every_exhibit(found: dict[str, Finding]) -> None:
    picture, table = museum.overview(found), str(museum.overview_table(found))
    for exhibit in EXHIBITS.values():
        assert f"{exhibit.title}: " in picture.alt
        assert exhibit.title in table
        assert exhibit.exercise.name in table
    quiet = sum(finding.token == "none" for finding in found.values())
    assert picture.caption.startswith(f"{quiet} of {len(found)} bugs write the right text")


@pytest.mark.parametrize("name", TEXT_EXHIBITS)
def test_a_text_exhibit_shows_another_text(name: str, tokenizer: Tokenizer) -> None:
    exhibit = TEXT_EXHIBITS[name]
    right, wrong = exhibit.texts(tokenizer, tokenizer.encode(WORDS, add_special=False))
    assert right == WORDS
    assert wrong != WORDS
    card = str(museum.text_card(exhibit, tokenizer, tokenizer.encode(WORDS, add_special=False)))
    assert "logits: untouched" in card
    assert wrong in card


ROWS = [(f"bug number {i}", 10.0 ** (2 - i), f"{i} of 30" if i % 2 else "none") for i in range(5)]
PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "five": lambda: bug_gaps([*ROWS, ("no mask once there is a cache", 0.0, "none")]),
    "one": lambda: bug_gaps([("alone", 0.0, "none")]),
    "many": lambda: bug_gaps([(f"bug {i}", 1.0 + i, "a tie at 12") for i in range(30)]),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check_picture", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check_picture: Callable[[viz.Picture], None]) -> None:
    check_picture(PICTURES[name]())


def test_bugs_are_drawn_the_farthest_on_top() -> None:
    picture = bug_gaps(ROWS[::-1])
    bars = [p for p in picture.figure.axes[1].patches if p.get_width() > 0]
    widths = [bar.get_width() for bar in bars]
    assert widths == sorted(widths, reverse=True)
    assert "bug number 0: 100, same text; bug number 1: 10, 1 of 30" in picture.alt
    assert picture.caption == "3 of 5 bugs write the right text, word for word."


def test_a_gap_is_said_in_two_digits() -> None:
    assert [two_digits(gap) for gap in (0.01349, 2.71, 152.4, 0.5)] == [
        "0.013",
        "2.7",
        "150",
        "0.5",
    ]


def test_a_figure_refuses() -> None:
    with pytest.raises(InputError, match="at least one bug"):
        bug_gaps([])
    for gap in (float("nan"), float("inf"), -1.0):
        with pytest.raises(InputError, match="finite gaps"):
            bug_gaps([("bug", gap, "none")])


def test_a_card_escapes_what_it_shows() -> None:
    card = exhibit_card("a < b", "a > b", [("right", "<s>"), ("wrong", "&")], [("x", "<b>")])
    assert "<s>" not in card.html
    assert "a &lt; b" in card.html
    assert str(card).splitlines()[:2] == ["right: a < b", "wrong: a > b"]
