"""One turn of a dialogue, and the scorer that says whether a reply to it is right.

The grammar knows what it asked, so it knows what a right reply must hold. A reply is right when it
holds every expected phrase and no forbidden one, as whole words, in any case and order. The scorer
does not judge style: "It is blue." and "Your favourite colour is blue." are both right.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """A user's message and the reply the grammar would give.

    Args:
        kind: What is asked for: "recall", "sum", "refuse" … One row of the evaluation table.
        user: The user's message.
        reply: One right reply; training learns it.
        must: Phrases that every right reply holds.
        must_not: Phrases that no right reply holds, such as the other colours.
        distance: For a recall, how many turns ago the fact was told.
        slot: For a turn about a fact of the user, which one: "colour", "name".
    """

    kind: str
    user: str
    reply: str
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    distance: int | None = None
    slot: str = ""


def holds(text: str, phrase: str) -> bool:
    """Whether ``phrase`` stands in ``text`` as whole words, whatever the case.

    >>> holds("Your name is Ana.", "ana"), holds("Your name is Anabel.", "Ana")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) is not None


def is_right(turn: Turn, reply: str) -> bool:
    """Whether ``reply`` answers ``turn``: every expected phrase, and no forbidden one."""
    return all(holds(reply, phrase) for phrase in turn.must) and not any(
        holds(reply, phrase) for phrase in turn.must_not if phrase not in turn.must
    )
