"""Write dialogues of several turns from a seed, each with what a right reply must hold.

A dialogue is a walk: every turn draws an *act* (tell a fact, ask for one, add two numbers, ask for
a story …) that fits what was said before. Training dialogues and evaluation dialogues come from
the same walk; they differ in the facts that may meet (see `chat_memory`). For evaluation,
``probes`` plants questions at exact distances: told in turn t, asked for in turn t + k, and not
spoken of between.

This module writes text in ChatML. It does not tokenize (`corpus`) and does not judge replies
(`chat_turn`).

    python -m training.dialogues --seed 7 --turns 8
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from training import chat_acts as acts
from training import chat_lore as lore
from training import chat_stories as stories
from training import chat_talk as talk
from training.chat_acts import Act
from training.chat_memory import Fact, Memory
from training.chat_slots import Slot
from training.chat_turn import Turn
from training.chat_words import pick
from training.recipe import Document, Segment

START, END = "<|im_start|>", "<|im_end|>"
SHORT, LONG, LONG_SHARE = (2, 15), (24, 33), 1 / 16
"""How many turns training dialogues have, as half-open ranges, and how many are long."""


@dataclass(frozen=True)
class Dialogue:
    """A system message (or none), the turns after it, and every fact they tell, in order."""

    system: str | None
    turns: tuple[Turn, ...]
    facts: tuple[Fact, ...]

    def messages(self) -> list[dict[str, str]]:
        """The dialogue as chat messages, each with a ``role`` and its ``content``."""
        spoken = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.turns:
            spoken.append({"role": "user", "content": turn.user})
            spoken.append({"role": "assistant", "content": turn.reply})
        return spoken


def chatml(messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
    r"""Lay messages out as ChatML, as the chat template of the model does.

    >>> chatml([{"role": "user", "content": "Hi"}])
    '<|im_start|>user\nHi<|im_end|>\n'
    """
    text = "".join(f"{START}{m['role']}\n{m['content']}{END}\n" for m in messages)
    return text + f"{START}assistant\n" if add_generation_prompt else text


def _stateless(topic: Callable[[np.random.Generator], Turn]) -> Act:
    return lambda rng, _memory: topic(rng)


_WEIGHTED_ACTS: tuple[tuple[float, Act], ...] = (
    (22, acts.tell),
    (4, acts.tell_two),
    (32, acts.ask),
    (4, acts.ask_two),
    (12, acts.ask_unknown),
    (7, acts.correct),
    (12, _stateless(lore.small_sum)),
    (2, _stateless(lore.number_order)),
    (9, _stateless(lore.fact)),
    (6, _stateless(talk.refusal)),
    (5, _stateless(talk.small_talk)),
    (5, _stateless(talk.repetition)),
    (3, stories.story),
    (8, stories.ask_story),
    (2, acts.ask_bot_name),
    (1, acts.greet),
    (1, acts.farewell),
)
_BOUNDS = np.cumsum([weight for weight, _ in _WEIGHTED_ACTS], dtype=np.float64)


def write(
    rng: np.random.Generator, turns: int, *, held_out: bool = False, probes: Sequence[int] = ()
) -> Dialogue:
    """Write one dialogue.

    Args:
        rng: The only source of chance.
        turns: How many turns (a user's message and a reply) to write.
        held_out: False for training, True for evaluation: which pairs of facts may meet.
        probes: For each distance k, plant a fact that is asked for exactly k turns after it was
            told. Needs room: ``turns`` of at least 2 · len(probes) + max(probes).
    """
    memory = Memory(held_out=held_out)
    system = acts.system_message(rng, memory)
    planted = _plan(rng, turns, probes)
    written = []
    for memory.turn in range(1, turns + 1):
        turn = planted[memory.turn](rng, memory) if memory.turn in planted else None
        turn = turn or _next_turn(rng, memory, last=memory.turn == turns)
        written.append(turn)
    return Dialogue(system, tuple(_roughen(rng, turn) for turn in written), tuple(memory.history))


def _next_turn(rng: np.random.Generator, memory: Memory, *, last: bool) -> Turn:
    """Draw acts until one fits what was said before."""
    preferred: Act | None = None
    if memory.bare_name_next:
        preferred = acts.tell_bare_name
    elif memory.turn == 1 and rng.random() < 0.7:
        preferred = acts.greet
    elif last and rng.random() < 0.5:
        preferred = acts.farewell
    turn = preferred(rng, memory) if preferred else None
    while turn is None:
        at = int(np.searchsorted(_BOUNDS, rng.random() * _BOUNDS[-1], side="right"))
        turn = _WEIGHTED_ACTS[at][1](rng, memory)
    return turn


def _plan(rng: np.random.Generator, turns: int, probes: Sequence[int]) -> dict[int, Act]:
    """Choose turns for telling and asking planted facts, so that no two fall together.

    Turn 1 tells something unplanted, so that each planted fact meets another one.
    """
    plan: dict[int, Act] = {1: acts.tell} if probes else {}
    for distance in sorted(probes, reverse=True):
        starts = [
            t for t in range(2, turns + 1 - distance) if t not in plan and t + distance not in plan
        ]
        start = pick(rng, starts)
        planted: list[Slot] = []
        plan[start] = partial(_tell_planted, planted=planted)
        plan[start + distance] = partial(_ask_planted, planted=planted)
    return plan


def _tell_planted(rng: np.random.Generator, memory: Memory, planted: list[Slot]) -> Turn | None:
    """Tell a fact that no other act may speak of until `_ask_planted` has asked for it."""
    for at in rng.permutation(len(unknown := memory.unknown())):
        turn = acts.tell_slot(rng, memory, unknown[at])
        if turn is not None:
            planted.append(unknown[at])
            memory.reserved.add(unknown[at].key)
            return turn
    return None


def _ask_planted(rng: np.random.Generator, memory: Memory, planted: list[Slot]) -> Turn | None:
    if not planted:
        return None
    memory.reserved.discard(planted[0].key)
    return acts.ask_slot(rng, memory, planted[0])


def _roughen(rng: np.random.Generator, turn: Turn) -> Turn:
    """Write some messages as people do: American spelling, no full stop, no capital."""
    if turn.kind == "repeat" or rng.random() > 0.25:
        return turn
    user = turn.user
    match int(rng.integers(3)):
        case 0:
            user = user.replace("favourite", "favorite").replace("colour", "color")
        case 1:
            user = user.rstrip(".?!")
        case _:
            user = user[0].lower() + user[1:]
    return replace(turn, user=user)


def segments(dialogue: Dialogue) -> Document:
    """A dialogue for the training loop: only what the assistant says, and its end, is learnt."""
    made = []
    for message in dialogue.messages():
        learn = message["role"] == "assistant"
        made.append(Segment(f"{START}{message['role']}\n", learn=False))
        made.append(Segment(f"{message['content']}{END}", learn=learn))
        made.append(Segment("\n", learn=False))
    return tuple(made)


def corpus(seed: int, count: int) -> Iterator[Document]:
    """Training dialogues: most of them short, one in sixteen long enough to fill the context."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        long = rng.random() < LONG_SHARE
        turns = int(rng.integers(*(LONG if long else SHORT)))
        yield segments(write(rng, turns))


def held_out_corpus(seed: int, count: int) -> Iterator[Document]:
    """The same kind of dialogues from the other side of the split, for the validation loss."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield segments(write(rng, int(rng.integers(*SHORT)), held_out=True))


def main() -> None:
    """Print one dialogue."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=8)
    args = parser.parse_args()
    dialogue = write(np.random.default_rng(args.seed), args.turns)
    print(chatml(dialogue.messages()))


if __name__ == "__main__":
    main()
