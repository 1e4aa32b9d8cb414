"""The labs in a browser: nothing loads unasked, one sentence for all, numbers as in NumPy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from page_engine import directory_of
from pages import AXE
from playwright.sync_api import Browser, BrowserContext, Page

from llama_edu import Llama, Sampling, Tokenizer, Trace, generate
from llama_edu.engine.sampling import adjusted, probabilities
from llama_edu.errors import InputError
from llama_edu.ops.rope import inverse_frequencies
from llama_edu.page import write_page_files
from llama_edu.page.drawing import FLOWS, PARTS, SKIPS
from llama_edu.page.labs import EDITED, LABS, SENTENCE, TALK, lab

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Labs</title>
<meta name="viewport" content="width=device-width"><style>body {{ margin: 0.5rem }}</style>
<script src="llama.js" defer></script><body>{}</body></html>"""
OTHER = "The little dog ran to"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(offline=True, viewport={"width": 390, "height": 800})
    made.set_default_timeout(120_000)
    yield made
    made.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every page loads: the same for all tests."""
    folder = tmp_path_factory.mktemp("labs")
    write_page_files(folder)
    return folder


@pytest.fixture
def open_labs(context: BrowserContext, site: Path) -> Iterator[Callable[..., Page]]:
    """A function that opens a page with some labs, from a file; what goes wrong fails the test."""
    complaints: list[str] = []

    def start(*names: str, query: str = "", running_too: bool = False) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text))
        body = "".join(lab(name).html for name in names)
        body += lab("machine", running=True).html if running_too else ""
        (site / "page.html").write_text(PAGE.format(body), "utf-8")
        page.goto((site / "page.html").as_uri() + query)
        return page

    yield start
    assert complaints == []


def press_all(page: Page) -> None:
    buttons = page.locator(".pl-start")
    while count := buttons.count():
        buttons.first.click()
        page.wait_for_function("n => document.querySelectorAll('.pl-start').length < n", arg=count)


def running(page: Page, name: str) -> Page:
    """The live part of one lab, to look into."""
    place = page.locator(f'[data-page-lab="{name}"] .pl-live')
    place.wait_for()
    return place  # type: ignore[return-value]


def test_a_lab_has_a_still_in_html_and_in_text() -> None:
    for name in LABS:
        shown = lab(name)
        assert "<table" in shown.html
        assert len(repr(shown).splitlines()) >= 4
        assert "<script" not in shown.html
    with pytest.raises(InputError, match="expected a lab among"):
        lab("oven")
    with pytest.raises(InputError, match="expected the machine to run"):
        lab("bits", running=True)


def test_the_drawing_says_what_the_trace_says() -> None:
    config = Llama.from_pretrained("story").config
    html = lab("machine", chapters="book/").html
    book = Path(__file__).parents[2] / "book"
    for address in re.findall(r'href="book/([^"]+)\.html"', html):
        assert (book / f"{address}.ipynb").is_file(), address
    assert f"{config.num_hidden_layers} layers" in html
    shapes = re.findall(r"data-shape=\"\">([^<]+)<", html)
    assert f"14 tokens × {config.hidden_size} features" in shapes
    # In the narrow boxes and in those of the heads a shape has two lines.
    assert f"{config.num_key_value_heads * config.head_dim} features" in shapes
    assert f"{config.num_key_value_heads} KV groups × 2 heads ×" in shapes
    assert f"14 tokens × {config.vocab_size} scores" in shapes


def test_every_part_of_the_drawing_hands_on_and_the_values_pass_rope_by() -> None:
    """From the embedding to the head no box is left out, and each sum gets its stream."""
    names = {part.name for part in PARTS}
    sources, targets = ({flow[side] for flow in FLOWS} for side in (0, 1))
    assert sources == names - {"logits", "gate_up"}  # the gate goes sideways
    assert targets == names - {"embed_tokens", "gated"}
    assert [source for source, target in FLOWS if target == "rope"] == ["q_proj", "k_proj"]
    assert ("v_proj", "attn_v") in FLOWS
    assert {target for _, target in SKIPS} == {part.name for part in PARTS if part.plus}
    assert lab("machine").html.count('class="pm-skip"') == len(SKIPS)


def test_the_script_begins_with_our_sentence() -> None:
    source = Path(__file__).parents[2] / "llama_edu" / "page" / "src" / "labs" / "frame.js"
    assert f'const DEFAULT = "{SENTENCE}";' in source.read_text("utf-8")


def test_the_conversation_is_the_stills() -> None:
    source = Path(__file__).parents[2] / "llama_edu" / "page" / "src" / "labs" / "turns.js"
    first, last = TALK
    assert f'const FIRST = "{first}";\nconst LAST = "{last}";' in source.read_text("utf-8")


def test_nothing_is_loaded_before_a_click(open_labs: Callable[..., Page]) -> None:
    page = open_labs(*LABS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    assert page.locator("table").count() >= len(LABS)
    assert page.evaluate("performance.getEntriesByType('resource').length") <= 1
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.className") != "pl-start":
        page.keyboard.press("Tab")
    assert asked == []
    page.keyboard.press("Enter")  # no mouse is needed
    running(page, "machine")
    assert "llama-story.js" in asked
    assert page.evaluate("document.activeElement.type") == "text"


def test_one_sentence_feeds_all_labs_and_is_kept(
    open_labs: Callable[..., Page], context: BrowserContext
) -> None:
    page = open_labs("tokens", "attention", "sampler", "neighbours")
    press_all(page)
    boxes = page.get_by_label("Your sentence")
    boxes.first.fill(OTHER)
    ids = Tokenizer.from_pretrained("story").encode(OTHER)
    tokens = running(page, "tokens")
    page.wait_for_function("n => document.querySelectorAll('.pl-token').length === n", arg=len(ids))
    shown = tokens.locator(".pl-id").all_inner_texts()
    assert [int(text) for text in shown] == ids
    for box in boxes.all():
        assert box.input_value() == OTHER
    rows = running(page, "attention").locator(".pl-heat th[scope=row]")
    page.wait_for_function(
        "n => document.querySelectorAll('.pl-heat th[scope=row]').length === n", arg=len(ids)
    )
    assert rows.count() == len(ids)
    again = open_labs("tokens")
    press_all(again)
    assert again.get_by_label("Your sentence").input_value() == OTHER
    linked = open_labs("tokens", query="?" + urlencode({"say": "A link says"}))
    press_all(linked)
    assert linked.get_by_label("Your sentence").input_value() == "A link says"
    linked.get_by_role("button", name="Link to this sentence").click()
    assert (
        urlencode({"say": "A link says"}) in linked.get_by_label("Link", exact=True).input_value()
    )


def test_tokens_tell_how_they_were_made(open_labs: Callable[..., Page]) -> None:
    page = open_labs("tokens", query="?" + urlencode({"say": "a café 🙂"}))
    press_all(page)
    place = running(page, "tokens")
    # It begins with a token that has merges to show.
    place.get_by_text(re.compile(r"from its letters by \d merges?:")).wait_for()
    # Bytes that are no character yet are written as bytes, without signs for blanks.
    pieces = place.locator(".pl-token .pl-mono").all_inner_texts()
    assert any(re.fullmatch(r"<[0-9a-f]{2}( [0-9a-f]{2})*>", piece) for piece in pieces), pieces
    place.locator(".pl-token").first.click()
    place.get_by_text("is a special token").wait_for()
    place.get_by_label("Your sentence").fill("")
    place.get_by_text("0 characters, 0 bytes, 1 token.").first.wait_for()


def test_tokens_show_the_rank_of_a_merge_and_whose_byte_a_byte_is(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("tokens", query="?" + urlencode({"say": "a little 日🙂"}))
    press_all(page)
    place = running(page, "tokens")
    tokenizer = Tokenizer.from_pretrained("story")
    rules = json.loads((directory_of("story") / "tokenizer.json").read_text("utf-8"))
    # The vocabulary spells a blank Ġ, the lab ␣.
    merges = [tuple(x.replace("Ġ", "␣") for x in pair) for pair in rules["model"]["merges"]]
    word = place.locator(".pl-token", has_text="little").first
    word.click()
    lines = place.locator(".pl-merges li")
    place.get_by_text("“␣little”, from its letters by").wait_for()
    parts = lines.first.locator(".pl-part").all_inner_texts()
    for line in lines.all()[1:]:  # byte-pair encoding by the book: the lowest rank goes first
        known = [(merges.index(p), i) for i, p in enumerate(pairwise(parts)) if p in merges]
        rank, at = min(known)
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
        assert line.locator(".pl-part").all_inner_texts() == parts
        assert line.locator(".pl-fresh").inner_text() == parts[at]
        assert line.locator(".pl-soft").inner_text() == f"merge {rank + 1:,}"
    assert parts == ["␣little"]
    # Bytes without a character of their own say of which one they are: three alone, two together.
    sizes = [len(tokenizer.token_bytes(token)) for token in tokenizer.encode("日🙂")[1:]]
    assert sizes == [1, 1, 1, 2, 1, 1]
    assert place.locator(".pl-of").all_inner_texts() == [
        *(f"byte {i} of 3 of 日" for i in (1, 2, 3)),
        *(f"{which} of 4 of 🙂" for which in ("bytes 1 to 2", "byte 3", "byte 4")),
    ]


def test_rows_that_training_never_told_apart_are_no_neighbours(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("neighbours")
    press_all(page)
    place = running(page, "neighbours")
    told = place.get_by_text("These are not neighbours in meaning.")
    place.get_by_text("Nearest to").wait_for()
    assert told.count() == 0
    place.get_by_label("Your sentence").fill("because e")
    told.wait_for()
    table = np.asarray(Llama.from_pretrained("story").weights.embed_tokens, np.float64)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    last = Tokenizer.from_pretrained("story").encode("because e")[-1]
    alike = np.count_nonzero(table @ table[last] > 0.999)
    assert f"{alike:,} of the table's {len(table):,} rows" in told.inner_text()
    place.get_by_label("Your sentence").fill("The little dog")
    told.wait_for(state="detached")


def test_the_sentence_has_a_limit_and_three_that_suit_the_model(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("neighbours", "turns")
    page.evaluate("document.body.style.padding = '50rem 0 80rem'")
    start = page.locator(".pl-start").first
    start.scroll_into_view_if_needed()
    start.click()
    place = running(page, "neighbours")
    # What a press of the button shows is the lab from its top.
    assert 0 <= place.locator(".pl-title").evaluate("e => e.getBoundingClientRect().y") < 100
    field = place.get_by_label("Your sentence")
    field.fill("a" * 399)
    assert place.get_by_text("the field holds no more").count() == 0
    field.fill("a" * 400)
    place.get_by_text("The first 400 characters: the field holds no more.").wait_for()
    tries = place.locator(".pl-try button")
    assert tries.count() == 3
    tries.nth(1).click()
    assert field.input_value() == tries.nth(1).inner_text().removesuffix(" …")
    assert place.get_by_text("the field holds no more").count() == 0
    press_all(page)  # the model that converses has read other texts
    turns = running(page, "turns")
    turns.get_by_text("Model: chat").wait_for()
    assert not turns.locator(".pl-try").is_visible()


def test_the_map_of_a_long_sentence_scrolls_and_keeps_its_row_names(
    open_labs: Callable[..., Page],
) -> None:
    say = (
        "Far away, near the park, a busy tiger called Mia lived with her family and was very happy"
    )
    page = open_labs("attention", query="?" + urlencode({"say": say}))
    # The book lets every table scroll in itself; a lab's table leaves that to its region.
    page.evaluate("document.body.className = 'bd-article'")
    rule = "display: block; max-width: 100%; overflow-x: auto"
    page.add_style_tag(content=f".bd-article table:not(.llama-table *) {{ {rule} }}")
    press_all(page)
    region = running(page, "attention").get_by_role("region", name="Attention weights")
    page.wait_for_selector(".pl-scroll.pl-more .pl-heat")
    name = region.get_by_role("rowheader").first
    where = "cell => cell.getBoundingClientRect().x"
    before = name.evaluate(where)
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.pl-scroll').scrollLeft > 0")
    assert name.evaluate(where) == before
    region.evaluate("region => region.scrollTo(9999, 0)")
    page.wait_for_selector(".pl-scroll:not(.pl-more)")
    assert name.evaluate(where) == before


def test_attention_marks_what_is_masked_silenced_and_wrongly_shared(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("attention")
    press_all(page)
    place = running(page, "attention")
    page.wait_for_selector(".pl-heat")
    size = len(Tokenizer.from_pretrained("story").encode(SENTENCE))
    assert place.locator(".pl-heat td.pl-masked").count() == size * (size - 1) // 2
    page.wait_for_selector(".pl-text.pl-goes-on")  # 24 tokens are not the end of the story
    head = place.get_by_label("Query head").first
    assert head.input_value() == "3 (KV group 1)"
    place.get_by_role("checkbox", name="wrong sharing").check()
    place.get_by_text("and now read those of KV group 2.").wait_for()
    assert head.input_value() == "3 (KV group 1, reads group 2)"
    place.get_by_role("checkbox", name="silence this head").check()
    place.get_by_text("Query head 3, silenced").wait_for()
    assert place.get_by_text("This head is silenced").is_visible()
    assert page.locator(".pl-silenced").count() == 2
    place.get_by_role("checkbox", name="silence this head").uncheck()
    place.get_by_role("checkbox", name="wrong sharing").uncheck()
    place.get_by_text("share one head of keys and values").wait_for()
    assert not place.get_by_text("This head is silenced").is_visible()
    place.get_by_role("checkbox", name="no mask").check()
    page.wait_for_function("() => !document.querySelector('.pl-heat .pl-masked')")


def test_attention_shows_the_weights_of_numpy(open_labs: Callable[..., Page]) -> None:
    page = open_labs("attention")
    press_all(page)
    place = running(page, "attention")
    page.wait_for_selector(".pl-heat")
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = tokenizer.encode(SENTENCE)
    with Trace() as trace:
        model.forward(ids, trace=trace)
    want = trace["layers.1.self_attn.weights"].array.reshape(-1, len(ids), len(ids))[3]
    shares = place.locator(".pl-heat td[style]").evaluate_all(
        "cells => cells.map((cell) => Number(cell.style.getPropertyValue('--share')))"
    )
    assert np.allclose(np.array(shares).reshape(want.shape), want, atol=1e-4)
    row = len(ids) - 3
    place.locator(".pl-heat button").nth(row).focus()
    best = int(np.argmax(want[row]))
    words = place.locator(".pl-words").inner_text()
    assert f"mixes the values it looks at: {100 * want[row, best]:.1f}% “" in words
    # The other head of the group beside it, of the same row; the arrow keys go from row to row.
    page.keyboard.press("ArrowUp")
    other = trace["layers.1.self_attn.weights"].array.reshape(-1, len(ids), len(ids))[2, row - 1]
    beside = place.locator(".pl-maps button")
    assert f", {100 * other.max():.1f}%" in beside.first.inner_text()
    assert beside.nth(1).get_attribute("aria-pressed") == "true"
    beside.first.click()
    page.wait_for_function(
        "() => document.querySelector('.pl-maps [aria-pressed=true] b').innerText.endsWith('2')"
    )
    assert place.get_by_label("Query head").first.input_value().startswith("2 ")
    assert page.evaluate("document.activeElement.innerText").startswith("Query head 2")


def test_a_part_taken_out_shows_another_text_beside_the_right_one(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("attention")
    press_all(page)
    place = running(page, "attention")
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = list(generate(model, tokenizer.encode(SENTENCE), max_new_tokens=24))
    right = tokenizer.decode(ids)
    texts = place.locator(".pl-text")
    page.wait_for_function(
        "text => document.querySelector('.pl-text').textContent === text", arg=right
    )
    place.get_by_role("checkbox", name="no RoPE").check()
    page.wait_for_function("() => document.querySelectorAll('.pl-text')[1].textContent.length > 60")
    page.wait_for_function("() => !document.querySelector('.pl-status:not([hidden])')")
    assert texts.first.inner_text() != texts.nth(1).inner_text()
    # A stale cache leaves the prompt's pass as it is: the first token stays, the rest goes.
    place.get_by_role("checkbox", name="no RoPE").uncheck()
    place.get_by_text("Tick a part to take it out.").wait_for()
    place.get_by_role("checkbox", name="a cache that is not kept up to date").check()
    page.wait_for_function(
        "n => document.querySelectorAll('.pl-text')[1].textContent.length > n", arg=40
    )
    stale = texts.nth(1).inner_text()
    place.get_by_text("Broken: a cache that is not kept up to date", exact=True).wait_for()
    told = place.locator(".pl-two + .pl-soft", has_text="then they part")
    assert "never stored" in told.inner_text()
    assert "as far as “climb" in told.inner_text()
    first = tokenizer.decode(ids[:1])
    assert stale.startswith(first)
    assert stale[:40] != right[:40]
    place.get_by_role("checkbox", name="a cache that is not kept up to date").uncheck()
    # Nobody looks ahead while the mask is on; without it, they do.
    ahead = "() => [...document.querySelector('.pl-heat tr:nth-child(2)').cells].slice(2)"
    assert page.evaluate(
        f"({ahead})().every((c) => c.style.getPropertyValue('--share') === '0.0000')"
    )
    place.get_by_role("checkbox", name="no mask").check()
    page.wait_for_function(
        f"() => ({ahead})().some((c) => c.style.getPropertyValue('--share') > 0)"
    )


def test_the_machine_may_begin_with_the_page(open_labs: Callable[..., Page]) -> None:
    """It walks on numbers that came along, and loads the model when the reader types."""
    page = open_labs(running_too=True)
    place = running(page, "machine")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    head = place.locator(".pl-head").first
    place.get_by_role("button", name="Pause").click()
    step = place.get_by_role("button", name="Step")
    seen = [head.inner_text()]
    while step.get_attribute("aria-disabled") != "true":
        step.click()
        seen.append(head.inner_text())
    recorded = place.locator("p.pl-soft").inner_text()
    assert seen[-1] == "A score for every token"
    assert asked == []
    place.get_by_role("button", name="Feed the new token back").click()
    page.wait_for_selector("mark:not(:empty)")
    assert f"“{page.locator('mark').inner_text().replace(' ', '␣')}”" in recorded
    assert any("llama-story.js" in url for url in asked)
    place.get_by_label("Your sentence").fill(OTHER)
    page.wait_for_function(
        "text => document.querySelector('.pl-text').textContent === text", arg=OTHER
    )
    # The same numbers as those that came along, once ours is typed again.
    place.get_by_label("Your sentence").fill(SENTENCE)
    page.wait_for_function(
        "text => document.querySelector('.pl-text').textContent === text", arg=SENTENCE
    )
    again = [head.inner_text()]
    while step.get_attribute("aria-disabled") != "true":
        step.click()
        again.append(head.inner_text())
    assert again[-len(seen) :] == seen
    assert place.locator("p.pl-soft").inner_text() == recorded


def test_sampler_draws_the_text_that_python_draws(open_labs: Callable[..., Page]) -> None:
    page = open_labs("sampler")
    press_all(page)
    place = running(page, "sampler")
    place.get_by_role("button", name="Another seed").click()
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    prompt = tokenizer.encode(SENTENCE)
    for side, sampling in enumerate((Sampling(0.8, 40, 0.95), Sampling(1.5, 0, 1.0))):
        ids = generate(model, prompt, max_new_tokens=40, sampling=sampling, seed=2)
        want = tokenizer.decode(list(ids))
        page.wait_for_function(
            "([i, text]) => document.querySelectorAll('.pl-text')[i].textContent === text",
            arg=[side, want],
        )
    assert place.locator(".pl-bars .pl-share").count() == 20
    # Of two quick wishes the second is heard, and what was drawn under other settings goes.
    for name in ("Another seed", "Draw both texts"):
        place.get_by_role("button", name=name).click()
    ids = generate(model, prompt, max_new_tokens=40, sampling=Sampling(1.5), seed=3)
    page.wait_for_function(
        "text => document.querySelectorAll('.pl-text')[1].textContent === text",
        arg=tokenizer.decode(list(ids)),
    )
    place.get_by_label("temperature").first.fill("0.5")
    assert place.locator(".pl-text").first.inner_text() == ""
    # Penalties and min-p: the bars are the package's, and so is the text.
    second = place.get_by_role("region", name="Settings B")
    for label, value in (("repetition", "1.5"), ("presence", "0.4"), ("min-p", "0.1")):
        second.get_by_label(label).fill(value)
    sampling = Sampling(1.5, min_p=0.1, repetition_penalty=1.5, presence_penalty=0.4)
    logits = adjusted(model.forward(prompt)[-1], sampling, frozenset(prompt), {})
    p = probabilities(logits, sampling)
    kept = f"{np.count_nonzero(p)} of {len(p)} tokens can be drawn"
    second.get_by_text(kept).wait_for()
    best = f"{100 * p.max():.1f}%"
    assert best in second.locator(".pl-share").all_inner_texts()
    place.get_by_role("button", name="Draw both texts").click()
    ids = generate(model, prompt, max_new_tokens=40, sampling=sampling, seed=3)
    want = tokenizer.decode(list(ids))
    page.wait_for_function(
        "text => document.querySelectorAll('.pl-text')[1].textContent === text", arg=want
    )


def test_the_machine_walks_every_layer_and_feeds_its_token_back(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("machine")
    shapes = "() => [...document.querySelectorAll('[data-shape]')].map((one) => one.textContent)"
    still = page.evaluate(shapes)
    press_all(page)
    place = running(page, "machine")
    page.wait_for_selector(".pl-strip i")
    assert page.evaluate(shapes) == still
    step = place.get_by_role("button", name="Step")
    seen = [place.locator(".pl-head").first.inner_text()]
    step.focus()
    while step.get_attribute("aria-disabled") != "true":
        page.keyboard.press("ArrowRight")
        seen.append(place.locator(".pl-head").first.inner_text())
        assert page.locator("svg .pl-here").count() >= 1
    assert len(seen) == 1 + 2 * 12 + 2
    assert seen[-1] == "A score for every token"
    assert "best next token" in place.locator("p.pl-soft").inner_text()
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = tokenizer.encode(SENTENCE)
    answers = list(generate(model, ids, max_new_tokens=3))
    place.get_by_role("button", name="Feed the new token back").focus()
    page.keyboard.press("Enter")
    text = "text => document.querySelector('mark').textContent === text"
    page.wait_for_function(text, arg=tokenizer.decode(answers[:1]))
    # The button has gone away; who walks by the keys goes on from Step.
    assert page.evaluate("document.activeElement.textContent") == "Step"
    assert place.locator(".pl-head").first.inner_text() == seen[0]
    # One press shows what comes next, one more feeds it back and shows what comes then.
    following = place.get_by_role("button", name="Next word")
    following.press("Enter")
    assert place.locator(".pl-head").first.inner_text() == "A score for every token"
    following.press("Enter")
    page.wait_for_function(text, arg=tokenizer.decode(answers[:2]))
    assert place.locator(".pl-head").first.inner_text() == "A score for every token"
    # The drawing and the table tell of what was fed, too.
    total = len(ids) + 2
    assert page.evaluate(shapes)[0] == f"{total} tokens × {model.config.hidden_size} features"
    table = page.locator(".pl-fold tbody tr").first.locator("td")
    assert table.nth(2).text_content() == f"{total} × {model.config.hidden_size}"
    caption = page.locator(".pl-fold caption").text_content()
    assert caption is not None
    assert SENTENCE + tokenizer.decode(answers[:2]) in caption


def test_the_machine_says_who_looks_at_whom_and_what_comes_next(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("machine")
    press_all(page)
    place = running(page, "machine")
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = tokenizer.encode(SENTENCE)
    with Trace() as trace:
        logits = model.forward(ids, trace=trace)[-1]
    page.wait_for_selector(".pl-strip i")
    step = place.get_by_role("button", name="Step")
    while page.locator("a.pl-here").get_attribute("data-part") != "weights":
        step.click()
    names = [tokenizer.decode([i]).replace(" ", "␣") for i in ids[1:]]
    assert place.locator(".pl-looks b").all_inner_texts() == ["start token", *names]
    told = place.locator(".pl-told")
    weights = trace["layers.0.self_attn.weights"].array[:, :, -1].reshape(-1, len(ids))
    for head in (0, 1, 7):
        place.get_by_label("Query head").select_option(index=head)
        best = int(np.argmax(weights[head]))
        name = names[best - 1] if best else "start token"
        share = f"{100 * weights[head, best]:.1f}%"
        said = f"“{name}”" if best else f"the {name}"
        where = f"query head {head} of KV group {head // 2}"
        assert f"{where}, looks most at {said}, with {share}" in told.inner_text()
        assert place.locator(".pl-best").get_attribute("title") == f"{name}, {share}"
    assert "“<|endoftext|>”, which stands before every text" in told.inner_text()
    step.press("End")
    shares = probabilities(logits, Sampling())
    likeliest = np.argsort(-shares, kind="stable")[:10].tolist()
    shown = place.locator(".pl-bars .pl-mono").all_inner_texts()
    assert shown == [tokenizer.decode([i]).replace(" ", "␣") for i in likeliest]
    percents = place.locator(".pl-bars .pl-share").all_inner_texts()
    assert [float(text.strip("<%")) for text in percents] == pytest.approx(
        [100 * shares[i] for i in likeliest], abs=0.06
    )
    # Of a long sentence the start token stays, and the last ones.
    place.get_by_label("Your sentence").fill(SENTENCE + " and " + SENTENCE)
    page.wait_for_function(
        "n => document.querySelector('[data-shape]').textContent.startsWith(n)", arg=str(28)
    )
    while page.locator("a.pl-here").get_attribute("data-part") != "weights":
        step.click()
    drawn = place.locator(".pl-looks b").all_inner_texts()
    assert len(drawn) == 20
    assert drawn[0] == "start token"
    assert "Of 28 bars the first and the last 19 are drawn." in told.inner_text()


def test_the_machine_keeps_its_height_and_the_lit_box_in_sight(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("machine")
    for width in (390, 780, 1000, 1300):  # 1000: a drawing with a narrow column beside it
        page.set_viewport_size({"width": width, "height": 800})
        if width == 390:
            page.locator(".pl-start").scroll_into_view_if_needed()
            press_all(page)
            running(page, "machine")
            page.wait_for_selector(".pl-strip i")
            top = page.evaluate("document.querySelector('.page-lab').getBoundingClientRect().top")
            assert 0 <= top < 100
        page.emulate_media(reduced_motion="reduce")
        step = page.get_by_role("button", name="Step")
        step.press("Home")
        heights = set()
        while True:
            heights.add(page.evaluate("document.querySelector('.pl-body').offsetHeight"))
            box = page.locator("a.pl-here .pm-box").bounding_box()
            view = page.locator(".pl-view").bounding_box()
            assert box is not None
            assert view is not None
            assert view["y"] - 1 <= box["y"]
            assert box["y"] + box["height"] <= view["y"] + view["height"] + 1
            if step.get_attribute("aria-disabled") == "true":
                break
            step.press("ArrowRight")
        assert len(heights) == 1, (width, heights)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = """() => [...document.querySelectorAll('.pl-view text')]
          .map((one) => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a)
          .filter((size) => size && size < 12)"""
        assert page.evaluate(small) == [], width


def test_cache_and_neighbours_agree_with_the_still(open_labs: Callable[..., Page]) -> None:
    page = open_labs("neighbours", "cache")
    press_all(page)
    page.wait_for_selector(".pl-lens td")
    ranks = page.locator(".pl-lens tbody tr td:nth-child(2)").all_inner_texts()
    still = [line.split()[-4] for line in repr(lab("neighbours")).splitlines()[2:]]
    assert ranks == [r for r in still if r.isdigit()]
    page.wait_for_function("() => document.querySelectorAll('.pl-clock')[1].textContent.length > 9")
    rows = page.locator(".pl-both tbody tr")
    prompt = len(Tokenizer.from_pretrained("story").encode(SENTENCE))
    for step, row in enumerate(rows.all()):
        fed, ms, fed_without, ms_without, _ = row.locator("td").all_inner_texts()
        total = prompt + step
        assert fed == (f"1 + {total - 1}" if step else f"{prompt} + 0")
        assert fed_without == f"{total} + 0"
        assert all(re.fullmatch(r"\d+\.\d", one) for one in (ms, ms_without))
    # Where the reader chooses, nothing runs before there was something to guess.
    place = running(page, "cache")
    place.get_by_label("Steps").select_option("4")
    place.get_by_text(f"Your text has {prompt} tokens. How many rows").wait_for()
    assert rows.count() == 0
    place.get_by_role("button", name="Generate both ways").click()
    with_it, without = prompt + 3, 4 * prompt + 6
    times = f"{without / with_it:.1f} times the rows"
    place.locator(".pl-words", has_text=f"= {without}:").wait_for()
    assert times in place.locator(".pl-words").inner_text()
    assert rows.count() == 4


def test_clocks_turn_as_rope_does(open_labs: Callable[..., Page]) -> None:
    page = open_labs("clocks")
    press_all(page)
    place = running(page, "clocks")
    page.wait_for_selector(".pl-clocks figure")
    turns = inverse_frequencies(Llama.from_pretrained("story").config)
    for query, key in ((12, 5), (40, 33), (3, 3)):
        place.get_by_label("position of the query").fill(str(query))
        place.get_by_label("position of the key").fill(str(key))
        kept = float(np.mean(np.cos((query - key) * turns.astype(np.float64))))
        assert f"would now be {kept:.2f} of" in place.locator("p:not([class])").last.inner_text()
    ends = place.locator(".pl-clocks .pl-hand").evaluate_all(
        "lines => lines.map((line) => ['x2', 'y2'].map((name) => Number(line.getAttribute(name))))"
    )
    angles = 3 * turns.astype(np.float64)
    assert np.allclose(ends, 26 * np.stack([np.cos(angles), -np.sin(angles)], axis=1), atol=1e-3)
    # One pair at two positions, and another θ: each pair but the first turns more slowly.
    place.get_by_label("position of the query").fill("9")
    place.get_by_label("One pair").select_option(index=2)
    turned = np.degrees(6 * float(turns[2]))
    assert f"between them are {turned:.1f}°, 6 steps" in place.locator(".pl-pair").inner_text()
    place.get_by_label("θ as a power of 10").fill("5")
    slower = np.degrees(6 * 1e5 ** (-4 / (2 * len(turns))))
    assert f"between them are {slower:.1f}°, 6 steps" in place.locator(".pl-pair").inner_text()
    place.get_by_text("θ = 100,000, not the model's").wait_for()
    marked = place.locator(".pl-cell.pl-fresh")
    assert marked.all_inner_texts() == ["2", str(2 + len(turns))]
    place.get_by_label("the other layout").check()
    assert "numbers 4 and 5" in place.get_by_label("One pair").inner_text()
    assert marked.all_inner_texts() == ["4", "5"]
    # A key after the query, both past the sentence: a minus is no hyphen.
    place.get_by_label("position of the query").fill("40")
    place.get_by_label("position of the key").fill("43")
    tokens = len(Tokenizer.from_pretrained("story").encode(SENTENCE))
    told = place.locator("p:not([class])").last.inner_text()
    assert told.startswith(f"Query at 40 (past your sentence's {tokens} tokens), key at 43")
    assert ": 3 apart." in told
    assert ", −3 steps of" in place.locator(".pl-pair").inner_text()
    # What is moved and what it does are on one screen.
    page.set_viewport_size({"width": 1100, "height": 900})
    moved = place.get_by_label("position of the query").bounding_box()
    curve = place.locator(".pl-curve svg").bounding_box()
    assert moved is not None
    assert curve is not None
    assert curve["y"] + curve["height"] - moved["y"] < 300


def test_a_picked_model_takes_over_and_is_remembered(open_labs: Callable[..., Page]) -> None:
    """Files of another model, in this page and in the next, until the reader wants ours back."""
    folder = directory_of("chat")
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    page = open_labs("tokens")
    press_all(page)
    page.locator(".pl-pick summary").click()
    page.locator(".pl-pick input").set_input_files([folder / name for name in names])
    page.get_by_text("on your next visit too").wait_for()
    following = open_labs("tokens")
    press_all(following)
    following.get_by_text("Model: model.safetensors").wait_for()
    want = Tokenizer(folder).encode(SENTENCE)
    following.wait_for_function(
        "n => document.querySelectorAll('.pl-token').length === n", arg=len(want)
    )
    shown = following.locator(".pl-id").all_inner_texts()
    assert [int(text) for text in shown] == want
    following.locator(".pl-pick summary").click()
    following.get_by_role("button", name="Back to the book's own model").click()
    following.get_by_text("Model: story").wait_for()
    last = open_labs("tokens")
    press_all(last)
    last.get_by_text("Model: story").wait_for()


def test_files_that_are_no_model_are_an_error_that_is_shown(open_labs: Callable[..., Page]) -> None:
    page = open_labs("tokens")
    press_all(page)
    page.locator(".pl-pick summary").click()
    page.locator(".pl-pick input").set_input_files([directory_of("chat") / "config.json"])
    alert = page.get_by_role("alert")
    alert.get_by_text("expected a .safetensors or .gguf file").wait_for()
    page.get_by_label("Your sentence").fill("It still works")
    page.wait_for_function("() => document.querySelector('.pl-soft').textContent.includes('story')")


def test_at_390_pixels_the_page_does_not_scroll_sideways(open_labs: Callable[..., Page]) -> None:
    page = open_labs(*LABS)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 390
    press_all(page)
    page.wait_for_selector(".pl-heat")
    page.wait_for_selector(".pl-lens td")
    page.wait_for_selector(".pl-maps button")
    page.wait_for_function("() => document.querySelector('.pl-live select option:nth-child(9)')")
    assert page.evaluate(wide) <= 390
    # A lab's card does not hide what it holds: controls end in it, and captions in their box.
    held = ".pl-live :is(select, input, button), caption"
    spilled = f"""() => [...document.querySelectorAll('{held}')]
      .filter((one) => one.checkVisibility() && !one.closest('.pl-heat'))
      .filter((one) => one.getBoundingClientRect().right > 390).map((one) => one.outerHTML)"""
    assert page.evaluate(spilled) == []
    ours = (
        "axe.run('.page-lab', { resultTypes: ['violations'] })"  # the page around has no headings
    )
    if AXE.is_file():
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate(ours)["violations"]
        assert [(one["id"], [n["target"] for n in one["nodes"]]) for one in found] == []


LOOKED_AT = """(place) => {
  const isSeen = (one) => one.checkVisibility() && one.getClientRects().length > 0;
  const seen = (selector) => [...place.querySelectorAll(selector)].filter(isSeen);
  const drawn = "svg, .pl-tokens, .pl-lens, .pl-map, .pl-rows, .pl-bars, .pl-bits, .pl-kept";
  const dark = (color) => color.match(/[\\d.]+/g).slice(0, 3).every((part) => part < 128);
  const texts = seen("svg text").filter((text) => text.textContent);
  const spilled = texts.filter((text) => {
    const [own, all] = [text, text.ownerSVGElement].map((one) => one.getBoundingClientRect());
    const isBeside = own.left < all.left - 1 || own.right > all.right + 1;
    return isBeside || own.top < all.top - 1 || own.bottom > all.bottom + 1;
  });
  const clips = (one) => getComputedStyle(one).overflowX !== "visible" && !one.matches(".pl-heard");
  const clipped = seen("*").filter((one) => clips(one) && one.scrollWidth > one.clientWidth + 1);
  return {
    drawings: seen(drawn).length, cells: seen("td").filter((cell) => cell.textContent).length,
    controls: seen(".pl-start, .pl-quiet, .pl-row button, input, select, summary").length,
    spilled: [...spilled, ...clipped].map((one) => one.outerHTML.slice(0, 90)),
    isDark: seen("td").every((cell) => dark(getComputedStyle(cell).color)),
  };
}"""


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize("situation", ["no scripts", "before", "after"])
def test_a_lab_is_a_still_with_its_table(
    name: str, situation: str, browser: Browser, site: Path
) -> None:
    """Without scripts, printed before it was started, and after: then it is the reader's own."""
    has_scripts = situation != "no scripts"
    # As wide as paper, on a dark screen.
    context = browser.new_context(
        java_script_enabled=has_scripts, color_scheme="dark", viewport={"width": 660, "height": 900}
    )
    context.set_default_timeout(120_000)
    try:
        page = context.new_page()
        (site / "still.html").write_text(PAGE.format(lab(name).html), "utf-8")
        page.goto((site / "still.html").as_uri() + "?" + urlencode({"say": OTHER}))
        place = page.locator(".page-lab")
        if not has_scripts:
            assert place.locator("svg").is_visible()
            assert place.locator("tbody tr").first.is_visible()
            page.emulate_media(media="print")
            assert place.locator("tbody tr").last.is_visible()
            return
        if situation == "after":
            press_all(page)
            page.locator(".page-lab[data-told]").wait_for()
            if name == "turns":
                page.wait_for_function("() => document.querySelectorAll('.pl-same tr').length > 3")
        page.emulate_media(media="print")
        page.wait_for_function(
            "() => document.querySelector('.page-lab details:last-of-type').open"
        )
        seen = place.evaluate(LOOKED_AT)
        assert seen["drawings"] >= 1
        assert seen["cells"] >= 6
        assert seen["controls"] == 0
        assert seen["spilled"] == []
        assert seen["isDark"]
        text = place.inner_text()
        assert (f"Your sentence: “{OTHER}”" in text) == (situation == "after")
        assert place.locator(".pl-still figcaption").is_visible() == (situation == "before")
        page.emulate_media(media="screen")
        page.wait_for_function("() => !document.querySelector('.page-lab details[open]')")
    finally:
        context.close()


def test_what_is_printed_is_what_the_reader_had_done(open_labs: Callable[..., Page]) -> None:
    """The tables say what numpy says of the reader's sentence and settings."""
    page = open_labs("tokens", "bits", "sampler", query="?" + urlencode({"say": OTHER}))
    press_all(page)
    running(page, "bits").get_by_label("A number").fill("0.5")
    running(page, "sampler").get_by_label("3. temperature").first.fill("2")
    changed = "Settings A: temperature 2, top-k 40, top-p 0.95"
    page.wait_for_function("text => document.body.textContent.includes(text)", arg=changed)
    page.emulate_media(media="print")
    tokenizer = Tokenizer.from_pretrained("story")
    ids = tokenizer.encode(OTHER)
    rows = running(page, "tokens").locator(".pl-same tbody tr")
    assert rows.locator("td:nth-child(2)").all_inner_texts() == [str(i) for i in ids]
    assert rows.locator("td:nth-child(3)").all_inner_texts() == [
        tokenizer.token_bytes(i).hex(" ") for i in ids
    ]
    floats = running(page, "bits").locator(".pl-same tbody tr")
    assert floats.locator("td:nth-child(3)").all_inner_texts() == ["0.5"] * 4
    logits = Llama.from_pretrained("story").forward(ids)[-1]
    drawn = probabilities(logits, Sampling(2.0, 40, 0.95))
    best = np.argsort(-logits, kind="stable")[0]
    chance = running(page, "sampler").locator(".pl-same tbody tr").first.locator("td").nth(1)
    assert chance.inner_text() == f"{100 * drawn[best]:.1f}%"


def test_flipping_a_bit_changes_the_number_in_all_formats(open_labs: Callable[..., Page]) -> None:
    page = open_labs("bits")
    press_all(page)
    place = running(page, "bits")
    numbers = place.get_by_role("combobox")
    page.wait_for_function("() => document.querySelector('.pl-live select option:nth-child(9)')")
    last = Tokenizer.from_pretrained("story").encode(SENTENCE)[-1]
    row = Llama.from_pretrained("story").weights.embed_tokens[last]
    numbers.select_option(index=3)
    assert float(place.get_by_label("A number").input_value()) == pytest.approx(float(row[2]))
    place.get_by_label("A number").fill("257")
    worth = place.locator(".pl-worth")
    assert [text.split(" = ")[-1] for text in worth.all_inner_texts()] == [
        "257",
        "256",
        "257",
        "256",
    ]
    # The last bit of float16, by keyboard: 257 has the step 0.25.
    half = place.get_by_role("group", name="The 16 bits of float16")
    half.get_by_role("button").first.focus()
    page.keyboard.press("End")
    page.keyboard.press("Space")
    assert "bfloat16 changed with it" in place.locator(".pl-note").inner_text()
    want = ["257.25", "258", "257.25", "256"]
    assert [text.split(" = ")[-1] for text in worth.all_inner_texts()] == want
    half.get_by_role("button").nth(1).click()
    assert "a step of" in place.locator("section", has_text="float16").last.inner_text()
    place.get_by_label("A number").fill("70000")
    assert "∞" in worth.nth(2).inner_text()
    assert "NaN" in worth.nth(3).inner_text()
    # Without an infinity, an exponent of ones alone is a number still.
    assert "so is the mantissa" in worth.nth(3).inner_text()
    assert "mantissa is 0" in worth.nth(2).inner_text()


def test_what_the_bits_lab_says_is_true_of_the_digits_it_prints(
    open_labs: Callable[..., Page],
) -> None:
    page = open_labs("bits")
    press_all(page)
    place = running(page, "bits")
    box = place.get_by_label("A number")
    single, bfloat, _, byte = (place.locator("section").nth(i) for i in range(4))
    # A stored number with all its digits, and the same when its digits are typed again.
    place.get_by_role("group", name="The 32 bits of float32").get_by_role("button").last.click()
    stored = np.nextafter(np.float32(0.1), np.float32(0))
    kept = f"{Decimal(float(stored))} is kept exactly"
    assert kept in single.inner_text()
    assert "no other format noticed" in place.locator(".pl-note").inner_text()
    typed = box.input_value()
    assert float(typed) == stored
    box.fill("1")
    box.fill(typed)
    assert kept in single.inner_text()
    # Whole numbers whole, steps the powers of two that they are, and a mark on what was rounded.
    box.fill("16777217")
    assert "= 16777216" in bfloat.locator(".pl-worth").inner_text()
    assert "next one up is 16908288, a step of 2¹⁷ = 131072" in bfloat.inner_text()
    box.fill("1e10")
    assert "= 9999220736" in bfloat.locator(".pl-worth").inner_text()
    assert "next one up is 10000001024, a step of 2¹⁰ = 1024" in single.inner_text()
    box.fill("0.1")
    assert "next one up is ≈ 0.100000009, a step of 2⁻²⁷ ≈ 7.45e−9" in single.inner_text()
    assert "0.1 is off by ≈ 1.49e−9" in single.inner_text()
    box.fill("1e-30")
    assert "≈ 1e−30" in single.locator(".pl-worth").inner_text()
    # What is no number leaves no bits that would look like its own.
    for text in ("", "1/3", "one"):
        box.fill(text)
        assert "no number yet" in place.locator(".pl-note").inner_text()
        assert not single.is_visible()
    for text, first, last in (("nan", "NaN", "NaN"), ("-inf", "= −∞", "NaN"), ("∞", "= ∞", "NaN")):
        box.fill(text)
        assert first in single.locator(".pl-worth").inner_text()
        assert last in byte.locator(".pl-worth").inner_text()
    assert "This format has no ∞" in byte.inner_text()


def test_the_sampler_gives_the_readers_sentence_back(open_labs: Callable[..., Page]) -> None:
    page = open_labs("sampler", query="?" + urlencode({"say": OTHER}))
    press_all(page)
    place = running(page, "sampler")
    box, back = place.get_by_label("Your sentence"), place.get_by_text("Back to your sentence")
    assert not back.is_visible()
    place.get_by_role("button", name="A place where it is sure").click()
    place.get_by_role("button", name="A place where it repeats").click()
    # Where it repeats, a penalty on what was there before is seen at once.
    second = place.get_by_role("region", name="Settings B")
    best = second.locator(".pl-share").first
    second.get_by_label("3. temperature").fill("1")
    text = box.input_value()
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = tokenizer.encode(text)
    shares = []
    for penalty in ("1", "1.5"):
        second.get_by_label("repetition").fill(penalty)
        sampling = Sampling(1.0, repetition_penalty=float(penalty))
        logits = model.forward(ids)[-1]
        p = probabilities(adjusted(logits, sampling, frozenset(ids), {}), sampling)
        share = float(p[np.argmax(logits)])
        second.locator(".pl-share", has_text=f"{100 * share:.1f}%").first.wait_for()
        shares.append(share)
    assert best.inner_text() == f"{100 * shares[1]:.1f}%"
    assert shares[1] < shares[0] - 0.1
    back.click()
    page.wait_for_function(
        "text => document.querySelector('.pl-sentence input').value === text", arg=OTHER
    )
    assert not back.is_visible()


def test_turns_cost_what_they_cost_in_python(open_labs: Callable[..., Page]) -> None:
    """Three messages, then the first one again in other words: the still's numbers."""
    page = open_labs("turns")
    press_all(page)
    place = running(page, "turns")
    rows = place.locator(".pl-steps tbody tr")
    page.wait_for_function("() => document.querySelectorAll('.pl-steps tbody tr').length === 3")
    place.get_by_label("Message 1", exact=True).fill(EDITED)
    place.get_by_text("Were message 1 sent now").first.wait_for()
    place.get_by_text("In the cache now", exact=False).wait_for()
    place.get_by_text("the cache has “␣Mia” there, the prompt “␣Ada”").first.wait_for()
    place.get_by_label("Message 1", exact=True).press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.pl-steps tbody tr').length === 4")
    still = page.locator(".pl-still tbody tr")
    for shown, counted in zip(rows.all(), still.all(), strict=True):
        counts = counted.locator("td").all_text_contents()[1:5]
        assert shown.locator("td").all_inner_texts()[:4] == counts
    replies = place.locator(".pl-reply").all_inner_texts()
    assert replies == ["Hello, Ada! Nice to meet you.", "", ""]
    place.get_by_text("In the cache before it was sent", exact=False).wait_for()
    # The same again: all is cached, and the last token runs all the same.
    place.get_by_label("Message 1", exact=True).press("Enter")
    place.get_by_text("and 1 is computed").first.wait_for()
    place.get_by_text("The last token is computed even so").first.wait_for()
    place.get_by_label("put the time into the system prompt").check()
    place.get_by_text("the prompt “system”").first.wait_for()
