"""A question to think about before reading on, with an answer behind each choice.

Every choice is a `<details>`: it opens with a click or a key, needs no script, and stays readable
in JupyterLab, on paper and where styles are stripped.
"""

import re
from collections.abc import Mapping

from llama_edu.errors import InputError
from llama_edu.viz.parts.html import Html, escape, inline

__all__ = ["predict"]

_STYLE = (
    "<style>"
    ".llama-predict{border-inline-start:3px solid light-dark(#8f4a0e,#e9ad6d);margin:1.2em 0;"
    "padding:.2em 0 .2em 1em}"
    ".llama-predict p{margin:.4em 0}"
    ".llama-predict details{margin:.45em 0}"
    ".llama-predict summary{background:light-dark(#f4f0e8,#272420);"
    "border:1px solid light-dark(#d8d2c6,#45413a);border-radius:.4em;cursor:pointer;"
    "display:block;list-style:none;padding:.45em .8em}"
    ".llama-predict summary::-webkit-details-marker{display:none}"
    ".llama-predict summary:hover,.llama-predict summary:focus-visible"
    "{border-color:light-dark(#8f4a0e,#e9ad6d)}"
    '.llama-predict details[open]>summary::after{content:" ✗";float:right}'
    '.llama-predict details.right[open]>summary::after{content:" ✓";float:right}'
    ".llama-predict details[open]>p{margin:.4em .8em .9em}"
    "</style>"
)
_LATER = "<style>.llama-predict.later details[open]>summary::after{content:none}</style>"


def predict(question: str, choices: Mapping[str, str], *, right: str | None) -> Html:
    """A question, its choices as buttons, and what is said when one is chosen.

    `choices` maps each choice to its answer, and `right` is the choice that is right, or None where
    a later page tells: then no choice is marked. `code` in backticks, *emphasis*
    and **bold** are understood everywhere. Raises `InputError` for fewer than two choices, an empty
    answer, and a right choice that is not among them.
    """
    if len(choices) < 2 or not all(answer.strip() for answer in choices.values()):
        raise InputError(
            f"expected at least 2 choices with an answer each, got {len(choices)} of which "
            f"{sum(not answer.strip() for answer in choices.values())} have none"
        )
    if right is not None and right not in choices:
        raise InputError(f"expected the right choice among {list(choices)}, got {right!r}")
    folds = "".join(
        f"<details{' class=right' if choice == right else ''}><summary>{inline(choice)}</summary>"
        f"<p>{inline(answer)}</p></details>"
        for choice, answer in choices.items()
    )
    kind, style = ("", _STYLE) if right is not None else (" later", _STYLE + _LATER)
    html = (
        f'<div class="llama-predict{kind}" role="group" '
        f'aria-label="{escape(_plain(question))}">{style}'
        f"<p><strong>{inline(question)}</strong></p>{folds}</div>"
    )
    lines = [_plain(question)]
    for choice, answer in choices.items():
        mark = "✓" if choice == right else "·"
        lines += [f"  {mark} {_plain(choice)}", f"      {_plain(answer)}"]
    return Html(html, "\n".join(lines))


def _plain(text: str) -> str:
    return re.sub(r"[`*]", "", " ".join(text.split()))
