"""Text to ids and back: cases, what may differ, and mistakes by name.

What may differ: an engine may put the tokenizer's opening token in front of a text or leave that to
its caller; and may read `<|im_end|>` in a text as the token or spell it out. What it does with
special tokens when it decodes is its own matter as well. Byte-level tokenizers have mistakes by
name; others are compared all the same.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from llama_edu.text.tokenizer import Tokenizer, byte_letters
from llama_edu.verify.mistakes.base import Topic

__all__ = [
    "DECODE_MISTAKES",
    "ENCODE_MISTAKES",
    "TEXTS",
    "Asked",
    "BytePairs",
    "TokenMistake",
    "allowed_ids",
    "allowed_texts",
    "byte_pairs",
    "decode_cases",
    "name_decode",
    "name_encode",
]

TEXTS: dict[str, str] = {
    "a sentence": "Once upon a time, there was a little girl.",
    "one word": "dragon",
    "one letter": "x",
    "a space": " ",
    "two spaces inside": "The  cat sat   down.",
    "a space in front": " The cat",
    "a space at the end": "The cat ",
    "line breaks": "One.\nTwo.\n\nThree.\n",
    "a tab, and a line break after spaces": "a\tb  \n  c",
    "contractions": "I don't know, it's Tom's; they'll, we've, I'm, you'd, we're",
    "contractions in capitals": "DON'T IT'S",
    "small letters after line breaks": "b\na\nc",
    "numbers": "In 1984 there were 12 cats and 3.5 dogs, 1000000",
    "letters and numbers together": "c1 abc123def d2",
    "merges that compete": "aaa abc aaa xabc aaab",
    "letters beyond ASCII in a word": "café cafés",
    "marks": 'Wait... what?! (Really) "yes" -- no; #1 $5 50%',
    "capitals": "HELLO World",
    "accents": "café naïve Zürich ÅÄÖ",
    "two bytes, three, four": "é € 😀",
    "family": "👩‍👩‍👧 and 🇩🇪",
    "Greek and Chinese": "Ωμέγα 你好，世界",
    "not composed": "cafe\u0301",
    "wide space": "a\u00a0b\u3000c",
    "control characters": "a\u0001b\u0007c",
    "a special token, typed": "He said <|endoftext|> twice",
    "repeated": "aaaaaaaaaaaa hahahaha",
    "a long word": "supercalifragilisticexpialidocious",
}
"""Texts that part right from nearly right."""


@dataclass(frozen=True)
class BytePairs:
    """A byte-level tokenizer, written out, so that each of its steps can be exchanged."""

    vocab: dict[str, int]
    ranks: dict[tuple[str, str], int]
    special: dict[str, int]
    opening: tuple[int, ...]
    letters: list[str]

    @cached_property
    def texts(self) -> dict[int, str]:
        return {number: token for token, number in (self.vocab | self.special).items()}

    @cached_property
    def byte_of(self) -> dict[str, int]:
        return {letter: byte for byte, letter in enumerate(self.letters)}

    def spelled(self, data: bytes) -> list[str]:
        """One letter for each byte."""
        return [self.letters[byte] for byte in data]

    def bytes_of(self, token_id: int) -> bytes:
        """The bytes a token stands for."""
        token = self.texts[token_id]
        if token in self.special:
            return token.encode()
        return bytes(self.byte_of[letter] for letter in token)

    def encode(
        self,
        text: str,
        split: Callable[[str], list[str]] | None = None,
        join: Callable[["BytePairs", list[str]], list[str]] | None = None,
    ) -> list[int]:
        """Ids without the opening token."""
        ids: list[int] = []
        for word in (split or split_words)(text):
            pieces = self.spelled(word.encode())
            pieces = (join or join_by_rank)(self, pieces)
            ids += [self.vocab[piece] for piece in pieces if piece in self.vocab]
        return ids


def byte_pairs(directory: Path) -> BytePairs | None:
    """The tokenizer of a directory, written out; None if it is not plain byte-level."""
    rules = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    model = rules["model"]
    if model.get("type") != "BPE" or not _is_byte_level(rules.get("pre_tokenizer")):
        return None
    if rules.get("normalizer") is not None or model.get("ignore_merges"):
        return None
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    special = {token["content"]: token["id"] for token in rules["added_tokens"]}
    opening = tuple(Tokenizer(directory).encode(""))
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    return BytePairs(model["vocab"], ranks, special, opening, byte_letters())


def _is_byte_level(pre: Any) -> bool:
    return (
        isinstance(pre, dict)
        and pre.get("type") == "ByteLevel"
        and pre.get("use_regex", True)
        and not pre.get("add_prefix_space")
    )


def split_words(text: str) -> list[str]:
    """Words as GPT-2 cuts them: a space belongs to the word after it."""
    cut = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return [text[start:stop] for _, (start, stop) in cut.pre_tokenize_str(text)] if text else []


def join_by_rank(pairs: BytePairs, pieces: list[str]) -> list[str]:
    """Join the pair of lowest rank, the leftmost of several, until none is known."""
    pieces = list(pieces)
    while True:
        known = [
            (rank, i)
            for i, pair in enumerate(itertools.pairwise(pieces))
            if (rank := pairs.ranks.get(pair)) is not None
        ]
        if not known:
            return pieces
        _, i = min(known)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


# What is right.


def allowed_ids(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """Every list of ids that is right for a text, the book's own first."""
    kinds = [(add, parse) for parse in (False, True) for add in (True, False)]
    found: list[list[int]] = []
    for add, parse in kinds:
        ids = tokenizer.encode(text, add_special=add, parse_special=parse)
        if ids not in found:
            found.append(ids)
    return found


def allowed_texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Every text that is right for ids: special tokens shown or not."""
    return [tokenizer.decode(ids, skip_special=skip) for skip in (True, False)]


def decode_cases(tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """Labels and ids: whole texts, halves of characters, bytes that are no text, special tokens."""
    for label, text in TEXTS.items():
        yield label, tokenizer.encode(text, add_special=False)
    spread = tokenizer.encode("a 😀 é", add_special=False)
    for stop in range(1, len(spread)):
        yield f"the first {stop} of {len(spread)} tokens around an emoji", spread[:stop]
    yield "the last tokens of an emoji", spread[3:]
    yield "no tokens", []
    for eos in tokenizer.eos_token_ids[:1]:
        yield "a special token between words", [*spread[:1], eos, *spread[:1]]


# Mistakes.


@dataclass(frozen=True)
class TokenMistake:
    """A mistake between text and ids. `make` gives ids for a text, or a text for ids."""

    key: str
    says: str
    right: str
    wrong: str
    topic: Topic
    make: Callable[[BytePairs, Any], Any]


ENCODE = Topic("tokenizer", "Encode a word")
BYTES = Topic("tokenizer", "The letters of the bytes")
WORDS = Topic("tokenizer", "A space belongs to the word after it")
AROUND = Topic("tokenizer", "What stands around a text")
STREAM = Topic("tokenizer", "Back to text, while it comes")


def _whole(text: str) -> list[str]:
    return [text]


def _at_spaces(text: str) -> list[str]:
    """Cut at every space, which is lost."""
    return text.split(" ")


def _space_before_every(text: str) -> list[str]:
    return re.findall(r" ?[^ ]+| +", text)


def _space_after(text: str) -> list[str]:
    """A space belongs to the word before it."""
    return re.findall(r"[^ ]+ ?| +", text)


CONTRACTIONS = r"'(?:[sdmt]|ll|ve|re)"
BLANKS = r"\s+(?!\S)|\s+"


def _cut_by(pattern: str) -> Callable[[str], list[str]]:
    return lambda text: re.findall(pattern, text)


_any_case = _cut_by(
    rf"(?i:{CONTRACTIONS})| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|{BLANKS}",
)
_blank_before = _cut_by(
    rf"{CONTRACTIONS}|\s?[^\W\d_]+|\s?\d+|\s?(?:[^\s\w]|_)+|{BLANKS}",
)
_spaces_apart = _cut_by(rf"{CONTRACTIONS}|[^\W\d_]+|\d+|(?:[^\s\w]|_)+|{BLANKS}")
_numbers_as_letters = _cut_by(rf"{CONTRACTIONS}| ?[^\W_]+| ?(?:[^\s\w]|_)+|{BLANKS}")


def _no_lookahead(text: str) -> list[str]:
    """Runs of spaces are taken whole: the last one does not go to the next word."""
    return re.findall(rf"{CONTRACTIONS}| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+", text)


def _no_contractions(text: str) -> list[str]:
    words: list[str] = []
    for word in split_words(text):
        if re.fullmatch(CONTRACTIONS, word):
            words += ["'", word[1:]]
        else:
            words.append(word)
    return words


def _lower(text: str) -> list[str]:
    return split_words(text.lower())


def _prefix_space(text: str) -> list[str]:
    return split_words(text if text.startswith(" ") else " " + text)


def _stripped(text: str) -> list[str]:
    return split_words(text.strip())


def _ascii_letters(text: str) -> list[str]:
    """Only ASCII letters count as letters."""
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
    return re.findall(pattern, text)


def _from_the_left(pairs: BytePairs, pieces: list[str]) -> list[str]:
    i = 0
    pieces = list(pieces)
    while i + 1 < len(pieces):
        if (pieces[i], pieces[i + 1]) in pairs.ranks:
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
            i = max(i - 1, 0)
        else:
            i += 1
    return pieces


def _highest_rank(pairs: BytePairs, pieces: list[str]) -> list[str]:
    pieces = list(pieces)
    while True:
        known = [
            (-rank, i)
            for i, pair in enumerate(itertools.pairwise(pieces))
            if (rank := pairs.ranks.get(pair)) is not None
        ]
        if not known:
            return pieces
        _, i = min(known)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def _rightmost(pairs: BytePairs, pieces: list[str]) -> list[str]:
    pieces = list(pieces)
    while True:
        known = [
            (rank, -i)
            for i, pair in enumerate(itertools.pairwise(pieces))
            if (rank := pairs.ranks.get(pair)) is not None
        ]
        if not known:
            return pieces
        i = -min(known)[1]
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def _longest(pairs: BytePairs, pieces: list[str]) -> list[str]:
    word, found, start = "".join(pieces), [], 0
    while start < len(word):
        stop = next(
            s for s in range(len(word), start, -1) if word[start:s] in pairs.vocab or s == start + 1
        )
        found.append(word[start:stop])
        start = stop
    return found


def _one_pass(pairs: BytePairs, pieces: list[str]) -> list[str]:
    """Each rank is looked for once, and only pairs of single bytes are."""
    known = [
        (rank, i)
        for i, pair in enumerate(itertools.pairwise(pieces))
        if (rank := pairs.ranks.get(pair)) is not None
    ]
    joined = list(pieces)
    used: set[int] = set()
    for _, i in sorted(known):
        if i not in used and i + 1 not in used:
            joined[i], joined[i + 1] = joined[i] + joined[i + 1], ""
            used |= {i, i + 1}
    return [piece for piece in joined if piece]


def _by_id(pairs: BytePairs, pieces: list[str]) -> list[str]:
    """Any two pieces that make a known token are joined, whether a merge says so or not: by id."""
    pieces = list(pieces)
    while True:
        known = [
            (pairs.vocab[a + b], i)
            for i, (a, b) in enumerate(itertools.pairwise(pieces))
            if a + b in pairs.vocab
        ]
        if not known:
            return pieces
        _, i = min(known)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def _no_merges(pairs: BytePairs, pieces: list[str]) -> list[str]:
    return pieces


def _encode(**how: Any) -> Callable[[BytePairs, str], list[int]]:
    return lambda pairs, text: pairs.encode(text, **how)


def _characters(pairs: BytePairs, text: str) -> list[int]:
    """Characters take the place of bytes: what lies beyond Latin-1 has no letter and is lost."""
    ids: list[int] = []
    for word in split_words(text):
        letters = [pairs.letters[ord(c)] for c in word if ord(c) < 256]
        ids += [pairs.vocab[piece] for piece in join_by_rank(pairs, letters)]
    return ids


def _unmapped(pairs: BytePairs, text: str) -> list[int]:
    """Bytes are looked up as characters, not through GPT-2's alphabet: a space finds nothing."""
    ids: list[int] = []
    for word in split_words(text):
        pieces = join_by_rank(pairs, [chr(byte) for byte in word.encode()])
        ids += [pairs.vocab[piece] for piece in pieces if piece in pairs.vocab]
    return ids


def _twice_opened(pairs: BytePairs, text: str) -> list[int]:
    return [*pairs.opening, *pairs.opening, *pairs.encode(text)]


def _closed(pairs: BytePairs, text: str) -> list[int]:
    return [*pairs.encode(text), next(iter(pairs.special.values()))]


def _composed(pairs: BytePairs, text: str) -> list[int]:
    import unicodedata

    return pairs.encode(unicodedata.normalize("NFKC", text))


def _ascii_only(pairs: BytePairs, text: str) -> list[int]:
    return pairs.encode("".join(c for c in text if ord(c) < 128))


def _token(key: str, says: str, code: tuple[str, str], topic: Topic, make: Any) -> TokenMistake:
    return TokenMistake(f"tokens.{key}", says, *code, topic, make)


LOWEST = "join the pair of lowest rank"

ENCODE_MISTAKES: tuple[TokenMistake, ...] = (
    _token(
        "from_the_left",
        "pairs are joined as they come from the left, whatever their rank",
        (LOWEST, "join the first pair that is known"),
        ENCODE,
        _encode(join=_from_the_left),
    ),
    _token(
        "highest_rank",
        "the pair of highest rank is joined first",
        (LOWEST, "join the pair of highest rank"),
        ENCODE,
        _encode(join=_highest_rank),
    ),
    _token(
        "rightmost",
        "of equal pairs the rightmost is joined first",
        (LOWEST + ", the leftmost", "… the rightmost"),
        ENCODE,
        _encode(join=_rightmost),
    ),
    _token(
        "longest",
        "the longest known piece is taken from the left, and no merge is asked",
        (LOWEST, "take the longest token that fits"),
        ENCODE,
        _encode(join=_longest),
    ),
    _token(
        "one_pass",
        "only pairs of single bytes are joined, and not what they make together",
        ("repeat until no pair is known", "once"),
        ENCODE,
        _encode(join=_one_pass),
    ),
    _token(
        "by_id",
        "any two pieces that make a token are joined, lowest id first, and no merge is asked",
        (LOWEST, "join the pair whose token has the lowest id"),
        ENCODE,
        _encode(join=_by_id),
    ),
    _token(
        "no_merges",
        "nothing is joined: every byte is a token",
        (LOWEST, ""),
        ENCODE,
        _encode(join=_no_merges),
    ),
    _token(
        "characters",
        "characters are taken for bytes",
        ("for byte in text.encode()", "for char in text"),
        BYTES,
        _characters,
    ),
    _token(
        "unmapped",
        "bytes are looked up as they are, and not through GPT-2's alphabet of letters",
        ('b" " → "Ġ"', 'b" " → " "'),
        BYTES,
        _unmapped,
    ),
    _token(
        "ascii_only",
        "characters beyond ASCII are dropped",
        ("every byte has a token", "if byte < 128"),
        BYTES,
        _ascii_only,
    ),
    _token(
        "composed",
        "the text is normalised (NFKC) first",
        ("text.encode()", "normalize(text).encode()"),
        BYTES,
        _composed,
    ),
    _token(
        "not_split",
        "the text is not cut into words before pairs are joined",
        ("for word in words(text)", "text"),
        WORDS,
        _encode(split=_whole),
    ),
    _token(
        "spaces_lost",
        "the text is cut at spaces, which are lost",
        ('" cat" is one word', 'text.split(" ")'),
        WORDS,
        _encode(split=_at_spaces),
    ),
    _token(
        "only_spaces",
        "only spaces part words: marks, numbers and letters stay together",
        ("letters, numbers and marks part", "spaces part"),
        WORDS,
        _encode(split=_space_before_every),
    ),
    _token(
        "space_after",
        "a space is put with the word before it",
        ('" cat"', '"cat "'),
        WORDS,
        _encode(split=_space_after),
    ),
    _token(
        "no_lookahead",
        "of several spaces the last does not go to the next word",
        (r"\s+(?!\S)|\s+", r"\s+"),
        WORDS,
        _encode(split=_no_lookahead),
    ),
    _token(
        "no_contractions",
        "'s, 't, 'll and their like are not kept in one piece",
        ("'s|'t|'re|'ve|'m|'ll|'d", ""),
        WORDS,
        _encode(split=_no_contractions),
    ),
    _token(
        "contractions_any_case",
        "'S, 'T, 'LL and their like are kept in one piece in capitals, too",
        ("'s|'t|'re|'ve|'m|'ll|'d", "(?i:'s|'t|'re|'ve|'m|'ll|'d)"),
        WORDS,
        _encode(split=_any_case),
    ),
    _token(
        "blank_before",
        "a line break or a tab goes with the word after it, as a space does",
        (r" ?\p{L}+", r"\s?\p{L}+"),
        WORDS,
        _encode(split=_blank_before),
    ),
    _token(
        "spaces_apart",
        "a space never goes with the word after it",
        (r" ?\p{L}+", r"\p{L}+"),
        WORDS,
        _encode(split=_spaces_apart),
    ),
    _token(
        "numbers_as_letters",
        "digits and letters are not cut apart",
        (r" ?\p{L}+| ?\p{N}+", r" ?[\p{L}\p{N}]+"),
        WORDS,
        _encode(split=_numbers_as_letters),
    ),
    _token(
        "ascii_letters",
        "only ASCII letters count as letters when words are cut",
        (r"\p{L}", "[A-Za-z]"),
        WORDS,
        _encode(split=_ascii_letters),
    ),
    _token(
        "prefix_space",
        "a space is put in front of the text",
        ("text", '" " + text'),
        AROUND,
        _encode(split=_prefix_space),
    ),
    _token(
        "stripped",
        "blanks at both ends of the text are dropped",
        ("text", "text.strip()"),
        AROUND,
        _encode(split=_stripped),
    ),
    _token(
        "lower",
        "the text is put in small letters",
        ("text", "text.lower()"),
        AROUND,
        _encode(split=_lower),
    ),
    _token(
        "opened_twice",
        "the opening token is there twice",
        ("[bos] + ids", "[bos, bos] + ids"),
        AROUND,
        _twice_opened,
    ),
    _token(
        "closed",
        "an end token is put after the text",
        ("ids", "ids + [eos]"),
        AROUND,
        _closed,
    ),
)
"""Mistakes on the way from text to ids."""


def _each_alone(pairs: BytePairs, ids: Sequence[int]) -> str:
    return "".join(pairs.bytes_of(i).decode("utf-8", "replace") for i in ids)


def _ignoring(pairs: BytePairs, ids: Sequence[int]) -> str:
    return b"".join(pairs.bytes_of(i) for i in ids).decode("utf-8", "ignore")


def _latin(pairs: BytePairs, ids: Sequence[int]) -> str:
    return b"".join(pairs.bytes_of(i) for i in ids).decode("latin-1")


def _as_letters(pairs: BytePairs, ids: Sequence[int]) -> str:
    return "".join(pairs.texts[i] for i in ids)


def _space_letter_only(pairs: BytePairs, ids: Sequence[int]) -> str:
    return _as_letters(pairs, ids).replace("Ġ", " ").replace("Ċ", "\n")


def _only_space(pairs: BytePairs, ids: Sequence[int]) -> str:
    return _as_letters(pairs, ids).replace("Ġ", " ")


def _decoded(pairs: BytePairs, ids: Sequence[int]) -> str:
    return b"".join(pairs.bytes_of(i) for i in ids).decode("utf-8", "replace")


def _spaced(pairs: BytePairs, ids: Sequence[int]) -> str:
    return " ".join(pairs.bytes_of(i).decode("utf-8", "replace") for i in ids)


def _end_lost(pairs: BytePairs, ids: Sequence[int]) -> str:
    """An unfinished character at the end is dropped; others are shown as U+FFFD."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(b"".join(pairs.bytes_of(i) for i in ids))


def _per_byte(pairs: BytePairs, ids: Sequence[int]) -> str:
    data, text = b"".join(pairs.bytes_of(i) for i in ids), ""
    while data:
        try:
            return text + data.decode()
        except UnicodeDecodeError as problem:
            text += data[: problem.start].decode() + "\ufffd" * (problem.end - problem.start)
            data = data[problem.end :]
    return text


SHOWN = ("bytes of all tokens, then UTF-8", "")

DECODE_MISTAKES: tuple[TokenMistake, ...] = (
    _token(
        "each_alone",
        "each token is decoded alone: half a character is no text",
        ("decode(bytes of all tokens)", "decode(bytes of one token) + …"),
        STREAM,
        _each_alone,
    ),
    _token(
        "broken_ignored",
        "bytes that are no UTF-8 are dropped, and not shown as U+FFFD",
        ('errors="replace"', 'errors="ignore"'),
        STREAM,
        _ignoring,
    ),
    _token(
        "end_lost",
        "half a character at the end is dropped silently",
        ("finish: U+FFFD", "finish: nothing"),
        STREAM,
        _end_lost,
    ),
    _token(
        "per_byte",
        "every broken byte is shown as U+FFFD, and not every broken sequence",
        ("one U+FFFD for a sequence", "one U+FFFD for a byte"),
        STREAM,
        _per_byte,
    ),
    _token(
        "latin",
        "bytes are shown as Latin-1 characters",
        ("utf-8", "latin-1"),
        BYTES,
        _latin,
    ),
    _token(
        "letters",
        "tokens are shown in GPT-2's letters: Ġ for a space",
        ("bytes of the letters", "letters"),
        BYTES,
        _as_letters,
    ),
    _token(
        "letters_but_space",
        "GPT-2's letters are shown, only Ġ is replaced by a space",
        ("bytes of the letters", 'replace("Ġ", " ")'),
        BYTES,
        _only_space,
    ),
    _token(
        "letters_but_blanks",
        "GPT-2's letters are shown, only Ġ and Ċ are replaced",
        ("bytes of the letters", 'replace("Ġ", " "), replace("Ċ", "\\n")'),
        BYTES,
        _space_letter_only,
    ),
    _token(
        "stripped_text",
        "blanks at both ends of a decoded text are dropped",
        ("text", "text.strip()"),
        AROUND,
        lambda pairs, ids: _decoded(pairs, ids).strip(),
    ),
    _token(
        "left_stripped",
        "a space at the start of a decoded text is dropped, as SentencePiece does",
        ("text", 'text.removeprefix(" ")'),
        AROUND,
        lambda pairs, ids: _decoded(pairs, ids).removeprefix(" "),
    ),
    _token(
        "spaces_between",
        "a space is put between tokens",
        ('"".join(pieces)', '" ".join(pieces)'),
        AROUND,
        _spaced,
    ),
)
"""Mistakes on the way from ids to text."""


@dataclass(frozen=True)
class Asked:
    """One question to a tokenizer, what came, and everything that would be right."""

    pairs: BytePairs
    given: Any
    came: Any
    allowed: Sequence[Any]


def name_encode(asked: Sequence[Asked]) -> list[TokenMistake]:
    """The mistakes that explain all ids that came."""

    def explains(mistake: TokenMistake, one: Asked) -> bool:
        made = mistake.make(one.pairs, one.given)
        if one.came in (made, [*one.pairs.opening, *made]):
            return True
        return made in one.allowed and one.came in one.allowed

    return [m for m in ENCODE_MISTAKES if all(explains(m, one) for one in asked)]


def name_decode(asked: Sequence[Asked]) -> list[TokenMistake]:
    """The mistakes that explain all texts that came."""

    def explains(mistake: TokenMistake, one: Asked) -> bool:
        special = set(one.pairs.special.values())
        made = mistake.make(one.pairs, one.given)
        without = mistake.make(one.pairs, [i for i in one.given if i not in special])
        if one.came in (made, without):
            return True
        return made in one.allowed and one.came in one.allowed

    return [m for m in DECODE_MISTAKES if all(explains(m, one) for one in asked)]
