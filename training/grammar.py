"""A grammar with a memory: it writes texts, knows how likely each was, and reads them back.

A rule is a list of templates, one of which is picked, all equally likely. In a template

    <rule>      writes one of the templates of another rule
    [a|b|]      writes one of the alternatives, all equally likely; one may be empty
    {fact}      writes a fact of this text: picked at its first mention, the same ever after
    {a fact}    the same with "a" or "an" in front
    {he}        writes the pronoun that agrees with the main character (he, him, his, himself)

and everything else is written as it stands. Since every choice is uniform and counted, the
log-probability of a text is a sum of -log(number of options). `derivations` runs the grammar
backwards: it finds every way in which the grammar could have written a text.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Facts = dict[str, str]

PRONOUNS = {
    "he": ("he", "she"),
    "him": ("him", "her"),
    "his": ("his", "her"),
    "himself": ("himself", "herself"),
}
VOWELS = "aeiou"


@dataclass(frozen=True)
class Literal:
    """Words that stand as they are."""

    text: str


@dataclass(frozen=True)
class Fact:
    """A remembered word, perhaps with its article."""

    name: str
    article: bool


@dataclass(frozen=True)
class Pronoun:
    """A pronoun that follows the main character; `forms` is (for a boy, for a girl)."""

    forms: tuple[str, str]


@dataclass(frozen=True)
class Choice:
    """One of several sequences."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Series:
    """One part after the other."""

    parts: tuple[Node, ...]


Node = Literal | Fact | Pronoun | Choice | Series

Tokens = deque[re.Match[str]]

TOKEN = re.compile(r"<(\w+)>|\{(a )?(\w+)\}|([\[|\]])|([^<{\[|\]]+)")


@dataclass(frozen=True)
class Written:
    """A text, the facts it rests on, and the natural logarithm of its probability."""

    text: str
    facts: Facts
    log_probability: float


@dataclass(frozen=True)
class Grammar:
    """Rules compiled from templates, with the values every fact may take."""

    root: Node
    values: Mapping[str, Sequence[str]]
    girls: frozenset[str]  # the values of `name` that take "she"

    def write(self, rng: np.random.Generator, given: Mapping[str, str] | None = None) -> Written:
        """Write one text. `given` fixes some facts; they cost what drawing them would have."""
        facts: Facts = {}
        parts: list[str] = []
        # The name is decided first, since a pronoun may come before it; it is paid for later.
        name = self.values["name"][int(rng.integers(len(self.values["name"])))]
        cost = self._write(self.root, rng, {"name": name, **(given or {})}, facts, parts)
        return Written("".join(parts), facts, -cost)

    def _write(
        self, node: Node, rng: np.random.Generator, given: Facts, facts: Facts, out: list[str]
    ) -> float:
        match node:
            case Literal(text):
                out.append(text)
            case Series(parts):
                return sum([self._write(part, rng, given, facts, out) for part in parts])
            case Choice(options):
                option = options[int(rng.integers(len(options)))]
                return math.log(len(options)) + self._write(option, rng, given, facts, out)
            case Pronoun(forms):
                out.append(forms[given["name"] in self.girls])
            case Fact(name, article):
                values = self.values[name]
                cost = 0.0 if name in facts else math.log(len(values))
                if name not in facts:
                    facts[name] = given.get(name) or values[int(rng.integers(len(values)))]
                out.append(_with_article(facts[name]) if article else facts[name])
                return cost
        return 0.0

    def derivations(self, text: str, *, consistent: bool = True) -> Iterator[Written]:
        """Every way to write exactly this text.

        With `consistent=False` a fact or a pronoun may change in mid-text: such a text is
        grammatical sentence by sentence, although its story does not hold together. The facts
        are then those of the first mentions, and the probability means nothing.
        """
        for end, facts, cost in self._read(self.root, text, 0, {}, consistent):
            if end == len(text):
                yield Written(text, facts, -cost)

    def _read(
        self, node: Node, text: str, at: int, facts: Facts, consistent: bool
    ) -> Iterator[tuple[int, Facts, float]]:
        match node:
            case Literal(words):
                if text.startswith(words, at):
                    yield at + len(words), facts, 0.0
            case Series(parts):
                yield from self._read_all(parts, text, at, facts, consistent)
            case Choice(options):
                price = math.log(len(options))
                for option in options:
                    for end, found, cost in self._read(option, text, at, facts, consistent):
                        yield end, found, cost + price
            case Pronoun(forms):
                for gender, form in zip(("boy", "girl"), forms, strict=True):
                    agrees = not consistent or facts.get("gender", gender) == gender
                    if agrees and text.startswith(form, at):
                        yield at + len(form), {"gender": gender, **facts}, 0.0
            case Fact(name, article):
                yield from self._read_fact(name, article, text, at, facts, consistent)

    def _read_all(
        self, parts: Sequence[Node], text: str, at: int, facts: Facts, consistent: bool
    ) -> Iterator[tuple[int, Facts, float]]:
        if not parts:
            yield at, facts, 0.0
            return
        for middle, known, first in self._read(parts[0], text, at, facts, consistent):
            for end, found, rest in self._read_all(parts[1:], text, middle, known, consistent):
                yield end, found, first + rest

    def _read_fact(
        self, name: str, article: bool, text: str, at: int, facts: Facts, consistent: bool
    ) -> Iterator[tuple[int, Facts, float]]:
        known = facts.get(name)
        candidates = [known] if known is not None and consistent else self.values[name]
        price = 0.0 if known is not None else math.log(len(self.values[name]))
        for value in candidates:
            words = _with_article(value) if article else value
            if text.startswith(words, at):
                learnt = {name: value}
                if name == "name":
                    learnt["gender"] = "girl" if value in self.girls else "boy"
                    if consistent and facts.get("gender", learnt["gender"]) != learnt["gender"]:
                        continue  # "Her name was Tom"
                yield at + len(words), {**learnt, **facts}, price


def _with_article(word: str) -> str:
    return ("an " if word[0] in VOWELS else "a ") + word


def compile_rules(rules: Mapping[str, Sequence[str]], root: str, facts: set[str]) -> Node:
    """Turn templates into a tree; every <rule> is put in place, so rules cannot be recursive."""
    done: dict[str, Node] = {}

    def rule(name: str) -> Node:
        if name not in done:
            options = tuple(_template(template, rule, facts) for template in rules[name])
            done[name] = options[0] if len(options) == 1 else Choice(options)
        return done[name]

    return rule(root)


def _template(template: str, rule: Callable[[str], Node], facts: set[str]) -> Node:
    """Parse one template. Raises ValueError if it cannot be read to its end."""
    tokens = deque(TOKEN.finditer(template))
    covered = "".join(token[0] for token in tokens) == template
    try:
        node = _series(tokens, rule, facts)
    except IndexError:  # a bracket that never closes
        covered = False
    if not covered or tokens:
        raise ValueError(f"expected a template with matching brackets, got {template!r}")
    return node


def _series(tokens: Tokens, rule: Callable[[str], Node], facts: set[str]) -> Node:
    """Everything up to the next "|" or "]" of this level, or the end."""
    parts: list[Node] = []
    while tokens and tokens[0][0] not in ("|", "]"):
        reference, article, slot, mark, words = tokens.popleft().groups()
        if reference:
            parts.append(rule(reference))
        elif slot:
            parts.append(_slot(slot, bool(article), facts))
        elif mark:
            options = [_series(tokens, rule, facts)]
            while tokens.popleft()[0] == "|":
                options.append(_series(tokens, rule, facts))
            parts.append(Choice(tuple(options)))
        else:
            parts.append(Literal(words))
    return Series(tuple(parts))


def _slot(slot: str, article: bool, facts: set[str]) -> Node:
    if slot in facts:
        return Fact(slot, article)
    forms = PRONOUNS[slot.lower()]
    if slot[0].isupper():
        forms = (forms[0].capitalize(), forms[1].capitalize())
    return Pronoun(forms)
