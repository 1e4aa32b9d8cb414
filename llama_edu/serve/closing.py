"""JSON that is brought to its end while there are tokens left for it.

A small model may write on in a string, or a list, until its last token, and half of a JSON text is
of no use to anybody. So as the tokens run short, only those are allowed that end what is open:
first the string, then what is required and still missing, as short as the grammar takes it, then
lists and objects.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

__all__ = ["Closing", "Place"]


class Place:
    """Where in a JSON text its end is: in a string or outside of one."""

    def __init__(self, *, in_string: bool = False, is_escaped: bool = False) -> None:
        self.in_string, self.is_escaped = in_string, is_escaped

    def copy(self) -> "Place":
        return Place(in_string=self.in_string, is_escaped=self.is_escaped)

    def go_on(self, text: bytes) -> None:
        """Move to where this text ends."""
        for byte in text:
            if self.is_escaped:
                self.is_escaped = False
            elif byte == ord("\\"):
                self.is_escaped = self.in_string
            elif byte == ord('"'):
                self.in_string = not self.in_string


class Closing:
    """Which tokens of a vocabulary bring a JSON text nearer to its end."""

    def __init__(self, tokens: Sequence[bytes], stop_ids: Sequence[int]) -> None:
        """`tokens` are the bytes of every id, empty for those that have none."""
        self.tokens = tokens
        self.lengths = np.array([len(token) for token in tokens])
        self._stops = np.zeros(len(tokens), dtype=bool)
        self._stops[list(stop_ids)] = True
        # Alone before beginning something new in the same token, such as `", "`.
        self._quotes = [self._are(b'"'), self._begin_with(b'"')]
        self._ends = [self._are(b"}", b"]"), self._begin_with(b"}", b"]"), self._begin_with(b",")]
        self._flat = ~np.array([b"{" in token or b"[" in token for token in tokens])

    def _are(self, *texts: bytes) -> Bool[np.ndarray, " vocab_size"]:
        return np.array([token in texts for token in self.tokens])

    def _begin_with(self, *texts: bytes) -> Bool[np.ndarray, " vocab_size"]:
        return np.array([token.startswith(texts) for token in self.tokens])

    def narrowed(
        self, allowed: Bool[np.ndarray, " vocab_size"], place: Place, forced: bytes
    ) -> Bool[np.ndarray, " vocab_size"]:
        """Of the allowed ids, those that come nearest to the end; at least one.

        `forced` is what the grammar writes next whatever is chosen, if it is settled.
        """
        for wish in self._wishes(place):
            if (nearer := allowed & wish).any():
                return nearer
        if forced:  # in as few tokens as possible
            fitting = [
                i for i in np.flatnonzero(allowed).tolist() if forced.startswith(self.tokens[i])
            ]
            if fitting:
                nearer = np.zeros_like(allowed)
                nearer[max(fitting, key=lambda i: int(self.lengths[i]))] = True
                return nearer
        if not place.in_string and (nearer := allowed & self._flat).any():
            return nearer
        return allowed

    def _wishes(self, place: Place) -> list[Bool[np.ndarray, " vocab_size"]]:
        """What ends something, the best first."""
        if place.is_escaped:  # a quotation mark would be one of the text
            return []
        return self._quotes if place.in_string else [self._stops, *self._ends]

    def likely_longest(self, allowed: Bool[np.ndarray, " vocab_size"]) -> int:
        """The allowed id with the shortest text: with it, the text takes the most tokens."""
        ids = np.flatnonzero(allowed)
        return int(ids[np.argmin(self.lengths[ids])])
