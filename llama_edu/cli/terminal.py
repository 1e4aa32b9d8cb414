"""What the command line needs to behave on a terminal, and off one. Knows nothing about models."""

import os
import sys
from typing import Protocol, runtime_checkable

__all__ = ["ProgressLine", "Stream", "may_colour", "one_line", "printable", "write_now"]

BAR_WIDTH = 24

# Control characters except tab and line break → their pictures: ESC becomes ␛.
CONTROL_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}


@runtime_checkable
class Stream(Protocol):
    """As much of a text stream as is used here."""

    def write(self, text: str, /) -> int:
        """Write, and say how many characters."""
        ...

    def flush(self) -> None:
        """Let nothing wait."""
        ...

    def isatty(self) -> bool:
        """True if somebody is looking."""
        ...


def may_colour(stream: Stream) -> bool:
    """True on a terminal that has colours and whose user has not asked for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def one_line(problem: BaseException) -> str:
    """A message without line breaks or escape codes: parts of it may come out of a file."""
    return printable(str(problem) or type(problem).__name__)


def printable(text: str) -> str:
    """A text of anybody's as one line that only shows, with codes for what does not print."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def write_now(text: str) -> None:
    """Write to standard output without waiting for a full line."""
    if sys.stdout.isatty():
        # A model can say anything, but it does not get to steer the terminal.
        text = text.translate(CONTROL_PICTURES)
    sys.stdout.write(text)
    sys.stdout.flush()


class ProgressLine:
    """One line that shows how far a long task is; drawn on a terminal only.

    Elsewhere each stage is named once, in a line of its own.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._drawn = stream.isatty()
        self._stage = ""

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._drawn and self._stage:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, stage: str, done: float) -> None:
        """Say what is being done, and which part of it is, 0.0 to 1.0."""
        if self._drawn:
            filled = round(done * BAR_WIDTH)
            bar = "█" * filled + "░" * (BAR_WIDTH - filled)
            self._stream.write(f"\r\x1b[K{bar} {done:4.0%} {stage}")
            self._stream.flush()
        elif stage != self._stage:
            print(stage, file=self._stream, flush=True)
        self._stage = stage
