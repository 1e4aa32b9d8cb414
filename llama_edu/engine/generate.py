"""Generate token ids: prefill the prompt, then decode one token at a time.

Prefill runs the whole prompt through the model in a few wide steps and fills the cache. Decode
feeds back one token per step and reads the past from the cache. Turning ids into text, and
keeping a conversation, live above.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Integer

from llama_edu.engine.cache import KVCache
from llama_edu.engine.choose import Seed, TokenChooser, Vocabulary
from llama_edu.engine.guess import Guesser, Pace
from llama_edu.engine.llama import Llama
from llama_edu.engine.sampling import GREEDY, Sampling
from llama_edu.errors import ContextError, InputError
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["Prompt", "check_guesser", "decode", "decode_guessed", "generate", "prefill"]

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


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt that was checked: its ids, how many of them go into a step, and all that is known.

    `known` are the ids that penalties and a guesser look at: `ids`, and before them those of the
    past, if there is one and it was told.
    """

    ids: Integer[np.ndarray, " seq"]
    chunk: int
    known: Sequence[int]


def generate(  # noqa: PLR0913, options by keyword
    model: Llama,
    token_ids: Sequence[int] | Integer[np.ndarray, " seq"],
    *,
    max_new_tokens: int,
    tokenizer: Tokenizer | None = None,
    sampling: Sampling = GREEDY,
    seed: Seed = None,
    cache: KVCache | None = None,
    stop_ids: Iterable[int] | None = None,
    past_ids: Sequence[int] | Integer[np.ndarray, " past"] = (),
    chunk: int = PREFILL_CHUNK,
    guesser: Guesser | None = None,
) -> Iterator[int]:
    """Yield up to `max_new_tokens` ids, each as soon as it is chosen.

    Ends after any of `stop_ids`, by default the eos ids of the model's config and of the
    tokenizer; the id that ends it is yielded too. With a tokenizer given, ids that have no token
    are never chosen; without one, nobody knows which those are. With a cache given, `token_ids`
    continue what it holds, and afterwards it holds every token that was fed: the prompt and all
    yielded ids but the last. `past_ids` are what it was computed from, for those who look at the
    whole text: penalties, and a guesser. Without them they know of `token_ids` alone.

    With a `guesser` several tokens may come of one pass: those that it guessed right, and one more.
    Greedy text stays the same up to rounding, and sampled text has the same distribution, though
    not the same tokens for a seed. The cache counts no guess before its token is yielded, so the
    iterator may be closed at any of them; until then only to read from the cache is safe.

    Everything is checked at the call, before the first step: `InputError` for bad ids, a count or
    a chunk below 1, `past_ids` that are not one for each position of the cache, the cache of
    another model and a draft model of another vocabulary, `ContextError` if prompt and new tokens
    do not fit. `NumericsError` may come later, if the logits break.
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
    if len(past_ids) not in (0, cache.length):
        raise InputError(
            f"expected past_ids for the {cache.length} positions of the cache, got {len(past_ids)}"
        )
    known = [*(model.checked_ids(past_ids).tolist() if len(past_ids) else ()), *ids.tolist()]
    vocabulary = Vocabulary.of(model.config, tokenizer, stop_ids)
    chooser = TokenChooser(vocabulary, sampling, seed, known)
    prompt = Prompt(ids, chunk, known)
    if guesser is not None:
        check_guesser(guesser, model)
        return decode_guessed(model, prompt, cache, chooser, max_new_tokens, guesser)
    return decode(model, prompt, cache, chooser, max_new_tokens)


def decode(
    model: Llama, prompt: Prompt, cache: KVCache, chooser: TokenChooser, max_new_tokens: int
) -> Iterator[int]:
    """The loop of `generate`, for arguments it has checked: prefill, then a token at a time."""
    # Room for all that is likely to come, so that the cache is not moved while tokens are made.
    cache.reserve(len(prompt.ids) + min(max_new_tokens, ROOM))
    logits = prefill(model, prompt.ids, cache, chunk=prompt.chunk)
    for remaining in reversed(range(max_new_tokens)):
        token_id = chooser.choose(logits[-1])
        yield token_id
        if chooser.ends(token_id) or not remaining:
            return
        logits = model.forward([token_id], cache)


def decode_guessed(
    model: Llama,
    prompt: Prompt,
    cache: KVCache,
    chooser: TokenChooser,
    max_new_tokens: int,
    guesser: Guesser,
) -> Iterator[int]:
    """`decode` with guesses: the newest token and guesses after it go through the model together.

    Row i of the logits says what follows the first i guesses, and holds as long as those were
    right. At the first that was not, the rows behind it leave the cache.
    """
    cache.reserve(len(prompt.ids) + min(max_new_tokens, ROOM))
    guessing = guesser.begin(prompt.known, chooser.sampling, chooser.rng)
    pace, tally = Pace(guesser.most), guesser.tally
    token_id = chooser.choose(prefill(model, prompt.ids, cache, chunk=prompt.chunk)[-1])
    guessing.add(token_id)
    remaining = max_new_tokens - 1
    while True:
        yield token_id
        if chooser.ends(token_id) or not remaining:
            return
        guesses = guessing.guesses(min(pace.next(), remaining - 1))
        past = cache.length
        try:
            rows = model.forward([token_id, *(guess.token_id for guess in guesses)], cache)
        finally:  # also if Ctrl-C comes as soon as they count
            cache.truncate(min(past + 1, cache.length))
        for row, guess in zip(rows, [*guesses, None], strict=True):
            token_id = chooser.choose(row, guess)
            guessing.add(token_id)
            remaining -= 1
            if guess is None or token_id != guess.token_id or chooser.ends(token_id):
                break
            yield token_id
            cache.advance(1)  # its row is there already
        kept = cache.length - past - 1
        tally.passes, tally.guessed = tally.passes + 1, tally.guessed + len(guesses)
        tally.kept += kept
        if guesses:
            pace.heard(len(guesses), kept)


def check_guesser(guesser: Guesser, model: Llama) -> None:
    """Raise `InputError` if what is guessed are the ids of another vocabulary than the model's."""
    if guesser.vocab_size not in (None, model.config.vocab_size):
        raise InputError(
            f"expected guesses from the model's vocabulary of {model.config.vocab_size}, "
            f"got a draft model with one of {guesser.vocab_size}"
        )


def _check_chunk(chunk: int) -> None:
    if chunk < 1:
        raise InputError(f"expected a chunk of at least 1 token, got {chunk}")
