"""Exercises of chapter 14: frames, text held back, who goes next, a batch that grows."""

import json
from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np

from llama_edu.exercises.exercise import Case, Exercise, Mutant
from llama_edu.exercises.tiny import tiny_llama
from llama_edu.generate import generate, prefill
from llama_edu.model import Llama
from llama_edu.serve.output import OutputText
from llama_edu.tokenizer import TextStream

# ★ frames(pieces) -> bytes of an event stream


def _frames(pieces: Sequence[str]) -> bytes:
    lines = [*(json.dumps({"text": piece}) for piece in pieces), "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def _frames_loop(pieces: Sequence[str]) -> bytes:
    out = b""
    for piece in pieces:
        out += b"data: " + json.dumps({"text": piece}).encode() + b"\n\n"
    return out + b"data: [DONE]\n\n"


def _frames_raw(pieces: Sequence[str]) -> bytes:
    return b"".join(f"data: {p}\n\n".encode() for p in [*pieces, "[DONE]"])


def _frames_one_line_end(pieces: Sequence[str]) -> bytes:
    return _frames(pieces).replace(b"\n\n", b"\n")


def _frames_never_done(pieces: Sequence[str]) -> bytes:
    return _frames(pieces).removesuffix(b"data: [DONE]\n\n")


def _frames_all_at_once(pieces: Sequence[str]) -> bytes:
    return _frames(["".join(pieces)])


def _read_frames(answer: Callable[[Sequence[str]], bytes], pieces: list[str]) -> list[object]:
    """What a client makes of it: the events between empty lines, each JSON or the end."""
    sent = answer(pieces)
    if not isinstance(sent, bytes):
        raise TypeError(f"expected bytes, got {type(sent).__name__}")
    *events, rest = sent.decode().split("\n\n")
    read: list[object] = []
    for event in events:
        data = [line.removeprefix("data: ") for line in event.split("\n")]
        if data == ["[DONE]"]:
            read.append("the end")
            continue
        try:
            read.append(json.loads("\n".join(data)))
        except ValueError:
            read.append(f"not JSON: {data[0]!r}")
    return [read, rest]


FRAMES = Exercise(
    name="frames",
    chapter=14,
    stars=1,
    task='Write pieces of text as server-sent events of {"text": …}, ended by [DONE], as bytes.',
    section="Chapter 14, By hand",
    cases=lambda: [
        Case("two pieces", (["Hello", " there"],)),
        Case("a piece with line breaks", (["one\n\ntwo", " end"],)),
        Case("quotes and another script", (['"你好"', "\\"],)),
        Case("no piece at all", ([],)),
    ],
    correct=(_frames, _frames_loop),
    harness=_read_frames,
    mutants=(
        Mutant(
            "raw",
            _frames_raw,
            "when the text is sent as it is: its own line breaks cut the frame in two",
        ),
        Mutant("one_line_end", _frames_one_line_end, "when no empty line ends a frame"),
        Mutant("never_done", _frames_never_done, "when the end of the stream is not said"),
        Mutant(
            "all_at_once", _frames_all_at_once, "when one frame is sent after everything is made"
        ),
    ),
)


# ★★ settled(pieces, stop) -> what may be sent after each piece, up to the stop text


class _Pieces(TextStream):
    """A stream that is given its pieces, instead of making them from ids."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def push(self, token_id: SupportsIndex) -> str:
        """The piece of that number."""
        return self.pieces[int(token_id)]

    def finish(self) -> str:
        """Nothing is ever left over."""
        return ""


def _settled(pieces: Sequence[str], stop: str) -> list[str]:
    output = OutputText(_Pieces(pieces), [stop])
    sent = []
    for number in range(len(pieces)):
        sent.append(output.push(number))
        if output.stopped:
            return sent
    return [*sent, output.finish()]


def _settled_by_hand(pieces: Sequence[str], stop: str) -> list[str]:
    held = ""
    sent: list[str] = []
    for piece in pieces:
        held += piece
        if stop in held:
            return [*sent, held[: held.index(stop)]]
        open_end = max(
            (n for n in range(min(len(stop) - 1, len(held)) + 1) if held.endswith(stop[:n])),
            default=0,
        )
        sent.append(held[: len(held) - open_end])
        held = held[len(held) - open_end :]
    return [*sent, held]


def _settled_by_piece(pieces: Sequence[str], stop: str) -> list[str]:
    sent: list[str] = []
    for piece in pieces:
        if stop in piece:
            return [*sent, piece[: piece.index(stop)]]
        sent.append(piece)
    return [*sent, ""]


def _settled_stop_sent(pieces: Sequence[str], stop: str) -> list[str]:
    sent = _settled_by_hand(pieces, stop)
    return [*sent[:-1], sent[-1] + stop] if stop in "".join(pieces) else sent


def _settled_lost(pieces: Sequence[str], stop: str) -> list[str]:
    sent = _settled_by_hand(pieces, stop)
    return sent if stop in "".join(pieces) else [*sent[:-1], ""]


def _settled_all_held(pieces: Sequence[str], stop: str) -> list[str]:
    whole = "".join(pieces)
    if stop not in whole:
        return [*([""] * len(pieces)), whole]
    count = next(n for n in range(1, len(pieces) + 1) if stop in "".join(pieces[:n]))
    return [*([""] * (count - 1)), whole[: whole.index(stop)]]


SETTLED = Exercise(
    name="settled",
    chapter=14,
    stars=2,
    task="Repair the stop text: send what is settled, hold back what may be its beginning.",
    section="Chapter 14, Investigate",
    cases=lambda: [
        Case("a stop in pieces", (["The en", "d. E", "N", "D and more"], "END")),
        Case("a beginning that comes to nothing", (["a E", "N", "ough b"], "END")),
        Case("a text that ends in a beginning", (["so it E", "N"], "END")),
        Case("a stop that repeats itself", (["aa", "ab", "c"], "aab")),
        Case("no stop at all", (["one ", "two"], "\n\n")),
    ],
    correct=(_settled, _settled_by_hand),
    mutants=(
        Mutant(
            "by_piece", _settled_by_piece, "when each piece is searched by itself, and sent at once"
        ),
        Mutant("stop_sent", _settled_stop_sent, "when the stop text itself is sent"),
        Mutant("lost", _settled_lost, "when what was held back is never sent"),
        Mutant("all_held", _settled_all_held, "when everything is held until the end"),
    ),
)


# ★★ next_step(prompts, texts, budget) -> (prompt tokens of each prompt, texts that get a token)


def _next_step(prompts: list[int], texts: int, budget: int) -> tuple[list[int], int]:
    fed = []
    for left in prompts:
        fed.append(min(left, budget))
        budget -= fed[-1]
    return fed, texts


def _next_step_sums(prompts: list[int], texts: int, budget: int) -> tuple[list[int], int]:
    ends = np.minimum(np.cumsum([0, *prompts]), budget)
    return [int(n) for n in np.diff(ends)], texts


def _step_whole_prompts(prompts: list[int], texts: int, budget: int) -> tuple[list[int], int]:
    return list(prompts), texts


def _step_prompts_first(prompts: list[int], texts: int, budget: int) -> tuple[list[int], int]:
    return _next_step(prompts, 0 if prompts else texts, budget)


def _step_budget_each(prompts: list[int], texts: int, budget: int) -> tuple[list[int], int]:
    return [min(left, budget) for left in prompts], texts


def _step_last_first(prompts: list[int], texts: int, budget: int) -> tuple[list[int], int]:
    fed, texts = _next_step(prompts[::-1], texts, budget)
    return fed[::-1], texts


NEXT_STEP = Exercise(
    name="next_step",
    chapter=14,
    stars=2,
    task="Repair the plan of a step: every text a token, and prompts in turn within a budget.",
    section="Chapter 14, On the real model",
    cases=lambda: [
        Case("a long prompt beside two texts", ([100, 7], 2, 16)),
        Case("short prompts that fit together", ([5, 6, 9], 1, 16)),
        Case("nobody has a prompt", ([], 3, 16)),
        Case("nobody writes yet", ([40], 0, 32)),
    ],
    correct=(_next_step, _next_step_sums),
    mutants=(
        Mutant(
            "whole_prompts",
            _step_whole_prompts,
            "when a prompt is fed at once, however long: all others wait for it",
        ),
        Mutant("prompts_first", _step_prompts_first, "when texts wait while there is a prompt"),
        Mutant("budget_each", _step_budget_each, "when each prompt gets the whole budget"),
        Mutant("last_first", _step_last_first, "when who came last goes first"),
    ),
)


# ★★★ serve_all(model, prompts, counts) -> replies, through forward_batch


def _alone(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    pairs = zip(prompts, counts, strict=True)
    return [list(generate(model, p, max_new_tokens=n, stop_ids=())) for p, n in pairs]


def _batched(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    caches = [model.new_cache() for _ in prompts]
    pairs = zip(prompts, caches, strict=True)
    replies = [[int(prefill(model, p, c)[-1].argmax())] for p, c in pairs]
    while live := [i for i, reply in enumerate(replies) if len(reply) < counts[i]]:
        logits = model.forward_batch([replies[i][-1] for i in live], [caches[i] for i in live])
        for i, row in zip(live, logits, strict=True):
            replies[i].append(int(row.argmax()))
    return replies


def _batched_queue(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    replies: list[list[int]] = [[] for _ in prompts]
    growing = []
    for i, prompt in enumerate(prompts):
        cache = model.new_cache()
        replies[i].append(int(prefill(model, prompt, cache)[-1].argmax()))
        growing.append((i, cache))
    for _ in range(max(counts)):
        growing = [(i, cache) for i, cache in growing if len(replies[i]) < counts[i]]
        if not growing:
            break
        newest = [replies[i][-1] for i, _ in growing]
        logits = model.forward_batch(newest, [cache for _, cache in growing])
        for (i, _), row in zip(growing, logits, strict=True):
            replies[i].append(int(row.argmax()))
    return replies


def _batched_one_by_one(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return _alone(model, prompts, counts)


def _batched_wrong_rows(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    caches = [model.new_cache() for _ in prompts]
    pairs = zip(prompts, caches, strict=True)
    replies = [[int(prefill(model, p, c)[-1].argmax())] for p, c in pairs]
    while live := [i for i, reply in enumerate(replies) if len(reply) < counts[i]]:
        logits = model.forward_batch([replies[i][-1] for i in live], [caches[i] for i in live])
        for reply, row in zip(replies, logits, strict=False):  # rows are those of `live`
            reply.append(int(row.argmax()))
    return [reply[:n] for reply, n in zip(replies, counts, strict=True)]


def _batched_until_shortest(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return [reply[: min(counts)] for reply in _batched(model, prompts, counts)]


def _batched_until_longest(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return _batched(model, prompts, [max(counts)] * len(counts))


def _watched(
    answer: Callable[..., list[list[int]]], prompts: list[list[int]], counts: list[int]
) -> list[object]:
    """The replies, and whether texts shared their steps."""
    model = tiny_llama(3)
    sizes: list[int] = []
    batch = model.forward_batch

    def watched(token_ids: Sequence[int], caches: Sequence[object]) -> np.ndarray:
        sizes.append(len(token_ids))
        result: np.ndarray = batch(token_ids, caches)  # type: ignore[arg-type]
        return result

    model.forward_batch = watched  # type: ignore[method-assign, assignment]
    replies = [list(map(int, reply)) for reply in answer(model, prompts, counts)]
    together = len(sizes) < max(counts) + 1 and max(sizes, default=0) == len(prompts)
    return [replies, "in shared steps" if together else "one text at a time"]


SERVE_ALL = Exercise(
    name="serve_all",
    chapter=14,
    stars=3,
    task="Let several texts grow in shared steps; each leaves when it has its number of tokens.",
    section="Chapter 14, On the real model",
    cases=lambda: [
        Case("three texts of different lengths", ([[3, 1, 4], [1, 5], [9, 2, 6, 5]], [6, 2, 9])),
        Case("the first ends first", ([[2, 7], [1, 8, 2]], [2, 7])),
    ],
    correct=(_batched, _batched_queue),
    harness=_watched,
    mutants=(
        Mutant(
            "one_by_one", _batched_one_by_one, "when each text is finished before the next begins"
        ),
        Mutant(
            "wrong_rows",
            _batched_wrong_rows,
            "when rows are given to the first texts, not to those still growing: somebody gets "
            "another's tokens",
        ),
        Mutant("until_shortest", _batched_until_shortest, "when the first to end stops them all"),
        Mutant("until_longest", _batched_until_longest, "when all go on until the longest is done"),
    ),
)

EXERCISES = (FRAMES, SETTLED, NEXT_STEP, SERVE_ALL)
