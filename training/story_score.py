"""Read a story and say what it kept: name, pronouns, object, its attribute, the place, the song.

The scorer sees only text, never how it was made, so it judges a model's stories and the grammar's
alike. It works on words: the lists in `story_words` share none, so "Mia" can only be a name and
"kite" only the object. Whether a text is grammatical is asked of the grammar itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from training.grammar import Grammar
from training.story_words import ATTRIBUTES, BOYS, GIRLS, OBJECTS, PLACES, RELATIVES, SYLLABLES

BOY_WORDS = frozenset({"he", "him", "his", "himself"})
GIRL_WORDS = frozenset({"she", "her", "herself"})
ENDING = 4  # sentences that count as the end of a story, "The end." aside


def _any_of(words: Sequence[str]) -> str:
    return "(" + "|".join(words) + r")\b"


SYLLABLE = "(?:" + "|".join(SYLLABLES) + ")"
NAME = re.compile(r"\b" + _any_of(BOYS + GIRLS))
OBJECT = re.compile(r"\b" + _any_of(OBJECTS))
PAIR = re.compile(r"\b" + _any_of(ATTRIBUTES) + " " + _any_of(OBJECTS))
PLACE = re.compile(r"\bthe " + _any_of(PLACES))
RELATIVE = re.compile(r"\b(?:his|her|my) " + _any_of(RELATIVES))
SONG = re.compile(rf": ({SYLLABLE}(?: {SYLLABLE})*)\b")
SENTENCE = re.compile(r"[^.!?]+[.!?]+\"?")


@dataclass(frozen=True)
class Score:
    """What a story kept from its first mention to its last sentences."""

    name: bool
    pronouns: bool
    object: bool
    attribute: bool
    place: bool
    song: bool
    relative: bool | None  # None for a story that names no relative twice
    grammatical: bool  # every sentence is one the grammar could write there
    consistent: bool  # the grammar could have written the whole story
    opening: str  # the first sentence


def sentences(text: str) -> list[str]:
    """The sentences of a text, a closing "The end." left out."""
    found = [sentence.strip() for sentence in SENTENCE.findall(text)]
    return found[:-1] if found and found[-1] == "The end." else found


def kept(pattern: re.Pattern[str], text: str, ending: str) -> bool:
    """Is there one match, the same wherever the pattern matches, and again in the ending?"""
    everywhere = set(pattern.findall(text))
    return len(everywhere) == 1 and pattern.search(ending) is not None


def pronouns_agree(text: str) -> bool:
    """Do all pronouns fit the first name? A story without a name has nothing to agree with."""
    first = NAME.search(text)
    words = set(re.findall(r"[a-z]+", text.lower()))
    return first is not None and not words & (BOY_WORDS if first[1] in GIRLS else GIRL_WORDS)


def one_relative(text: str) -> bool | None:
    """Is whoever gets the gift the one it was meant for? None if there is nothing to compare."""
    named = RELATIVE.findall(text)
    return None if len(named) < 2 else len(set(named)) == 1


def score(text: str, grammar: Grammar) -> Score:
    """Judge one story."""
    parts = sentences(text)
    ending = " ".join(parts[-ENDING:])
    return Score(
        name=kept(NAME, text, ending),
        pronouns=pronouns_agree(text),
        object=kept(OBJECT, text, ending),
        attribute=kept(PAIR, text, ending),
        place=kept(PLACE, text, ending),
        song=kept(SONG, text, ending),
        relative=one_relative(text),
        grammatical=any(True for _ in grammar.derivations(text, consistent=False)),
        consistent=any(True for _ in grammar.derivations(text)),
        opening=parts[0] if parts else "",
    )
