"""The words of the glossary in the running text, and the index of words and functions.

In a page of the book the first use of each word of the glossary becomes a link to its entry, with
the entry as a note. That holds from the chapter on that introduces the word, which the entry names;
in earlier chapters a word may only stand in a link of the author's (tests/project/test_words.py).
A link to a paper gets the paper's entry among the references as its note.

The directive `{words-and-functions}` makes the index: each word, and each function or class of the
package that a chapter imports, with the chapters that use it.
"""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

__all__ = ["GLOSSARY", "Word", "connect", "functions_used", "glossary_of", "words_in"]

GLOSSARY, REFERENCES = "book/glossary", "book/references"
CHAPTER = re.compile(r"(?:^|/)(\d\d)_\w+$")
# Words that everybody uses, too, in another sense: linked only where a page sets them off.
EVERYDAY = {"gate", "header", "id", "turn", "value", "weight"}
# Where a word is no running text, or leads somewhere already.
APART = (
    *(nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.math, nodes.raw),
    *(nodes.math_block, nodes.caption, nodes.rubric, addnodes.pending_xref),
)


@dataclass(frozen=True)
class Word:
    """An entry of the glossary: its term, its note, its place, the chapter that introduces it."""

    term: str
    note: str
    anchor: str
    document: str  # the chapter's, as `book/04_scores`; empty where the entry names none

    @property
    def chapter(self) -> int:
        """The chapter's number; −1 where the entry names none."""
        number = _chapter_number(self.document)
        return -1 if number is None else number

    @property
    def everyday(self) -> bool:
        """Whether the word has another sense that needs no explanation."""
        return self.term in EVERYDAY


def glossary_of(doctree: nodes.document) -> list[Word]:
    """The entries of a glossary; each ends with `See [](NN_chapter.ipynb).` as its last words."""
    words = []
    for item in doctree.findall(nodes.definition_list_item):
        term, paragraph = next(item.findall(nodes.term)), next(item.findall(nodes.paragraph))
        said, document = "", ""
        for child in paragraph.children:
            if isinstance(child, nodes.reference | addnodes.pending_xref):
                document = "book/" + re.findall(r"\d\d_\w+", str(child.attributes))[0]
                break
            said += child.astext()
        note = said.removesuffix("See ").strip()
        words.append(Word(term.astext(), note, term["ids"][0], document))
    return words


def words_in(text: str, words: list[Word]) -> Iterator[tuple[int, int, Word]]:
    """Where words stand in a text, plurals and capitals at a beginning too; longer words first."""
    if not words:
        return
    known = {word.term.lower(): word for word in words}
    terms = "|".join(re.escape(word.term) for word in sorted(words, key=lambda w: -len(w.term)))
    for found in re.finditer(
        rf"(?<![\w/-])(?<!arrow )({terms})((?:e?s)?)(?![\w/-])", text, re.IGNORECASE
    ):
        word = known[found[1].lower()]
        written = found[1]
        # RoPE and MLP are written in one way; others may begin a sentence.
        if written in (word.term, word.term[:1].upper() + word.term[1:]):
            yield found.start(), found.end(), word


def _chapter_number(document: str) -> int | None:
    named = CHAPTER.search(document)
    return int(named[1]) if named else None


def _link_words(app: Sphinx, doctree: nodes.document, document: str, words: list[Word]) -> None:
    """Make links of the first uses in a page."""
    number = _chapter_number(document)
    left = [w for w in words if number is None or w.chapter <= number]
    address = app.builder.get_relative_uri(document, GLOSSARY)
    for text in list(doctree.findall(nodes.Text)):
        if not left:
            break
        above = list(_ancestors(text))
        if any(isinstance(node, APART) for node in above):
            continue
        set_off = any(isinstance(node, nodes.strong | nodes.emphasis) for node in above)
        wanted = [word for word in left if set_off or not word.everyday]
        parts: list[nodes.Node] = []
        end, string = 0, text.astext()
        for begin, stop, word in words_in(string, wanted):
            if word not in left:
                continue
            left.remove(word)
            link = nodes.reference("", string[begin:stop], internal=True, classes=["word"])
            link["refuri"] = f"{address}#{word.anchor}"
            link["reftitle"] = word.note
            parts += [nodes.Text(string[end:begin]), link]
            end = stop
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(string[end:])])


def _ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def _papers(env: BuildEnvironment) -> dict[str, str]:
    """What the references say of each address."""
    notes: dict[str, str] = {}
    for entry in env.get_doctree(REFERENCES).findall(nodes.definition):
        for paragraph in entry.findall(nodes.paragraph):
            for link in paragraph.findall(nodes.reference):
                notes.setdefault(link.get("refuri", ""), paragraph.astext())
    return notes


def _note_papers(doctree: nodes.document, notes: dict[str, str]) -> None:
    for link in doctree.findall(nodes.reference):
        note = notes.get(link.get("refuri", ""))
        if note is not None:
            link["reftitle"] = note
            link["classes"].append("paper")


class index_place(nodes.General, nodes.Element):  # noqa: N801 (docutils names its nodes so)
    """Where the index will stand, once all pages are read."""


class IndexDirective(Directive):
    """`{words-and-functions}`: the index of the book."""

    def run(self) -> list[nodes.Node]:
        """A place, which `add_words` fills."""
        return [index_place()]


def functions_used(path: Path) -> set[tuple[str, str]]:
    """Functions and classes of the package that a notebook imports, as (module, name)."""
    used: set[tuple[str, str]] = set()
    modules: dict[str, str] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        code = "".join(cell["source"])
        for node in ast.walk(ast.parse("\n".join(_plain(line) for line in code.splitlines()))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llama_edu"):
                used |= {(str(node.module), alias.name) for alias in node.names}
                modules |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id, "")
                if module.startswith(("llama_edu.ops.", "llama_edu.engine.")):
                    used.add((module, node.attr))
    return used


def _plain(line: str) -> str:
    """A line that only IPython understands becomes one that does nothing."""
    code = line.lstrip()
    return line.replace(code, "pass") if code.startswith(("%", "!")) else line


def _function_rows(env: BuildEnvironment) -> dict[str, tuple[str, list[str]]]:
    """By name: its sentence, and the chapters that import it."""
    rows: dict[str, tuple[str, list[str]]] = {}
    for document in sorted(env.found_docs):
        path = Path(env.doc2path(document))
        if _chapter_number(document) is None or path.suffix != ".ipynb":
            continue
        for module, name in sorted(functions_used(path)):
            thing = getattr(importlib.import_module(module), name, None)
            if not callable(thing) or not getattr(thing, "__doc__", None):
                continue
            sentence = str(thing.__doc__).strip().split("\n\n")[0].replace("`", "")
            shown = f"{thing.__module__}.{name}"
            chapters = rows.setdefault(shown, (re.sub(r"\s+", " ", sentence), []))[1]
            if document not in chapters:
                chapters.append(document)
    return rows


def _word_rows(env: BuildEnvironment, words: list[Word]) -> dict[str, list[str]]:
    """By term: the chapters from the one that introduces it on that use it."""
    rows: dict[str, list[str]] = {word.term: [] for word in words}
    for document in sorted(env.found_docs):
        number = _chapter_number(document)
        if number is None:
            continue
        texts = [
            text.astext()
            for text in env.get_doctree(document).findall(nodes.Text)
            if not any(isinstance(node, APART) for node in _ancestors(text))
        ]
        known = [word for word in words if word.chapter <= number]
        for term in {word.term for text in texts for _, _, word in words_in(text, known)}:
            rows[term].append(document)
    return rows


def _fill_index(app: Sphinx, place: index_place, document: str, words: list[Word]) -> None:
    env, listed = app.env, nodes.definition_list(classes=["book-index"])
    entries: list[tuple[str, nodes.Node, str, list[str]]] = []
    glossary = app.builder.get_relative_uri(document, GLOSSARY)
    places = _word_rows(env, words)
    for word in words:
        link = nodes.reference("", word.term, internal=True, refuri=f"{glossary}#{word.anchor}")
        entries.append((word.term, link, "", places[word.term]))
    for name, (sentence, chapters) in _function_rows(env).items():
        short = name.rpartition(".")[2]
        entries.append((short, nodes.literal("", short), f"{sentence} ({name}) ", chapters))
    for key, shown, said, chapters in sorted(entries, key=lambda e: e[0].lower()):
        where = nodes.paragraph("", said)
        for i, chapter in enumerate(chapters):
            uri = app.builder.get_relative_uri(document, chapter)
            number = str(_chapter_number(chapter))
            where += [nodes.Text(", " if i else "chapters " if len(chapters) > 1 else "chapter ")]
            where += nodes.reference("", number, internal=True, refuri=uri)
        term = nodes.term("", "", shown, ids=[nodes.make_id(f"index-{key}")])
        listed += nodes.definition_list_item("", term, nodes.definition("", where))
    place.replace_self(listed)


def add_words(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Called for each page before it is written."""
    if GLOSSARY not in app.env.found_docs:
        return
    words = glossary_of(app.env.get_doctree(GLOSSARY))
    for place in list(doctree.findall(index_place)):
        _fill_index(app, place, document, words)
    if document.startswith("book/") and document not in (GLOSSARY, REFERENCES):
        _note_papers(doctree, _papers(app.env))
        if not any("book-index" in node["classes"] for node in doctree.findall(nodes.Element)):
            _link_words(app, doctree, document, words)


def connect(app: Sphinx) -> None:
    """Tell Sphinx of the index and of what is done to each page."""
    app.add_node(index_place)
    app.add_directive("words-and-functions", IndexDirective)
    app.connect("doctree-resolved", add_words)
