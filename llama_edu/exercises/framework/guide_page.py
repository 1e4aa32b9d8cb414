"""The head of an exercise as a piece of a page: its facts in a line, and its hints, folded."""

from llama_edu.exercises.framework.guide import STARS, STEPS, Guide
from llama_edu.viz.parts.html import escape, inline

__all__ = ["page"]

_STYLE = (
    "<style>"
    ".llama-exercise{border-inline-start:3px solid light-dark(#2f6f5e,#7fc9b2);margin:1em 0;"
    "padding:.1em 0 .1em 1em}"
    ".llama-exercise p{margin:.4em 0}"
    ".llama-exercise details{margin:.3em 0}"
    ".llama-exercise summary{cursor:pointer}"
    ".llama-exercise pre{font-size:.9em;margin:.5em 0;overflow-x:auto}"
    "</style>"
)


def page(guide: Guide, stars: int) -> str:
    """HTML that needs no script: what GitHub's viewer shows, too."""
    facts = guide.facts(stars).removeprefix(STARS[stars])
    texts = [f"<p>{inline(guide.question)}</p>", f"<p>{inline(guide.idea)}</p>"]
    texts.append(
        f"<pre><code>{escape(guide.sketch)}</code></pre>"
        "<p><code>...</code> is yours to fill in.</p>"
    )
    folds = "".join(
        f"<details><summary>Hint {number}: {step}</summary>{text}</details>"
        for number, (step, text) in enumerate(zip(STEPS, texts, strict=True), start=1)
    )
    return (
        f'<div class="llama-exercise">{_STYLE}<p><span role="img" '
        f'aria-label="{stars} of {len(STARS)} stars">{STARS[stars]}</span>{escape(facts)}</p>'
        f"{folds}</div>"
    )
