"""What an answer of the fresh set is: written from the stub, before any list of mistakes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Fresh", "right", "wrong"]


@dataclass(frozen=True)
class Fresh:
    """An answer to an exercise, and what it does.

    `may` has the names of the known mistakes that may be said of a wrong one, separated by
    blanks; any other name would be a lie.
    """

    exercise: str
    what: str
    function: Callable[..., Any]
    is_right: bool
    may: str = ""


def right(exercise: str, what: str, function: Callable[..., Any]) -> Fresh:
    """An answer that must be accepted."""
    return Fresh(exercise, what, function, True)


def wrong(exercise: str, what: str, function: Callable[..., Any], may: str = "") -> Fresh:
    """An answer that must be refused."""
    return Fresh(exercise, what, function, False, may)
