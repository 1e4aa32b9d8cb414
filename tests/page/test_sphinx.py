"""What the extension makes of a page: a lab's place, a lighter head, a description."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sphinx.application import Sphinx

SENTENCE = "A page of the book that has something to say about itself, and says it at once."
PAGES = {
    "index": f"A page\n======\n\n{SENTENCE}\n\n.. lab:: machine\n   :running:\n\n"
    ".. toctree::\n\n   sums\n",
    "sums": "Sums\n====\n\n" + f"{SENTENCE} It goes on, " * 3 + "\n\n:math:`x^2`\n\n"
    ".. code-block:: python\n\n   total = add(1, 2)  # both\n",
}
CONF = """
extensions = ["sphinx.ext.mathjax", "llama_edu.page.sphinx_extension"]
html_theme = "pydata_sphinx_theme"
html_title = "The book"
html_js_files = ["thebe.js", "scripts/fontawesome.js"]
mathjax_options = {"defer": "defer"}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    (source / "conf.py").write_text(CONF, "utf-8")
    for name, text in PAGES.items():
        (source / f"{name}.rst").write_text(text, "utf-8")
    target = source / "html"
    app = Sphinx(str(source), str(source), str(target), str(source / "tree"), "html", status=None)
    # What MathJax's extension does where a page of another format has formulas: all pages get it.
    app.set_html_assets_policy("always")
    app.build()
    return target


def test_the_lab_runs_with_the_page_and_brings_its_script(built: Path) -> None:
    html = (built / "index.html").read_text("utf-8")
    assert "data-recorded" in html
    assert '<a href="book/' in html
    assert re.search(r'<script[^>]*src="_static/llama\.js', html)
    assert "llama.js" not in (built / "sums.html").read_text("utf-8")
    for name in ("llama.js", "llama-story.js", "llama-chat.js"):
        assert (built / "_static" / name).is_file()


def test_scripts_without_use_are_left_out(built: Path) -> None:
    index, sums = ((built / f"{name}.html").read_text("utf-8").lower() for name in PAGES)
    for html in (index, sums):
        assert "thebe" not in html
        assert "fontawesome" not in html
        assert "documentation_options" in html
    assert "mathjax" not in index
    assert "mathjax" in sums


def test_the_style_sheets_are_one_without_what_no_page_uses(built: Path) -> None:
    html = (built / "sums.html").read_text("utf-8")
    (name,) = re.findall(r'<link rel="stylesheet" href="_static/styles/([^"]+)">', html)
    assert html.count('rel="stylesheet"') == 1
    sheet = (built / "_static" / "styles" / name).read_text("utf-8")
    for kind in ("solid", "brands"):
        assert f'src:url(../fonts/icons-{kind}.woff) format("woff")}}' in sheet
    assert "fa-solid-900" not in sheet
    assert "@import" not in sheet
    assert ".bd-article" in sheet
    assert ".bs-tooltip-auto" in sheet  # a script's
    assert ".fa-dragon" not in sheet
    whole = (built / "_static" / "styles" / "pydata-sphinx-theme.css").read_text("utf-8")
    assert ".fa-dragon" in whole
    assert len(sheet) < len(whole) / 2


def test_only_code_with_a_colour_of_its_own_is_marked(built: Path) -> None:
    html = (built / "sums.html").read_text("utf-8")
    code = re.search(r'<div class="highlight">(.*?)</div>', html, re.DOTALL)
    assert code is not None
    assert set(re.findall(r'<span class="(\w+)">', code[1])) == {"o", "mi", "c1"}
    assert re.sub(r"<[^>]*>", "", code[1]).strip() == "total = add(1, 2)  # both"
    rules = (built / "_static" / "pygments.css").read_text("utf-8")
    for theme in ("light", "dark"):
        (usual,) = re.findall(rf'"{theme}"\] \.highlight {{.*? color: (#\w+)', rules)
        for kind in ("n", "p", "w"):
            (colour,) = re.findall(rf'"{theme}"\] \.highlight \.{kind} {{ color: (#\w+)', rules)
            assert colour == usual


def test_scripts_wait_until_the_page_is_read(built: Path) -> None:
    html = (built / "sums.html").read_text("utf-8")
    scripts = re.findall(r"<script [^>]*src=[^>]*>", html)
    at_once = [script for script in scripts if "defer" not in script and "async" not in script]
    assert len(scripts) > 4
    assert all("documentation_options" in script for script in at_once)
    assert 'rel="preload"' not in html
    assert 'id="pst-primary-sidebar" role="complementary"' in html


def test_a_page_describes_itself(built: Path) -> None:
    html = (built / "index.html").read_text("utf-8")
    assert f'<meta name="description" content="{SENTENCE}">' in html
    assert '<meta property="og:title" content="A page">' in html
    long = (built / "sums.html").read_text("utf-8")
    (said,) = re.findall(r'<meta name="description" content="([^"]*)">', long)
    assert said.endswith("…")
    assert 50 < len(said) <= 160
