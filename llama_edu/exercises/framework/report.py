"""A learner's progress, as lines of text: what is solved, what is next."""

from collections.abc import Iterator

from llama_edu.exercises import check
from llama_edu.exercises.framework.exercise import Exercise
from llama_edu.exercises.framework.guide import STARS
from llama_edu.exercises.framework.progress import path, solved

__all__ = ["report"]


def report() -> Iterator[str]:
    """Every exercise by chapter, marked where solved, and the first one that is left."""
    done = solved()
    exercises = sorted((item.exercise for item in check), key=lambda e: e.chapter)
    known = [exercise for exercise in exercises if exercise.name in done]
    yield f"{len(known)} of {len(exercises)} exercises solved"
    for chapter in dict.fromkeys(exercise.chapter for exercise in exercises):
        of_chapter = [exercise for exercise in exercises if exercise.chapter == chapter]
        solved_here = sum(exercise in known for exercise in of_chapter)
        yield ""
        yield f"Chapter {chapter}: {solved_here} of {len(of_chapter)}"
        yield from (_line(exercise, exercise in known) for exercise in of_chapter)
    left = [exercise for exercise in exercises if exercise not in known]
    yield ""
    if left:
        yield f"next: check.{left[0].name}, Chapter {left[0].chapter}, Your turn"
    else:
        yield "All solved. Well done!"
    yield f"kept in {path()}"


def _line(exercise: Exercise, is_solved: bool) -> str:
    mark = "✓" if is_solved else "·"
    return f"  {mark} {STARS[exercise.stars]:3}  {exercise.name}"
