"""What the pages fold away: answers, hints, solutions and the code behind figures.

Paper has no folds. What is in them moves to the end of the book, numbered in the order in which the
reader meets it; a line in its place says where it went, and a line there leads back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from bs4 import BeautifulSoup, Tag

from tools.editions.pages import Page, classes

__all__ = ["Appendix", "Folded", "answer_id", "question_id"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Folded:
    """One thing that was folded away: its number in the book, what it is, and itself."""

    number: int
    label: str
    body: list[Tag]


@dataclass
class Appendix:
    """Everything folded away, by the page it comes from."""

    by_page: dict[str, list[Folded]] = field(default_factory=dict)
    count: int = 0

    def take_from(self, page: Page) -> None:
        """Move what a page folds away into the appendix; a reference takes its place."""
        self.by_page[page.slug] = []
        # Outer folds first: what is folded within them goes along, open.
        for element in page.article.select(
            ".llama-predict, .llama-exercise, .ll-plain > details, details, .admonition.dropdown"
        ):
            if element.decomposed or element.parent is None:
                continue
            if element.find_parent("article") is None:
                _unfold(element)
            elif "llama-predict" in classes(element):
                self._prediction(page, element)
            elif "llama-exercise" in classes(element):
                self._hints(page, element)
            else:
                self._whole(page, element)
        if not self.by_page[page.slug]:
            del self.by_page[page.slug]

    def _add(self, page: Page, label: str, body: list[Tag]) -> Tag:
        """Number something; return the line that says where it is to be found."""
        self.count += 1
        self.by_page[page.slug].append(Folded(self.count, label, body))
        number = self.count
        return new(
            f'<p class="moved" id="{question_id(number)}"><a href="#{answer_id(number)}">'
            f"{escape(label)} → {number}</a></p>"
        )

    def _prediction(self, page: Page, element: Tag) -> None:
        """The options stay, with letters; what is said to each of them goes."""
        options, said = new("<ol></ol>"), new("<dl></dl>")
        for letter, fold in zip(LETTERS, element.find_all("details"), strict=False):
            summary = fold.summary
            if not isinstance(summary, Tag):
                raise ValueError(f"{page.slug}: expected an option with a summary, got {fold}")
            right = "right" in classes(fold)
            term = new(f"<dt>{letter}) </dt>")
            answer = new("<dd></dd>")
            option = new("<li></li>")
            for part in list(summary.contents):
                option.append(part.extract())
            for copied in new(str(option)).contents[:]:
                term.append(copied.extract())
            if right:
                term.append(" ✓")
            summary.decompose()
            for part in list(fold.contents):
                answer.append(part.extract())
            options.append(option)
            said.append(term)
            said.append(answer)
            fold.decompose()
        options["type"] = "a"
        element.append(options)
        element.append(self._add(page, "Answer", [said]))

    def _hints(self, page: Page, element: Tag) -> None:
        """The three hints of an exercise go together; its minutes and weight stay."""
        folds = element.find_all("details")
        if not folds:
            return
        body = []
        for fold in folds:
            _unfold(fold)
            body.append(fold.extract())
        element.append(self._add(page, "Hints", body))

    def _whole(self, page: Page, element: Tag) -> None:
        """A fold that goes as it is, under its own title."""
        title = element.summary or element.select_one(".admonition-title")
        if not isinstance(title, Tag):
            raise ValueError(f"{page.slug}: expected a fold with a title, got {str(element)[:200]}")
        first = title.select_one(".expanded") and title.select_one(".collapsed")
        words = " ".join((first or title).get_text().split())
        title.decompose()
        label = words.removeprefix("Show ")  # which is said to a button
        reference = self._add(page, label[0].upper() + label[1:], [element])
        element.replace_with(reference)
        element.name = "div"
        element["class"] = "folded"


def _unfold(fold: Tag) -> None:
    """A fold within a fold: its title becomes a line above what it holds."""
    if fold.name != "details":
        return
    title = fold.summary
    if isinstance(title, Tag):
        first = title.select_one(".collapsed") or title
        title.replace_with(new(f'<p class="fold-title">{first.get_text().strip()}</p>'))
    fold.name = "div"
    fold["class"] = "fold"


def answer_id(number: int) -> str:
    """The id of what was folded away, in the appendix."""
    return f"answer-{number}"


def question_id(number: int) -> str:
    """The id of the line that stands where it was."""
    return f"question-{number}"


def new(html: str) -> Tag:
    """An element, written as HTML."""
    made = BeautifulSoup(html, "html.parser").find(True)
    if not isinstance(made, Tag):
        raise ValueError(f"expected an element, got {html!r}")
    return made.extract()
