"""A learner's progress, as lines of text and as a page: what is solved, what is next."""

from collections.abc import Iterator
from html import escape

from llama_edu.exercises import check
from llama_edu.exercises.framework.exercise import Exercise
from llama_edu.exercises.framework.guide import STARS
from llama_edu.exercises.framework.progress import path, solved

__all__ = ["page", "report"]

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font-family:system-ui,sans-serif;line-height:1.5;margin:2em auto;max-width:42em;"
    "padding:0 1em}"
    "progress{accent-color:#2f6f5e;height:.8em;margin-inline-start:.6em;width:8em}"
    "h2{font-size:1em;margin:1.4em 0 .2em}ul{list-style:none;margin:0;padding:0 0 0 .5em}"
    "code{font-size:1em}"
)


def report() -> Iterator[str]:
    """Every exercise by chapter, marked where solved, and the first one that is left."""
    by_chapter, done = _by_chapter(), solved()
    yield _total(by_chapter, done)
    for chapter, exercises in by_chapter.items():
        yield ""
        yield f"Chapter {chapter}: {_count(exercises, done)} of {len(exercises)}"
        for exercise in exercises:
            mark = "✓" if exercise.name in done else "·"
            yield f"  {mark} {STARS[exercise.stars]:3}  {exercise.name}"
    yield ""
    yield _next(by_chapter, done)
    yield f"kept in {path()}"


def page() -> str:
    """The same as a page of its own, that asks nothing of the network."""
    by_chapter, done = _by_chapter(), solved()
    parts = [f"<h1>{_total(by_chapter, done)}</h1><p>{_next(by_chapter, done)}</p>"]
    for chapter, exercises in by_chapter.items():
        count = _count(exercises, done)
        said = f"{count} of {len(exercises)}"
        lines = "".join(_line(exercise, exercise.name in done) for exercise in exercises)
        parts.append(
            f"<h2>Chapter {chapter}: {said}<progress value='{count}' max='{len(exercises)}' "
            f"aria-label='chapter {chapter}'>{said}</progress></h2><ul>{lines}</ul>"
        )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'><title>Your progress</title>"
        f"<style>{_STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )


def _line(exercise: Exercise, is_solved: bool) -> str:
    mark, word = ("✓", "solved") if is_solved else ("·", "open")
    return (
        f"<li><span role='img' aria-label='{word}'>{mark}</span> {STARS[exercise.stars]} "
        f"<code>{exercise.name}</code>: {escape(exercise.task)}</li>"
    )


def _by_chapter() -> dict[int, list[Exercise]]:
    """The exercises of each chapter, in the order of the chapters."""
    chapters: dict[int, list[Exercise]] = {}
    for exercise in sorted((item.exercise for item in check), key=lambda one: one.chapter):
        chapters.setdefault(exercise.chapter, []).append(exercise)
    return chapters


def _count(exercises: list[Exercise], done: set[str]) -> int:
    return sum(exercise.name in done for exercise in exercises)


def _total(by_chapter: dict[int, list[Exercise]], done: set[str]) -> str:
    every = [exercise for exercises in by_chapter.values() for exercise in exercises]
    return f"{_count(every, done)} of {len(every)} exercises solved"


def _next(by_chapter: dict[int, list[Exercise]], done: set[str]) -> str:
    for chapter, exercises in by_chapter.items():
        for exercise in exercises:
            if exercise.name not in done:
                return f"next: check.{exercise.name}, Chapter {chapter}, Your turn"
    return "All solved. Well done!"
