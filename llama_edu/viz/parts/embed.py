"""How a figure that answers gets into a notebook: style, fallback, data and script in one output.

Each output carries all it needs, so it works in the built book, in JupyterLab and on Colab, and
asks nobody for anything. Where scripts are stripped, the fallback stays; the script hides it and
shows it again on paper. The script lives once, in `static/`, and is copied without its comments.
"""

import hashlib
import json
from importlib.resources import files
from typing import Any

from llama_edu.viz.parts.html import Html, escape

__all__ = ["interactive"]

STATIC = files("llama_edu.viz.parts") / "static"
# What could end a script element or begin a comment in one, and two line ends of old JavaScript.
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def interactive(
    kind: str, label: str, data: Any, fallback: str, text: str, style: str = ""
) -> Html:
    """A figure of one kind ("stepper" or "lab") with its data, as HTML and as plain text.

    `label` names it for screen readers, `fallback` is HTML that says the same without a script,
    `style` sets custom properties. The id is made of the text, so the same figure has the same
    bytes in every run.
    """
    name = hashlib.sha256(text.encode()).hexdigest()[:10]
    packed = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    html = (
        f'<div class="llama-figure llama-live llama-{kind}" id="{kind}-{name}" role="group" '
        f'aria-label="{escape(label)}" style="{escape(style)}">'
        f"<style>{_asset('live.css')}{_asset(f'{kind}.css')}</style>"
        f'<div class="ll-plain">{fallback}</div>'
        f'<script type="application/json">{packed.translate(_UNSAFE)}</script>'
        f"<script>{_asset(f'{kind}.js')}</script></div>"
    )
    return Html(html, text)


def _asset(name: str) -> str:
    """A static file without comments and indentation: a notebook has to stay small."""
    lines = (line.strip() for line in (STATIC / name).read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*")))
