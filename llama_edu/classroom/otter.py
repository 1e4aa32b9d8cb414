"""An assignment for Otter-Grader: a notebook in the format of `otter assign`, one a chapter.

    NAME/CHAPTER/CHAPTER.ipynb    the instructor's: with solutions, tests, and the class's secret

`otter assign CHAPTER.ipynb dist` makes the students' copy and the autograder from it. Otter itself
is not imported; its format is described at https://otter-grader.readthedocs.io (Otter Assign).
When Otter grades, it loads `otter_plugin`, which has what was handed in judged in a process apart.
"""

import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llama_edu.classroom.chapter import Chapter, Part
from llama_edu.classroom.stubs import REFUSAL, with_regions
from llama_edu.errors import InputError

__all__ = ["notebook_for", "write_assignment"]

PLUGIN = "llama_edu.classroom.otter_plugin.Plugin"


def write_assignment(
    folder: Path, name: str, chapters: Sequence[Chapter], seconds: float | None = None
) -> list[Path]:
    """Write a notebook for `otter assign` for each chapter that has something to answer.

    One that is there already is left alone: `InputError`. `seconds` replaces the exercises' own
    limit for one input.
    """
    if (folder / name).exists():
        raise InputError(
            f"expected no assignment {name!r} yet, got {folder / name}; it was left alone"
        )
    written = []
    for chapter in chapters:
        if not chapter.points:
            continue
        path = folder / name / chapter.name / f"{chapter.name}.ipynb"
        path.parent.mkdir(parents=True)
        settings = {"assignment": f"{name}/{chapter.name}", "secret": secrets.token_hex(32)}
        notebook = notebook_for(chapter, settings | {"seconds": seconds})
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
        written.append(path)
    return written


def notebook_for(chapter: Chapter, settings: dict[str, Any]) -> dict[str, Any]:
    """The instructor's notebook of one chapter, as JSON."""
    cells = [_raw("# ASSIGNMENT CONFIG\n" + _yaml(chapter, settings))]
    for exercise, parts in _grouped(chapter):
        if exercise in chapter.points:
            cells += _question(exercise, parts, chapter.points[exercise])
        else:
            cells += [part.cell for part in parts]
    for number, cell in enumerate(cells):
        cell["id"] = cell.get("id") or f"class-{number}"
    return {"cells": cells, "metadata": chapter.metadata, "nbformat": 4, "nbformat_minor": 5}


def _yaml(chapter: Chapter, settings: dict[str, Any]) -> str:
    """The configuration, in YAML's own notation for what JSON has as well."""
    config = {
        "name": settings["assignment"],
        "init_cell": True,
        "check_all_cell": False,
        "export_cell": {"pdf": False, "run_tests": True, "force_save": True},
        "tests": {"ok_format": False},
        "solutions_pdf": False,
        "generate": {"show_hidden": True, "pdf": False},
        "plugins": [{PLUGIN: settings | {"exercises": list(chapter.points)}}],
    }
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in config.items())


def _grouped(chapter: Chapter) -> Iterator[tuple[str, list[Part]]]:
    """The cells from an answer to its check, under its exercise; all others one by one under ""."""
    waiting: list[Part] = []
    for part in chapter.parts:
        if part.kind == "answer":
            waiting = [part]
        elif waiting:
            waiting.append(part)
            if part.kind == "check":
                yield part.exercise, waiting
                waiting = []
        else:
            yield "", [part]
    yield from (("", [part]) for part in waiting)


def _question(name: str, parts: list[Part], points: int) -> list[dict[str, Any]]:
    """A question as Otter Assign wants it: its answer, and two tests, a hidden one with points."""
    answer, *between, shown = (part.cell for part in parts)
    begin = ("# BEGIN SOLUTION NO PROMPT",)
    end = ("# END SOLUTION", '""" # BEGIN PROMPT', REFUSAL, '"""; # END PROMPT')
    solution = answer | {"source": with_regions(answer["source"], begin, end)}
    plugin = "from llama_edu.classroom.otter_plugin import "
    return [
        _raw(f"# BEGIN QUESTION\nname: {name}\npoints: {points}"),
        _markdown("*Write it in the next cell.*"),
        _raw("# BEGIN SOLUTION"),
        solution,
        _raw("# END SOLUTION"),
        _raw("# BEGIN TESTS"),
        _code(
            '""" # BEGIN TEST CONFIG\npoints: 0\n""" # END TEST CONFIG\n'
            f"def test_shown_{name}(env):\n"
            f'    {plugin}shown\n    shown("{name}", env)'
        ),
        _code(
            f'""" # BEGIN TEST CONFIG\nhidden: true\npoints: {points}\n""" # END TEST CONFIG\n'
            f"def test_drawn_{name}(env):\n"
            f'    {plugin}drawn\n    drawn("{name}", env)'
        ),
        _raw("# END TESTS"),
        _raw("# END QUESTION"),
        *between,
        shown,
    ]


def _raw(source: str) -> dict[str, Any]:
    return {"cell_type": "raw", "metadata": {}, "source": source}


def _markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }
