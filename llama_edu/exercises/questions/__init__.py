"""Questions for understanding, one or two for each chapter: `question("closed_gate")`.

A module a topic; `start` is the opening chapter. The same source asks in the page, in a notebook
and in a terminal, and what the questions take for granted is measured in a test.
"""

from llama_edu.exercises.framework.question import Question
from llama_edu.exercises.questions import (
    bytes,
    chat,
    cost,
    faster,
    generate,
    linear,
    mask_softmax,
    model,
    norm_mlp,
    parallel,
    precision,
    rope,
    sampling,
    score_v,
    scores,
    serve,
    start,
    tokenizer,
)

__all__ = ["QUESTIONS", "question"]

CHAPTERS = (
    start,
    bytes,
    tokenizer,
    linear,
    scores,
    mask_softmax,
    score_v,
    rope,
    norm_mlp,
    model,
    generate,
    sampling,
    precision,
    chat,
    serve,
    cost,
    faster,
    parallel,
)
QUESTIONS = {one.name: one for chapter in CHAPTERS for one in chapter.QUESTIONS}


def question(name: str) -> Question:
    """A question by its name; printing it asks, and calling it with an answer judges.

    Raises `KeyError` for a name that is none.
    """
    if name not in QUESTIONS:
        raise KeyError(f"expected one of {', '.join(QUESTIONS)}, got {name!r}")
    return QUESTIONS[name]
