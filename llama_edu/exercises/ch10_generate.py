"""Exercises of chapter 10: the decode loop, reusing a prefix, forking a cache."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llama_edu.cache import KVCache
from llama_edu.exercises.exercise import Case, Exercise, Mutant
from llama_edu.exercises.tiny import CountingModel, tiny_llama
from llama_edu.generate import generate
from llama_edu.model import Llama

Ids = Sequence[int]
PROMPT = [3, 14, 15, 9, 26]
OTHER = [3, 14, 15, 8, 2, 7, 11]


# ★ decode_loop(model, token_ids, max_new_tokens) -> list of new ids


def _decode(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    fed, new_ids = list(token_ids), []
    while True:
        logits = model.forward(fed, cache, last_only=True)
        new_ids.append(int(np.argmax(logits[-1])))
        if len(new_ids) == max_new_tokens:
            return new_ids
        fed = new_ids[-1:]


def _decode_by_generate(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    return list(generate(model, token_ids, max_new_tokens=max_new_tokens, stop_ids=()))


def _decode_without_cache(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    ids = list(token_ids)
    for _ in range(max_new_tokens):
        ids.append(int(np.argmax(model.forward(ids)[-1])))
    return ids[len(token_ids) :]


def _decode_feeding_the_last(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    logits = model.forward(token_ids, cache)
    new_ids = []
    for _ in range(max_new_tokens):
        new_ids.append(int(np.argmax(logits[-1])))
        logits = model.forward(new_ids[-1:], cache)
    return new_ids


def _decode_total_length(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    return _decode(model, token_ids, max(1, max_new_tokens - len(token_ids)))


def _decode_first_row(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    fed, new_ids = list(token_ids), []
    for _ in range(max_new_tokens):
        logits = model.forward(fed, cache)
        new_ids.append(int(np.argmax(logits[0])))
        fed = new_ids[-1:]
    return new_ids


def _decode_prompt_twice(model: Llama, token_ids: Ids, max_new_tokens: int) -> list[int]:
    cache = model.new_cache()
    model.forward(token_ids, cache)
    fed, new_ids = list(token_ids)[-1:], []
    for _ in range(max_new_tokens):
        logits = model.forward(fed, cache)
        new_ids.append(int(np.argmax(logits[-1])))
        fed = new_ids[-1:]
    return new_ids


def _counted_decode(
    answer: Callable[..., Any], model: CountingModel, token_ids: Ids, n: int
) -> Any:
    return [answer(model, token_ids, n), model.positions]


def _decode_cases() -> list[Case]:
    return [
        Case("a prompt of 5, 9 new tokens", (CountingModel(tiny_llama()), PROMPT, 9)),
        Case("a prompt of 1, 4 new tokens", (CountingModel(tiny_llama(1)), [7], 4)),
        Case("a prompt of 7, 1 new token", (CountingModel(tiny_llama(2)), OTHER, 1)),
    ]


DECODE_LOOP = Exercise(
    name="decode_loop",
    chapter=10,
    stars=1,
    task="Write greedy generation with a cache: every token goes through the model once.",
    section="Chapter 10, By hand",
    cases=_decode_cases,
    harness=_counted_decode,
    correct=(_decode, _decode_by_generate),
    mutants=(
        Mutant("no_cache", _decode_without_cache, "when the whole text is read for every token"),
        Mutant(
            "feeds_the_last",
            _decode_feeding_the_last,
            "when the last token is fed too: nobody asks what follows it",
        ),
        Mutant(
            "total_length",
            _decode_total_length,
            "when max_new_tokens is taken for the length of prompt and new tokens together",
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
            "https://github.com/skyzh/tiny-llm/pull/46",
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


REUSE_PREFIX = Exercise(
    name="reuse_prefix",
    chapter=10,
    stars=2,
    task="Compute only what two prompts do not share, and leave the cache holding the new one.",
    section="Chapter 10, On the real model",
    cases=_reuse_cases,
    harness=_reused,
    correct=(_reuse, _reuse_loop),
    tolerance=1e-4,
    mutants=(
        Mutant(
            "nothing_left_to_run",
            _reuse_all,
            "when the whole new prompt may come from the cache: no token is left to give logits",
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


def _forked(answer: Callable[..., Any], model: CountingModel, ids: Ids, ends: list[Ids]) -> Any:
    first = model.new_cache()
    model.forward(ids, first)
    second = answer(model, first)
    rows = [model.forward(end, c)[-1] for end, c in zip(ends, (first, second), strict=True)]
    # Once more on the first: a fork that shares memory has been disturbed by the second.
    rows.append(model.forward([1], first)[-1])
    return [rows, model.positions]


def _fork_cases() -> list[Case]:
    model = CountingModel(tiny_llama(4))
    return [
        Case("endings of 2 and 3 tokens", (model, PROMPT, [[8, 4], [30, 2, 12]])),
        Case("endings of the same length", (model, OTHER, [[5], [6]])),
    ]


FORK_CACHE = Exercise(
    name="fork_cache",
    chapter=10,
    stars=3,
    task="Make a second cache with the same past, without running the prompt again.",
    section="Chapter 10, On the real model",
    cases=_fork_cases,
    harness=_forked,
    correct=(_fork, _fork_row_by_row),
    tolerance=1e-4,
    mutants=(
        Mutant("the_same_cache", _fork_same, "when both continuations write into one cache"),
        Mutant("not_counted", _fork_not_counted, "when the copied positions are never counted"),
        Mutant("first_layer", _fork_first_layer, "when every layer gets the keys of layer 0"),
        Mutant("swapped", _fork_swapped, "when keys and values change places"),
    ),
)

EXERCISES = (DECODE_LOOP, REUSE_PREFIX, FORK_CACHE)
