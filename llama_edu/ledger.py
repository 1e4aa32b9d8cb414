"""What one turn of a conversation cost, in tokens: reused, computed, generated, lost, and why.

The terminal, the page, the API's `usage` and the book's figures all show these numbers. Nothing
here counts; `chat` and the server do.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Break", "Ledger"]


class Break(StrEnum):
    """Why what is cached no longer begins the prompt."""

    EDITED = "edited"  # a message, or the system prompt
    REGENERATED = "regenerated"  # the same question is answered again
    ROLLED_BACK = "rolled back"  # turns were taken back, and another message followed
    RERENDERED = "template re-rendered"  # the template now writes earlier turns in another way
    OVERFLOW = "overflow"  # the oldest turns were left out to make room
    OTHER = "other conversation"  # from there on, the cache holds somebody else's


@dataclass(frozen=True)
class Ledger:
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
    reason: Break | None = None
    forgotten: int = 0

    def __post_init__(self) -> None:
        assert self.prompt_tokens == self.reused + self.computed, self
