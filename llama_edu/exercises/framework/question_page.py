"""A question as a piece of a page: what its script has to know, and what stands there without it.

The script (`question.js`) lies with those of the figures and judges by the rules of `question`.
Where scripts are stripped, the answers are folded below the question.
"""

from typing import Any

from llama_edu.exercises.framework.words import plain
from llama_edu.viz.parts.embed import interactive
from llama_edu.viz.parts.html import inline
from llama_edu.viz.parts.predict import predict

__all__ = ["page"]


def page(question: Any) -> str:
    """A `question.Question` as HTML that needs nothing else."""
    data, fallback = {"choice": _choice, "amount": _amount, "order": _order}[question.kind](
        question
    )
    data |= {"kind": question.kind, "ask": inline(question.ask)}
    return interactive("question", plain(question.ask), data, fallback, repr(question)).html


def _choice(question: Any) -> tuple[dict[str, Any], str]:
    data = {
        "choices": [[inline(choice), inline(said)] for choice, said in question.answers.items()],
        "right": list(question.answers).index(question.right),
    }
    return data, predict(question.ask, question.answers, right=question.right).html


def _amount(question: Any) -> tuple[dict[str, Any], str]:
    data = {
        "answer": question.answer,
        "within": question.within,
        "unit": inline(question.unit),
        "why": inline(question.why),
        "near": [[value, inline(text)] for value, text in question.near.items()],
        "other": inline(question.other),
    }
    others = "".join(
        f"<dt>{value:,g}</dt><dd>{inline(text)}</dd>" for value, text in question.near.items()
    )
    return data, (
        f"<p><strong>{inline(question.ask)}</strong></p>"
        f"<details><summary>Answer</summary>"
        f"<p>{question.answer:,g} {inline(question.unit)}. {inline(question.why)}</p>"
        f"<p>And if you had another number:</p><dl>{others}</dl></details>"
    )


def _order(question: Any) -> tuple[dict[str, Any], str]:
    data = {
        "steps": [inline(step) for step in question.steps],
        "names": [plain(step) for step in question.steps],
        "shown": question.shown,
        "why": [inline(why) for why in question.why],
        "done": inline(question.done),
    }
    mixed = "".join(f"<li>{inline(question.steps[step])}</li>" for step in question.shown)
    first, *others = (inline(step) for step in question.steps)
    ordered = f"<li>{first}</li>" + "".join(
        f"<li>{step}<br><em>{inline(why)}</em></li>"
        for step, why in zip(others, question.why, strict=True)
    )
    return data, (
        f"<p><strong>{inline(question.ask)}</strong></p><ul>{mixed}</ul>"
        f"<details><summary>Answer</summary><ol>{ordered}</ol><p>{inline(question.done)}</p>"
        "</details>"
    )
