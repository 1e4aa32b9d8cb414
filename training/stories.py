"""Children's stories from a seeded grammar: a beginning, a wish or a problem, a turn, an end.

`write` makes one story, `corpus` the training stories, `held_out_corpus` stories whose
combination of name, object, attribute and place the training stories never use. A story knows its
own log-probability, so the entropy of the corpus is measured, not guessed (`entropy`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from training.grammar import Grammar, Written, compile_rules
from training.recipe import Document, Segment
from training.story_rules import RULES
from training.story_words import FACTS, GIRLS

COMBINED = ("name", "object", "attribute", "place")
HELD_OUT_SHARE = 20  # one combination in so many is kept away from training


def grammar() -> Grammar:
    """The grammar of the stories, compiled (some milliseconds)."""
    return Grammar(compile_rules(RULES, "story", set(FACTS)), FACTS, frozenset(GIRLS))


def is_held_out(facts: dict[str, str]) -> bool:
    """Does this combination belong to the evaluation? Decided by a checksum, so for ever."""
    combination = " ".join(facts[key] for key in COMBINED)
    return zlib.crc32(combination.encode("ascii")) % HELD_OUT_SHARE == 0


def write(stories: Grammar, rng: np.random.Generator, *, held_out: bool) -> Written:
    """One story with a combination from the wanted side of the split."""
    while True:
        given = {key: FACTS[key][int(rng.integers(len(FACTS[key])))] for key in COMBINED}
        if is_held_out(given) == held_out:
            return stories.write(rng, given)


def many(seed: int, count: int, *, held_out: bool) -> Iterator[Written]:
    """`count` stories from one seed."""
    stories, rng = grammar(), np.random.default_rng(seed)
    for _ in range(count):
        yield write(stories, rng, held_out=held_out)


def corpus(seed: int, count: int) -> Iterator[Document]:
    """Stories to train on."""
    return ((Segment(story.text),) for story in many(seed, count, held_out=False))


def held_out_corpus(seed: int, count: int) -> Iterator[Document]:
    """Stories of combinations that `corpus` never writes."""
    return ((Segment(story.text),) for story in many(seed, count, held_out=True))
