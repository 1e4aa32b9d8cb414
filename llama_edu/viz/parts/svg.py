"""A finished matplotlib figure as inline SVG that is light on a light page and dark on a dark one.

Every colour of the drawing is written twice, as `light-dark(here, there)`: an axis colour becomes
its twin for dark pages, every other colour keeps its hue and exchanges light for dark. Text stays
text, in the page's own font. Pixels inside a drawing (heat maps) are turned over by a filter.
"""

import functools
import hashlib
import io
import re

import matplotlib
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from llama_edu.viz.parts.axes import AXES

__all__ = ["dark_twin", "to_svg"]

CSS_DPI = 100
POINTS_PER_INCH = 72
FONT = "var(--llama-ui,'DejaVu Sans',sans-serif)"
MONO = "var(--pst-font-family-monospace,'DejaVu Sans Mono',monospace)"
NARROW = 4.0  # inches: a drawing made for a phone, which a wide page may enlarge
ENLARGED = 1.4
MIN_TEXT_PX = 11  # what a drawing may shrink its smallest words to; below that it scrolls
PAPER_L, INK_L = 0.215, 0.93  # OKLab lightness of a dark page and of what is written on it
DARKEST_L = 0.23  # of the ink on a light page

# Björn Ottosson, "A perceptual color space for image processing" (2020), the matrices of OKLab.
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=np.float64,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=np.float64,
)
# In the book and in JupyterLab the page says whether it is dark, not the reader's system.
_STYLE = (
    "<style>"
    'body[data-jp-theme-light="false"] .llama-drawing{color-scheme:dark}'
    ':is(html[data-theme="dark"],body[data-jp-theme-light="false"]) .llama-pixels'
    "{filter:invert(1) hue-rotate(180deg)}</style>"
)
_AXIS_TWINS = {known.color: known.dark for known in AXES.values()}


@functools.cache
def dark_twin(color: str) -> str:
    """The colour, as #rrggbb, that takes the place of this one on a dark page."""
    color = to_hex(color)
    if color in _AXIS_TWINS:
        return _AXIS_TWINS[color]
    srgb = np.array(to_rgb(color), dtype=np.float64)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab = _TO_LAB @ np.cbrt(_TO_LMS @ linear)
    brightness = max(0.0, (lab[0] - DARKEST_L) / (1 - DARKEST_L))
    lab[0] = INK_L + (PAPER_L - INK_L) * brightness**1.1  # so that greys stay readable
    # A dark page shows fewer strong colours than a light one: fade until the result is a colour.
    for _ in range(40):
        back = np.linalg.solve(_TO_LMS, np.linalg.solve(_TO_LAB, lab) ** 3)
        if (back >= -1e-4).all() and (back <= 1 + 1e-4).all():
            break
        lab[1:] *= 0.92
    back = np.clip(back, 0, 1)
    srgb = np.where(back <= 0.0031308, back * 12.92, 1.055 * back ** (1 / 2.4) - 0.055)
    return to_hex(np.clip(srgb, 0, 1).tolist())


def to_svg(figure: Figure, zoom: float = 1.0) -> str:
    """The drawing as one line of `<svg …>…</svg>`, the same bytes for the same drawing.

    It shrinks with the page until its smallest words are 11 pixels high, and grows with it to
    `zoom` times its own size; one drawn narrow, for a phone, grows on a wide page anyway. It names
    nothing: whoever shows it wraps it in an element with a role and a label.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "llama_edu"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    drawn = stream.getvalue()
    drawn = re.sub(r"^.*?(?=<svg )", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"\s*\n\s*", " ", drawn)
    drawn = re.sub(r"<[^>]*>", _coarser, drawn)
    drawn = _own_ids(drawn.replace("xlink:href", "href"))
    drawn = re.sub(r"#[0-9a-f]{6}\b(?=[;\"'])", _both, drawn)
    drawn = drawn.replace("'DejaVu Sans'", FONT).replace("'DejaVu Sans Mono'", MONO)
    drawn = drawn.replace("<image ", '<image class="llama-pixels" ')
    body = drawn[drawn.index(">") + 1 :]
    width, height = figure.get_size_inches()
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", drawn)]
    smallest = min(sizes, default=10.0) * CSS_DPI / POINTS_PER_INCH
    most = width * CSS_DPI * max(zoom, ENLARGED if width < NARROW else 1.0)
    least = round(width * CSS_DPI * min(1.0, MIN_TEXT_PX / smallest))
    return (
        f'<svg class="llama-drawing" aria-hidden="true" '
        f'viewBox="0 0 {width * POINTS_PER_INCH:g} {height * POINTS_PER_INCH:g}" '
        f'style="display:block;width:100%;max-width:{most:.0f}px;min-width:{least}px;'
        f'height:auto;margin:0 auto">{_STYLE}{body.strip()}'
    )


def _coarser(tag: re.Match[str]) -> str:
    """A tag with coordinates to a hundredth of a point; words stand between tags, and stay."""
    return re.sub(r"(\d\.\d{2})\d+", r"\1", tag[0])


def _both(found: re.Match[str]) -> str:
    color = found[0]
    return f"light-dark({color},{dark_twin(color)})"


def _own_ids(drawn: str) -> str:
    """Ids that are pointed at, made the drawing's own; the others are dropped."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", drawn))
    mark = hashlib.sha256(drawn.encode()).hexdigest()[:6]
    drawn = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{m[1]}-{mark}"' if m[1] in used else "", drawn
    )
    return re.sub(r"(url\(#|href=\"#)([^)\"]+)", rf"\1\2-{mark}", drawn)
