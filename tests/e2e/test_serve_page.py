"""The server's own page, as a reader uses it: by mouse and keyboard, on a phone, in two tabs."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import pytest
from pages import FAINT_TEXT, PATIENCE_MS, Visit, inaccessible
from playwright.sync_api import Browser, BrowserContext, Route, expect

from llama_edu.serve.http.middleware import HEADERS
from llama_edu.serve.http.served import ServedModel, Serving, load
from llama_edu.serve.http.server import running
from llama_edu.serve.scheduler import Scheduler

expect.set_options(timeout=PATIENCE_MS)

HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script> [click](javascript:alert(3)) "
    "**bold <b>not bold</b>** <|im_end|>"
)


class Server:
    """The embedded models behind a port that stays the same when the server goes and comes."""

    def __init__(self) -> None:
        self.url, self._port = "", 0
        self._open = ExitStack()

    def start(self) -> None:
        serving = Serving(load(["story", "chat"]))
        self.url = self._open.enter_context(running(serving, port=self._port, grace=0.0))
        self._port = int(self.url.rsplit(":", 1)[1])

    def stop(self) -> None:
        self._open.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    made.start()
    yield made
    made.stop()


Opened = Callable[..., Visit]


@pytest.fixture
def opened(browser: Browser, server: Server) -> Iterator[Opened]:
    """Opens a tab of the page; tabs of one test share what the browser keeps."""
    contexts: dict[tuple[int, str], BrowserContext] = {}
    visits: list[Visit] = []

    def open_tab(
        tab: str = "story", width: int = 1100, scheme: Literal["light", "dark"] = "light"
    ) -> Visit:
        if (width, scheme) not in contexts:
            contexts[width, scheme] = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            contexts[width, scheme].set_default_timeout(PATIENCE_MS)
        seen = Visit(contexts[width, scheme].new_page())
        seen.page.on(
            "request",
            lambda r: None if r.url.startswith(server.url) else seen.outside.append(r.url),
        )
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on(
            "console",
            lambda line: seen.complaints.append(line.text) if line.type == "error" else None,
        )
        seen.page.on("dialog", lambda dialog: seen.complaints.append(f"dialog {dialog.message}"))
        seen.page.goto(f"{server.url}/#{tab}", wait_until="load")
        expect(seen.page.locator(f"#{tab} select[name=model] option").first).to_be_attached()
        visits.append(seen)
        return seen

    yield open_tab
    for seen in visits:
        assert seen.outside == [], "the page must not ask the network for anything"
        assert seen.complaints == []
    for context in contexts.values():
        context.close()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes its time, so that there is something to stop."""
    step = Scheduler.step

    def slow(self: Scheduler) -> Any:
        time.sleep(0.1)
        return step(self)

    monkeypatch.setattr(Scheduler, "step", slow)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A model that stands still after a few tokens, until this event is set."""
    step, go_on, done = Scheduler.step, threading.Event(), []

    def held_step(self: Scheduler) -> Any:
        if len(done) >= 8:
            assert go_on.wait(PATIENCE_MS / 1000)
        done.append(True)
        return step(self)

    monkeypatch.setattr(Scheduler, "step", held_step)
    yield go_on
    go_on.set()


def say(page: Any, text: str) -> None:
    page.locator("#say textarea[name=message]").fill(text)
    page.keyboard.press("Enter")


def replied(page: Any, turns: int) -> None:
    """Wait until there are that many turns and nothing more is coming."""
    expect(page.locator("#turns > li")).to_have_count(turns)
    expect(page.locator("#say button[name=stop]")).to_be_disabled()


def test_a_story_goes_on_and_each_token_says_how_likely_it_was(opened: Opened) -> None:
    page = opened().page
    page.locator("input[name=max_tokens]").fill("12")
    page.locator("#story input[name=temperature]").fill("0")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#story-note")).to_contain_text("new ones")
    tokens = page.locator(".token")
    assert 1 <= tokens.count() <= 12
    whole = page.locator("#text").text_content()
    assert whole.startswith("Once upon a time")
    assert whole == "Once upon a time" + "".join(tokens.all_text_contents())
    # Greedy takes the likeliest, so the token itself leads its list of alternatives.
    tokens.nth(0).hover()
    card = page.locator("#card li")
    expect(card).to_have_count(6)
    expect(card.first).to_have_class("chosen")
    shares = [float(t.strip("<% \u00a0")) for t in card.locator(".p").all_text_contents()]
    assert shares == sorted(shares, reverse=True)
    assert "%" in tokens.nth(0).get_attribute("aria-label")


def test_another_token_can_be_taken_by_keyboard(opened: Opened) -> None:
    page = opened().page
    page.locator("input[name=max_tokens]").fill("6")
    page.locator("textarea[name=prompt]").focus()
    page.get_by_role("button", name="Continue").press("Enter")
    expect(page.locator("#story-note")).to_contain_text("new ones")
    whole = page.locator("#text").text_content()
    page.locator(".token").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token").nth(1)).to_be_focused()
    before = "Once upon a time" + page.locator(".token").first.text_content()
    page.keyboard.press("Enter")
    other = page.locator("#card button:focus")
    expect(other).to_be_visible()
    taken = other.text_content().replace("␣", " ").replace("↵", "\n")
    page.keyboard.press("Enter")
    expect(page.locator("#story button[name=stop]")).to_be_disabled()
    expect(page.locator("#text")).to_have_text(re.compile("^" + re.escape(before + taken)))
    expect(page.locator(".token").nth(1)).to_have_class(re.compile("taken"))
    # The text that was is a branch beside the new one, and can be had back.
    branches = page.locator("#branches button")
    expect(branches).to_have_count(2)
    expect(branches.nth(1)).to_have_attribute("aria-current", "true")
    branches.first.press("Enter")
    expect(page.locator("#text")).to_have_text(whole)
    expect(branches.first).to_be_focused()


def test_a_reply_streams_in_and_shows_what_it_cost(opened: Opened) -> None:
    page = opened("chat").page
    say(page, "Hello! Tell me a story.")
    replied(page, 2)
    strip = page.locator("#turns .strip").last
    expect(strip).to_contain_text("0 reused")
    expect(strip).to_contain_text("generated")
    expect(strip).to_contain_text("first token")
    say(page, "And then?")
    replied(page, 4)
    reused = page.locator("#turns .strip p .reused").last.text_content()
    assert int(reused.split()[0]) > 10, "the first turn is not computed again"


def test_stop_stops_and_retry_tries_again(opened: Opened, held: threading.Event) -> None:
    page = opened("chat").page
    say(page, "Hello! Tell me a story.")
    expect(page.locator("#turns > .assistant .said")).not_to_be_empty()
    page.get_by_role("button", name="Stop").and_(page.locator("#say button")).click()
    replied(page, 2)
    strip = page.locator("#turns .strip")
    expect(strip).to_contain_text("stopped")
    expect(strip).to_contain_text("first token")
    cut = page.locator("#turns > .assistant .said").text_content()
    expect(page.locator("#turns .cut")).to_have_text("Stopped here.")
    held.set()
    time.sleep(0.5)
    said = page.locator("#turns > .assistant .said")
    assert said.text_content() == cut
    page.locator("#turns").get_by_role("button", name="Continue").click()
    expect(page.locator("#turns .strip .bars")).to_be_attached()
    replied(page, 2)
    whole = said.text_content()
    assert whole.startswith(cut)
    assert len(whole) > len(cut), "the reply goes on where it was stopped"
    expect(page.locator("#turns .cut")).to_have_count(0)
    page.get_by_role("button", name="Retry").last.click()
    expect(strip).to_contain_text("from there on: regenerated")
    replied(page, 2)
    # Nothing is thrown away: the reply that was stopped is the version before.
    expect(page.locator(".pager")).to_contain_text("2/2")
    page.get_by_role("button", name="Earlier version").press("Enter")
    expect(page.locator(".pager")).to_contain_text("1/2")
    expect(said).to_have_text(whole)
    expect(page.get_by_role("button", name="Later version")).to_be_focused()


def test_an_edited_message_goes_on_from_there(opened: Opened) -> None:
    page = opened("chat").page
    for number, text in enumerate(("Hello!", "Tell me a story.")):
        say(page, text)
        replied(page, 2 * number + 2)
    page.locator("#turns > li").first.get_by_role("button", name="Edit").click()
    box = page.locator("#turns .edit textarea")
    expect(box).to_be_focused()
    box.fill("Good morning!")
    page.get_by_role("button", name="Send again").click()
    replied(page, 2)
    expect(page.locator("#turns > .user .said")).to_have_text("Good morning!")
    expect(page.locator("#turns .strip")).to_contain_text("from there on: edited")
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator("#turns > .user .said")).to_have_text(["Hello!", "Tell me a story."])


def test_a_reload_keeps_the_conversation_and_a_new_chat_does_not_lose_it(opened: Opened) -> None:
    page = opened("chat").page
    say(page, "Hello!")
    replied(page, 2)
    turns = page.locator("#turns .said").all_text_contents()
    page.reload()
    expect(page.locator("#turns > li")).to_have_count(2)
    assert page.locator("#turns .said").all_text_contents() == turns
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("#turns > li")).to_have_count(0)
    page.locator("#chats").get_by_role("button", name="Hello!", exact=True).click()
    assert page.locator("#turns .said").all_text_contents() == turns
    page.get_by_role("button", name="Delete: Hello!").click()
    expect(page.locator("#chats li")).to_have_count(0)


def test_a_deleted_chat_can_be_had_back(opened: Opened) -> None:
    page = opened("chat").page
    say(page, "Hello!")
    replied(page, 2)
    page.get_by_role("button", name="Delete: Hello!").click()
    expect(page.locator("#turns > li")).to_have_count(0)
    page.get_by_role("button", name="Undo delete").click()
    expect(page.locator("#turns > li")).to_have_count(2)
    expect(page.locator("#chats li")).to_have_count(1)
    expect(page.locator("#undelete")).to_be_hidden()


def test_the_keyboard_never_loses_its_place(opened: Opened) -> None:
    page = opened("chat").page
    send, message = page.locator("#say button[name=send]"), page.locator("#say textarea").first
    message.fill("Hello!")
    send.press("Enter")
    replied(page, 2)
    expect(send).to_be_focused()
    page.get_by_role("button", name="Retry").press("Enter")
    replied(page, 2)
    expect(send).to_be_focused()
    page.get_by_role("button", name="Edit").press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Edit")).to_be_focused()
    page.get_by_role("button", name="New chat").press("Enter")
    expect(message).to_be_focused()
    page.goto(page.url.replace("#chat", "#story"))
    page.reload()
    page.locator("input[name=max_tokens]").fill("4")
    page.get_by_role("button", name="Continue").press("Enter")
    expect(page.locator("#story-note")).to_contain_text("new ones")
    expect(page.get_by_role("button", name="Continue")).to_be_focused()


def test_a_chat_deleted_while_it_grows_stays_deleted(opened: Opened, slowly: None) -> None:
    page = opened("chat").page
    say(page, "Hello! Tell me a story.")
    expect(page.locator("#turns > .assistant .said")).not_to_be_empty()
    page.get_by_role("button", name="Delete: Hello! Tell me a story.").click()
    expect(page.locator("#say button[name=stop]")).to_be_disabled()
    expect(page.locator("#turns > li")).to_have_count(0)
    expect(page.locator("#chats li")).to_have_count(0)


def test_two_tabs_at_once_stay_separate(opened: Opened, held: threading.Event) -> None:
    one, two = opened("chat").page, opened("chat").page
    say(one, "Hello from one!")
    expect(one.locator("#turns > .assistant .said")).not_to_be_empty()
    say(two, "Hello from two!")
    expect(two.locator("#turns > .user .said")).to_be_visible()
    held.set()  # both replies grow from here, in the same steps
    for page, own in ((one, "one"), (two, "two")):
        replied(page, 2)
        expect(page.locator("#turns > .user .said")).to_have_text(f"Hello from {own}!")
    one.reload()
    expect(one.locator("#turns > .user .said")).to_have_text("Hello from one!")
    expect(one.locator("#chats li")).to_have_count(2)


def test_a_hostile_message_stays_text(opened: Opened) -> None:
    page = opened("chat").page
    say(page, HOSTILE)
    replied(page, 2)
    expect(page.locator("#turns > .user .said")).to_have_text(HOSTILE)
    # The same words as a reply, through the Markdown.
    rendered = page.evaluate(
        """async (text) => {
          const { render } = await import("/static/markdown.js");
          const box = document.createElement("div");
          box.append(...render(text));
          document.querySelector("#turns").append(box);
          return [box.textContent, [...box.querySelectorAll("*")].map(e => e.tagName)];
        }""",
        HOSTILE,
    )
    assert rendered == [HOSTILE.replace("**", ""), ["P", "STRONG"]]


RENDERED = """async (text) => {
  const { render } = await import("/static/markdown.js");
  const box = document.createElement("div");
  box.append(...render(text));
  box.querySelectorAll("button").forEach(button => button.remove());
  return box.innerHTML;
}"""


def test_markdown_becomes_nodes(opened: Opened) -> None:
    page = opened("chat").page
    text = (
        "# A\n\ntext *b* `c*d*`\n- one\n- **two**\n\n2. x\n3. y\n\n"
        "> said\n\n```py\n<b>\n```\nend_of_it"
    )
    assert page.evaluate(RENDERED, text) == (
        "<h3>A</h3><p>text <em>b</em> <code>c*d*</code></p>"
        "<ul><li>one</li><li><strong>two</strong></li></ul>"
        '<ol start="2"><li>x</li><li>y</li></ol><blockquote><p>said</p></blockquote>'
        '<div class="code"><pre tabindex="0" role="region" aria-label="Code"><code>&lt;b&gt;</code>'
        "</pre></div><p>end_of_it</p>"
    )


def test_a_lost_server_is_reported_and_found_again(
    opened: Opened, server: Server, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_and_go_on(self: Serving, grace: float) -> None:
        stop(self, grace)
        held.set()

    stop = Serving.stop
    monkeypatch.setattr(Serving, "stop", stop_and_go_on)
    seen = opened("chat")
    page = seen.page
    say(page, "Hello! Tell me a story.")
    expect(page.locator("#turns > .assistant .said")).not_to_be_empty()
    server.stop()
    expect(page.locator("#turns .strip")).to_contain_text("cut off")
    say(page, "Are you there?")
    expect(page.locator("#trouble")).to_contain_text("cannot be reached")
    server.start()
    expect(page.locator("#trouble")).to_have_text("The server is back.")
    page.get_by_role("button", name="Retry").last.click()
    replied(page, 4)
    expect(page.locator("#trouble")).to_be_hidden()
    # The browser itself notes each connection that could not be made; nothing else.
    assert all("ERR_CONNECTION" in line or "ERR_INCOMPLETE" in line for line in seen.complaints)
    seen.complaints.clear()


@pytest.mark.parametrize("tab", ["story", "chat"])
@pytest.mark.parametrize(
    ("width", "scheme"), [(1100, "light"), (1100, "dark"), (390, "light"), (390, "dark")]
)
def test_the_page_fits_and_can_be_read(
    opened: Opened, tab: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = opened(tab, width, scheme).page
    if tab == "story":
        page.locator("input[name=max_tokens]").fill("20")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#story-note")).to_contain_text("new ones")
        page.locator(".token").first.hover()
        expect(page.locator("#card")).to_be_visible()
    else:
        say(page, "Hello!")
        replied(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.evaluate(FAINT_TEXT) == []
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")]
          .filter(e => e.checkVisibility())
          .filter(e => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
          .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, summary")]
          .filter(e => e.checkVisibility())
          .filter(e => [e.offsetWidth, e.offsetHeight].some(side => side < 40))
          .map(e => e.outerHTML)"""
    )
    assert width > 390 or small == [], "a finger needs 40 pixels"
    if (width, scheme) in ((1100, "light"), (390, "dark")):
        assert inaccessible(page) == []


def test_a_link_elsewhere_opens_the_page_and_a_frame_does_not(
    browser: Browser, server: Server
) -> None:
    page = browser.new_page()
    elsewhere = "http://book.example/"
    page.route(
        elsewhere,
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<a href="{server.url}/">open</a><iframe src="{server.url}/"></iframe>',
        ),
    )
    page.goto(elsewhere)
    assert "llama" not in (page.frames[1].title() or "")
    page.get_by_role("link").click()
    expect(page.locator("select[name=model] option").first).to_be_attached()
    page.close()


def test_the_page_may_run_nothing_but_its_own_scripts(opened: Opened, server: Server) -> None:
    seen = opened()
    answer = seen.page.request.get(server.url)
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    ran = seen.page.evaluate(
        """() => { const s = document.createElement("script"); s.textContent = "window.ran = 1";
          document.body.append(s); return window.ran ?? 0; }"""
    )
    assert ran == 0
    assert any("Content Security Policy" in line for line in seen.complaints)
    seen.complaints.clear()


def test_tables_nested_lists_and_links_are_drawn_and_lead_nowhere_bad(opened: Opened) -> None:
    page = opened("chat").page
    table = "| a | b |\n|---|--:|\n| `x` | 1 |\n| only\\|one |"
    assert page.evaluate(RENDERED, table) == (
        '<div class="wide" tabindex="0" role="region" aria-label="Table"><table><thead><tr>'
        '<th scope="col">a</th><th scope="col" class="end">b</th></tr></thead><tbody>'
        '<tr><td><code>x</code></td><td class="end">1</td></tr>'
        '<tr><td>only|one</td><td class="end"></td></tr></tbody></table></div>'
    )
    assert page.evaluate(RENDERED, "- a\n  - b\n- c") == (
        "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"
    )
    assert page.evaluate(RENDERED, "see [**it**](https://a.example/x_(y)) now") == (
        '<p>see <a href="https://a.example/x_(y)" target="_blank" rel="noopener noreferrer" '
        'title="https://a.example/x_(y)"><strong>it</strong></a> now</p>'
    )
    for goal in ("javascript:alert(1)", "data:text/html,x", "/v1/models", "vbscript:x", "file:///"):
        assert page.evaluate(RENDERED, f"[it]({goal})") == f"<p>[it]({goal})</p>"
    nested = page.evaluate(RENDERED, ">" * 3000 + " a\n" + "- " * 3000)
    assert nested.count("<blockquote>") < 20, "what is nested without end stays text"


def test_an_empty_chat_greets_in_the_models_own_words(opened: Opened) -> None:
    page = opened("chat").page
    page.get_by_role("button", name="Settings").click()
    page.locator("#dials input[name=temperature]").fill("0")
    page.locator("#dials").get_by_role("button", name="Done").click()
    words = page.locator("#empty p").text_content()
    page.get_by_role("button", name="What can you do?").click()
    replied(page, 2)
    expect(page.locator("#turns > .assistant .said")).to_have_text(words)
    expect(page.locator("#empty")).to_be_hidden()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").last.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == words


def test_the_conversation_scrolls_and_the_box_to_write_in_stays(opened: Opened) -> None:
    page = opened("chat").page
    say(page, "Hello!" + "\n" * 60 + "And good morning.")
    replied(page, 2)
    mine, theirs = (page.locator(f"#turns > .{who} .said") for who in ("user", "assistant"))
    expect(theirs).to_be_in_viewport()
    expect(page.locator("#say")).to_be_in_viewport(ratio=1)
    page.locator("#scroll").evaluate("scroll => { scroll.scrollTop = 0; }")
    expect(theirs).not_to_be_in_viewport()
    expect(page.locator("#say")).to_be_in_viewport(ratio=1)
    left, right = (one.bounding_box()["x"] for one in (theirs, mine))
    assert right > left + 100, "what the reader said is set apart"


def test_the_gauge_counts_what_is_written_and_opens_the_table_of_usage(opened: Opened) -> None:
    page = opened("chat").page
    gauge = page.locator("#gauge")
    expect(gauge).to_have_text("0 of 1,024 tokens")
    say(page, "Hello!")
    replied(page, 2)
    strip = page.locator("#turns .strip").text_content()
    parts = [re.search(rf"(\d+) {name}", strip)[1] for name in ("reused", "computed", "generated")]
    # Without the end of the reply, which the model may still go on with.
    expect(gauge).to_have_text(f"{sum(map(int, parts)) - 1} of 1,024 tokens")
    before = gauge.text_content()
    page.locator("#say textarea").fill("a few words more")
    expect(gauge).not_to_have_text(before)
    gauge.click()
    cells = page.locator("#usage tbody tr").first.locator("td").all_text_contents()
    assert cells[:3] == parts
    assert inaccessible(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#usage")).to_be_hidden()
    expect(gauge).to_be_focused()


def test_conversations_are_found_named_and_carried_over_as_a_file(opened: Opened) -> None:
    page = opened("chat").page
    for text in ("Hello!", "Tell me a joke."):
        say(page, text)
        replied(page, 2)
        page.locator("#new-chat").click()
    names = page.locator("#chats .name")
    expect(names).to_have_text(["Tell me a joke.", "Hello!"])
    page.locator("#find").fill("jo TELL")
    expect(names).to_have_text(["Tell me a joke."])
    page.get_by_role("button", name="Rename: Tell me a joke.").press("Enter")
    page.keyboard.insert_text("Cows")
    page.keyboard.press("Enter")
    expect(names).to_have_text(["Cows"])
    expect(names).to_be_focused()
    page.locator("#find").fill("nothing like it")
    expect(page.locator("#none-found")).to_be_visible()
    page.locator("#find").fill("")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export: Cows").click()
    assert waiting.value.suggested_filename == "Cows.json"
    file = waiting.value.path().read_bytes()
    names.first.click()
    turns = page.locator("#turns .said").all_text_contents()
    page.get_by_role("button", name="Delete: Cows").click()
    expect(names).to_have_text(["Hello!"])

    def choose(data: bytes) -> None:
        named = {"name": "a.json", "mimeType": "application/json", "buffer": data}
        page.locator("#file").set_input_files(named)

    choose(file)
    expect(names).to_have_text(["Cows", "Hello!"])
    expect(page.locator("#turns .said")).to_have_text(turns)
    choose(b"[]")
    expect(page.locator("#trouble")).to_contain_text("holds no conversations")
    choose(json.dumps({**json.loads(file), "conversations": [{"nodes": {"a": 1}}]}).encode())
    expect(page.locator("#trouble")).to_contain_text("is damaged")
    expect(names).to_have_count(2)


def test_settings_colours_and_drafts_survive_a_reload_and_reach_the_model(opened: Opened) -> None:
    page = opened("chat").page
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Colours: as the system says").click()
    page.get_by_role("button", name="Colours: light").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_focused()
    dark = page.evaluate(paper)
    assert dark != light
    page.get_by_role("button", name="Settings").click()
    assert inaccessible(page) == []
    asked = {"temperature": "0.2", "top_p": "0.5", "min_p": "0.1", "seed": "7"}
    for name, value in asked.items():
        page.locator(f"#dials input[name={name}]").fill(value)
    page.locator("#dials textarea[name=system]").fill("You are Max.")
    page.keyboard.press("Escape")
    page.locator("#say textarea").fill("Hello!")
    page.reload()
    assert page.evaluate(paper) == dark
    expect(page.locator("#say textarea")).to_have_value("Hello!")
    page.locator("#dials select option").first.wait_for(state="attached")
    with page.expect_request("**/v1/chat/completions") as waiting:
        page.locator("#say textarea").press("Enter")
    body = waiting.value.post_data_json
    assert {name: body[name] for name in asked} == {name: float(asked[name]) for name in asked}
    assert body["messages"][0] == {"role": "system", "content": "You are Max."}
    assert body["model"] == "chat"
    replied(page, 2)
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="As they were at first").click()
    expect(page.locator("#dials input[name=temperature]")).to_have_value("0.7")


def test_where_there_is_a_choice_the_box_says_to_whom_one_writes(opened: Opened) -> None:
    page = opened("chat").page
    box = page.locator("#say textarea")
    expect(box).to_have_attribute("placeholder", "Write to the model")

    def offer_two(route: Route) -> None:
        answer = route.fetch()
        models = answer.json()
        (chat,) = [model for model in models["data"] if model["chat"]]
        route.fulfill(json=models | {"data": [*models["data"], chat | {"id": "other"}]})

    page.route("**/v1/models", offer_two)
    page.reload()
    expect(box).to_have_attribute("placeholder", "Write to chat")
    page.get_by_role("button", name="Settings").click()
    page.locator("#dials select").select_option("other")
    expect(box).to_have_attribute("placeholder", "Write to other")


def test_whoever_is_quicker_than_the_list_of_models_waits_for_it(opened: Opened) -> None:
    page = opened("story").page
    asked: list[Route] = []
    page.route("**/v1/models", lambda route: asked.append(route))
    page.reload()
    page.locator("input[name=max_tokens]").fill("4")
    go, stop = (page.locator(f"#story button[name={name}]") for name in ("go", "stop"))
    go.press("Enter")
    stop.press("Enter")
    expect(go).to_be_enabled()
    go.press("Enter")
    page.get_by_role("tab", name="Chat").click()
    page.locator("#say textarea").fill("Hello!")
    page.locator("#say textarea").press("Enter")
    expect(page.locator("#turns > li")).to_have_count(2)
    asked[0].continue_()
    replied(page, 2)
    expect(page.locator("#story-note")).to_contain_text("new ones")


def test_a_full_conversation_offers_a_way_out(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServedModel, "context", 128)  # a small one is soon full
    seen = opened("chat")
    page, full = seen.page, seen.page.locator("#full")
    expect(full).to_be_hidden()
    for turns in (2, 3):  # the second message is refused
        say(page, "Hello! " + "cat dog " * 45)
        replied(page, turns)
    expect(full).to_contain_text("This conversation is full")
    page.get_by_role("button", name="Leave out the oldest turns").click()
    replied(page, 5)  # with the line that says what is no longer read
    expect(full).to_be_hidden()
    expect(page.locator("#turns > .divider")).to_be_visible()
    expect(page.locator("#turns .strip").last).to_contain_text("2 oldest messages left out")
    expect(page.locator("#turns > .unread")).to_have_count(2)
    say(page, "cat " * 150)
    expect(full).to_contain_text("Shorten it")
    assert all("400" in line for line in seen.complaints)
    assert len(seen.complaints) == 2
    seen.complaints.clear()


def test_errors_are_told_in_words_for_people(opened: Opened) -> None:
    seen = opened("chat")
    page = seen.page
    sentence = "body.x: expected a y of at least z, got 'w'"
    answers: list[dict[str, Any]] = []
    page.route("**/v1/chat/completions", lambda route: route.fulfill(**answers[-1]))
    for status, code, words in (
        (429, "queue_full", "busy with others. Try again in 3 s."),
        (503, "out_of_memory", "no memory left"),
        (500, "internal", "Something broke in the server"),
        (404, "model_not_found", "Choose another one in the settings"),
        (400, "invalid_value", "Load the page again"),
    ):
        answers.append(
            {
                "status": status,
                "headers": {"Retry-After": "3"} if status == 429 else {},
                "json": {"error": {"message": sentence, "code": code, "param": None, "type": "t"}},
            }
        )
        say(page, "Hello!")
        expect(page.locator("#trouble")).to_contain_text(words)
        assert "expected" not in page.locator("body").inner_text()
    assert all("Failed to load resource" in line for line in seen.complaints)
    seen.complaints.clear()


def test_two_tabs_in_one_conversation_lose_nothing(opened: Opened, held: threading.Event) -> None:
    one = opened("chat").page
    say(one, "Hello! Tell me a story.")
    expect(one.locator("#turns > .assistant .said")).not_to_be_empty()
    two = opened("chat").page
    two.locator("#chats .name").click()
    expect(two.locator("#turns > .assistant .said")).not_to_be_empty()  # it is seen to grow
    say(two, "My name is Ana.")
    expect(two.locator("#turns > .user")).to_have_count(2)
    held.set()
    for page in (two, one):
        replied(page, 4)
        users = page.locator("#turns > .user .said")
        expect(users).to_have_text(["Hello! Tell me a story.", "My name is Ana."])
        expect(page.locator("#turns > .growing")).to_have_count(0)
        expect(page.locator("#turns .cut")).to_have_count(0)
    expect(two.locator("#turns > .assistant .said")).to_have_count(2)
    texts = two.locator("#turns > .assistant .said").all_text_contents()
    assert all(texts)
    # The other tab hears of it a moment later.
    expect(one.locator("#turns > .assistant .said")).to_have_text(texts)
    one.reload()
    expect(one.locator("#turns > .assistant .said")).to_have_text(texts)


def test_a_reply_that_another_tab_wrote_over_comes_back(opened: Opened) -> None:
    """What a tab writes before it has heard of the other's last words is older than they are."""
    one = opened("chat").page
    say(one, "Hello! Tell me a story.")
    replied(one, 2)
    two = opened("chat").page
    two.locator("#chats .name").click()
    text = two.locator("#turns > .assistant .said").text_content()
    assert text
    key = one.evaluate(
        """() => {
          const key = Object.keys(localStorage).find(key => key.includes("chat.session"));
          const record = JSON.parse(localStorage.getItem(key));
          const reply = Object.values(record.nodes).find(node => node.role === "assistant");
          Object.assign(reply, { content: "", writing: true, changed: reply.changed - 5 });
          localStorage.setItem(key, JSON.stringify(record));
          return key;
        }"""
    )
    two.wait_for_function(
        """([key, text]) => Object.values(JSON.parse(localStorage.getItem(key)).nodes)
             .some(node => node.content === text && !node.writing)""",
        arg=[key, text],
    )


def test_a_story_goes_on_from_its_end_and_survives_a_reload(opened: Opened) -> None:
    page = opened().page
    page.locator("#story input[name=max_tokens]").fill("6")
    page.locator("#story input[name=top_k]").fill("40")
    text, cut = page.locator("#text"), page.locator("#cut")
    page.get_by_role("button", name="Continue").click()
    expect(cut).to_contain_text("cut after the new tokens")
    first = text.text_content()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".token")).to_have_count(12)
    expect(cut).to_be_visible()
    second = text.text_content()
    assert second.startswith(first)
    page.reload()
    assert text.text_content() == second
    expect(page.locator("#story input[name=top_k]")).to_have_value("40")
    expect(page.locator("#story output[name=top_k_shown]")).to_have_text("40")
    # A new beginning is a new text; the old one is kept.
    page.locator("#story select option").first.wait_for(state="attached")
    page.locator("textarea[name=prompt]").fill("The cat")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#text .given")).to_have_text("The cat")
    expect(cut).to_be_visible()
    page.locator("#earlier summary").click()
    page.locator("#earlier button").click()
    expect(text).to_have_text(second)
