"""What an engine is asked: calls in an order that leaves no situation out.

One session is one program with one model. Its calls follow on each other, as they do in use: the
cache fills, is cut, is cut to nothing and fills again. An engine that only ever saw prompts knows
nothing of positions counted wrongly, and one that was never cut nothing of rows that stay behind.
`flags` say which mistakes a call is there for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from llama_edu.formats.config import LlamaConfig

__all__ = ["FLAGS", "Call", "calls_for"]

FLAGS = {
    "ends": "embedding, norms, MLP, head: one token sees only itself",
    "attention": "RoPE, heads, scores, mask, softmax, values",
    "reset": "what an earlier text left behind",
    "past": "positions, mask and rows once there is a past",
    "decode": "one token at a time",
    "cut": "rows that should have gone",
    "long": "more than 256 positions",
    "context": "the last positions of the context",
}
"""Each flag, and the mistakes that calls with it are there to catch."""


@dataclass(frozen=True)
class Call:
    """One `forward`: keep `past` positions, feed `ids`. `stage` is "forward" or "cache"."""

    label: str
    ids: tuple[int, ...]
    past: int
    flags: tuple[str, ...]

    @property
    def stage(self) -> str:
        """Calls that need no more than a prompt come before those that need a cache."""
        return "forward" if self.past == 0 and "reset" not in self.flags else "cache"


def calls_for(
    config: LlamaConfig, text: tuple[int, ...] = (), *, long: bool = True
) -> tuple[Call, ...]:
    """The calls of a session. `text` are ids that mean something, where there are such.

    `long` adds texts beyond 256 positions and at the end of the context.
    """
    source = _ids(config, text)
    context = config.max_position_embeddings
    calls = list(_short_calls(source))
    if long and context > LONG + LATE:
        calls += _long_calls(source, context)
    return tuple(call for call in calls if call.past + len(call.ids) <= context)


LONG = 270  # positions; 8 bits count to 255, and bfloat16 to 256 without a gap
LATE = 12


def _ids(config: LlamaConfig, text: tuple[int, ...]) -> Iterator[int]:
    """First the text, then ids without meaning, evenly drawn; the same ones every time."""
    yield from text
    rng = np.random.default_rng(config.vocab_size)
    while True:
        yield from (int(i) for i in rng.integers(0, config.vocab_size, 64))


def _next_ids(source: Iterator[int], count: int) -> tuple[int, ...]:
    return tuple(next(source) for _ in range(count))


def _short_calls(source: Iterator[int]) -> Iterator[Call]:
    take = partial(_next_ids, source)
    yield Call("one token", take(1), 0, ("ends",))
    yield Call("prompt of 7", prompt := take(7), 0, ("attention",))
    yield Call("chunk of 3 after a past of 7", take(3), 7, ("attention", "past"))
    yield Call("decode after 10", take(1), 10, ("past", "decode"))
    yield Call("decode after 11", take(1), 11, ("past", "decode"))
    yield Call("decode after 12", take(1), 12, ("past", "decode"))
    yield Call("cut from 13 to 9, then one token", take(1), 9, ("cut", "decode"))
    # No two cuts leave the same remainder: rows may be counted in blocks.
    yield Call("cut from 10 to 6, then a chunk of 4", take(4), 6, ("cut", "past"))
    yield Call("decode after 10, cut before", take(1), 10, ("cut", "decode"))
    yield Call("reset, another prompt of 5", take(5), 0, ("reset", "attention"))
    yield Call("decode after 5, reset before", take(1), 5, ("reset", "decode"))
    yield Call("chunk of 6 after a past of 6", take(6), 6, ("past", "attention"))
    yield Call("reset, the first prompt again", prompt, 0, ("reset", "attention"))
    yield Call("cut from 7 to 3, then one token", take(1), 3, ("cut", "decode"))
    yield Call("prompt of 33", take(33), 0, ("attention", "reset"))
    yield Call("decode after 33", take(1), 33, ("past", "decode"))


def _long_calls(source: Iterator[int], context: int) -> Iterator[Call]:
    take = partial(_next_ids, source)
    end = min(context, 1024) - LATE
    yield Call(f"prompt of {LONG}", take(LONG), 0, ("long", "attention"))
    yield Call(f"decode after {LONG}", take(1), LONG, ("long", "decode"))
    yield Call(
        f"chunk of {end - LONG - 1} after a past of {LONG + 1}",
        take(end - LONG - 1),
        LONG + 1,
        ("long", "past"),
    )
    yield Call(
        f"chunk of {LATE - 1} after a past of {end}", take(LATE - 1), end, ("context", "past")
    )
    yield Call(f"decode after {end + LATE - 1}", take(1), end + LATE - 1, ("context", "decode"))
    yield Call(
        f"cut from {end + LATE} to 259, then one token", take(1), 259, ("long", "cut", "decode")
    )
    yield Call("reset after a long text, a prompt of 6", take(6), 0, ("reset", "attention"))
