"""The text of one reply as it grows: whole characters, and nothing of what a stop sequence ends.

A stop sequence may come in pieces, token by token. Text that could still turn out to be its
beginning is held back until that is settled.
"""

from collections.abc import Collection, Sequence

from llama_edu.text.tokenizer import TextStream

__all__ = ["OutputText", "open_end"]


class OutputText:
    """Turns ids into text that may be shown, and notices a stop sequence.

    `"".join(push(i) for i in ids) + finish()` is the decoded text up to the stop sequence
    that is complete first.
    """

    def __init__(self, stream: TextStream, stop: Sequence[str] = ()) -> None:
        self._stream = stream
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False
        self.shown = 0
        """Characters given out so far."""

    @property
    def length(self) -> int:
        """Characters decoded so far, those held back included."""
        return self.shown + len(self._held)

    def push(self, token_id: int) -> str:
        """The text that is settled once this id has come; "" while it could be a stop's."""
        return self._settle(self._stream.push(token_id), last=False)

    def finish(self) -> str:
        """What was held back, now that nothing follows; "" after a stop sequence."""
        return "" if self.stopped else self._settle(self._stream.finish(), last=True)

    def _settle(self, text: str, *, last: bool) -> str:
        held = self._held + text
        # Of several, the one that is complete first, as if characters came one by one.
        ends = [(at + len(stop), at) for stop in self._stop if (at := held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            text, self._held = held[: min(ends)[1]], ""
        else:
            cut = len(held) - (0 if last else open_end(held, self._stop))
            text, self._held = held[:cut], held[cut:]
        self.shown += len(text)
        return text


def open_end(text: str, marks: Collection[str]) -> int:
    """Length of the longest end of `text` that one of the marks begins with; no mark is in it."""
    longest = max(map(len, marks), default=0)
    for length in range(min(len(text), longest), 0, -1):
        if any(mark.startswith(text[-length:]) for mark in marks):
            return length
    return 0
