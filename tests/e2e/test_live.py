"""The figures that answer, on every page that has them.

Keys, hover and sliders do what they should, the numbers are the package's, and without a script
a table is left.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import sorted_logits
from pages import FAINT_TEXT, HARMLESS, HTML, PATIENCE_MS, ROOT, Visit, toc_pages
from playwright.sync_api import Browser, Locator, Page, expect

from llama_edu import viz
from llama_edu.engine.sampling import Sampling, probabilities

# Layout depends on the width and colours on the scheme: two looks have each of them once.
LOOKS = [(1000, "light"), (390, "dark")]
Open = Callable[..., Visit]


def pages_with(kind: str) -> list[str]:
    """The pages of the built book that hold a figure of a kind."""
    built = [(name, HTML / f"{name}.html") for name in toc_pages()]
    mark = f'class="llama-figure llama-live llama-{kind}"'
    return [name for name, path in built if path.is_file() and mark in path.read_text("utf-8")]


# Every page that has such a figure, by name: if one loses it, its tests fail and do not vanish.
PRODUCTS = [
    "book/03_embed_and_multiply",
    "book/04_qk_per_kv_group",
    "book/06_score_v",
    "book/09_whole_model",
]
MIXTURES = ["book/06_score_v", "book/09_whole_model"]
COLUMNS = ["book/11_sample", "book/15_how_fast"]
STEPPERS = sorted([*PRODUCTS, "book/05_mask_and_softmax", *COLUMNS])
LABS = ["book/11_sample"]
BITS = ["book/12_mixed_precision"]
RACES = ["book/10_generate_kv_cache"]


@pytest.fixture
def visit(visit: Open) -> Open:
    """Opens a page, and the folds that its figures lie in."""

    def unfolded(name: str, *look: Any, **more: Any) -> Visit:
        seen = visit(name, *look, **more)
        seen.page.evaluate(
            "document.querySelectorAll('details:has(.llama-live)').forEach(f => (f.open = true))"
        )
        return seen

    return unfolded


each_look = pytest.mark.parametrize(("width", "scheme"), LOOKS)
each_page = pytest.mark.parametrize("name", STEPPERS)
each_product = pytest.mark.parametrize("name", PRODUCTS)


def data_of(figure: Locator) -> Any:
    return json.loads(figure.locator('script[type="application/json"]').text_content() or "")


def figures(page: Page, kind: str = "stepper") -> list[Locator]:
    # A question has its answers in folds, not in a table: test_questions.py looks at them.
    found = page.locator(f".llama-{kind}:not(.llama-question)").all()
    assert found
    return found


def cells(grid: Locator) -> list[list[str]]:
    rows: list[list[str]] = grid.evaluate(
        """grid => [...grid.querySelectorAll('.ll-line:not(.ll-top)')].map(
             line => [...line.querySelectorAll('.ll-cell')].map(cell => cell.textContent))"""
    )
    return rows


def marked(grid: Locator, name: str) -> set[tuple[int, int]]:
    """Places of the cells that carry a class."""
    places = grid.evaluate(
        """(grid, name) => [...grid.querySelectorAll('.ll-line:not(.ll-top)')].flatMap(
             (line, i) => [...line.querySelectorAll('.ll-cell')].flatMap(
               (cell, j) => cell.classList.contains(name) ? [[i, j]] : []))""",
        name,
    )
    return {(i, j) for i, j in places}


@pytest.mark.parametrize(
    ("kind", "pages"),
    [("stepper", STEPPERS), ("lab", LABS), ("bits", BITS), ("race", RACES)],
)
def test_the_chapters_have_their_figures(kind: str, pages: list[str]) -> None:
    assert pages_with(kind) == pages


@each_look
@each_page
def test_every_step_is_shown_and_spoken(name: str, width: int, scheme: str, visit: Open) -> None:
    seen = visit(name, width, scheme)
    for figure in figures(seen.page):
        steps, listings = data_of(figure)["steps"], data_of(figure)["listings"]
        spoken = figure.locator(".ll-say")
        expect(spoken).to_have_attribute("aria-live", "polite")
        figure.get_by_role("button", name="Next").focus()
        for number, step in enumerate(steps, 1):
            expect(spoken).to_contain_text(f"{number}. {step['title']}")
            assert spoken.text_content().endswith(step["say"].replace("`", ""))  # type: ignore[union-attr]
            path = listings[step["listing"]]["title"].rpartition(", ")[0]
            source = (ROOT / path).read_text("utf-8").splitlines()
            running = figure.locator(".ll-now").evaluate("row => row.lastChild.textContent")
            assert running.strip() == source[step["line"] - 1].strip()
            assert figure.locator(".ll-matrix").count() >= 1
            sideways = "document.documentElement.scrollWidth - window.innerWidth"
            assert seen.page.evaluate(sideways) == 0
            seen.page.keyboard.press("ArrowRight")
    assert seen.page.evaluate(FAINT_TEXT) == []
    assert seen.outside == []
    assert [text for text in seen.complaints if HARMLESS not in text] == []


@each_page
def test_keys_go_forth_and_back_and_to_the_ends(name: str, visit: Open) -> None:
    page = visit(name, 1000).page
    for figure in figures(page):
        last = len(data_of(figure)["steps"]) - 1
        choice = figure.get_by_role("combobox")
        figure.get_by_role("button", name="Back").focus()
        for key, place in (
            ("ArrowLeft", 0),
            ("ArrowRight", min(1, last)),
            ("End", last),
            ("ArrowRight", last),
            ("ArrowLeft", max(0, last - 1)),
            ("Home", 0),
        ):
            page.keyboard.press(key)
            expect(choice).to_have_value(str(place))
        choice.select_option(index=last)
        expect(figure.locator(".ll-say")).to_contain_text(f"{last + 1}. ")
        figure.get_by_role("button", name="Back").click()
        expect(choice).to_have_value(str(max(0, last - 1)))


def is_partly_made(matrix: Any) -> bool:
    return "missing" in matrix and any(None in row for row in matrix["values"])


def products(page: Page) -> list[tuple[Locator, int]]:
    """The figures that show a product, each with its first step that shows all of it."""
    found = []
    for figure in figures(page):
        data = data_of(figure)
        whole = [
            step["layout"] == "cross" and not is_partly_made(data["matrices"][step["show"][2]])
            for step in data["steps"]
        ]
        if any(whole):
            found.append((figure, whole.index(True)))
    assert found
    return found


@each_product
def test_pointing_at_a_product_lights_its_row_and_its_column(name: str, visit: Open) -> None:
    page = visit(name, 1000).page
    for figure, at in products(page):
        steps, matrices = data_of(figure)["steps"], data_of(figure)["matrices"]
        figure.get_by_role("combobox").select_option(index=at)
        left, upper, meet = figure.locator(".ll-cross > .ll-matrix").all()
        shape = [len(cells(meet)), len(cells(meet)[0])]
        i, j = shape[0] - 1, shape[1] - 2
        lines = meet.locator(".ll-line:not(.ll-top)")
        lines.nth(i).locator(".ll-cell").nth(j).hover()
        assert marked(meet, "ll-here") == {(i, j)}
        assert marked(left, "ll-lit") == {(i, d) for d in range(len(cells(left)[0]))}
        assert marked(upper, "ll-lit") == {(d, j) for d in range(len(cells(upper)))}
        shown = matrices[steps[at]["show"][2]]
        number = f"{abs(shown['values'][i][j]) / 10 ** shown['digits']:.{shown['digits']}f}"
        expect(figure.locator(".ll-read")).to_contain_text(number)


@each_product
def test_the_products_a_figure_names_add_up(name: str, visit: Open) -> None:
    page = visit(name, 1000).page
    for figure, at in products(page):
        data = data_of(figure)
        keys = data["steps"][at]["show"]
        a, b, c = (np.array(data["matrices"][key]["values"], np.float64) for key in keys)
        if "{terms}" not in data["matrices"][keys[2]]["tell"]:
            continue
        a, b, c = a / 1000, b / 1000, c / 1000
        figure.get_by_role("combobox").select_option(index=at)
        meet = figure.locator(".ll-cross > .ll-matrix").last
        lines = meet.locator(".ll-line:not(.ll-top)")
        for i, j in ((0, 0), (len(c) - 1, 1)):
            lines.nth(i).locator(".ll-cell").nth(j).hover()
            said = figure.locator(".ll-read").inner_text().replace("−", "-")
            rest = re.search(r"\+ (-?\d+\.\d{3}) from the other \d+ =", said)
            assert said.count("·") >= len(b), said
            assert rest, said
            assert a[i] @ b[:, j] + float(rest[1]) == pytest.approx(c[i, j], abs=0.0012)


def test_a_product_is_filled_as_far_as_the_steps_have_come(visit: Open) -> None:
    page = visit("book/03_embed_and_multiply", 1000).page
    figure, last = products(page)[0]
    counts = []
    for step in range(last + 1):
        figure.get_by_role("combobox").select_option(index=step)
        meet = figure.locator(".ll-cross > .ll-matrix").last
        counts.append(sum(cell != "" for row in cells(meet) for cell in row))
        if step == 0:
            meet.locator(".ll-line:not(.ll-top)").nth(1).locator(".ll-cell").nth(1).hover()
            expect(figure.locator(".ll-read")).to_contain_text("still to come")
    rows, columns = len(cells(meet)), len(cells(meet)[0])
    assert counts == [1, columns, rows * columns]


@each_product
def test_on_a_phone_a_product_lights_up_too(name: str, visit: Open) -> None:
    page = visit(name, 390).page
    for figure, at in products(page):
        figure.get_by_role("combobox").select_option(index=at)
        left, upper, meet = figure.locator(".ll-row > .ll-matrix").all()
        meet.locator(".ll-line:not(.ll-top)").nth(1).locator(".ll-cell").first.focus()
        assert marked(left, "ll-lit") == {(1, d) for d in range(len(cells(left)[0]))}
        assert marked(upper, "ll-lit") == {(d, 0) for d in range(len(cells(upper)))}
        stage = figure.locator(".ll-show")
        assert stage.evaluate("stage => stage.scrollWidth - stage.clientWidth") < 60


@pytest.mark.parametrize("name", MIXTURES)
def test_pointing_at_weights_lights_the_values_they_mix(name: str, visit: Open) -> None:
    page = visit(name, 1000).page
    figure = figures(page)[0]
    data = data_of(figure)
    at, key = next(
        (i, step["show"][0])
        for i, step in enumerate(data["steps"])
        if step["layout"] == "cross" and data["matrices"][step["show"][0]]["kind"] == "share"
    )
    figure.get_by_role("combobox").select_option(index=at)
    weights, values, _ = figure.locator(".ll-cross > .ll-matrix").all()
    row = len(cells(weights)) - 1
    weights.locator(".ll-line:not(.ll-top)").nth(row).locator(".ll-cell").first.hover()
    shown = data["matrices"][key]
    shares = [value / 10 ** shown["digits"] for value in shown["values"][row]]
    heads = values.locator(".ll-line:not(.ll-top) .ll-head").evaluate_all(
        "heads => heads.map(head => head.dataset.share)"
    )
    # A half goes up in the page, and to the even neighbour in Python.
    assert heads == ["<1%" if 0 < s < 0.005 else f"{int(100 * s + 0.5)}%" for s in shares]
    lit = values.locator(".ll-line:not(.ll-top)").evaluate_all(
        """lines => lines.map(
             line => line.querySelector('.ll-mixed').style.getPropertyValue('--share'))"""
    )
    assert [float(share) for share in lit] == pytest.approx(shares)


@each_page
def test_arrow_keys_walk_inside_a_matrix_and_the_figure_speaks(name: str, visit: Open) -> None:
    page = visit(name, 1000).page
    figure = figures(page)[0]
    grid = figure.get_by_role("grid").first
    shape = len(cells(grid)), len(cells(grid)[0])
    grid.locator(".ll-cell[tabindex='0']").focus()
    assert marked(grid, "ll-here") == {(0, 0)}
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    place = (min(1, shape[0] - 1), shape[1] - 1)
    assert marked(grid, "ll-here") == {place}
    spoken = figure.locator(".ll-read")
    expect(spoken).to_have_attribute("aria-live", "polite")
    assert cells(grid)[place[0]][place[1]].strip("−")[:3] in (spoken.text_content() or "")
    expect(figure.get_by_role("combobox")).to_have_value("0")  # the step stays
    assert grid.locator(".ll-cell[tabindex='0']").count() == 1


@pytest.mark.parametrize("name", sorted({*STEPPERS, *LABS}))
def test_ids_are_unique_and_the_focus_can_be_seen(name: str, visit: Open) -> None:
    page = visit(name, 1000).page
    ids = page.eval_on_selector_all(".llama-live[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids)) > 0
    first = page.locator(".llama-live :is(button, input, select)").first
    first.focus()
    page.keyboard.press("Tab")
    ring = page.evaluate(
        """() => { const s = getComputedStyle(document.activeElement);
                   return [s.outlineStyle, parseFloat(s.outlineWidth)]; }"""
    )
    assert ring[0] == "solid"
    assert ring[1] >= 2


@pytest.mark.parametrize("name", sorted({*STEPPERS, *LABS}))
def test_without_scripts_and_on_paper_a_table_remains(
    name: str, browser: Browser, site: str, visit: Open
) -> None:
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1000, "height": 900}
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{site}/{name}.html")
    for fold in page.locator("details:has(.llama-live)").all():
        fold.locator("> summary").click()  # which needs no script of ours
    for figure in figures(page, "live"):
        expect(figure.locator(".ll-plain table")).to_be_visible()
        assert figure.locator(".ll-plain tbody tr").count() >= 1
    context.close()
    page = visit(name, 1000).page
    figure = figures(page, "live")[0]
    expect(figure.locator(".ll-plain")).to_be_hidden()
    page.emulate_media(media="print")
    expect(figure.locator(".ll-plain")).to_be_visible()
    expect(figure.locator(".ll-ui")).to_be_hidden()
    page.emulate_media(media="screen")


@each_page
def test_the_table_of_all_steps_can_be_had_on_the_screen(name: str, visit: Open) -> None:
    figure = figures(visit(name, 390).page)[0]
    button = figure.get_by_role("button", name="All steps as a table")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(figure.locator(".ll-plain tbody tr")).to_have_count(len(data_of(figure)["steps"]))
    expect(figure.locator(".ll-plain")).to_be_visible()


# --- the sampling lab ----------------------------------------------------------------------------

TEMPERATURES = (0.0, 0.05, 0.4, 0.8, 1.0, 1.35, 2.0)
TOP_KS = (0, 1, 2, 7, 40, 1000)
MIN_PS = (0.0, 0.08)
TOP_PS = (0.05, 0.31, 0.6, 0.9, 0.99, 1.0)


def logits_of(figure: Locator) -> np.ndarray:
    """Largest first, as the page has them."""
    return sorted_logits(data_of(figure)["logits"])


@pytest.mark.parametrize("name", LABS)
def test_the_page_computes_the_packages_probabilities(name: str, visit: Open) -> None:
    figure = figures(visit(name, 1000).page, "lab")[0]
    assert logits_of(figure).size >= 2048
    assert_same_probabilities(figure, TOP_PS)


def test_the_page_agrees_on_ties_on_the_line_and_at_the_end_of_float32(browser: Browser) -> None:
    # Among equals every probability is the same on every processor, and whether their sum in
    # float32 has reached 0.6 hangs on its last bit.
    logits = np.array([1.0, *[7.0] * 10, 3.0, 3.0, -np.inf, -200.0, 1e-40], dtype=np.float32)
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    for row in (logits, logits[1:11].copy(), np.full(40, 7, np.float32), -logits[[0, 11, 14]]):
        names = [f"w{i}" for i in range(row.size)]
        page.set_content(viz.sampling_lab(row, names)._repr_html_())
        assert_same_probabilities(figures(page, "lab")[0], [i / 20 for i in range(1, 21)])
    context.close()


def assert_same_probabilities(figure: Locator, top_ps: Sequence[float]) -> None:
    """Over a grid of settings, for every rank: the page's number is the package's."""
    logits = logits_of(figure)
    grid = list(itertools.product(TEMPERATURES, TOP_KS, top_ps, MIN_PS))
    if logits.size > 10_000:  # a row of a real vocabulary takes a while: part of the grid, drawn
        grid = random.Random(logits.size).sample(grid, 120)
    settings = [{"temperature": t, "topK": k, "topP": p, "minP": m} for t, k, p, m in grid]
    # As bytes: numbers in JSON would be slow for all tokens under all settings.
    packed = figure.evaluate(
        """(figure, settings) => settings.map(one => {
             const bytes = new Uint8Array(figure.distribution(one).buffer);
             let text = ''; for (const byte of bytes) text += String.fromCharCode(byte);
             return btoa(text); })""",
        settings,
    )
    for (t, k, p, m), code in zip(grid, packed, strict=True):
        got = np.frombuffer(base64.b64decode(code), dtype=np.float32)
        want = probabilities(logits, Sampling(t, k, p, m))
        assert np.abs(got - want).max() < 1e-6, (t, k, p, m)
        # Below 1e-30 float32 ends, and where it ends differs between processors.
        assert np.array_equal(got > 1e-30, want > 1e-30), (t, k, p, m)


def shown_shares(figure: Locator) -> list[str]:
    shares: list[str] = figure.locator(".ll-share").all_text_contents()
    return shares


def expected_shares(logits: np.ndarray, sampling: Sampling, count: int) -> list[str]:
    """The words beside the bars: a probability, or which filter cut."""
    ids = np.argsort(-logits, kind="stable")[:count]
    p = probabilities(logits, sampling)[ids]
    without = probabilities(logits, replace(sampling, min_p=0.0))[ids]
    by_k = sampling.top_k or logits.size
    words = []
    for rank, share in enumerate(p.tolist()):
        if share == 0:
            cut = "temperature 0" if sampling.temperature == 0 else "top_p"
            cut = "min_p" if without[rank] > 0 else cut
            words.append(f"cut by {'top_k' if rank >= by_k else cut}")
        else:
            words.append("<0.1%" if share < 0.0005 else f"{100 * share:.1f}%")
    return words


@each_look
@pytest.mark.parametrize("name", LABS)
def test_sliders_move_the_bars_by_key(name: str, width: int, scheme: str, visit: Open) -> None:
    seen = visit(name, width, scheme)
    figure = figures(seen.page, "lab")[0]
    logits, count = logits_of(figure), len(data_of(figure)["labels"])
    start = data_of(figure)["start"]
    sampling = Sampling(start["temperature"], start["topK"], start["topP"], start["minP"])
    assert shown_shares(figure) == expected_shares(logits, sampling, count)
    heat, top_k, top_p, min_p = figure.get_by_role("slider").all()
    heat.press("End")
    top_k.press("Home")
    top_k.press("ArrowRight")
    top_k.press("ArrowRight")  # 1, 2, 3
    top_p.press("End")
    assert shown_shares(figure) == expected_shares(logits, Sampling(2.0, 3, 1.0), count)
    expect(figure.locator(".ll-say")).to_contain_text(f"3 of {logits.size:,} tokens kept")
    expect(figure.locator(".ll-call")).to_have_text("Sampling(temperature=2, top_k=3, top_p=1)")
    expect(top_k).to_have_attribute("aria-valuetext", "3")
    top_k.press("End")
    top_p.press("ArrowLeft")
    assert shown_shares(figure) == expected_shares(logits, Sampling(2.0, 0, 0.99), count)
    widths = figure.locator(".ll-after").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect().width)"
    )
    p = -np.sort(-probabilities(logits, Sampling(2.0, 0, 0.99)))[:count]
    assert np.allclose(np.array(widths) / widths[0], p / p[0], atol=0.02)
    for _ in range(30):
        min_p.press("ArrowRight")
    assert shown_shares(figure) == expected_shares(logits, Sampling(2.0, 0, 0.99, 0.3), count)
    expect(figure.locator(".ll-call")).to_contain_text("min_p=0.3")
    figure.get_by_role("button", name="greedy").click()
    assert shown_shares(figure) == expected_shares(logits, Sampling(0.0), count)
    expect(figure.locator(".ll-say")).to_contain_text("Entropy 0.00 nats")
    assert seen.page.evaluate(FAINT_TEXT) == []
    assert seen.page.evaluate("document.documentElement.scrollWidth - window.innerWidth") == 0
    assert seen.outside == []
    assert [text for text in seen.complaints if HARMLESS not in text] == []
