"""Exercises on generation: the decode loop, positions, a prefix, chunks, forking a cache."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llama_edu.engine.cache import KVCache
from llama_edu.engine.generate import generate, prefill
from llama_edu.engine.llama import Llama
from llama_edu.errors import ContextError, InputError
from llama_edu.exercises.framework.difference import kind_name
from llama_edu.exercises.framework.draw import noise, pick, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.tiny import CountingModel, tiny_llama
from llama_edu.ops.rope import apply_rope, rope_cos_sin

Array = np.ndarray
Ids = Sequence[int]
PROMPT = [3, 14, 15, 9, 26]
OTHER = [3, 14, 15, 8, 2, 7, 11]


# ★ decode_loop(model, token_ids, max_new_tokens) -> list of new ids, up to an end token


def _decode(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    fed, new_ids = list(token_ids), []
    while True:
        logits = model.forward(fed, cache, last_only=True)
        new_ids.append(int(np.argmax(logits[-1])))
        if len(new_ids) == max_new_tokens or new_ids[-1] in model.config.eos_token_ids:
            return new_ids
        fed = new_ids[-1:]


def _decode_by_generate(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    return list(generate(model, token_ids, max_new_tokens=max_new_tokens))


def _decode_without_cache(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    ids = list(token_ids)
    for _ in range(max_new_tokens):
        ids.append(int(np.argmax(model.forward(ids)[-1])))
        if ids[-1] in model.config.eos_token_ids:
            break
    return ids[len(token_ids) :]


def _decode_feeding_the_last(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    logits = model.forward(token_ids, cache)
    new_ids = []
    for _ in range(max_new_tokens):
        new_ids.append(int(np.argmax(logits[-1])))
        logits = model.forward(new_ids[-1:], cache)
        if new_ids[-1] in model.config.eos_token_ids:
            break
    return new_ids


def _decode_total_length(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    return _decode(model, token_ids, max(1, max_new_tokens - len(token_ids)))


def _decode_first_row(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    fed, new_ids = list(token_ids), []
    for _ in range(max_new_tokens):
        logits = model.forward(fed, cache)
        new_ids.append(int(np.argmax(logits[0])))
        if new_ids[-1] in model.config.eos_token_ids:
            break
        fed = new_ids[-1:]
    return new_ids


def _decode_prompt_twice(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    model.forward(token_ids, cache)
    fed, new_ids = list(token_ids)[-1:], []
    for _ in range(max_new_tokens):
        logits = model.forward(fed, cache)
        new_ids.append(int(np.argmax(logits[-1])))
        if new_ids[-1] in model.config.eos_token_ids:
            break
        fed = new_ids[-1:]
    return new_ids


def _decode_never_stops(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    return list(generate(model, token_ids, max_new_tokens=max_new_tokens, stop_ids=()))


def _decode_first_end_only(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    only = model.config.eos_token_ids[:1]
    return list(generate(model, token_ids, max_new_tokens=max_new_tokens, stop_ids=only))


def _decode_one_late(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    fed, new_ids = list(token_ids), []
    while True:
        logits = model.forward(fed, cache, last_only=True)
        new_ids.append(int(np.argmax(logits[-1])))
        if len(new_ids) == max_new_tokens or fed[-1] in model.config.eos_token_ids:
            return new_ids
        fed = new_ids[-1:]


def _decode_end_left_out(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    new_ids = _decode(model, token_ids, max_new_tokens)
    return [token_id for token_id in new_ids if token_id not in model.config.eos_token_ids]


def _counted_decode(
    answer: Callable[..., Any], model: CountingModel, token_ids: Ids, n: int
) -> Any:
    """The new ids, and how many positions were run: token by token is a way, too."""
    return [answer(model, token_ids, n), sum(model.positions)]


def _ending_with(seed: int, *ends: int) -> CountingModel:
    """A tiny model with these end tokens."""
    model = CountingModel(tiny_llama(seed))
    model.config = replace(model.config, eos_token_ids=ends)
    return model


def _ending_at_once(seed: int, prompt: Ids) -> CountingModel:
    """A tiny model whose first new token is an end token."""
    return _ending_with(seed, 30, int(tiny_llama(seed).forward(prompt)[-1].argmax()))


def _decode_cases() -> list[Case]:
    return [
        Case("a prompt of 5, 9 new tokens", (CountingModel(tiny_llama()), PROMPT, 9)),
        Case("a prompt of 1, 4 new tokens", (CountingModel(tiny_llama(1)), [7], 4)),
        Case("a prompt of 7, 1 new token", (CountingModel(tiny_llama(2)), OTHER, 1)),
        Case("a text that ends after 3 tokens", (_ending_with(7, 22, 30), OTHER, 8)),
        Case("the second of two end tokens", (_ending_with(1, 3, 24), [7], 4)),
        Case("a text that ends with its first token", (_ending_at_once(4, PROMPT), PROMPT, 6)),
    ]


def _decode_loop_drawn(rng: np.random.Generator) -> list[Case]:
    seed = whole(rng, 20, 40)
    prompt = rng.integers(31, size=whole(rng, 2, 6)).tolist()
    return [Case("another model", (_ending_with(seed, 29, whole(rng, 0, 15), 30), prompt, 7))]


def _decode_loosely(
    model: Llama,
    token_ids: Ids,
    n: int,
    *,
    pick: Callable[[Array], Any] = np.argmax,
    ends: slice = slice(None),
    tested: int = 0,
) -> list[int]:
    """Greedy, with each switch another way to end."""
    cache, new = model.new_cache(), []
    fed = list(token_ids)
    for step in range(n):
        new.append(int(pick(model.forward(fed, cache)[-1])))
        if step >= tested and new[-1] in sorted(model.config.eos_token_ids)[ends]:
            break
        fed = new[-1:]
    return new


DECODE_LOOP = Exercise(
    name="decode_loop",
    topic="generate",
    books=(
        "llama_edu.engine.generate.generate",
        "llama_edu.engine.generate.decode",
    ),
    stars=1,
    task="Write greedy generation with a cache: every token goes through the model once, and any "
    "end token stops it.",
    section="Two loops",
    cases=_decode_cases,
    harness=_counted_decode,
    parts=("the new ids", "the positions that were run"),
    drawn=_decode_loop_drawn,
    correct=(_decode, _decode_by_generate),
    mutants=(
        Mutant(
            "no_cache",
            _decode_without_cache,
            "when the whole text is read for every token",
            section="Count the work",
        ),
        Mutant(
            "feeds_the_last",
            _decode_feeding_the_last,
            "when the last token is fed too: nobody asks what follows it",
        ),
        Mutant(
            "total_length",
            _decode_total_length,
            "when max_new_tokens is taken for the length of prompt and new tokens together",
            section="Let it write",
        ),
        Mutant(
            "first_row",
            _decode_first_row,
            "when the first row of the logits is read: it follows the first token, not the last",
        ),
        Mutant(
            "prompt_end_twice",
            _decode_prompt_twice,
            "when the last prompt token is fed a second time after the prefill",
        ),
        Mutant(
            "never_stops",
            _decode_never_stops,
            "when no end token stops it, only the limit",
            section="Let it write",
        ),
        Mutant(
            "first_end_only",
            _decode_first_end_only,
            "when only the first of several end tokens is checked",
            "https://github.com/pytorch/executorch/pull/4777",
            section="Common mistakes",
        ),
        Mutant(
            "one_late",
            _decode_one_late,
            "when the token that was fed is checked, not the one that was chosen: it stops one "
            "token late",
            section="Let it write",
        ),
        Mutant(
            "end_left_out",
            _decode_end_left_out,
            "when the end token is left out of the list: nobody can tell an end from the limit",
            section="Common mistakes",
        ),
        Mutant(
            "one_more",
            lambda model, token_ids, n: _decode_loosely(model, token_ids, n + 1),
            "when there is one token too many",
        ),
        Mutant(
            "one_fewer",
            lambda model, token_ids, n: _decode_loosely(model, token_ids, n - 1),
            "when there is one token too few",
        ),
        Mutant(
            "with_prompt",
            lambda model, token_ids, n: [*token_ids, *_decode_loosely(model, token_ids, n)],
            "when the prompt comes back as well",
        ),
        Mutant(
            "least_likely",
            lambda model, token_ids, n: _decode_loosely(model, token_ids, n, pick=np.argmin),
            "when the least likely token is taken",
        ),
        Mutant(
            "one_end",
            lambda model, token_ids, n: _decode_loosely(model, token_ids, n, ends=slice(0, 1)),
            "when only the first of several end tokens ends",
        ),
        Mutant(
            "first_untested",
            lambda model, token_ids, n: _decode_loosely(model, token_ids, n, tested=1),
            "when the first new token is not tested for an end",
        ),
    ),
)


# ★★ rotate_in_calls(x, inv_freq, sizes) -> x rotated, in calls of these sizes


def _rotate_at(x: Array, inv_freq: Array, starts: Sequence[int], sizes: Sequence[int]) -> Array:
    """The rows of call i stand at positions starts[i], starts[i] + 1, and so on."""
    rotated, first = [], 0
    for past, seq in zip(starts, sizes, strict=True):
        rows = x[:, first : first + seq]
        rotated.append(apply_rope(rows, *rope_cos_sin(inv_freq, past, seq)))
        first += seq
    return np.concatenate(rotated, axis=1)


def _ends(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:number]) for number in range(len(sizes))]


def _rotate_calls(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    return _rotate_at(x, inv_freq, _ends(sizes), sizes)


def _rotate_at_once(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    return apply_rope(x, *rope_cos_sin(inv_freq, 0, sum(sizes)))


def _rotate_restarting(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    rotated, past = [], 0
    for seq in sizes:
        rows = x[:, past : past + seq]
        rotated.append(apply_rope(rows, *rope_cos_sin(inv_freq, 0, seq)))
        past += seq
    return np.concatenate(rotated, axis=1)


def _rotate_past_twice(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    return _rotate_at(x, inv_freq, [2 * past for past in _ends(sizes)], sizes)


def _rotate_by_calls(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    return _rotate_at(x, inv_freq, range(len(sizes)), sizes)


def _rotate_one_more(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    return _rotate_at(x, inv_freq, [past + bool(past) for past in _ends(sizes)], sizes)


def _rotate_prompt_only(x: Array, inv_freq: Array, sizes: list[int]) -> Array:
    starts = [0, *[sizes[0]] * (len(sizes) - 1)]
    return _rotate_at(x, inv_freq, starts, sizes)


def _turning(head_dim: int) -> Array:
    pairs = np.arange(head_dim // 2, dtype=np.float32)
    return np.float32(100.0) ** (-2 * pairs / np.float32(head_dim))


def _rotate_cases() -> list[Case]:
    def case(label: str, heads: int, head_dim: int, sizes: list[int]) -> Case:
        shape = (heads, sum(sizes), head_dim)
        x = np.random.default_rng(heads).standard_normal(shape, dtype=np.float32)
        return Case(label, (x, _turning(head_dim), sizes))

    return [
        case("a prompt of 6, then 3 single tokens", 2, 8, [6, 1, 1, 1]),
        case("a prompt in pieces of 4, 4 and 3", 3, 10, [4, 4, 3]),
        case("one call", 5, 6, [7]),
    ]


def _rotate_in_calls_drawn(rng: np.random.Generator) -> list[Case]:
    sizes = [whole(rng, 2, 5), *pick(rng, [1, 2, 3], 3)]
    heads, dim = whole(rng, 2, 4), 2 * whole(rng, 2, 5)
    return [Case("other calls", (noise(rng, heads, sum(sizes), dim), _turning(dim), sizes))]


def _turned_from(
    x: Array, inv_freq: Array, sizes: list[int], start: Callable[[int, int], int]
) -> Array:
    """Each call from where `start` says, of the rows before and the call's number."""
    rotated, past = [], 0
    for number, seq in enumerate(sizes):
        cos_sin = rope_cos_sin(inv_freq, start(past, number), seq)
        rotated.append(apply_rope(x[:, past : past + seq], *cos_sin))
        past += seq
    return np.concatenate(rotated, axis=1)


ROTATE_IN_CALLS = Exercise(
    name="rotate_in_calls",
    topic="generate",
    stars=2,
    task="Repair the positions: rows that come in several calls are turned as if they came in one.",
    section="Forget the offset",
    cases=_rotate_cases,
    drawn=_rotate_in_calls_drawn,
    correct=(_rotate_calls, _rotate_at_once),
    axes="heads seq head_dim",
    mutants=(
        Mutant(
            "restarts",
            _rotate_restarting,
            "when every call starts at position 0 again",
        ),
        Mutant(
            "past_twice",
            _rotate_past_twice,
            "when the past is counted twice: after a prompt of 6 the next token stands at 12",
            "https://github.com/skyzh/tiny-llm/pull/46",
            section="Common mistakes",
        ),
        Mutant(
            "by_calls",
            _rotate_by_calls,
            "when calls are counted and not tokens: a prompt moves the position by one",
        ),
        Mutant(
            "one_more",
            _rotate_one_more,
            "when the offset is one too large: no token stands at the position behind the prompt",
        ),
        Mutant(
            "prompt_only",
            _rotate_prompt_only,
            "when the offset stays the length of the prompt: all new tokens stand at one position",
        ),
        Mutant(
            "from_one",
            lambda x, inv_freq, sizes: _turned_from(
                x, inv_freq, sizes, lambda past, number: past + 1
            ),
            "when positions are counted from 1",
        ),
        Mutant(
            "one_back",
            lambda x, inv_freq, sizes: _turned_from(
                x, inv_freq, sizes, lambda past, number: max(past - 1, 0)
            ),
            "when a call begins at the last position of the one before",
        ),
        Mutant(
            "first_size",
            lambda x, inv_freq, sizes: _turned_from(
                x, inv_freq, sizes, lambda past, number: number * sizes[0]
            ),
            "when every call is taken to be as long as the first",
        ),
        Mutant(
            "backwards",
            lambda x, inv_freq, sizes: apply_rope(
                x,
                rope_cos_sin(inv_freq, 0, sum(sizes))[0],
                -rope_cos_sin(inv_freq, 0, sum(sizes))[1],
            ),
            "when rows are turned the other way",
        ),
        Mutant(
            "exchanged",
            lambda x, inv_freq, sizes: apply_rope(x, *rope_cos_sin(inv_freq, 0, sum(sizes))[::-1]),
            "when sine and cosine change places",
        ),
        Mutant(
            "last_call",
            lambda x, inv_freq, sizes: _rotate_calls(x, inv_freq, sizes)[:, -sizes[-1] :],
            "when only the rows of the last call come back",
        ),
    ),
)


# ★★ reuse_prefix(model, cache, old_ids, new_ids) -> logits after the last new id


def _shared(old_ids: Ids, new_ids: Ids) -> int:
    pairs = zip(old_ids, new_ids, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old_ids), len(new_ids)))


def _reuse(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    shared = min(_shared(old_ids, new_ids), len(new_ids) - 1)
    cache.truncate(shared)
    return model.forward(new_ids[shared:], cache)[-1]


def _reuse_loop(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    shared = 0
    limit = min(len(old_ids), len(new_ids) - 1)
    while shared < limit and old_ids[shared] == new_ids[shared]:
        shared += 1
    cache.truncate(shared)
    return model.forward(new_ids[shared:], cache, last_only=True)[0]


def _reuse_all(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    shared = 0
    while shared < len(new_ids) and old_ids[shared] == new_ids[shared]:
        shared += 1
    cache.truncate(shared)
    return model.forward(new_ids[shared:], cache)[-1]


def _reuse_nothing(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    cache.truncate(0)
    return model.forward(new_ids, cache)[-1]


def _reuse_stale(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    shared = min(_shared(old_ids, new_ids), len(new_ids) - 1)
    return model.forward(new_ids[shared:], cache)[-1]


def _reuse_common_tokens(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    equal = [a == b for a, b in zip(old_ids, new_ids, strict=False)]
    shared = min(sum(equal), len(new_ids) - 1)
    cache.truncate(shared)
    return model.forward(new_ids[shared:], cache)[-1]


def _reuse_one_less(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    shared = max(0, min(_shared(old_ids, new_ids), len(new_ids) - 1) - 1)
    cache.truncate(shared)
    return model.forward(new_ids[shared:], cache)[-1]


def _reused(answer: Callable[..., Any], model: CountingModel, old_ids: Ids, new_ids: Ids) -> Any:
    cache = model.new_cache()
    model.forward(old_ids, cache)
    logits = answer(model, cache, old_ids, new_ids)
    return [np.asarray(logits), cache.length, model.positions[1:]]


def _reuse_cases() -> list[Case]:
    def case(label: str, new_ids: Ids) -> Case:
        return Case(label, (CountingModel(tiny_llama(3)), OTHER, list(new_ids)))

    return [
        case("a prompt with another ending", [*OTHER[:4], 20, 21]),
        case("a longer prompt", [*OTHER, 5, 6]),
        case("another word in the middle", [*OTHER[:2], 30, *OTHER[3:]]),
        case("the beginning of the old prompt", OTHER[:3]),
        case("the same prompt again", OTHER),
        case("a prompt that shares nothing", [9, 9]),
    ]


def _reuse_prefix_drawn(rng: np.random.Generator) -> list[Case]:
    old = rng.integers(31, size=8).tolist()
    new = [*old[: whole(rng, 1, 6)], *rng.integers(31, size=whole(rng, 2, 4)).tolist()]
    model = CountingModel(tiny_llama(whole(rng, 20, 40)))
    return [Case("other prompts", (model, old, new)), Case("less of it", (model, old, old[:5]))]


def _reused_rows(model: Llama, cache: KVCache, old_ids: Ids, new_ids: Ids) -> np.ndarray:
    pairs = zip(old_ids, new_ids[:-1], strict=False)
    shared = next((i for i, (old, new) in enumerate(pairs) if old != new), None)
    shared = min(len(old_ids), len(new_ids) - 1) if shared is None else shared
    cache.truncate(shared)
    return model.forward(new_ids[shared:], cache)


REUSE_PREFIX = Exercise(
    name="reuse_prefix",
    topic="generate",
    stars=2,
    task="Compute only what two prompts do not share, and leave the cache holding the new one.",
    section="What may be kept",
    cases=_reuse_cases,
    harness=_reused,
    parts=("the logits", "the cache's length", "the positions of each pass"),
    drawn=_reuse_prefix_drawn,
    correct=(_reuse, _reuse_loop),
    tolerance=1e-4,
    mutants=(
        Mutant(
            "nothing_left_to_run",
            _reuse_all,
            "when tokens are counted past the end of a prompt: a longer one runs off the old one's "
            "end, and one that is all in the cache leaves no token to give logits",
        ),
        Mutant("reuses_nothing", _reuse_nothing, "when the cache is emptied every time"),
        Mutant(
            "stale_rows",
            _reuse_stale,
            "when the cache is not truncated: the old prompt's rows stay in the past",
            "https://github.com/quantumaikr/quant.cpp/pull/52",
        ),
        Mutant(
            "counts_equal_tokens",
            _reuse_common_tokens,
            "when equal tokens are counted anywhere, not only up to the first difference",
        ),
        Mutant("one_less", _reuse_one_less, "when one shared token is computed again"),
        Mutant(
            "all_rows",
            lambda model, cache, old_ids, new_ids: _reused_rows(model, cache, old_ids, new_ids),
            "when a row for each new token comes back and not the last",
        ),
        Mutant(
            "first_row",
            lambda model, cache, old_ids, new_ids: _reused_rows(model, cache, old_ids, new_ids)[0],
            "when the first row comes back and not the last",
        ),
        Mutant(
            "new_cache",
            lambda model, cache, old_ids, new_ids: model.forward(new_ids)[-1],
            "when the cache is left as it was, and another one used",
        ),
        Mutant(
            "by_length",
            lambda model, cache, old_ids, new_ids: _reused_rows(
                model, cache, new_ids[: len(old_ids)], new_ids
            )[-1],
            "when as many tokens are kept as the shorter prompt has",
        ),
    ),
)


# ★★★ prefill_chunks(model, cache, token_ids, chunk) -> logits after the last one


def _chunks(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    model.check_room(len(token_ids), cache)
    for start in range(0, len(token_ids), chunk):
        logits = model.forward(token_ids[start : start + chunk], cache, last_only=True)
    return logits[-1]


def _chunks_by_prefill(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    return prefill(model, token_ids, cache, chunk=chunk)[-1]


def _chunks_whole_only(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    model.check_room(len(token_ids), cache)
    for start in range(0, len(token_ids) - chunk + 1, chunk):
        logits = model.forward(token_ids[start : start + chunk], cache, last_only=True)
    return logits[-1]


def _chunks_half_done(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    for start in range(0, len(token_ids), chunk):
        logits = model.forward(token_ids[start : start + chunk], cache, last_only=True)
    return logits[-1]


def _chunks_forgetting(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    model.check_room(len(token_ids), cache)
    for start in range(0, len(token_ids), chunk):
        cache.truncate(0)
        logits = model.forward(token_ids[start : start + chunk], cache, last_only=True)
    return logits[-1]


def _chunks_overlapping(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    model.check_room(len(token_ids), cache)
    for start in range(0, len(token_ids), chunk):
        fed = token_ids[max(0, start - 1) : start + chunk]
        logits = model.forward(fed, cache, last_only=True)
    return logits[-1]


def _chunks_all_at_once(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    return model.forward(token_ids, cache, last_only=True)[-1]


def _chunks_cut_off(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    room = cache.max_seq - cache.length
    return _chunks(model, cache, token_ids[-room:], chunk)


def _chunked(
    answer: Callable[..., Any], model: CountingModel, past: Ids, new: Ids, chunk: int, max_seq: int
) -> Any:
    """Logits, the cache's length and the passes; or that it was refused, and what it left.

    Which of the pieces is the shorter one is not asked, only that none is longer than a chunk.
    """
    cache = model.new_cache(max_seq=max_seq)
    if past:
        model.forward(past, cache)
    try:
        outcome, logits = "logits", np.asarray(answer(model, cache, new, chunk))
    except ContextError:
        outcome, logits = "refused with a ContextError", np.zeros(0, dtype=np.float32)
    except (InputError, ValueError, IndexError, RuntimeError) as error:
        outcome, logits = f"a {type(error).__name__}: {error}", np.zeros(0, dtype=np.float32)
    fed = model.positions[bool(past) :]
    longest = f"at most {chunk}" if max(fed, default=0) <= chunk else f"up to {max(fed)}"
    return [outcome, cache.length, sum(fed), len(fed), longest, logits]


def _chunk_cases() -> list[Case]:
    model = CountingModel(tiny_llama(5))
    return [
        Case("7 tokens in chunks of 3", (model, [], OTHER, 3, 20)),
        Case("5 tokens in chunks of 2, after a past of 4", (model, OTHER[:4], PROMPT, 2, 9)),
        Case("a chunk longer than the prompt", (model, [], PROMPT, 8, 20)),
        Case("7 tokens where 6 fit", (model, [], OTHER, 2, 6)),
        Case("a past that leaves too little room", (model, PROMPT, OTHER, 3, 11)),
    ]


def _prefill_chunks_drawn(rng: np.random.Generator) -> list[Case]:
    model = CountingModel(tiny_llama(whole(rng, 20, 40)))
    past, new = rng.integers(31, size=3).tolist(), rng.integers(31, size=whole(rng, 6, 9)).tolist()
    return [
        Case("other ids, just enough room", (model, past, new, whole(rng, 2, 4), 3 + len(new))),
        Case("other ids, no room for the last", (model, past, new, 2, 2 + len(new))),
    ]


def _refused_at(model: Llama, cache: KVCache, token_ids: Ids, chunk: int, free: int) -> Array:
    cache.check_room(len(token_ids) + free)
    return _chunks(model, cache, token_ids, chunk)


def _chunks_anew(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    cache.check_room(len(token_ids))
    parts = [token_ids[i : i + chunk] for i in range(0, len(token_ids), chunk)]
    return [model.forward(part) for part in parts][-1][-1]


def _another_error(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    if len(token_ids) > cache.max_seq - cache.length:
        raise ValueError("too long")
    return _chunks(model, cache, token_ids, chunk)


def _in_parts(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    parts = [token_ids[i : i + chunk] for i in range(0, len(token_ids), chunk)]
    return [model.forward(part, cache, last_only=True) for part in parts][-1][-1]


def _refused_by_length(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    if len(token_ids) > cache.max_seq:
        raise ContextError("too long")
    return _in_parts(model, cache, token_ids, chunk)


def _rolled_back(model: Llama, cache: KVCache, token_ids: Ids, chunk: int) -> Array:
    past = cache.length
    try:
        return _in_parts(model, cache, token_ids, chunk)
    except ContextError:
        cache.truncate(past)
        raise


PREFILL_CHUNKS = Exercise(
    name="prefill_chunks",
    topic="generate",
    books=("llama_edu.engine.generate.prefill",),
    stars=3,
    task="Run a prompt into a cache in chunks; refuse one that does not fit before any work.",
    section="Cut the prompt into chunks",
    cases=_chunk_cases,
    harness=_chunked,
    parts=(
        "what came of it",
        "the cache's length",
        "the tokens run in all",
        "the passes",
        "the tokens of a pass",
        "the logits",
    ),
    drawn=_prefill_chunks_drawn,
    correct=(_chunks, _chunks_by_prefill),
    tolerance=1e-4,
    mutants=(
        Mutant(
            "whole_chunks_only",
            _chunks_whole_only,
            "when only whole chunks run: the end of the prompt is lost",
        ),
        Mutant(
            "half_done",
            _chunks_half_done,
            "when nobody asks for room first: the refusal comes with half of the prompt cached",
            section="Ask for too much",
        ),
        Mutant(
            "forgetting",
            _chunks_forgetting,
            "when each chunk starts with an empty cache: it knows nothing of the ones before",
        ),
        Mutant(
            "overlapping",
            _chunks_overlapping,
            "when chunks overlap by one token, which then stands in the cache twice",
        ),
        Mutant("all_at_once", _chunks_all_at_once, "when the prompt runs in one piece"),
        Mutant(
            "cut_off",
            _chunks_cut_off,
            "when a prompt that does not fit loses its beginning, and nobody is told",
            "https://github.com/ollama/ollama/issues/14259",
            section="Ask for too much",
        ),
        Mutant(
            "all_rows",
            lambda model, cache, token_ids, chunk: _chunks(model, cache, token_ids, chunk)[None],
            "when the logits keep an axis of rows",
        ),
        Mutant(
            "chunk_and_one",
            lambda model, cache, token_ids, chunk: _chunks(model, cache, token_ids, chunk + 1),
            "when a chunk is one token too long",
        ),
        Mutant(
            "too_strict",
            lambda model, cache, token_ids, chunk: _refused_at(model, cache, token_ids, chunk, 1),
            "when one position is kept free",
        ),
        Mutant(
            "no_cache",
            lambda model, cache, token_ids, chunk: _chunks_anew(model, cache, token_ids, chunk),
            "when the cache is not handed on",
        ),
        Mutant(
            "another_error",
            lambda model, cache, token_ids, chunk: _another_error(model, cache, token_ids, chunk),
            "when another error than ContextError refuses it",
        ),
        Mutant(
            "cut_at_end",
            lambda model, cache, token_ids, chunk: _chunks(
                model, cache, token_ids[: cache.max_seq - cache.length], chunk
            ),
            "when the end of a long prompt is cut off",
        ),
        Mutant(
            "past_not_counted",
            lambda model, cache, token_ids, chunk: _refused_by_length(
                model, cache, token_ids, chunk
            ),
            "when the past is not counted in the room",
        ),
        Mutant(
            "rolled_back",
            lambda model, cache, token_ids, chunk: _rolled_back(model, cache, token_ids, chunk),
            "when it runs first, and is taken back where it does not fit",
        ),
    ),
)


# ★★★ fork_cache(model, cache) -> a second cache with the same past


def _fork(model: Llama, cache: KVCache) -> KVCache:
    twin = model.new_cache(max_seq=cache.max_seq)
    for layer in range(cache.n_layers):
        twin.append(layer, cache.keys(layer), cache.values(layer))
    twin.advance(cache.length)
    return twin


def _fork_row_by_row(model: Llama, cache: KVCache) -> KVCache:
    twin = model.new_cache(max_seq=cache.max_seq)
    for position in range(cache.length):
        here = slice(position, position + 1)
        for layer in range(cache.n_layers):
            twin.append(layer, cache.keys(layer)[:, here], cache.values(layer)[:, here])
        twin.advance(1)
    return twin


def _fork_same(model: Llama, cache: KVCache) -> KVCache:
    return cache


def _fork_not_counted(model: Llama, cache: KVCache) -> KVCache:
    twin = model.new_cache(max_seq=cache.max_seq)
    for layer in range(cache.n_layers):
        twin.append(layer, cache.keys(layer), cache.values(layer))
    return twin


def _fork_first_layer(model: Llama, cache: KVCache) -> KVCache:
    twin = model.new_cache(max_seq=cache.max_seq)
    for layer in range(cache.n_layers):
        twin.append(layer, cache.keys(0), cache.values(0))
    twin.advance(cache.length)
    return twin


def _fork_swapped(model: Llama, cache: KVCache) -> KVCache:
    twin = model.new_cache(max_seq=cache.max_seq)
    for layer in range(cache.n_layers):
        twin.append(layer, cache.values(layer), cache.keys(layer))
    twin.advance(cache.length)
    return twin


def _fork_other_room(model: Llama, cache: KVCache) -> KVCache:
    twin = model.new_cache()
    for layer in range(cache.n_layers):
        twin.append(layer, cache.keys(layer), cache.values(layer))
    twin.advance(cache.length)
    return twin


def _forked(answer: Callable[..., Any], model: CountingModel, ids: Ids, ends: list[Ids]) -> Any:
    first = model.new_cache(max_seq=40)
    model.forward(ids, first)
    second = answer(model, first)
    if not isinstance(second, KVCache):
        # The model would take None for "no cache", and the verdict would blame the counting.
        raise TypeError(f"expected a KVCache, got {kind_name(second)}")
    # The order of the past is no matter to attention, and is to whoever forgets the end of it.
    held = [np.array(second.keys(0)), np.array(second.values(0))]
    rows = [model.forward(end, c)[-1] for end, c in zip(ends, (first, second), strict=True)]
    # Once more on the first: a fork that shares memory has been disturbed by the second.
    rows.append(model.forward([1], first)[-1])
    return [rows, model.positions, second.max_seq, held]


def _fork_cases() -> list[Case]:
    model = CountingModel(tiny_llama(4))
    return [
        Case("endings of 2 and 3 tokens", (model, PROMPT, [[8, 4], [30, 2, 12]])),
        Case("endings of the same length", (model, OTHER, [[5], [6]])),
    ]


def _fork_cache_drawn(rng: np.random.Generator) -> list[Case]:
    ids = rng.integers(31, size=whole(rng, 4, 8)).tolist()
    ends = [rng.integers(31, size=n).tolist() for n in wholes(rng, 2, 1, 4)]
    return [Case("other ids", (CountingModel(tiny_llama(whole(rng, 20, 40))), ids, ends))]


def _fork_parts(
    model: Llama,
    cache: KVCache,
    *,
    room: int | None = None,
    values: float = 1.0,
    lost: int = 0,
) -> KVCache:
    """A copy, with each switch without something."""
    twin = model.new_cache(cache.max_seq if room is None else room)
    for layer in range(cache.n_layers):
        twin.append(layer, cache.keys(layer), cache.values(layer) * np.float32(values))
    twin.advance(cache.length)
    twin.truncate(twin.length - lost)
    return twin


def _fork_moved(model: Llama, cache: KVCache) -> KVCache:
    twin = _fork(model, cache)
    cache.truncate(0)
    return twin


FORK_CACHE = Exercise(
    name="fork_cache",
    forbids=("copy",),
    topic="generate",
    books=("llama_edu.engine.cache.KVCache.copy",),
    stars=3,
    task="Make a second cache with the same past, without running the prompt again.",
    section="Forget to count",
    cases=_fork_cases,
    harness=_forked,
    parts=(
        "the logits",
        "the positions of each pass",
        "the room in the second cache",
        "keys and values of a layer",
    ),
    drawn=_fork_cache_drawn,
    correct=(_fork, _fork_row_by_row),
    tolerance=1e-4,
    mutants=(
        Mutant("the_same_cache", _fork_same, "when both continuations write into one cache"),
        Mutant(
            "not_counted", _fork_not_counted, "when no copied position counts in the second cache"
        ),
        Mutant("first_layer", _fork_first_layer, "when every layer gets the keys of layer 0"),
        Mutant("swapped", _fork_swapped, "when keys and values change places"),
        Mutant("other_room", _fork_other_room, "when the second cache has room for another count"),
        Mutant(
            "own_room",
            lambda model, cache: _fork_parts(model, cache, room=cache.length),
            "when the second cache has room for the past alone",
        ),
        Mutant(
            "no_values",
            lambda model, cache: _fork_parts(model, cache, values=0.0),
            "when keys are copied and values are not",
        ),
        Mutant(
            "all_but_last",
            lambda model, cache: _fork_parts(model, cache, lost=1),
            "when the last position is left out",
        ),
        Mutant(
            "moved",
            lambda model, cache: _fork_moved(model, cache),
            "when the first cache is emptied",
        ),
    ),
)

EXERCISES = (DECODE_LOOP, ROTATE_IN_CALLS, REUSE_PREFIX, PREFILL_CHUNKS, FORK_CACHE)
