"""An assignment for nbgrader: the folder of a course, with what its own commands go on from.

    source/NAME/CHAPTER.ipynb    the instructor's: with solutions and hidden tests
    nbgrader_config.py           how submissions are run: nothing of them, but in a process apart
    classroom.json               the class's secret, from which the hidden inputs are drawn

nbgrader itself is not imported. Its format is described at
https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html (schema 3).
"""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_edu.classroom.chapter import Chapter, Part
from llama_edu.classroom.stubs import REFUSAL, with_regions
from llama_edu.errors import InputError

__all__ = ["notebook_for", "write_course"]

SETTINGS = "classroom.json"
CONFIG = f'''\
"""How nbgrader runs this course. Written by `python -m llama_edu classroom nbgrader`."""

import os
from pathlib import Path

c = get_config()  # noqa: F821
here = Path(__file__).resolve().parent
c.CourseDirectory.root = str(here)
c.CourseDirectory.course_id = here.name
c.ClearSolutions.code_stub = {{"python": {REFUSAL!r}}}

# Submissions are judged by llama_edu in a process apart: the kernel that nbgrader starts runs the
# hidden tests and nothing that was handed in. Remove neither line, or it runs everything.
os.environ["LLAMA_EDU_CLASSROOM"] = str(here / "{SETTINGS}")
c.Execute.extra_arguments = [
    "--HistoryManager.hist_file=:memory:",
    "--IPKernelApp.extra_extensions=llama_edu.classroom.kernel",
]
c.Execute.timeout = None  # the judge has limits of its own
c.OverwriteCells.add_missing_cells = True  # a check that was deleted counts as not passed
'''


def write_course(
    folder: Path, name: str, chapters: Sequence[Chapter], seconds: float | None = None
) -> list[Path]:
    """Write an assignment into a course's folder, and what the course needs if it is new.

    Another assignment of the same name is left alone: `InputError`. `seconds` replaces the
    exercises' own limit for one input.
    """
    source = folder / "source" / name
    if source.exists():
        raise InputError(f"expected no assignment {name!r} yet, got {source}; it was left alone")
    source.mkdir(parents=True)
    config, settings = folder / "nbgrader_config.py", folder / SETTINGS
    if not settings.exists():
        content = {"secret": secrets.token_hex(32), "seconds": seconds}
        settings.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    if not config.exists():
        config.write_text(CONFIG, "utf-8")
    written = [config, settings]
    for chapter in chapters:
        path = source / f"{chapter.name}.ipynb"
        text = json.dumps(notebook_for(chapter, name), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")
        written.append(path)
    return written


def notebook_for(chapter: Chapter, name: str) -> dict[str, Any]:
    """The instructor's notebook of one chapter, as JSON."""
    cells = [_code(_SETUP, _locked("setup"), given=True)]
    cells += [_cell(part, chapter) for part in chapter.parts]
    cells += [_markdown(_HAND_IN), _code(_hand_in(chapter, name), _locked("hand-in"), given=True)]
    return {"cells": cells, "metadata": chapter.metadata, "nbformat": 4, "nbformat_minor": 5}


_SETUP = "from llama_edu.classroom import hand_in, must\nfrom llama_edu.exercises import check"
_HAND_IN = (
    "## Hand in\n\nSave the notebook, then run the next cell. It says which answers are there and "
    "right on the inputs you can see; others are drawn when it is graded, for each student "
    "different ones."
)


def _hand_in(chapter: Chapter, name: str) -> str:
    answers = "".join(f'    "{one}": globals().get("{one}_mine"),\n' for one in chapter.points)
    return f'hand_in("{name}", "{chapter.name}.ipynb", {{\n{answers}}})'


def _cell(part: Part, chapter: Chapter) -> dict[str, Any]:
    cell = part.cell | {"metadata": dict(part.cell["metadata"])}
    name = part.exercise
    if part.kind == "answer":
        begin, end = ("### BEGIN SOLUTION",), ("### END SOLUTION",)
        cell["source"] = with_regions(cell["source"], begin, end)
        cell["metadata"]["nbgrader"] = _nbgrader(f"{name}-answer", solution=True)
    elif part.kind == "check" and name in chapter.points:
        plain = f"check.{name}({name}_mine)"
        cell["source"] = cell["source"].replace(plain, f"must({plain})") + (
            f'\n### BEGIN HIDDEN TESTS\ngrade("{name}")\n### END HIDDEN TESTS'
        )
        cell["metadata"]["nbgrader"] = _nbgrader(name, points=chapter.points[name])
    return cell


def _nbgrader(grade_id: str, solution: bool = False, points: int | None = None) -> dict[str, Any]:
    """What nbgrader has to know of a cell: an answer, a test with points, or one that is locked."""
    about = {
        "grade_id": grade_id,
        "schema_version": 3,
        "solution": solution,
        "grade": points is not None,
        "locked": not solution,
        "task": False,
    }
    return about if points is None else about | {"points": points}


def _locked(grade_id: str) -> dict[str, Any]:
    return {"nbgrader": _nbgrader(grade_id)}


def _code(source: str, metadata: dict[str, Any], given: bool) -> dict[str, Any]:
    marks = {"llama_edu_given": True} if given else {}
    grade_id = metadata["nbgrader"]["grade_id"]
    return {
        "id": f"class-{grade_id}",
        "cell_type": "code",
        "metadata": metadata | marks,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def _markdown(source: str) -> dict[str, Any]:
    return {"id": "class-hand-in-text", "cell_type": "markdown", "metadata": {}, "source": source}
