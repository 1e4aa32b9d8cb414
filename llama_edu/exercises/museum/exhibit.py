"""The bug museum: what an exhibit is, and what is measured on it.

An exhibit is a mistake somebody made, put into a model that is otherwise right. The model is run
with it and without it (`llama_edu.exercises.framework.compare`), and the exercise that knows the
mistake is asked for its verdict. The exhibits themselves stand in `museum.exhibits`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from llama_edu.engine.llama import Llama
from llama_edu.exercises.framework.compare import Comparison, Feeding, Writing, compare, steadiest
from llama_edu.exercises.framework.exercise import Exercise, Verdict
from llama_edu.exercises.framework.own_operators import ENDINGS, PROMPTS, as_text
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.viz.museum.exhibits import bug_gaps, exhibit_card, two_digits
from llama_edu.viz.parts.figure import Picture
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.labels import token_label
from llama_edu.viz.parts.tensor_table import tensor_table

__all__ = [
    "Exhibit",
    "Finding",
    "TextExhibit",
    "overview",
    "overview_table",
    "text_card",
    "tour",
]

LAST_WORDS = 4  # of the prompt, shown in front of what is written

Function = Callable[..., Any]
Install = Callable[[Llama, Function], AbstractContextManager[object]]


@dataclass(frozen=True)
class Label:
    """What every exhibit has: a title, two lines of code, a link, and the check that knows it.

    `mistake` is an answer to `exercise`; its check rejects it.
    """

    title: str
    right: str
    wrong: str
    link: str
    exercise: Exercise
    mistake: Function

    @property
    def verdict(self) -> Verdict:
        """What the exercise's check says of the mistake."""
        return self.exercise(self.mistake)


@dataclass(frozen=True)
class Exhibit(Label):
    """A mistake inside the model. `install` puts it there, for the length of a `with` block.

    `earlier_ids` are those of a text that was there before, and whose rows were left in the cache.
    `harmless` says why nothing differs on the model of the museum, where nothing does.
    """

    install: Install
    earlier_ids: Sequence[int] = ()
    harmless: str = ""


@dataclass(frozen=True)
class TextExhibit(Label):
    """A mistake between ids and text: the logits never hear of it.

    `texts` gives what should be shown for token ids, and what is.
    """

    texts: Callable[[Tokenizer, Sequence[int]], tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """One exhibit, as it was measured."""

    exhibit: Exhibit
    comparison: Comparison
    tokenizer: Tokenizer

    @property
    def gap(self) -> float:
        """The largest difference between two logits, anywhere on the right model's text."""
        return float(self.comparison.gaps.max())

    @property
    def token(self) -> str:
        """The first new token that is another one, in words; a near tie may end the text first."""
        found = self.comparison
        if found.token is not None:
            return f"{found.token} of {len(found.right.ids)}"
        cut = len(found.changed.ids) < len(found.right.ids)
        return f"a tie at {len(found.changed.ids)}" if cut else "none"

    def card(self) -> Html:
        """The exhibit with its two lines, what it writes and what was measured."""
        found, exhibit = self.comparison, self.exhibit
        facts = [("first array that differs", "none" if found.array is None else found.array.name)]
        facts.append(("first position whose logits differ", self._position()))
        facts.append(("largest gap between logits", "none" if found.same else two_digits(self.gap)))
        facts.append(("first other token", self.token))
        facts.append(("caught by", f"check.{exhibit.exercise.name}, chapter {self._chapter()}"))
        texts = [("it writes", self.wrong_text)]
        if self.token == "none":
            texts = [("it writes the right text, word for word", self.wrong_text)]
        else:
            texts = [("the right text", self._right_text_as_long()), *texts]
        return exhibit_card(exhibit.right, exhibit.wrong, texts, facts)

    @property
    def right_text(self) -> str:
        """What the right model writes, prompt included."""
        return self._text(self.comparison.right)

    @property
    def wrong_text(self) -> str:
        """What the model with the mistake writes after the last words of the prompt.

        `▶` stands in front of the first token that is another one.
        """
        found = self.comparison
        text = self._text(found.changed)
        prompt = as_text(self.tokenizer, found.prompt_ids)
        if found.token is not None:
            same = as_text(self.tokenizer, [*found.prompt_ids, *found.changed.ids[: found.token]])
            text = f"{same} ▶{text[len(same) :]}"
        return _shortened(prompt, text)

    def _right_text_as_long(self) -> str:
        """As many tokens of the right text as the model with the mistake has written."""
        found = self.comparison
        ids = [*found.prompt_ids, *found.right.ids[: len(found.changed.ids)]]
        prompt = as_text(self.tokenizer, found.prompt_ids)
        return _shortened(prompt, as_text(self.tokenizer, ids))

    def _position(self) -> str:
        found = self.comparison
        if found.position is None:
            return "none"
        fed = [*found.prompt_ids, *found.right.ids]
        prompt = len(found.prompt_ids)
        where = "in the prompt" if found.position < prompt else "after the prompt"
        token = token_label(self.tokenizer.token_bytes(fed[found.position]))
        return f"{found.position} ({token}), {where}"

    def _chapter(self) -> int:
        return self.exhibit.exercise.chapter

    def _text(self, writing: Writing) -> str:
        ids = [*self.comparison.prompt_ids, *writing.ids]
        return as_text(self.tokenizer, ids) + ENDINGS.get(writing.end, "")


def _shortened(prompt: str, text: str) -> str:
    """A text that begins with the prompt, from the last words of the prompt on."""
    return "… " + " ".join(prompt.split()[-LAST_WORDS:]) + text[len(prompt) :]


def tour(
    model: Llama,
    tokenizer: Tokenizer,
    exhibits: dict[str, Exhibit],
    *,
    prompts: Sequence[str] = PROMPTS,
    max_new_tokens: int = 32,
) -> dict[str, Finding]:
    """Measure every exhibit on one of the prompts: where the right continuation is clearest."""
    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    prompt = encoded[steadiest(model, encoded, max_new_tokens, tokenizer)]
    findings = {}
    for name, exhibit in exhibits.items():
        change = exhibit.install(model, exhibit.mistake)
        found = compare(
            model,
            prompt,
            change,
            max_new_tokens=max_new_tokens,
            tokenizer=tokenizer,
            feeding=Feeding(earlier_ids=exhibit.earlier_ids),
        )
        findings[name] = Finding(exhibit, found, tokenizer)
    return findings


def overview(findings: dict[str, Finding]) -> Picture:
    """All exhibits by their gap, largest first, with the first token that is another one."""
    rows = [(f.exhibit.title, f.gap, f.token) for f in findings.values()]
    return bug_gaps(rows)


def overview_table(findings: dict[str, Finding]) -> Html:
    """The same as a table, with the array behind the cause and the check that knows it.

    An array that is named without its layer is one of layer 0.
    """
    titles = [finding.exhibit.title for finding in findings.values()]
    cells = []
    for finding in findings.values():
        array = finding.comparison.array
        first = "none" if array is None else array.name.removeprefix("layers.0.")
        gap = "none" if finding.comparison.same else two_digits(finding.gap)
        cells.append([first, gap, finding.token, finding.exhibit.exercise.name])
    columns = ["first array", "largest gap", "first other token", "check"]
    return tensor_table(cells, "exhibit", "measured", row_labels=titles, col_labels=columns)


def text_card(exhibit: TextExhibit, tokenizer: Tokenizer, token_ids: Sequence[int]) -> Html:
    """A text exhibit on some token ids: what should be shown, and what is."""
    right, wrong = exhibit.texts(tokenizer, token_ids)
    check = f"check.{exhibit.exercise.name}, chapter {exhibit.exercise.chapter}"
    facts = [("logits", "untouched"), ("caught by", check)]
    return exhibit_card(exhibit.right, exhibit.wrong, [("right", right), ("wrong", wrong)], facts)
