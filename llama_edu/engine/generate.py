"""Generate token ids: prefill the prompt, then decode one token at a time.

Prefill runs the whole prompt through the model in a few wide steps and fills the cache. Decode
feeds back one token per step and reads the past from the cache. Turning ids into text, and
keeping a conversation, live above.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Integer

from llama_edu.engine.cache import KVCache
from llama_edu.engine.choose import Seed, TokenChooser, Vocabulary
from llama_edu.engine.llama import Llama
from llama_edu.engine.sampling import GREEDY, Sampling
from llama_edu.errors import ContextError, InputError
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["decode", "generate", "prefill"]

PREFILL_CHUNK = 512  # tokens per step; bounds the score matrices of a long prompt
ROOM = 512  # new tokens that the cache has room for from the start


def prefill(
    model: Llama,
    token_ids: Sequence[int] | Integer[np.ndarray, " seq"],
    cache: KVCache,
    *,
    chunk: int = PREFILL_CHUNK,
) -> Float32[np.ndarray, "1 vocab_size"]:
    """Run `token_ids` into the cache, at most `chunk` at a time; logits after the last one.

    Any chunk gives the same logits up to rounding. Raises as `Llama.forward` does, before any
    work, so that a prompt that does not fit leaves the cache as it was.
    """
    _check_chunk(chunk)
    ids = model.checked_ids(token_ids)
    model.check_room(len(ids), cache)
    for start in range(0, len(ids), chunk):
        logits = model.forward(ids[start : start + chunk], cache, last_only=True)
    return logits


def generate(
    model: Llama,
    token_ids: Sequence[int] | Integer[np.ndarray, " seq"],
    *,
    max_new_tokens: int,
    tokenizer: Tokenizer | None = None,
    sampling: Sampling = GREEDY,
    seed: Seed = None,
    cache: KVCache | None = None,
    stop_ids: Iterable[int] | None = None,
    chunk: int = PREFILL_CHUNK,
) -> Iterator[int]:
    """Yield up to `max_new_tokens` ids, each as soon as it is chosen.

    Ends after any of `stop_ids`, by default the eos ids of the model's config and of the
    tokenizer; the id that ends it is yielded too. With a tokenizer given, ids that have no token
    are never chosen; without one, nobody knows which those are. With a cache given, `token_ids`
    continue what it holds, and afterwards it holds every token that was fed: the prompt and all
    yielded ids but the last.

    Everything is checked at the call, before the first step: `InputError` for bad ids, a count or
    a chunk below 1 and the cache of another model, `ContextError` if prompt and new tokens do not
    fit. `NumericsError` may come later, if the logits break.
    """
    if max_new_tokens < 1:
        raise InputError(f"expected max_new_tokens of at least 1, got {max_new_tokens}")
    _check_chunk(chunk)
    ids = model.checked_ids(token_ids)
    cache = model.new_cache() if cache is None else cache
    if cache.length + len(ids) + max_new_tokens > cache.max_seq:
        raise ContextError(
            f"expected at most {cache.max_seq} positions in all, got {cache.length} past "
            f"+ {len(ids)} prompt + {max_new_tokens} new"
        )
    model.check_room(len(ids), cache)
    vocabulary = Vocabulary.of(model.config, tokenizer, stop_ids)
    chooser = TokenChooser(vocabulary, sampling, seed)
    return decode(model, ids, cache, chooser, max_new_tokens, chunk)


def decode(
    model: Llama,
    ids: Integer[np.ndarray, " seq"],
    cache: KVCache,
    chooser: TokenChooser,
    max_new_tokens: int,
    chunk: int = PREFILL_CHUNK,
) -> Iterator[int]:
    """The loop of `generate`, for arguments it has checked: prefill, then a token at a time."""
    # Room for all that is likely to come, so that the cache is not moved while tokens are made.
    cache.reserve(len(ids) + min(max_new_tokens, ROOM))
    logits = prefill(model, ids, cache, chunk=chunk)
    for remaining in reversed(range(max_new_tokens)):
        token_id = chooser.choose(logits[-1])
        yield token_id
        if chooser.ends(token_id) or not remaining:
            return
        logits = model.forward([token_id], cache)


def _check_chunk(chunk: int) -> None:
    if chunk < 1:
        raise InputError(f"expected a chunk of at least 1 token, got {chunk}")
