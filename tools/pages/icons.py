"""Cut Font Awesome down to the icons the pages show: `python -m tools.pages.icons`.

The theme brings all of Font Awesome twice, as a script of half a megabyte and as fonts of a
quarter. Its style sheet needs the fonts only, and of them some twenty characters. This cuts those
out of the theme's own files, as the built book (`make book`) asks for them, into `assets/fonts`.
The build makes the theme's style sheet name them in place of its own
(`llama_edu/page/head.py`); a test names an icon that is not among them.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pydata_sphinx_theme
from fontTools import subset
from fontTools.ttLib import TTFont

__all__ = ["FONTS", "characters", "main"]

ROOT = Path(__file__).resolve().parent.parent.parent
HTML = ROOT / "_build" / "html"
FONTS = {name: ROOT / "assets" / "fonts" / f"icons-{name}.woff" for name in ("solid", "brands")}
WHOLE = {"solid": "fa-solid-900.ttf", "brands": "fa-brands-400.ttf"}

NOTICES = [0, 13, 14]  # of a font's names: its copyright, its licence, and where that is
NAMES = (1, 4, 6)  # its family, its full name, its PostScript name


def characters(html: Path) -> set[int]:
    """The icons of a built book: those its elements name, and those its style sheets write."""
    pages = "".join(page.read_text("utf-8") for page in html.rglob("*.html"))
    named = {name for names in re.findall(r'class="([^"]*)"', pages) for name in names.split()}
    found: set[int] = set()
    for sheet in (html / "_static").rglob("*.css"):
        rules = re.findall(r"([^{}]+)\{([^{}]*)\}", sheet.read_text("utf-8"))
        for selector, body in rules:
            codes = re.findall(r'"\\(f[0-9a-f]{3})"', body)
            icons = re.findall(r"\.(fa-[\w-]+)", selector)
            if not icons or named.intersection(icons):
                found.update(int(code, 16) for code in codes)
    return found


def _write(codes: Iterable[int]) -> None:
    folder = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme"
    webfonts = folder / "static" / "vendor" / "fontawesome" / "webfonts"
    for name, target in FONTS.items():
        font = TTFont(webfonts / WHOLE[name], recalcTimestamp=False)
        options = subset.Options(name_IDs=NOTICES, notdef_outline=True)
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=list(codes))
        cutter.subset(font)
        for number in NAMES:  # a changed font may not carry the reserved name
            font["name"].setName(f"llama_edu icons {name}", number, 3, 1, 0x409)
        font.flavor = "woff"
        font.save(target)
        kept = len(font.getBestCmap())
        sys.stdout.write(
            f"{target.relative_to(ROOT)}: {kept} icons, {target.stat().st_size} bytes\n"
        )


def main() -> None:
    """Write both fonts from the built book."""
    _write(sorted(characters(HTML)))


if __name__ == "__main__":
    main()
