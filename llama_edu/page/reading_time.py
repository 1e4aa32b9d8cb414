"""How long a chapter takes: the box at its head, its folds, and the table on the first page.

All of it is counted when the book is built, from the notebook as it is, so that it cannot drift.
What a reader has before the eyes counts: a minute for 150 words of prose, for 15 lines of code or
of what it prints, for a figure, for a question. What is folded or hidden takes no time. Exercises
are counted apart, with the minutes that their own heads give.

A section that has the comment `<!-- fold -->` in its heading's cell is folded in the page from
there down to the next heading. The heading, what stands between it and the comment, and the minutes
of the rest stay in sight. `{reading-times}` makes the table.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

__all__ = ["BUILD", "Effort", "Section", "connect", "sections_of", "visible"]

WORDS_A_MINUTE = 150
LINES_A_MINUTE = 15

BUILD, CHECK, FOLD = "Build it", "Check yourself", "<!-- fold -->"
CHAPTER = re.compile(r"\d\d_\w+")
FENCE = re.compile(r"^\s*(:{3,}|`{3,}|~{3,})\s*(.*)$")
FOLDED = re.compile(r"<details.*?<summary[^>]*>(.*?)</summary>.*?</details>", re.DOTALL)
EXERCISE = re.compile(r"★ · about (\d+) minutes")
NO_CODE = {"remove-cell", "hide-cell", "remove-input", "hide-input"}
NO_OUTPUT = {"remove-cell", "hide-cell", "remove-output", "hide-output"}
COUNTS = ("", "", "two ", "three ", "four ", "five ", "six ", "seven ")

Cell = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """What there is to read, and the minutes of the exercises in it."""

    words: int = 0
    lines: int = 0
    looks: int = 0
    exercises: tuple[int, ...] = ()

    def __add__(self, other: "Effort") -> "Effort":
        return Effort(
            self.words + other.words,
            self.lines + other.lines,
            self.looks + other.looks,
            self.exercises + other.exercises,
        )

    @property
    def minutes(self) -> float:
        """Minutes of reading, without the exercises."""
        return self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE + self.looks

    @property
    def told(self) -> int:
        """The minutes of a part as a reader is told them: to the nearest five, at least five."""
        return max(5, 5 * round(self.minutes / 5))


@dataclass(frozen=True)
class Section:
    """A section without those in it: its heading, the heading's level, its part, its effort.

    Where the section folds, `effort` is what the fold hides, and `lead` is what stays in sight: the
    heading and the text between it and the mark of the fold.
    """

    title: str
    level: int
    builds: bool
    folds: bool
    effort: Effort
    lead: Effort = Effort()


def sections_of(path: Path) -> list[Section]:
    """The sections of a notebook in their order, cut at headings of the first three levels.

    Raises `ValueError` where a fold has no heading in its cell.
    """
    found: list[Section] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "markdown":
            if found:
                found[-1] = _with(found[-1], _of_code(cell))
            continue
        for level, title, text in _pieces("".join(cell["source"])):
            if level:
                builds = title == BUILD or any(section.builds for section in found)
                above, folds, below = text.partition(FOLD)
                efforts = (_of_prose(below), _of_prose(above)) if folds else (_of_prose(text),)
                found.append(Section(title, level, builds, bool(folds), *efforts))
            elif FOLD in text:
                raise ValueError(f"expected a heading above {FOLD} in {path.name}, got {text!r}")
            elif found:
                found[-1] = _with(found[-1], _of_prose(text))
    return found


def _with(section: Section, more: Effort) -> Section:
    return replace(section, effort=section.effort + more)


def visible(sections: list[Section], *, builds: bool) -> Effort:
    """What a part shows before anything is unfolded, and its exercises, folded or not."""
    part = [section for section in sections if section.builds == builds]
    folded = (
        section.lead + Effort(exercises=section.effort.exercises)
        for section in part
        if section.folds
    )
    return sum((section.effort for section in part if not section.folds), sum(folded, Effort()))


def _pieces(text: str) -> Iterator[tuple[int, str, str]]:
    """A cell's text as (level, heading, text with it); the level is 0 where none begins it."""
    level, heading, lines = 0, "", list[str]()
    fences: list[str] = []
    for line in text.split("\n"):
        _fence(line, fences)
        begins = None if fences else re.match(r"(#{1,3}) (.+)", line)
        if begins:
            yield level, heading, "\n".join(lines)
            level, heading, lines = len(begins[1]), begins[2], []
        lines.append(line)
    yield level, heading, "\n".join(lines)


def _fence(line: str, fences: list[str]) -> str | None:
    """Open or close a fence; what stands beside one that opens, None where none does."""
    found = FENCE.match(line)
    if not found:
        return None
    mark, name = found[1], found[2]
    if not name and fences and fences[-1][0] == mark[0] and len(mark) >= len(fences[-1]):
        fences.pop()
        return None
    fences.append(mark)
    return name


def _of_prose(text: str) -> Effort:
    """The words of a cell's text, and the lines of its listings; of a fold its title only."""
    words = lines = 0
    fences: list[str] = []
    for line in FOLDED.sub(r"\1", text).split("\n"):
        depth = len(fences)
        name = _fence(line, fences)
        if name is not None:
            words += _words(re.sub(r"^\{[\w-]+\}", "", name))
        elif len(fences) == depth and not re.match(r":[\w-]+:", line):
            if fences and fences[-1][0] != ":":
                lines += bool(line.strip())
            else:
                words += _words(line)
    return Effort(words, lines)


def _words(line: str) -> int:
    """How many words a line has, without markup, addresses and the rules of tables."""
    plain = re.sub(r"<[^>]+>|\]\([^)]*\)|[*`|#]|:?-{3,}:?", " ", line)
    return sum(re.search(r"\w", word) is not None for word in plain.split())


def _of_code(cell: Cell) -> Effort:
    """The lines, figures and exercises that a cell of code shows."""
    tags = set(cell["metadata"].get("tags", []))
    lines, looks, minutes = 0, 0, list[int]()
    if not tags & NO_CODE:
        lines += _lines("".join(cell["source"]))
    for output in cell["outputs"] if not tags & NO_OUTPUT else []:
        data = output.get("data", {})
        plain = "".join(output.get("text", data.get("text/plain", "")))
        exercise = EXERCISE.search(plain)
        if exercise:
            minutes.append(int(exercise[1]))
        elif "text/html" in data:
            looks += 1
        else:
            lines += _lines(plain)
    return Effort(0, lines, looks, tuple(minutes))


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.split("\n"))


def _is_chapter(path: Path) -> bool:
    return path.suffix == ".ipynb" and CHAPTER.fullmatch(path.stem) is not None


def add_times(app: Sphinx, doctree: nodes.document) -> None:
    """Called for each page once it is read: fold sections, and put the box below the drawing.

    Raises `ValueError` if the page has other sections than the notebook.
    """
    path = Path(app.env.doc2path(app.env.docname))
    if not _is_chapter(path):
        return
    sections = sections_of(path)
    places = [node for node in doctree.findall(nodes.section) if _depth(node) <= 3]
    if len(places) != len(sections):
        raise ValueError(
            f"expected {len(sections)} sections in {path.name}, as its cells have, "
            f"got {len(places)}"
        )
    for section, place in zip(sections, places, strict=True):
        if section.folds:
            _fold(place, section.effort)
    drawing = next((n for n in doctree.findall(nodes.container) if "cell" in n["classes"]), None)
    if drawing is not None:
        box = nodes.container(classes=["reading-time"])
        box += _understanding(sections, places)
        if any(section.builds for section in sections):
            box += _building(sections, places)
        drawing.parent.insert(drawing.parent.index(drawing) + 1, box)


def _depth(section: nodes.section) -> int:
    depth = 0
    node: nodes.Node | None = section
    while isinstance(node, nodes.section):
        depth, node = depth + 1, node.parent
    return depth


def _fold(section: nodes.section, effort: Effort) -> None:
    """Put what stands between a section's mark of a fold and the next heading into a fold."""
    told = max(1, round(effort.minutes))
    summary = f"Show this section, about {told} minute{'s' * (told > 1)}"
    begin = f'<details class="fold"><summary>{summary}</summary>'
    inner = section.first_child_matching_class(nodes.section)
    end = len(section) if inner is None else inner
    section.insert(end, nodes.raw("", "</details>", format="html"))
    mark = next(n for n in section.children if FOLD in n.astext())
    section.insert(section.index(mark), nodes.raw("", begin, format="html"))


def _link(title: str, places: list[nodes.section]) -> nodes.Node:
    """A link to the first section of that title."""
    place = next(place for place in places if _heading(place) == title)
    return nodes.reference("", title, internal=True, refid=place["ids"][0])


def _heading(section: nodes.section) -> str:
    heading = section.next_node(nodes.title)
    return heading.astext() if heading is not None else ""


def _exercises(effort: Effort) -> str:
    """The exercises of a part, as the end of a sentence; nothing where there are none."""
    count = len(effort.exercises)
    if not count:
        return ""
    named = "exercise" if count == 1 else f"{COUNTS[count]}exercises"
    return f"; its {named} about {sum(effort.exercises)} more"


def _understanding(sections: list[Section], places: list[nodes.section]) -> nodes.paragraph:
    effort = visible(sections, builds=False)
    line = nodes.paragraph()
    line += [nodes.strong("", "Understand"), nodes.Text(f" about {effort.told} minutes")]
    if any(section.title == CHECK for section in sections):
        line += [nodes.Text(", down to "), _link(CHECK, places)]
    line += nodes.Text(f"{_exercises(effort)}.")
    return line


def _building(sections: list[Section], places: list[nodes.section]) -> nodes.paragraph:
    effort = visible(sections, builds=True)
    line = nodes.paragraph()
    line += [nodes.strong("", "", _link(BUILD, places)), nodes.Text(", if you want to: ")]
    line += nodes.Text(f"about {effort.told} minutes more to read{_exercises(effort)}. ")
    build = next(place for place in places if _heading(place) == BUILD)
    inner = [child for child in build.children if isinstance(child, nodes.section)]
    for i, place in enumerate(inner):
        line += [nodes.Text(" · " if i else ""), _link(_heading(place), [place])]
    return line


class ReadingTimes(Directive):
    """`{reading-times}`: the minutes of both paths through all chapters, with their sums."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        env = self.state.document.settings.env
        rows: list[nodes.row] = []
        sums = [0, 0, 0, 0]
        for document in sorted(env.found_docs):
            path = Path(env.doc2path(document))
            if not _is_chapter(path):
                continue
            env.note_dependency(str(path))
            sections = sections_of(path)
            numbers = _numbers(sections)
            sums = [a + b for a, b in zip(sums, numbers, strict=True)]
            address = env.app.builder.get_relative_uri(env.docname, document)
            link = nodes.reference("", sections[0].title, internal=True, refuri=address)
            rows.append(_row(link, _sums(numbers, str)))
        hours = _sums(sums, lambda total: f"{total / 60:.1f}")
        return [_table([*rows, _row(nodes.strong("", "All of them, in hours"), hours)])]


def _numbers(sections: list[Section]) -> list[int]:
    """Minutes to read and minutes of exercises, in the first part and in the second."""
    found = []
    for builds in (False, True):
        effort = visible(sections, builds=builds)
        found += [effort.told if effort != Effort() else 0, sum(effort.exercises)]
    return found


def _sums(numbers: list[int], told: Callable[[int], str]) -> list[str]:
    """A cell for each part: minutes to read + minutes of exercises."""
    parts = numbers[:2], numbers[2:]
    return [" + ".join(told(number) for number in part if number) for part in parts]


def _table(rows: list[nodes.row]) -> nodes.table:
    heads = ["Understand", "Build it"]
    table, group = nodes.table(classes=["reading-times"]), nodes.tgroup(cols=1 + len(heads))
    group += [nodes.colspec(colwidth=width) for width in (60, 20, 20)]
    group += [nodes.thead("", _row(nodes.Text("Chapter"), heads)), nodes.tbody("", *rows)]
    table += group
    return table


def _row(first: nodes.Node, cells: list[str]) -> nodes.row:
    entries = [nodes.paragraph("", "", first), *(nodes.paragraph("", cell) for cell in cells)]
    return nodes.row("", *(nodes.entry("", entry) for entry in entries))


def connect(app: Sphinx) -> None:
    """Tell Sphinx of the table, the folds and the box."""
    app.add_directive("reading-times", ReadingTimes)
    app.connect("doctree-read", add_times)
