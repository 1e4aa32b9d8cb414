"""Every question in a page: each answer, by mouse and by keyboard, and without a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page

from llama_edu.exercises.framework.question import Amount, Choice, Order, Question
from llama_edu.exercises.framework.words import plain
from llama_edu.exercises.questions import QUESTIONS

ASKED = list(QUESTIONS.values())
BODY = "".join(f'<div id="box-{one.name}">{one._repr_html_()}</div>' for one in ASKED)
PAGE = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Questions</title>{BODY}'


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda line: complaints.append(line.text))
    opened.set_content(PAGE)
    yield opened
    opened.close()
    assert complaints == []


def box(page: Page, name: str) -> Locator:
    return page.locator(f"#box-{name}")


def said(at: Locator) -> str:
    return " ".join(at.get_by_role("status").inner_text().split())


def check(at: Locator) -> str:
    at.get_by_role("button", name="Check").click()
    return said(at)


# Gives every answer to a question, as a click or a word typed would, and returns what was said.
GIVE_ALL = """(box, typed) => {
  const form = box.querySelector("form");
  const say = (set) => { set(); form.requestSubmit(); return form.querySelector("[role=status]").innerText; };
  const radios = [...form.querySelectorAll("input[type=radio]")];
  const input = form.querySelector("input[type=text]");
  return radios.length
    ? radios.map((radio) => say(() => { radio.checked = true; }))
    : typed.map((text) => say(() => { input.value = text; }));
}"""  # noqa: E501  a script's lines


def answers_to(asked: Question) -> list[Any]:
    if isinstance(asked, Choice):
        return list("abcdefg"[: len(asked.answers)])
    assert isinstance(asked, Amount)
    return [asked.answer, *asked.near, 98765.4]


@pytest.mark.parametrize("kind", ["choice", "amount"])
def test_the_page_says_to_every_answer_what_python_says(page: Page, kind: str) -> None:
    for asked in (one for one in ASKED if one.kind == kind):
        answers = answers_to(asked)
        typed = [f"{value:,}" for value in answers] if kind == "amount" else []
        heard = box(page, asked.name).evaluate(GIVE_ALL, typed)
        assert len(heard) == len(answers)
        for text, answer in zip(heard, answers, strict=True):
            judged = asked(answer)
            words = judged.message.removeprefix(f"{asked.name}: ")
            assert text.startswith("✓" if judged.ok else "✗ Not yet."), asked.name
            assert " ".join(text.split()).endswith(words), asked.name


def letters(asked: Order, order: list[int]) -> str:
    return "".join("abcdefg"[asked.shown.index(step)] for step in order)


@pytest.mark.parametrize("name", [one.name for one in ASKED if isinstance(one, Order)])
def test_steps_are_put_in_order_one_by_one(page: Page, name: str) -> None:
    asked, at = QUESTIONS[name], box(page, name)
    assert isinstance(asked, Order)
    order = asked.shown
    for step in range(len(order) - 1):  # to its place, from the top down
        words = asked(letters(asked, order)).message.removeprefix(f"{name}: ")
        if order != sorted(order):
            assert check(at) == f"✗ Not yet. {words}"
        up = at.get_by_role("button", name=f"Move up: {plain(asked.steps[step])}", exact=True)
        for _ in range(order.index(step) - step):
            up.click()
        order.remove(step)
        order.insert(step, step)
    assert check(at) == f"✓ Right. {asked.done}"


def test_the_answer_is_shown_after_a_try(page: Page) -> None:
    page.set_content(PAGE)
    at = box(page, "untied")
    show = at.get_by_role("button", name="Show the answer")
    assert not show.is_visible()
    check(at)  # nothing typed is no try
    assert not show.is_visible()
    at.get_by_role("textbox").fill("191")
    assert "adds it twice" in check(at)
    show.click()
    assert said(at).startswith("163 million. 135 + 28.")
    assert not at.locator(".ll-plain").is_visible()


def test_the_keyboard_is_enough(page: Page) -> None:
    page.set_content(PAGE)
    choice = box(page, "ask_twice")
    choice.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert said(choice).startswith("✓")
    number = box(page, "products")
    assert check(number) == "Type a number first, such as 12 or 0.5."
    number.get_by_role("textbox").focus()
    page.keyboard.type(" 120")
    page.keyboard.press("Enter")
    assert said(number).startswith("✓ Right.")
    order = box(page, "decode_order")
    first = order.get_by_role("button", name="Move down").first
    moved = first.get_attribute("aria-label")
    first.focus()
    page.keyboard.press("Enter")
    assert said(order) == "Now step 2 of 5."
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == moved
    for _ in range(4):
        page.keyboard.press("Space")
    assert said(order) == "It is already last."


@pytest.mark.parametrize(
    ("typed", "right"),
    [("4,208", True), ("4208 ", True), ("4 208", True), ("4208.0", True), ("4.208", False)],
)
def test_a_number_may_be_written_as_people_write_it(page: Page, typed: str, right: bool) -> None:
    at = box(page, "file_size")
    at.get_by_role("textbox").fill(typed)
    assert check(at).startswith("✓" if right else "✗")
    block = box(page, "bits_of_a_block")
    block.get_by_role("textbox").fill(f"{typed} bits")
    assert check(block).startswith("✗ Not yet. How many bits has the whole block")
    block.get_by_role("textbox").fill("5 bits")
    assert check(block).startswith("✓")
    block.get_by_role("textbox").fill("5 bytes")
    assert check(block) == "Type a number first, such as 12 or 0.5."
    small = box(page, "smallest_code")
    small.get_by_role("textbox").fill("0,01")
    assert check(small).startswith("✓")


def test_it_fits_a_phone_and_has_names(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.get_by_role("group").filter(has=page.locator("legend")).count() >= len(ASKED)
    assert page.locator(".lq-said[role=status]").count() == len(ASKED)


def test_without_scripts_the_answers_are_folded(browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.set_content(PAGE)
    assert bare.locator("details").count() >= len(ASKED)
    assert bare.locator("details[open]").count() == 0
    fold = bare.locator("#box-products details")
    fold.locator("summary").click()
    assert fold.get_by_text("120 multiplications.").is_visible()
    assert bare.locator("form").count() == 0
    context.close()
