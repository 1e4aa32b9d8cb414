"""The questions of a page, and the drawing of the machine at its head."""

import re

import pytest

from llama_edu import viz
from llama_edu.errors import InputError

CHOICES = {"at once": "Some do.", "late": "Others do."}


def test_a_guess_that_a_later_page_answers_marks_no_choice() -> None:
    now, later = (viz.predict("When?", CHOICES, right=right) for right in ("late", None))
    assert "✓ late" in now.text
    assert "✓" not in later.text
    assert later.html.count("<details>") == 2
    assert '<div class="llama-predict later"' in later.html
    assert ".later details[open]>summary::after{content:none}" in later.html
    assert "later" not in re.sub(r"<summary>.*?</summary>|<p>.*?</p>", "", now.html)


def test_a_right_choice_has_to_be_among_the_choices() -> None:
    with pytest.raises(InputError, match="'never'"):
        viz.predict("When?", CHOICES, right="never")


def test_no_arrow_says_that_a_layer_runs_in_the_order_of_the_chapters() -> None:
    machine = viz.machine("rope")
    inside = re.search(r"30 × \((.*?)\)", machine.text)
    assert inside
    assert "→" not in inside[1]
    assert "[order, by turning: you are here]" in inside[1]
    assert machine.text.index("one is drawn") < machine.text.index("word after word")


def test_a_chapter_beyond_the_walk_stands_between_its_neighbours_in_these_three_only() -> None:
    machine = viz.machine("faster")
    assert machine.text.endswith(
        "how fast · [fewer passes, fewer bytes: you are here] · on several machines"
    )
    for topic in ("cost", "parallel"):
        assert "fewer passes, fewer bytes" in viz.machine(topic).text
    assert "fewer passes" not in viz.machine("serve").text
    assert "fewer passes" not in viz.machine().text
