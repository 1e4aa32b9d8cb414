"""One letter, colour and pattern per axis, the same in every figure, table and sentence.

The letters are those of the einsum strings (`kgsd,ktd->kgst`). Colours come twice: `color` for
white cards and light pages, `dark` for dark pages. Axes that meet in one array stay apart under
simulated colour-blindness, and each carries its letter besides; `tests/viz/test_figures.py`
measures both. Colour maps for numbers live here too. Nothing here draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex, to_rgb

from llama_edu.errors import InputError
from llama_edu.viz.parts.html import Html, escape

__all__ = [
    "AXES",
    "PARTS",
    "SCORES_MAP",
    "WEIGHTS_MAP",
    "Axis",
    "axis",
    "axis_legend",
    "badge",
    "chip",
    "hatched",
    "tinted",
]


@dataclass(frozen=True)
class Axis:
    """How one axis looks, and what it counts."""

    name: str
    letter: str
    color: str
    dark: str
    hatch: str
    meaning: str


# past and seq are blues that join into the navy of total_seq; the red of the KV heads and the
# amber of the groups join into the brown of the query heads.
_AXES = (
    Axis("seq", "s", "#1568e8", "#77a8ff", "//", "tokens in this call"),
    Axis("past", "p", "#1f6285", "#83e0ff", "..", "positions already cached"),
    Axis("total_seq", "t", "#24148f", "#7d78c0", "||", "past + seq: all positions one can look at"),
    Axis("hidden_size", "m", "#4f1a96", "#9e72bf", "--", "width of the residual stream"),
    Axis("intermediate_size", "f", "#bc3f98", "#f09ac4", "++", "width inside the MLP"),
    Axis("n_heads", "h", "#432722", "#ffdcb7", "xx", "query heads = n_kv_heads × n_groups"),
    Axis("n_kv_heads", "k", "#9a1408", "#e5562f", "oo", "key/value heads = KV groups"),
    Axis("n_groups", "g", "#986f00", "#fcaa2d", "\\\\", "query heads that share one KV head"),
    Axis("head_dim", "d", "#0f8560", "#2d9270", "|.", "width of one head"),
    Axis("vocab_size", "v", "#6f7d05", "#92d734", "**", "tokens the model knows"),
    Axis("layers", "l", "#50535a", "#eceef0", "OO", "decoder layers"),
)

AXES: Mapping[str, Axis] = MappingProxyType({axis.name: axis for axis in _AXES})

# The parts of a model: light and dark, the same in every figure. Attention has the red of the KV
# heads, the MLP the magenta of its width, embedding and head the greens of the vocabulary.
PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "attention": ("#9a1408", "#e5704f"),
        "mlp": ("#a3337f", "#f09ac4"),
        "embedding": ("#5d6a00", "#b4d75c"),
        "head": ("#2f5d00", "#92d734"),
        "norm": ("#50535a", "#b9bdc4"),
        "file": ("#50535a", "#b9bdc4"),
        "text": ("#1568e8", "#77a8ff"),
        "around": ("#50535a", "#b9bdc4"),
    }
)


def axis(name: str) -> Axis:
    """The axis of that name. Raises `InputError` for a name outside the vocabulary."""
    if name not in AXES:
        raise InputError(f"expected an axis among {', '.join(AXES)}, got {name!r}")
    return AXES[name]


def tinted(color: str, share: float) -> str:
    """A pale tint: that share of the colour, the rest white."""
    red, green, blue = (1 - share * (1 - channel) for channel in to_rgb(color))
    return to_hex((red, green, blue))


def chip(name: str) -> str:
    """An axis name as inline HTML: its letter on its colour, then the name.

    A product such as `n_heads*head_dim` gives its chips joined by ×; a plain number such as `1`
    (an axis cut down to one entry) stays a number.
    """
    return "\u202f×\u202f".join(map(_one_chip, name.split("*")))


def badge(name: str) -> str:
    """The letter of an axis on its colour, as inline HTML; of a product, its letters."""
    return "".join(_one_badge(axis(part)) for part in name.split("*") if not part.isdigit())


def _one_badge(known: Axis) -> str:
    # Two backgrounds: the first is for browsers that do not know light-dark().
    style = (
        f"background:{known.color};background:light-dark({known.color},{known.dark});"
        "color:#fff;color:light-dark(#fff,#14181e);border-radius:.3em;padding:0 .38em;"
        "margin-right:.3em;font-weight:700;font-family:monospace"
    )
    return f'<span style="{style}" title="{escape(known.name)}">{known.letter}</span>'


def _one_chip(name: str) -> str:
    if name.isdigit():
        return name
    known = axis(name)
    return (
        f'<span class="llama-axis" style="white-space:nowrap" title="{escape(known.meaning)}">'
        f"{_one_badge(known)}{escape(known.name)}</span>"
    )


# What each character of a pattern is in a style sheet.
_STROKES = {"/": 135, "\\": 45, "|": 90, "-": 0}
_DOTS = {
    ".": "radial-gradient(currentColor 1px,transparent 1.3px) 0 0/4px 4px",
    "*": "radial-gradient(currentColor 2.2px,transparent 2.5px) 0 0/7px 7px",
    "o": "radial-gradient(transparent 1px,currentColor 1.2px 2px,transparent 2.2px) 0 0/6px 6px",
    "O": "radial-gradient(transparent 2px,currentColor 2.2px 3.2px,transparent 3.4px) 0 0/8px 8px",
}


def hatched(name: str) -> str:
    """The pattern of an axis as a CSS background, drawn in the colour of the text around it."""
    marks = dict.fromkeys(axis(name).hatch.replace("x", "/\\").replace("+", "|-"))
    layers = [
        f"repeating-linear-gradient({_STROKES[mark]}deg,currentColor 0 1px,transparent 1px 4px)"
        if mark in _STROKES
        else _DOTS[mark]
        for mark in marks
    ]
    return ",".join(layers)


def _swatch(known: Axis) -> str:
    """A little square of an axis's pattern, the one that runs along the edges of a stepper."""
    color = f"color:{known.color};color:light-dark({known.color},{known.dark})"
    style = f"display:inline-block;width:.9em;height:.9em;{color};background:{hatched(known.name)}"
    return f'<span aria-hidden="true" style="{style}"></span>'


def axis_legend(*names: str, sizes: Mapping[str, int] | None = None) -> Html:
    """The axes named (all, if none is): chip, pattern, size here, and what each counts.

    Raises `InputError` for an unknown axis.
    """
    chosen = [axis(name) for name in names or AXES]
    sizes = sizes or {}
    items, lines = [], []
    for known in chosen:
        size = f" = {sizes[known.name]:,}" if known.name in sizes else ""
        items.append(
            f'<span style="display:inline-block;margin-right:1.4em">{chip(known.name)} '
            f"{_swatch(known)}<b>{size}</b> "
            f'<span style="opacity:.75">{escape(known.meaning)}</span></span> '
        )
        lines.append(f"{known.letter}  {known.name}{size}: {known.meaning}")
    html = f'<p class="llama-legend" style="line-height:1.9;margin:.4em 0">{"".join(items)}</p>'
    return Html(html, "\n".join(lines))


def _ramp(name: str, *stops: tuple[float, float, float]) -> Colormap:
    """A colour map through OKLCH stops (lightness, chroma, hue in degrees), evenly spaced."""
    light, chroma, hue = np.array(stops, dtype=np.float64).T
    knots, at = np.linspace(0.0, 1.0, len(stops)), np.linspace(0.0, 1.0, 64)
    ab = chroma * np.exp(1j * np.radians(hue))
    lab = [np.interp(at, knots, column) for column in (light, ab.real, ab.imag)]
    return LinearSegmentedColormap.from_list(name, _oklab_to_srgb(*lab))


def _oklab_to_srgb(light: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """OKLab → sRGB in 0…1, clipped (B. Ottosson, "A perceptual color space", 2020)."""
    lms = np.stack(
        [
            light + 0.3963377774 * a + 0.2158037573 * b,
            light - 0.1055613458 * a - 0.0638541728 * b,
            light - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ],
        dtype=np.float64,
    )
    linear = np.clip(lms**3 @ to_rgb.T, 0.0, 1.0)
    gamma = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, gamma)


# Weights go from paper (0) to navy (1): lightness alone orders them, as in cividis.
WEIGHTS_MAP: Colormap = _ramp(
    "llama_weights",
    (0.985, 0.02, 100.0),
    (0.74, 0.085, 195.0),
    (0.50, 0.11, 245.0),
    (0.25, 0.10, 270.0),
)
# Scores have a meaning on both sides of 0: blue below, orange above, white at 0.
SCORES_MAP: Colormap = _ramp(
    "llama_scores",
    (0.38, 0.13, 258.0),
    (0.72, 0.10, 250.0),
    (0.985, 0.0, 0.0),
    (0.75, 0.11, 60.0),
    (0.42, 0.11, 45.0),
)
