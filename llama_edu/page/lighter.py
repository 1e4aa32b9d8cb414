"""Finished pages made better: one style sheet, no script that text waits for, names for ears.

Sphinx, the theme and four extensions bring a style sheet each, and a browser shows nothing before
it has all eleven and has run every script in the head. Here the sheets become one, without the
rules for two thousand icons that no page shows, and the scripts wait until the page is read.
"""

import hashlib
import re
from pathlib import Path

from sphinx.application import Sphinx

__all__ = ["lighten"]

SHEET = re.compile(r'\s*<link (?=[^>]*rel="stylesheet")[^>]*?href="([^"?]+)[^"]*"[^>]*>')
HEAD = re.compile(r"<head>.*?</head>", re.DOTALL)
# Font Awesome's script, which the theme writes by itself, and the order to fetch scripts first.
DROPPED = re.compile(
    r'\s*<(?:script|link)[^>]*scripts/fontawesome\.js[^>]*>(?:</script>)?|\s*<link rel="preload"'
    r' as="script"[^>]*>'
)
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
# Scripts in the page set fields of what this one makes, and need it at once; it is 300 bytes.
WAITING = re.compile(r"<script (?![^>]*(?:defer|async|documentation_options))(?=[^>]*src=)")
UNUSED = ("sphinx-thebe.css",)
# What a screen reader is told: names that say what is to be seen, and a place for all there is.
NAMED = {
    re.compile(r' aria-label="Toggle hidden content"'): "",
    re.compile(r'(?<=<button class="btn search-button-field)([^>]*) aria-label="Search"'): r"\1",
    re.compile(
        r'(?<=<div id="pst-primary-sidebar")'
    ): ' role="complementary" aria-label="Contents"',
    # A table that says nothing over its first column has no header there.
    re.compile(r'<th class="head[^>]*>(?:<p>\s*</p>)?\s*</th>'): "<td></td>",
    # Beside a notebook in JupyterLab a link in a drawing has to be an old one; here it need not.
    re.compile(r"xlink:href="): "href=",
}

IMPORT = re.compile(r'@import (?:url\()?"([^"]+)"\)?;')
LOCAL_URL = re.compile(r"""url\((["']?)(?!data:|["'])([^)"']+)\1\)""")
CHARSET = re.compile(r'@charset "[^"]*";')
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")  # the innermost ones, whatever they are in
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
NOTICE = "/*!"  # begins a comment that says whose the text is
NOT_ASKED_FOR = re.compile(r"\([^()]*\)|\[[^\]]*\]")  # in a selector: other conditions
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
# Scripts put these together from parts.
MADE_BY_SCRIPTS = ("bs-",)
# Names, punctuation and blanks in code: two spans of three, and the style gives them no colour of
# their own. A test holds that.
PLAIN_CODE = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')
# To declare the small fonts beside the whole ones is not enough: a script that asks for the layout
# at the wrong moment makes a browser load the whole ones.
WHOLE_FONT = re.compile(
    r'url\(\.\./vendor/fontawesome/webfonts/fa-(solid|brands)-\d+\.woff2\) format\("woff2"\),'
    r'url\([^)]*\) format\("truetype"\)'
)


def lighten(app: Sphinx, problem: Exception | None) -> None:
    """Go over all pages once the build has ended."""
    if problem is not None or app.builder.format != "html":
        return
    root = Path(app.outdir)
    pages = {page: page.read_text("utf-8") for page in root.rglob("*.html")}
    scripts = [path.read_text("utf-8") for path in (root / "_static").rglob("*.js")]
    words = {word for text in [*pages.values(), *scripts] for word in re.findall(r"[\w-]+", text)}
    for page, text in pages.items():
        head = HEAD.search(text)
        if head:
            lighter = _head(root, page, head[0], words)
            rest = _styled_once(DROPPED.sub("", text[head.end() :]))
            rest = PLAIN_CODE.sub(r"\1", rest)
            for pattern, better in NAMED.items():
                rest = pattern.sub(better, rest)
            page.write_text(text[: head.start()] + lighter + rest, "utf-8")


def _styled_once(body: str) -> str:
    """Figures of a notebook all bring their style along; in a page the first of a kind will do."""
    seen: set[str] = set()

    def first(style: re.Match[str]) -> str:
        known = style[0] in seen
        seen.add(style[0])
        return "" if known else style[0]

    return STYLE.sub(first, body)


def _head(root: Path, page: Path, head: str, words: set[str]) -> str:
    """A page's head with one style sheet, and with scripts that wait."""
    links = list(SHEET.finditer(head))
    sheets = [(page.parent / link[1]).resolve() for link in links]
    if links and all(sheet.is_file() for sheet in sheets):
        used = [sheet for sheet in sheets if sheet.name not in UNUSED]
        merged = _merged(root.resolve() / "_static" / "styles", used, words)
        way = "../" * len(page.relative_to(root).parent.parts)
        one = f'\n    <link rel="stylesheet" href="{way}_static/styles/{merged}">'
        head = head[: links[0].start()] + one + SHEET.sub("", head[links[0].start() :])
    return WAITING.sub("<script defer ", DROPPED.sub("", head))


def _merged(folder: Path, sheets: list[Path], words: set[str]) -> str:
    """The name of one sheet in `folder` that says what all of them say, in their order."""
    text = "\n".join(_sheet(sheet, folder) for sheet in sheets)
    notices = [comment for comment in COMMENT.findall(text) if comment.startswith(NOTICE)]
    text = RULE.sub(lambda rule: _used(rule, words), COMMENT.sub("", text))
    text = "\n".join([*dict.fromkeys(notices), text])
    text = WHOLE_FONT.sub(r'url(../fonts/icons-\1.woff) format("woff")', text)
    name = f"book.{hashlib.sha256(text.encode()).hexdigest()[:12]}.css"
    if not (folder / name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return name


def _used(rule: re.Match[str], words: set[str]) -> str:
    """A rule without the selectors that ask for a class which no page and no script names."""

    def can_match(selector: str) -> bool:
        if "\\" in selector:
            return True  # a name with an odd letter, which is not worth the trouble
        while NOT_ASKED_FOR.search(selector):
            selector = NOT_ASKED_FOR.sub("", selector)
        names = CLASS.findall(selector)
        return all(name in words or name.startswith(MADE_BY_SCRIPTS) for name in names)

    selectors = re.split(r",(?![^(]*\))", rule[1])
    kept = [selector for selector in selectors if can_match(selector)]
    return f"{','.join(kept)}{{{rule[2]}}}" if kept else ""


def _sheet(path: Path, folder: Path) -> str:
    """A sheet as it reads from `folder`, with those it imports in their places."""

    def moved(url: re.Match[str]) -> str:
        target = (path.parent / url[2]).resolve()
        return f"url({'../' + target.relative_to(folder.parent).as_posix()})"

    text = CHARSET.sub("", path.read_text("utf-8"))
    text = LOCAL_URL.sub(moved, text)
    return IMPORT.sub(lambda found: _sheet((path.parent / found[1]).resolve(), folder), text)
