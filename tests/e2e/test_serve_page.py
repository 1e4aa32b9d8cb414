"""The server's own page, as a reader uses it: by mouse and keyboard, on a phone, in two tabs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import pytest
from pages import FAINT_TEXT, PATIENCE_MS, Visit
from playwright.sync_api import Browser, BrowserContext, expect

from llama_edu.serve.http.middleware import HEADERS
from llama_edu.serve.http.served import Serving, load
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
    page.locator(".token").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token").nth(1)).to_be_focused()
    before = "Once upon a time" + page.locator(".token").first.text_content()
    page.keyboard.press("Enter")
    other = page.locator("#card button:focus")
    expect(other).to_be_visible()
    taken = other.text_content().replace("␣", " ").replace("↵", "\n")
    page.keyboard.press("Enter")
    expect(page.locator("#text .given")).to_have_text(before + taken, use_inner_text=True)
    expect(page.locator("#story button[name=stop]")).to_be_disabled()


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
    held.set()
    time.sleep(0.5)
    assert page.locator("#turns > .assistant .said").text_content() == cut
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#turns .strip .bars")).to_be_attached()
    replied(page, 2)
    expect(strip).to_contain_text("from there on: regenerated")


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


def test_two_tabs_at_once_stay_separate(opened: Opened, slowly: None) -> None:
    one, two = opened("chat").page, opened("chat").page
    say(one, "Hello from one!")
    expect(one.locator("#turns > .assistant .said")).not_to_be_empty()
    say(two, "Hello from two!")
    expect(two.locator("#turns > .assistant .said")).not_to_be_empty()
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


def test_markdown_becomes_nodes(opened: Opened) -> None:
    page = opened("chat").page
    text = (
        "# A\n\ntext *b* `c*d*`\n- one\n- **two**\n\n2. x\n3. y\n\n"
        "> said\n\n```py\n<b>\n```\nend_of_it"
    )
    html = page.evaluate(
        """async (text) => {
          const { render } = await import("/static/markdown.js");
          const box = document.createElement("div");
          box.append(...render(text));
          return box.innerHTML;
        }""",
        text,
    )
    assert html == (
        "<h3>A</h3><p>text <em>b</em> <code>c*d*</code></p>"
        "<ul><li>one</li><li><strong>two</strong></li></ul>"
        '<ol start="2"><li>x</li><li>y</li></ol><blockquote><p>said</p></blockquote>'
        '<pre tabindex="0"><code>&lt;b&gt;</code></pre><p>end_of_it</p>'
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
    page.get_by_role("button", name="Retry").click()
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
