"""The built book behind a server on this machine, and a browser that can reach nothing else.

`make book` builds the pages; these tests look at them. Without a browser they are skipped with a
loud line, except where LLAMA_EDU_REQUIRE_BROWSER is set (as .ci/run does): there they fail.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from pages import HTML, PATIENCE_MS, Visit
from playwright.sync_api import Browser, BrowserContext, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Of every window the browser makes, its address bar renders two pages before anything is typed:
# more work than most pages of the book are.
ADDRESS_BAR = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup")
# A browser goes by the last such list only, so what pages may feel of Playwright's is said again.
PLAYWRIGHTS = (
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades"),
    *("PaintHolding", "ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect"),
)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line on the terminal for each."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Address of the built book."""
    if not (HTML / "index.html").is_file():
        pytest.fail("there is no built book: run `make book` first", pytrace=False)
    handler = functools.partial(QuietHandler, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = (
            f"NO BROWSER FOUND (looked for {', '.join(BROWSERS)}): the pages were not looked at"
        )
        if os.environ.get("LLAMA_EDU_REQUIRE_BROWSER"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # No name but this machine's resolves: what a page asks for elsewhere it cannot get.
        sealed = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        bare = f"--disable-features={','.join(ADDRESS_BAR + PLAYWRIGHTS)}"
        launched = playwright.chromium.launch(executable_path=found, args=[sealed, bare])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def visit(browser: Browser, site: str) -> Callable[..., Visit]:
    """A function that opens a page of the book at a width and in a colour scheme."""

    @functools.cache
    def context(width: int, scheme: Literal["light", "dark"]) -> BrowserContext:
        made = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        made.set_default_timeout(PATIENCE_MS)
        return made

    def open_page(
        name: str, width: int = 1280, scheme: Literal["light", "dark"] = "light"
    ) -> Visit:
        old_pages = context(width, scheme).pages
        seen = Visit(context(width, scheme).new_page())
        for old in old_pages:  # only now: without a tab the window goes too, and a new one is dear
            old.close()
        inside = (site, "data:", "blob:")
        seen.page.on(
            "request", lambda r: None if r.url.startswith(inside) else seen.outside.append(r.url)
        )
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on(
            "console",
            lambda line: seen.complaints.append(line.text) if line.type == "error" else None,
        )
        seen.page.goto(f"{site}/{name}.html", wait_until="load")
        # Formulas are set after the page has loaded; so are the fonts the layout depends on.
        seen.page.evaluate("window.MathJax?.startup?.promise")
        seen.page.evaluate("document.fonts.ready.then(() => true)")
        return seen

    return open_page
