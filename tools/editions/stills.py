"""What only a screen can do, taken out of a page or turned into what paper can show.

A widget leaves the table that it brings along for readers without scripts, a lab its still. Colours
that depend on the reader's screen become those of a white one.
"""

from __future__ import annotations

import re

from bs4 import Tag
from bs4.element import Stylesheet

from tools.editions.pages import classes

__all__ = ["make_still", "plain_colours"]

# Scripts and what they are told; what points elsewhere on the site; and what the text says is for
# readers in front of a screen.
DROPPED = "script, button, .toctree-wrapper, .screen-only"
NO_USE = ("tabindex", "title", "data-page-lab", "data-part", "data-axes", "data-layers")
LIGHT_DARK = re.compile(r"light-dark\(([^,()]+),[^()]*\)")
# `color-mix(in srgb, COLOUR 18%, transparent)` is a colour that lets 82% through.
MIXED = re.compile(r"color-mix\(in srgb,\s*(#[0-9a-f]{6}|currentColor)\s+(\d+)%,\s*transparent\)")
LONG = 40  # lines; a listing that is longer may go on on the next page
FORMULA = ".math, mjx-container"


def plain_colours(text: str) -> str:
    """Style as an old reader understands it, too: one colour where there was a choice or a mix."""
    text = LIGHT_DARK.sub(lambda choice: choice[1], text)

    def see_through(mix: re.Match[str]) -> str:
        solid = "000000" if mix[1] == "currentColor" else mix[1][1:]
        red, green, blue = (int(solid[at : at + 2], 16) for at in (0, 2, 4))
        return f"rgba({red},{green},{blue},{int(mix[2]) / 100:g})"

    return MIXED.sub(see_through, text)


def make_still(article: Tag) -> list[str]:
    """Change a page in place into one that does not move; return the styles it brought along.

    Raises `ValueError` for a formula in TeX: the book has none, and no edition could set one.
    """
    if article.select_one(FORMULA) is not None:
        raise ValueError("expected a page without TeX, got a formula; an edition would print TeX")
    for element in article.select(DROPPED):
        element.decompose()
    styles = []
    for style in article.find_all("style"):
        if style.find_parent("svg") is None:
            styles.append(plain_colours(style.get_text()))
            style.decompose()
    for element in article.find_all(True):
        _settle(element)
    _open_tables(article)
    _second_part(article)
    for listing in article.find_all("pre"):
        if listing.get_text().count("\n") > LONG:
            listing["class"] = " ".join([*classes(listing), "long"])
    return styles


def _settle(element: Tag) -> None:
    """Drop the attributes that only a script reads, and choose the colours for white paper."""
    for key, value in list(element.attrs.items()):
        if key in NO_USE or (key == "style" and not value):
            del element[key]
        elif isinstance(value, str) and "(" in value:
            element[key] = plain_colours(value)
    if element.name == "style":
        element.string = Stylesheet(plain_colours(element.get_text()))


def _open_tables(article: Tag) -> None:
    """The table beside a lab's still is folded on the page; here it stands below."""
    for fold in article.select(".page-lab details"):
        fold.name = "div"
        if isinstance(fold.summary, Tag):
            fold.summary.decompose()


def _second_part(article: Tag) -> None:
    """“Build it” is a title on its page; in the book it is a part of its chapter."""
    first, *others = article.find_all("section", recursive=False)
    del first
    for section in others:
        for heading in section.find_all(["h1", "h2", "h3", "h4"]):
            heading.name = f"h{int(heading.name[1]) + 1}"
