"""Write book/_static/axes.css: the axis colours of `llama_edu.viz.parts.axes`, for the prose pages.

Figures and tables take their colours from Python; a Markdown page can only name a class. This
file is the bridge, so that the colours are still defined once. `make notebooks` runs it.
"""

from pathlib import Path

from llama_edu.viz.parts.axes import AXES, hatched

CSS = Path(__file__).resolve().parents[2] / "book" / "_static" / "axes.css"


def axes_css() -> str:
    """The style sheet: for each axis its colour on light and dark pages, letter and pattern."""
    rules = [
        f".axis-{axis.name} {{\n"
        f"  --axis: light-dark({axis.color}, {axis.dark});\n"
        f'  --letter: "{axis.letter}";\n'
        f"  --pattern: {hatched(axis.name)};\n"
        "}\n"
        for axis in AXES.values()
    ]
    return (
        "/* Made by tools/pages/axes_css.py from viz/parts/axes.py:"
        " change the colours there. */\n\n" + ("\n".join(rules))
    )


if __name__ == "__main__":
    CSS.write_text(axes_css(), encoding="utf-8")
