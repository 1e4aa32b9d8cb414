"""Hints for the exercises on text and ids, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "merge_pair": Guide(
        15,
        ESSENTIAL,
        question="In `a a a`, the middle piece stands next to two others. With which of them is "
        "it joined, and what must not happen to it afterwards?",
        idea="A `for` loop over neighbours would meet the middle piece twice. Keep an index of "
        "your own that goes on by 2 after a pair and by 1 otherwise. The last piece has no "
        "neighbour; a slice of two does not mind.",
        code="""
            def merge_pair_mine(pieces, pair):
                merged, i = [], 0
                while i < len(pieces):
                    size = 2 if tuple(pieces[i : i + 2]) == pair else ...
                    merged.append(b"".join(...))
                    i += ...
                return merged
            """,
    ),
    "clean": Guide(
        10,
        USEFUL,
        question="How can the letters `<s>` be in a reply without being the special token?",
        idea="They may come as ordinary pieces, so the letters do not decide; the piece does. "
        "Decide for each piece as a whole, before you join anything: it is exactly one of the "
        "two special ones, or all of it stays.",
        code="""
            def clean_mine(pieces):
                return "".join(p for p in pieces if p not in ...)
            """,
    ),
    "encode_word": Guide(
        20,
        ESSENTIAL,
        question="A word has several pairs that could be joined. Which of them comes first, the "
        "one furthest to the left or another?",
        idea="The rank decides, not the place. Join that pair everywhere it stands, and then "
        "look at all pairs again: a new piece may make a pair of lower rank than any before. "
        "Stop when no pair has a rank.",
        code="""
            def encode_word_mine(word, ranks):
                pieces = [bytes([byte]) for byte in word]
                while known := [p for p in pairwise(pieces) if ...]:
                    best = min(known, key=...)
                    pieces = merge_pair_mine(pieces, best)
                return pieces
            """,
    ),
    "stream": Guide(
        40,
        USEFUL,
        question="Bytes have arrived that are no character. What are the two reasons this can "
        "have, and which of them is cured by waiting?",
        idea='`bytes.decode` raises a `UnicodeDecodeError`. Where its `reason` is `"unexpected '
        'end of data"`, the character may still be completed: keep the bytes from `start` on for '
        "the next chunk. Any other error will stay one: decode up to `start`, write one "
        "`\\ufffd` for the bytes from `start` to `end`, and look at the rest again.",
        code="""
            def stream_mine(chunks):
                texts, waiting = [], b""
                for chunk in chunks:
                    data, waiting, text = waiting + chunk, b"", ""
                    while data:
                        try:
                            data, text = b"", text + data.decode()
                        except UnicodeDecodeError as error:
                            text += data[: error.start].decode()
                            if error.reason == "unexpected end of data":
                                data, waiting = b"", ...
                            else:
                                data, text = ..., text + "\\ufffd"
                    texts.append(text)
                return [*texts, ...]
            """,
    ),
}
