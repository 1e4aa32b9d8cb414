"""What one turn of a conversation cost, in tokens: reused, computed, generated, lost, and why.

The terminal, the page, the API's `usage` and the book's figures all show these numbers, the first
two in the words of this module. A server drops nothing when a prefix breaks: its cache belongs to
many conversations, and what one leaves behind stays for the next. So the page gives the reason
alone, and `usage` neither. Nothing here counts; `chat` and the server do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CacheMissReason", "TurnUsage", "usage_table"]


class CacheMissReason(StrEnum):
    """Why what is cached no longer begins the prompt."""

    EDITED = "edited"  # a message, or the system prompt
    REGENERATED = "regenerated"  # the same question is answered again
    ROLLED_BACK = "rolled back"  # turns were taken back, and another message followed
    RERENDERED = "template re-rendered"  # the template now writes earlier turns in another way
    OVERFLOW = "overflow"  # the oldest turns were left out to make room
    OTHER = "other conversation"  # from there on, the cache holds somebody else's


@dataclass(frozen=True)
class TurnUsage:
    """One turn's account, in tokens.

    `prompt_tokens` is everything the reply continues, special tokens included; `reused` of them
    had their keys and values cached already, `computed` went through the model. `generated` counts
    the reply, with the id that ended it. `dropped` are cached positions thrown away because the
    prefix broke, for `reason`. `forgotten` counts turns that the overflow policy left out.
    """

    prompt_tokens: int
    reused: int
    computed: int
    generated: int
    dropped: int = 0
    reason: CacheMissReason | None = None
    forgotten: int = 0

    def __post_init__(self) -> None:
        assert self.prompt_tokens == self.reused + self.computed, self

    def in_words(self) -> str:
        """One line for people."""
        words = (
            f"{self.prompt_tokens} prompt tokens = {self.reused} reused "
            f"+ {self.computed} computed, {self.generated} new"
        )
        if self.dropped:
            words += f"; {self.dropped} dropped: {self.reason}"
        elif self.reason is not None:
            words += f"; from there on: {self.reason}"
        if self.forgotten:
            words += f"; {_left_out(self.forgotten)}"
        return words


def usage_table(usages: Iterable[TurnUsage]) -> Iterator[str]:
    """A table of turns, counted from 1, with their sum, as lines of text."""
    row = "{:>5}{:>8}{:>8}{:>10}{:>6}{:>9}  {}".format
    yield row("turn", "prompt", "reused", "computed", "new", "dropped", "why").rstrip()
    total = [0, 0, 0, 0, 0]
    for number, turn in enumerate(usages, 1):
        counts = (turn.prompt_tokens, turn.reused, turn.computed, turn.generated, turn.dropped)
        total = [a + b for a, b in zip(total, counts, strict=True)]
        left_out = [_left_out(turn.forgotten)] if turn.forgotten else []
        why = [str(turn.reason)] if turn.reason else []
        yield row(number, *counts, ", ".join(why + left_out)).rstrip()
    yield row("all", *total, "").rstrip()


def _left_out(n_turns: int) -> str:
    return "oldest turn left out" if n_turns == 1 else f"oldest {n_turns} turns left out"
