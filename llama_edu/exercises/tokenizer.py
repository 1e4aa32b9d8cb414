"""Exercises on text and ids: merges in their order, and text that streams without breaking."""

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from llama_edu.exercises.framework.draw import pick, whole
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant

Pieces = list[bytes]
Pair = tuple[bytes, bytes]
Ranks = Mapping[Pair, int]


# ★ merge_pair(pieces, pair): every occurrence of the pair joined, from the left


def _merge(pieces: Pieces, pair: Pair) -> Pieces:
    merged, i = [], 0
    while i < len(pieces):
        is_pair = tuple(pieces[i : i + 2]) == pair
        merged.append(b"".join(pieces[i : i + 1 + is_pair]))
        i += 1 + is_pair
    return merged


def _merge_by_stack(pieces: Pieces, pair: Pair) -> Pieces:
    merged: Pieces = []
    is_open = False  # whether the last piece may still be the left half of a pair
    for piece in pieces:
        if is_open and (merged[-1], piece) == pair:
            merged[-1] += piece
            is_open = False
        else:
            merged.append(piece)
            is_open = True
    return merged


def _merge_first_only(pieces: Pieces, pair: Pair) -> Pieces:
    for i in range(len(pieces) - 1):
        if (pieces[i], pieces[i + 1]) == pair:
            return [*pieces[:i], pair[0] + pair[1], *pieces[i + 2 :]]
    return list(pieces)


def _merge_overlapping(pieces: Pieces, pair: Pair) -> Pieces:
    merged: Pieces = []
    for i, piece in enumerate(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            merged.append(pair[0] + pair[1])
        elif i == 0 or (pieces[i - 1], piece) != pair:
            merged.append(piece)
    return merged


def _merge_text(pieces: Pieces, pair: Pair) -> Pieces:
    whole = pair[0] + pair[1]
    parts = b"".join(pieces).split(whole)
    bytes_of = [[bytes([byte]) for byte in part] for part in parts]
    merged = bytes_of[0]
    for part in bytes_of[1:]:
        merged = [*merged, whole, *part]
    return merged


def _merge_in_place(pieces: Pieces, pair: Pair) -> Pieces:
    for i in range(len(pieces) - 2, -1, -1):
        if tuple(pieces[i : i + 2]) == pair:
            pieces[i : i + 2] = [pair[0] + pair[1]]
    return pieces


def _merge_returned(pieces: Pieces, pair: Pair) -> Pieces:
    pairs = list(pairwise(pieces))
    return _merge(pieces, pair) if pair in pairs else pieces


def _merged_anew(
    answer: Callable[[Pieces, Pair], Pieces], pieces: Pieces, pair: Pair
) -> list[object]:
    """The pieces, and whose list they are in."""
    merged = answer(pieces, pair)
    return [merged, "the caller's" if merged is pieces else "a new one"]


def _split(text: str) -> Pieces:
    return [piece.encode() for piece in text.split("|")]


def _merge_pair_drawn(rng: np.random.Generator) -> list[Case]:
    letters = [b"a", b"b", b"ab"]
    rows = [pick(rng, letters, 14) for _ in range(2)]
    pairs = [(b"a", b"b"), (b"b", b"b")]
    return [
        Case(f"{one.decode()}, {two.decode()} in a long row", (row, (one, two)))
        for row, (one, two) in zip(rows, pairs, strict=True)
    ]


def _merge_either(pieces: Pieces, pair: Pair) -> Pieces:
    merged, i = [], 0
    while i < len(pieces):
        is_pair = tuple(pieces[i : i + 2]) in (pair, pair[::-1])
        merged.append(b"".join(pieces[i : i + 1 + is_pair]))
        i += 1 + is_pair
    return merged


MERGE_PAIR = Exercise(
    name="merge_pair",
    topic="tokenizer",
    stars=1,
    task="Join every occurrence of a pair of neighbours, from the left, in a new list.",
    section="Learn merges",
    cases=lambda: [
        Case("h, e in t h e h e n", (_split("t|h|e|h|e|n"), (b"h", b"e"))),
        Case("a, a in a a a b a a", (_split("a|a|a|b|a|a"), (b"a", b"a"))),
        Case("an, a in b an an a", (_split("b|an|an|a"), (b"an", b"a"))),
        Case("t, h in a row without it", (_split("t|he|t|o"), (b"t", b"h"))),
        Case("a, b in b a b a b", (_split("b|a|b|a|b"), (b"a", b"b"))),
        Case("no pieces", ([], (b"a", b"b"))),
    ],
    harness=_merged_anew,
    parts=("the pieces", "the list"),
    drawn=_merge_pair_drawn,
    correct=(_merge, _merge_by_stack),
    mutants=(
        Mutant("first_only", _merge_first_only, "when only the first occurrence is joined"),
        Mutant(
            "overlapping",
            _merge_overlapping,
            "when a piece is used twice: of three a's, the middle one belongs to one pair only",
        ),
        Mutant(
            "as_text",
            _merge_text,
            "when pieces are glued and searched as text, and earlier merges are forgotten",
        ),
        Mutant("in_place", _merge_in_place, "when the caller's list is changed"),
        Mutant(
            "returned",
            _merge_returned,
            "when the caller's list is returned where there is nothing to join",
        ),
        Mutant(
            "end_lost",
            lambda pieces, pair: (
                _merge(pieces, pair)[: None if tuple(pieces[-2:]) == pair else -1]
                if not (len(pieces) > 1 and _merge(pieces, pair)[-1] == b"".join(pair))
                else _merge(pieces, pair)
            ),
            "when the last piece is lost, which has no neighbour",
        ),
        Mutant(
            "from_the_right",
            lambda pieces, pair: [
                piece[::-1]
                for piece in _merge([p[::-1] for p in pieces[::-1]], (pair[1][::-1], pair[0][::-1]))
            ][::-1],
            "when the row is walked from the right",
        ),
        Mutant(
            "second_kept",
            lambda pieces, pair: [
                b"".join(pieces[i : i + 2]) if tuple(pieces[i : i + 2]) == pair else pieces[i]
                for i in range(len(pieces))
            ],
            "when the second of a pair stays as well",
        ),
        Mutant(
            "either_order",
            lambda pieces, pair: _merge_either(pieces, pair),
            "when the pair counts in either order",
        ),
        Mutant("one_piece", lambda pieces, pair: [b"".join(pieces)], "when everything is joined"),
    ),
)


# ★★ clean(pieces): the text of a reply, its special tokens left out

SPECIAL = ("<s>", "</s>")


def _clean(pieces: Sequence[str]) -> str:
    return "".join(piece for piece in pieces if piece not in SPECIAL)


def _clean_loop(pieces: Sequence[str]) -> str:
    text = ""
    for piece in pieces:
        is_special = piece == SPECIAL[0] or piece == SPECIAL[1]
        text += "" if is_special else piece
    return text


def _clean_stripped(pieces: Sequence[str]) -> str:
    return "".join(piece.strip("<s>").strip("</s>") for piece in pieces)


def _clean_stripped_once(pieces: Sequence[str]) -> str:
    return "".join(pieces).strip("<s>").strip("</s>")


def _clean_replaced(pieces: Sequence[str]) -> str:
    return "".join(pieces).replace("<s>", "").replace("</s>", "")


def _clean_matched(pieces: Sequence[str]) -> str:
    return "".join(re.sub(r"</?s>", "", piece).strip() for piece in pieces)


def _clean_drawn(rng: np.random.Generator) -> list[Case]:
    words = ["<", "s", ">", "/", " is", " <s>", "a</s>b", "<s>!", " ", "ss", "</s"]
    texts = [["<s>", *pick(rng, words, 9), "</s>"] for _ in range(2)]
    return [Case(f"pieces of a text, {n}", (text,)) for n, text in enumerate(texts)]


CLEAN = Exercise(
    name="clean",
    topic="tokenizer",
    stars=2,
    task="Repair the way from a reply's pieces to its text, without its special tokens.",
    section="Break it",
    cases=lambda: [
        Case("his friends", (["<s>", "He", " was", " with", " his", " friends", "</s>"],)),
        Case("s's and slashes", (["<s>", "sss", " a/s", "/", ">", "</s>"],)),
        Case("a text about tags", (["<s>", "write ", "<", "s", ">", " first", "</s>"],)),
        Case("a text that ends in space", ([" grass ", "</s>"],)),
        Case("pieces that hold a tag", (["<s>", "a</s>b", "<s>!", " it", "</s>"],)),
    ],
    drawn=_clean_drawn,
    correct=(_clean, _clean_loop),
    mutants=(
        Mutant(
            "stripped",
            _clean_stripped,
            "when .strip is given a word: it takes a set of characters, here <, s and >",
            "https://github.com/likejazz/llama3.np/issues/3",
        ),
        Mutant(
            "stripped_once",
            _clean_stripped_once,
            "when the whole text is stripped of the characters <, s and > at its ends",
        ),
        Mutant(
            "replaced",
            _clean_replaced,
            "when special tokens are looked for in the text: a reader may write about <s>",
            section="What a user types",
        ),
        Mutant(
            "spaces_lost",
            _clean_matched,
            "when pieces are stripped of their spaces: a space belongs to the word after it",
            section="A space belongs to the word after it",
        ),
        Mutant(
            "joined_by_spaces",
            lambda pieces: " ".join(p for p in pieces if p not in ("<s>", "</s>")),
            "when the pieces are joined with spaces between",
        ),
        Mutant(
            "end_only",
            lambda pieces: "".join(p for p in pieces if p != "</s>"),
            "when only one of the two special tokens is dropped",
        ),
        Mutant(
            "replaced_in_pieces",
            lambda pieces: "".join(p.replace("<s>", "").replace("</s>", "") for p in pieces),
            "when the tags are cut out of ordinary pieces as well",
        ),
        Mutant(
            "ends_cut_off",
            lambda pieces: "".join(pieces[1:-1]),
            "when the first and the last piece are dropped, whatever they are",
        ),
        Mutant(
            "substring",
            lambda pieces: "".join(p for p in pieces if p not in "<s></s>"),
            "when a piece is looked for in a text and not among the two tokens",
        ),
        Mutant(
            "affixes",
            lambda pieces: "".join(p.removeprefix("<s>").removesuffix("</s>") for p in pieces),
            "when the tags are cut off ordinary pieces as well",
        ),
    ),
)


# ★★ encode_word(word, ranks): the pieces that byte-pair encoding makes of a word's bytes


def _pairs(pieces: Pieces) -> list[Pair]:
    return list(pairwise(pieces))


def _bytes_of(word: bytes) -> Pieces:
    return [bytes([byte]) for byte in word]


def _merged_while(word: bytes, ranks: Ranks, choose: Callable[[list[Pair]], Pair]) -> Pieces:
    pieces = _bytes_of(word)
    while known := [pair for pair in _pairs(pieces) if pair in ranks]:
        pieces = _merge(pieces, choose(known))
    return pieces


def _encode_lowest(word: bytes, ranks: Ranks) -> Pieces:
    return _merged_while(word, ranks, lambda known: min(known, key=lambda pair: ranks[pair]))


def _encode_one_at_a_time(word: bytes, ranks: Ranks) -> Pieces:
    pieces = _bytes_of(word)
    while True:
        found = [(ranks[pair], i) for i, pair in enumerate(_pairs(pieces)) if pair in ranks]
        if not found:
            return pieces
        _, i = min(found)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def _encode_from_the_left(word: bytes, ranks: Ranks) -> Pieces:
    pieces = [bytes([byte]) for byte in word]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        pieces = _merge(pieces, known[0])
    return pieces


def _encode_highest(word: bytes, ranks: Ranks) -> Pieces:
    return _merged_while(word, ranks, lambda known: max(known, key=lambda pair: ranks[pair]))


def _encode_longest(word: bytes, ranks: Ranks) -> Pieces:
    known = {one + two for one, two in ranks}
    pieces, at = [], 0
    while at < len(word):
        ends = range(len(word), at, -1)
        end = next(end for end in ends if end == at + 1 or word[at:end] in known)
        pieces.append(word[at:end])
        at = end
    return pieces


def _encode_one_pass(word: bytes, ranks: Ranks) -> Pieces:
    pieces = _bytes_of(word)
    for pair in sorted(set(_pairs(pieces)) & set(ranks), key=lambda pair: ranks[pair]):
        pieces = _merge(pieces, pair)
    return pieces


def _encode_characters(word: bytes, ranks: Ranks) -> Pieces:
    pieces = [char.encode() for char in word.decode("utf-8", "surrogateescape")]
    while known := [pair for pair in _pairs(pieces) if pair in ranks]:
        pieces = _merge(pieces, min(known, key=lambda pair: ranks[pair]))
    return pieces


def _ranks(text: str) -> dict[Pair, int]:
    """`"h+e t+he"`: the first has rank 0."""
    rows = [merge.split("+") for merge in text.split()]
    return {(one.encode(), two.encode()): rank for rank, (one, two) in enumerate(rows)}


def _encode_word_drawn(rng: np.random.Generator) -> list[Case]:
    def case(label: str) -> Case:
        pieces = [b"a", b"b", b"c", b"d"]
        ranks: dict[Pair, int] = {}
        while len(ranks) < 9:  # as they are learned: a piece is used after it was joined
            one, two = pick(rng, pieces, 2)
            if one + two not in pieces:
                ranks[one, two] = len(ranks)
                pieces.append(one + two)
        word = b"".join(pick(rng, pieces, 5))
        return Case(label, (word, ranks))

    return [case(f"a word of a made-up language, {n}") for n in range(4)]


def _encode_by(word: bytes, ranks: Ranks, choose: Callable[[list[Pair]], Pair]) -> Pieces:
    pieces = [bytes([byte]) for byte in word]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        pieces = _merge(pieces, choose(known))
    return pieces


ENCODE_WORD = Exercise(
    name="encode_word",
    topic="tokenizer",
    stars=2,
    task="Repair the encoder: of the pairs a word has now, the one of lowest rank is joined.",
    section="Encode a word",
    cases=lambda: [
        Case("then, with he before th", (b"then", _ranks("h+e t+h t+he e+n"))),
        Case("abc, where ab comes first", (b"abc", _ranks("a+b b+c"))),
        Case("abcd, where bc comes first", (b"abcd", _ranks("b+c a+b c+d"))),
        Case("abab, merged twice over", (b"ababab", _ranks("a+b ab+ab"))),
        Case("a word without a merge", (b"xyz", _ranks("a+b"))),
        Case("an é of two bytes", ("é".encode() + b"a", {(b"\xa9", b"a"): 0})),
    ],
    drawn=_encode_word_drawn,
    correct=(_encode_lowest, _encode_one_at_a_time),
    mutants=(
        Mutant(
            "from_the_left",
            _encode_from_the_left,
            "when pairs are joined as they come from the left, whatever their rank",
            "https://github.com/ztxz16/fastllm/pull/715",
            section="Learn merges",
        ),
        Mutant("highest", _encode_highest, "when the pair of highest rank is joined first"),
        Mutant(
            "longest",
            _encode_longest,
            "when the longest known piece is taken from the left, and no merge is asked",
        ),
        Mutant(
            "one_pass",
            _encode_one_pass,
            "when only pairs of single bytes are looked at, and not what they make together",
        ),
        Mutant(
            "characters",
            _encode_characters,
            "when a word is cut into characters, not bytes",
            section="Start from bytes",
        ),
        Mutant(
            "no_merge",
            lambda word, ranks: [bytes([byte]) for byte in word],
            "when nothing is merged",
        ),
        Mutant("whole_word", lambda word, ranks: [word], "when the word is taken as one piece"),
        Mutant(
            "from_the_right",
            lambda word, ranks: _encode_by(word, ranks, lambda known: known[-1]),
            "when the rightmost pair is joined first",
        ),
        Mutant("numbers", lambda word, ranks: list(word), "when the bytes stay numbers"),
        Mutant(
            "letters",
            lambda word, ranks: [piece.decode("latin-1") for piece in _encode_lowest(word, ranks)],
            "when the pieces are text and not bytes",
        ),
    ),
)


# ★★★ stream(chunks): for each chunk of bytes the text it completes, and last what is left


def _stream_by_codec(chunks: Sequence[bytes]) -> list[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(chunk) for chunk in chunks] + [decoder.decode(b"", final=True)]


def _unfinished(data: bytes) -> int:
    """How many bytes at the end begin a character that may still become whole."""
    for count in range(1, min(3, len(data)) + 1):
        tail = data[-count:]
        if tail[0] & 0xC0 == 0x80:  # a byte that goes on: look further left
            continue
        try:
            tail.decode("utf-8")
        except UnicodeDecodeError as problem:
            return count if problem.reason == "unexpected end of data" else 0
        return 0
    return 0


def _stream_by_hand(chunks: Sequence[bytes]) -> list[str]:
    texts, waiting = [], b""
    for chunk in chunks:
        data = waiting + chunk
        keep = len(data) - _unfinished(data)
        texts.append(data[:keep].decode("utf-8", errors="replace"))
        waiting = data[keep:]
    return [*texts, waiting.decode("utf-8", errors="replace")]


def _stream_each(chunks: Sequence[bytes]) -> list[str]:
    return [chunk.decode("utf-8", errors="replace") for chunk in chunks] + [""]


def _stream_ignoring(chunks: Sequence[bytes]) -> list[str]:
    return [chunk.decode("utf-8", errors="ignore") for chunk in chunks] + [""]


def _stream_end_lost(chunks: Sequence[bytes]) -> list[str]:
    return [*_stream_by_codec(chunks)[:-1], ""]


def _stream_until_whole(chunks: Sequence[bytes]) -> list[str]:
    """Waits until everything decodes, which a broken byte prevents for good."""
    texts, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        try:
            texts.append(waiting.decode("utf-8"))
        except UnicodeDecodeError:
            texts.append("")
        else:
            waiting = b""
    return [*texts, waiting.decode("utf-8", errors="replace")]


def _stream_by_announced(chunks: Sequence[bytes]) -> list[str]:
    """Waits for as many bytes as a first byte announces, whatever they are."""
    texts, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        end = 0
        while end < len(waiting):
            size = next(
                (n for n, low in ((4, 0xF0), (3, 0xE0), (2, 0xC0)) if waiting[end] >= low), 1
            )
            if end + size > len(waiting):
                break
            end += size
        texts.append(waiting[:end].decode("utf-8", errors="replace"))
        waiting = waiting[end:]
    return [*texts, waiting.decode("utf-8", errors="replace")]


def _stream_by_difference(chunks: Sequence[bytes]) -> list[str]:
    """Decodes all again and shows what is new, unless it ends in the replacement character."""
    texts, data, shown = [], b"", ""
    for chunk in chunks:
        data += chunk
        text = data.decode("utf-8", errors="replace")
        is_open = text.endswith("\N{REPLACEMENT CHARACTER}")
        texts.append("" if is_open else text[len(shown) :])
        shown = shown if is_open else text
    return [*texts, ""]


def _stream_drawn(rng: np.random.Generator) -> list[Case]:
    def case(label: str) -> Case:
        data = "".join(pick(rng, ["a", "é", "你", "🌍", "\ufffd", " so"], 7)).encode()
        if rng.random() < 0.5:
            at = whole(rng, 0, len(data))
            data = data[:at] + pick(rng, [b"\xff", b"\xe4", b"\x80", b"\xf0\x9f"], 1)[0] + data[at:]
        ends = sorted({*rng.integers(1, len(data), size=6).tolist(), len(data)})
        return Case(label, ([data[i:j] for i, j in zip([0, *ends], ends, strict=False)],))

    return [case(f"a text cut anywhere, {n}") for n in range(3)]


STREAM = Exercise(
    name="stream",
    forbids=("codecs", "_codecs", "encodings", "io", "_io"),
    topic="tokenizer",
    stars=3,
    task="Decode bytes as they come: whole characters only, nothing lost, nothing twice.",
    section="Back to text, while it comes",
    cases=lambda: [
        Case("an emoji byte by byte", ([b"a", b"\xf0", b"\x9f", b"\xa6", b"\x99", b"b"],)),
        Case("Chinese cut in the middle", ([b"\xe4\xbd", b"\xa0\xe5\xa5", b"\xbd"],)),
        Case("plain words", ([b"Once", b" upon", b""],)),
        Case("a byte that begins nothing", ([b"a\xff", b"b", b"c"],)),
        Case("a replacement character that is text", ([b"\xef\xbf\xbd", b"!"],)),
        Case("cut off at the end", ([b"so \xe4", b"\xbd"],)),
        Case("a character that never goes on", ([b"\xe4", b"a", b"b"],)),
    ],
    drawn=_stream_drawn,
    correct=(_stream_by_codec, _stream_by_hand),
    mutants=(
        Mutant(
            "each_alone",
            _stream_each,
            "when each token is decoded alone: half a character is no text",
            "https://github.com/antonellof/ferrox/issues/124",
        ),
        Mutant(
            "ignoring",
            _stream_ignoring,
            "when bytes that are no text yet are ignored: they never come back",
        ),
        Mutant("end_lost", _stream_end_lost, "when what waits at the end is dropped silently"),
        Mutant(
            "until_whole",
            _stream_until_whole,
            "when one broken byte holds up all the text after it",
        ),
        Mutant(
            "announced",
            _stream_by_announced,
            "when as many bytes are awaited as the first announces, whatever comes",
        ),
        Mutant(
            "by_difference",
            _stream_by_difference,
            "when a text that ends in U+FFFD is taken for unfinished, though it may be meant",
        ),
        Mutant(
            "latin",
            lambda chunks: [*(chunk.decode("latin-1") for chunk in chunks), ""],
            "when every byte is taken for a character",
        ),
        Mutant(
            "no_rest",
            lambda chunks: _stream_by_codec(chunks)[:-1],
            "when the last item, for what is left at the end, is missing",
        ),
        Mutant(
            "joined",
            lambda chunks: "".join(_stream_by_codec(chunks)),
            "when the texts are joined, where one for each chunk is due",
        ),
        Mutant(
            "at_the_end",
            lambda chunks: [*("" for _ in chunks), b"".join(chunks).decode("utf-8", "replace")],
            "when all of the text waits for the end",
        ),
        Mutant(
            "strict",
            lambda chunks: [*(chunk.decode() for chunk in chunks), ""],
            "when each chunk is decoded alone, and must be valid",
        ),
    ),
)

EXERCISES = (MERGE_PAIR, CLEAN, ENCODE_WORD, STREAM)
