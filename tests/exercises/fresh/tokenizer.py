"""Text and tokens."""

import codecs
import re
from itertools import pairwise

from fresh_answers import right, wrong

MP, CL, EW, ST = "merge_pair", "clean", "encode_word", "stream"


def merged(pieces, pair):
    out = []
    for piece in pieces:
        out.append(piece)
        if tuple(out[-2:]) == tuple(pair) and len(out) > 1:
            out[-2:] = [None]
            out[-1] = pair[0] + pair[1]
    return out


def merge_while(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == pair:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def merge_with_flag(pieces, pair):
    out, skip = [], False
    for i, piece in enumerate(pieces):
        if skip:
            skip = False
        elif tuple(pieces[i : i + 2]) == pair:
            out.append(piece + pieces[i + 1])
            skip = True
        else:
            out.append(piece)
    return out


def merge_once(pieces, pair):
    for i in range(len(pieces) - 1):
        if (pieces[i], pieces[i + 1]) == pair:
            return [*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :]]
    return list(pieces)


def merge_overlapping(pieces, pair):
    out = []
    for i, piece in enumerate(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            out.append(piece + pieces[i + 1])
        elif i == 0 or (pieces[i - 1], piece) != pair:
            out.append(piece)
    return out


def merge_last_lost(pieces, pair):
    out, i = [], 0
    while i < len(pieces) - 1:
        if (pieces[i], pieces[i + 1]) == pair:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def merge_from_right(pieces, pair):
    out, i = [], len(pieces) - 1
    while i >= 0:
        if i > 0 and (pieces[i - 1], pieces[i]) == pair:
            out.insert(0, pieces[i - 1] + pieces[i])
            i -= 2
        else:
            out.insert(0, pieces[i])
            i -= 1
    return out


def merge_keeps_second(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            out.append(pieces[i] + pieces[i + 1])
        else:
            out.append(pieces[i])
        i += 1
    return out


def merge_in_place(pieces, pair):
    i = 0
    while i < len(pieces) - 1:
        if (pieces[i], pieces[i + 1]) == pair:
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
        i += 1
    return pieces


def merge_on_and_on(pieces, pair):
    out = list(pieces)
    i = 0
    while i < len(out) - 1:
        if out[i] == pair[0] and out[i + 1] == pair[1]:
            out[i : i + 2] = [pair[0] + pair[1]]
        else:
            i += 1
    return out if len(out) != len(pieces) else None


def merge_either_order(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        two = tuple(pieces[i : i + 2])
        if two == pair or two[::-1] == pair:
            out.append(b"".join(two))
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


SPECIAL = ("<s>", "</s>")


def clean_loop(pieces):
    text = ""
    for piece in pieces:
        if piece == "<s>" or piece == "</s>":
            continue
        text = text + piece
    return text


def encode(word, ranks, *, best=min, rescan=True, all_of_it=True):
    pieces = [bytes([byte]) for byte in word]
    order = None
    while True:
        known = [pair for pair in pairwise(pieces) if pair in ranks]
        if not known:
            return pieces
        pair = best(known, key=ranks.get)
        pieces = merge_while(pieces, pair) if all_of_it else merge_once(pieces, pair)
        if not rescan:
            if order == pair:
                return pieces
            order = pair
            return pieces


def encode_scan(word, ranks):
    pieces = [word[i : i + 1] for i in range(len(word))]
    while len(pieces) > 1:
        places = range(len(pieces) - 1)
        at = min(places, key=lambda i: ranks.get((pieces[i], pieces[i + 1]), 10**9))
        if (pieces[at], pieces[at + 1]) not in ranks:
            break
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def encode_by_rank_order(word, ranks):
    pieces = [bytes([byte]) for byte in word]
    for pair in sorted(ranks, key=ranks.get):
        pieces = merge_while(pieces, pair)
    return pieces


def encode_rightmost(word, ranks):
    pieces = [bytes([byte]) for byte in word]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        pieces = merge_while(pieces, known[-1])
    return pieces


def encode_leftmost(word, ranks):
    pieces = [bytes([byte]) for byte in word]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        pieces = merge_while(pieces, known[0])
    return pieces


def encode_longest(word, ranks):
    pieces = [bytes([byte]) for byte in word]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        pieces = merge_while(pieces, max(known, key=lambda pair: len(pair[0] + pair[1])))
    return pieces


def encode_greedy_longest(word, ranks):
    known = {a + b for a, b in ranks}
    pieces, i = [], 0
    while i < len(word):
        end = next((e for e in range(len(word), i, -1) if word[i:e] in known), i + 1)
        pieces.append(word[i:end])
        i = end
    return pieces


def encode_characters(word, ranks):
    pieces = [letter.encode() for letter in word.decode("utf-8", "replace")]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        pieces = merge_while(pieces, min(known, key=ranks.get))
    return pieces


def stream_try(chunks):
    out, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        text = ""
        while waiting:
            try:
                text += waiting.decode()
                waiting = b""
            except UnicodeDecodeError as error:
                text += waiting[: error.start].decode()
                if error.reason == "unexpected end of data":
                    waiting = waiting[error.start :]
                    break
                text += "\ufffd"
                waiting = waiting[error.end :]
        out.append(text)
    return [*out, waiting.decode("utf-8", "replace")]


def stream_lengths(chunks):
    out, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        cut = len(waiting)
        for back in range(1, min(3, len(waiting)) + 1):
            tail = waiting[-back:]
            try:
                tail.decode()
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data" and error.start == 0:
                    cut = len(waiting) - back
                    break
        out.append(waiting[:cut].decode("utf-8", "replace"))
        waiting = waiting[cut:]
    return [*out, waiting.decode("utf-8", "replace")]


def stream_with_codecs(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [*(decoder.decode(chunk) for chunk in chunks), decoder.decode(b"", final=True)]


def stream_waits_for_all(chunks):
    out, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        try:
            out.append(waiting.decode())
            waiting = b""
        except UnicodeDecodeError:
            out.append("")
    return [*out, waiting.decode("utf-8", "replace")]


def stream_by_announced(chunks):
    out, waiting = [], b""
    for chunk in chunks:
        waiting += chunk
        text = ""
        while waiting:
            first = waiting[0]
            need = 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            if len(waiting) < need:
                break
            text += waiting[:need].decode("utf-8", "replace")
            waiting = waiting[need:]
        out.append(text)
    return [*out, waiting.decode("utf-8", "replace")]


def stream_replacement_waits(chunks):
    out, sent, waiting = [], "", b""
    for chunk in chunks:
        waiting += chunk
        text = waiting.decode("utf-8", "replace").rstrip("\ufffd")
        out.append(text[len(sent) :])
        sent = text
    return [*out, waiting.decode("utf-8", "replace")[len(sent) :]]


ANSWERS = (
    right(MP, "a stack", merged),
    right(MP, "a while loop", merge_while),
    right(MP, "a flag", merge_with_flag),
    wrong(MP, "first only", merge_once, "first_only"),
    wrong(MP, "overlapping", merge_overlapping, "overlapping"),
    wrong(MP, "last piece lost", merge_last_lost),
    wrong(MP, "from the right", merge_from_right, "from_the_right"),
    wrong(MP, "second kept as well", merge_keeps_second, "second_kept"),
    wrong(MP, "in place", merge_in_place),
    wrong(MP, "None where nothing is found", merge_on_and_on),
    wrong(MP, "either order", merge_either_order, "either_order"),
    wrong(MP, "argument returned", lambda pieces, pair: pieces),
    wrong(MP, "a tuple of the two", lambda p, pair: [*p, pair]),
    wrong(MP, "nothing", lambda pieces, pair: None),
    wrong(MP, "one piece", lambda p, pair: [b"".join(p)], "one_piece"),
    right(CL, "a loop", clean_loop),
    right(CL, "a join", lambda ps: "".join(p for p in ps if p not in SPECIAL)),
    wrong(CL, "strip", lambda ps: "".join(p.strip("<s>").strip("</s>") for p in ps), "stripped"),
    wrong(CL, "strip of the whole", lambda ps: "".join(ps).strip("</s>"), "stripped_once"),
    wrong(
        CL,
        "replace in the whole",
        lambda ps: "".join(ps).replace("<s>", "").replace("</s>", ""),
        "replaced",
    ),
    wrong(
        CL,
        "replace in pieces",
        lambda ps: "".join(p.replace("<s>", "").replace("</s>", "") for p in ps),
        "replaced_in_pieces",
    ),
    wrong(CL, "spaces stripped", lambda ps: "".join(p for p in ps if p not in SPECIAL).strip()),
    wrong(
        CL,
        "joined by spaces",
        lambda ps: " ".join(p for p in ps if p not in SPECIAL),
        "joined_by_spaces",
    ),
    wrong(CL, "one special only", lambda ps: "".join(p for p in ps if p != "</s>"), "end_only"),
    wrong(CL, "first and last cut", lambda ps: "".join(ps[1:-1]), "ends_cut_off"),
    wrong(CL, "a list", lambda ps: [p for p in ps if p not in SPECIAL]),
    wrong(CL, "regex on the whole", lambda ps: re.sub(r"</?s>", "", "".join(ps)), "replaced"),
    wrong(
        CL,
        "removeprefix",
        lambda ps: "".join(p.removeprefix("<s>").removesuffix("</s>") for p in ps),
        "affixes",
    ),
    wrong(CL, "in the text", lambda ps: "".join(p for p in ps if p not in "<s></s>"), "substring"),
    right(EW, "pairwise", encode),
    right(EW, "in place, leftmost of the lowest", encode_scan),
    wrong(EW, "from the left", encode_leftmost, "from_the_left"),
    wrong(EW, "rightmost", encode_rightmost, "from_the_right"),
    wrong(EW, "highest rank", lambda w, r: encode(w, r, best=max), "highest"),
    wrong(EW, "one merge only", lambda w, r: encode(w, r, rescan=False)),
    wrong(EW, "longest pair", encode_longest, "from_the_left"),
    wrong(EW, "longest known piece", encode_greedy_longest, "longest"),
    wrong(EW, "characters", encode_characters, "characters"),
    wrong(EW, "no merge", lambda w, r: [bytes([b]) for b in w], "no_merge"),
    wrong(EW, "whole word", lambda w, r: [w], "whole_word"),
    wrong(EW, "integers", lambda w, r: list(w), "numbers"),
    wrong(EW, "text", lambda w, r: [p.decode("latin-1") for p in encode(w, r)], "letters"),
    right(ST, "try and split", stream_try),
    right(ST, "looks at the tail", stream_lengths),
    wrong(ST, "with codecs", stream_with_codecs),
    wrong(
        ST,
        "each chunk alone",
        lambda c: [*(x.decode("utf-8", "replace") for x in c), ""],
        "each_alone",
    ),
    wrong(
        ST,
        "ignores what is broken",
        lambda c: [*(x.decode("utf-8", "ignore") for x in c), ""],
        "ignoring",
    ),
    wrong(ST, "waits while anything fails", stream_waits_for_all, "until_whole"),
    wrong(ST, "waits for the announced bytes", stream_by_announced),
    wrong(ST, "every replacement waits", stream_replacement_waits),
    wrong(ST, "without the last item", lambda c: stream_try(c)[:-1], "no_rest"),
    wrong(
        ST,
        "all at the end",
        lambda c: ["" for _ in c] + [b"".join(c).decode("utf-8", "replace")],
        "at_the_end",
    ),
    wrong(ST, "latin-1", lambda c: [*(x.decode("latin-1") for x in c), ""], "latin"),
    wrong(ST, "strict", lambda c: [*(x.decode() for x in c), ""], "strict"),
    wrong(ST, "one text", lambda c: "".join(stream_try(c)), "joined"),
    wrong(ST, "rest dropped", lambda c: [*stream_try(c)[:-1], ""], "end_lost"),
)
