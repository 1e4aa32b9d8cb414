"""`llama-edu classroom`: its options, and what happens with them."""

import argparse
from pathlib import Path

from llama_edu.errors import InputError

__all__ = ["EPILOG", "SUMMARY", "add_arguments"]

SUMMARY = "make an assignment for a class, with grading, out of chapters"
EPILOG = """\
examples:
  python -m llama_edu classroom nbgrader course --chapters 6,8
  python -m llama_edu classroom nbgrader course --chapters 4-8 --stars 1,2 --name week2
  python -m llama_edu classroom otter week1 --chapters 6

Every chapter becomes a notebook with stubs for the exercises, checks that students see, hidden
inputs that differ for each student, a point a star, and a cell to hand in with. The folder is the
instructor's: it holds the solutions and the secret that the hidden inputs are drawn from.
docs/instructors.md has the whole way, from a course to feedback.
"""
TOOLS = ("nbgrader", "otter")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes. Importing this costs nothing."""
    add = parser.add_argument
    add("tool", choices=TOOLS, help="what the class is graded with")
    add("folder", help="the instructor's folder, made if it is not there")
    add("--chapters", required=True, metavar="LIST", help="such as 6,8 or 4-8")
    add("--stars", default="1,2,3", metavar="LIST", help="which exercises count (default: 1,2,3)")
    add("--name", help="of the assignment (default: chapters-6-8)")
    add("--book", metavar="FOLDER", help="the chapters (default: book, beside the package)")
    add(
        "--seconds",
        type=float,
        metavar="S",
        help="for one input of one exercise (default: the exercise's own limit)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the assignment, and say which files there are now.

    Raises `InputError` for chapters, stars, seconds or a name that cannot be.
    """
    from llama_edu.classroom import nbgrader, otter
    from llama_edu.classroom.chapter import book_of, chapters_of, read_chapter

    numbers = chapters_of(args.chapters)
    stars = _stars(args.stars)
    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f"expected seconds above 0, got {args.seconds}")
    name = args.name or "chapters-" + "-".join(map(str, numbers))
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"expected a name of letters, digits, - and _, got {name!r}")
    book = book_of(args.book)
    chapters = [read_chapter(book, number, stars) for number in numbers]
    if not any(chapter.points for chapter in chapters):
        raise InputError(f"expected exercises of {args.stars} stars in these chapters, got none")
    write = nbgrader.write_course if args.tool == "nbgrader" else otter.write_assignment
    for path in write(Path(args.folder), name, chapters, args.seconds):
        print(path)


def _stars(text: str) -> set[int]:
    try:
        stars = {int(piece) for piece in text.split(",")}
    except ValueError:
        stars = set()
    if not stars or not stars <= {1, 2, 3}:
        raise InputError(f"expected stars from 1 to 3, such as 1,2, got {text!r}")
    return stars
