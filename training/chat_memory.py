"""What one dialogue has told so far, and which combinations training may never see.

`Memory` is the state of a dialogue while it is being written: the facts told, the turn each was
told in, the story last told. It also keeps the promise behind the evaluation: some pairs of facts
("my name is Ana" with "my favourite colour is blue") are *held out* by a hash. Training dialogues
never hold such a pair; in evaluation dialogues every new fact completes one.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from training.chat_slots import BY_KEY, SLOTS, Slot
from training.chat_words import invented_name, pick

HELD_OUT_SHARE = 0.1
_INVENTED_SHARE = 0.15  # of the names in evaluation
_INVENTED_IN_TRAINING, _ECHO_IN_TRAINING = 0.35, 0.35  # harder: see `invented_name`
_TRIES = 200

Fact = tuple[str, str]
"""A slot's key and a value, such as ``("colour", "blue")``."""


def is_held_out(first: Fact, second: Fact) -> bool:
    """Whether two facts together belong to evaluation. The order of the two does not matter."""
    text = "|".join(f"{key}={value}" for key, value in sorted((first, second)))
    digest = blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") < HELD_OUT_SHARE * 2**64


@dataclass
class Memory:
    """The facts of one dialogue. ``held_out`` says for which side, training or evaluation.

    ``facts`` holds what is true now; ``history`` also what was true before a correction, since a
    model reads both. ``told_at`` is the turn in which the current value was told; a key in
    ``mentioned`` was spoken of again after that. Facts in ``reserved`` wait to be asked for at a
    set distance, so nothing else may speak of them.
    """

    held_out: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    told_at: dict[str, int] = field(default_factory=dict)
    history: list[Fact] = field(default_factory=list)
    story: dict[str, str] = field(default_factory=dict)
    mentioned: set[str] = field(default_factory=set)
    reserved: set[str] = field(default_factory=set)
    bare_name_next: bool = False
    bot: str = "Pip"
    turn: int = 0

    def tell(self, slot: Slot, value: str) -> None:
        """Note that the user told ``value`` in the present turn."""
        self.facts[slot.key] = value
        self.told_at[slot.key] = self.turn
        self.mentioned.discard(slot.key)
        self.history.append((slot.key, value))

    def mention(self, key: str) -> None:
        """Note that a fact was spoken of again: from now on it is nearer than its telling."""
        self.mentioned.add(key)

    def distance(self, key: str) -> int | None:
        """How many turns ago the fact was told; None when it was spoken of since."""
        return None if key in self.mentioned else self.turn - self.told_at[key]

    def draw_value(self, slot: Slot, rng: np.random.Generator) -> str | None:
        """Draw a value that this side of the split may tell next, or None when there is none."""
        old = self.facts.get(slot.key)
        share = _INVENTED_SHARE if self.held_out else _INVENTED_IN_TRAINING
        echo = 0.0 if self.held_out else _ECHO_IN_TRAINING
        for _ in range(_TRIES):
            invented = slot.invents and rng.random() < share
            value = invented_name(rng, echo=echo) if invented else pick(rng, slot.values)
            if value != old and self._allows((slot.key, value)):
                return value
        return None

    def known(self) -> list[Slot]:
        """The slots that have been told and may be spoken of, in the order of first telling."""
        return [BY_KEY[key] for key in self.facts if key not in self.reserved]

    def unknown(self) -> list[Slot]:
        """The slots that have not been told."""
        return [slot for slot in SLOTS if slot.key not in self.facts]

    def _allows(self, fact: Fact) -> bool:
        clashes = [is_held_out(fact, other) for other in self.history if other != fact]
        if self.held_out:
            return not clashes or any(clashes)
        return not any(clashes)
