"""What goes with an exercise: how long it takes, how much hangs on it, and hints in three steps.

The first hint asks back, the second gives the idea, the third is the code with gaps. The chapters
show them folded, and a terminal one at a time, from the same source.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from textwrap import indent, wrap

from llama_edu.exercises.framework.words import unstressed

__all__ = ["ESSENTIAL", "EXTRA", "STARS", "STEPS", "USEFUL", "Guide", "Told"]

STARS = {1: "★", 2: "★★", 3: "★★★"}
ESSENTIAL = "essential: what follows builds on it"
USEFUL = "useful: an engine needs it"
EXTRA = "extra: for those who want more"
STEPS = ("a question", "the idea", "almost the code")
WIDTH = 72


class Told(str):
    """A text that shows itself as it is, also when it is what a line of input returns."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Guide:
    """Minutes, importance and hints. Texts may hold `code` in backticks and *emphasis*.

    In `code`, `...` stands for what is left to the reader.
    """

    minutes: int
    importance: str
    question: str
    idea: str
    code: str

    @property
    def sketch(self) -> str:
        """The third hint, without the indentation of its source."""
        return cleandoc(self.code)

    def facts(self, stars: int) -> str:
        """Difficulty, time and importance in a line."""
        return f"{STARS[stars]} · about {self.minutes} minutes · {self.importance}"

    def hint(self, step: int) -> Told:
        """The hint of one step, from 1. Raises `ValueError` for a step that is none."""
        if step not in range(1, len(STEPS) + 1):
            raise ValueError(f"expected a step from 1 to {len(STEPS)}, got {step!r}")
        return Told("\n".join(self._lines(step)))

    def _lines(self, step: int) -> Iterator[str]:
        yield f"Hint {step} of {len(STEPS)}, {STEPS[step - 1]}:"
        if step == len(STEPS):
            yield indent(self.sketch, "  ")
            yield "  (... is yours to fill in)"
        else:
            text = self.question if step == 1 else self.idea
            yield from wrap(unstressed(text), WIDTH, initial_indent="  ", subsequent_indent="  ")
