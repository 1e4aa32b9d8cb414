"""Hints for the exercises on generation, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "decode_loop": Guide(
        20,
        ESSENTIAL,
        question="The prefill already gives a row of scores. How many new tokens do you have "
        "before the loop has fed a single one?",
        idea="One, from the last row of the prefill. So two calls of `model.forward` are enough: "
        "one with the whole prompt, and one with a single token, in a loop. Look at the id you "
        "have just chosen *before* it is fed: if it is in `model.config.eos_token_ids`, or the "
        "limit is reached, you are done.",
        code="""
            def decode_loop_mine(model, token_ids, max_new_tokens):
                cache = model.new_cache()
                fed, new_ids = list(token_ids), []
                while True:
                    logits = model.forward(fed, cache, last_only=True)
                    new_ids.append(int(np.argmax(logits[-1])))
                    ended = new_ids[-1] in ...
                    if ended or len(new_ids) == ...:
                        return new_ids
                    fed = ...
            """,
    ),
    "rotate_in_calls": Guide(
        15,
        ESSENTIAL,
        question="`rope_cos_sin(inv_freq, past, seq)` gives the positions `past` to `past + seq "
        "- 1`. Which number does the broken version give it as `past`, in each call?",
        idea="The past of a call is all rows that came before it, so it grows by `seq` with "
        "every call. It is neither one for each call nor the length of the prompt for ever.",
        code="""
            def rotate_in_calls_mine(x, inv_freq, sizes):
                rotated, past = [], 0
                for seq in sizes:
                    cos, sin = rope_cos_sin(inv_freq, ..., seq)
                    rows = x[:, past : past + seq]
                    rotated.append(apply_rope(rows, cos, sin))
                    past += ...
                return np.concatenate(rotated, axis=1)
            """,
    ),
    "reuse_prefix": Guide(
        20,
        USEFUL,
        question="What if the new prompt is the beginning of the old one? And what if it is the "
        "other way round?",
        idea="Count how many ids the two share from the start. The cache remembers keys and "
        "values, not logits, so at least one token has to go through the model to get some: "
        "never reuse *all* of the new prompt. Cut the cache to what is shared, and feed the rest.",
        code="""
            def reuse_prefix_mine(model, cache, old_ids, new_ids):
                shared = 0
                limit = min(len(old_ids), ...)
                while shared < limit and old_ids[shared] == new_ids[shared]:
                    shared += 1
                cache.truncate(...)
                return model.forward(new_ids[...], cache)[-1]
            """,
    ),
    "prefill_chunks": Guide(
        25,
        USEFUL,
        question="`model.forward` refuses a chunk that does not fit. By then, what have the "
        "chunks before it left in the cache?",
        idea="Ask once for the whole prompt, before anything runs: `model.check_room(seq, "
        "cache)` raises the `ContextError` without any work. After that, `range(0, "
        "len(token_ids), chunk)` gives the beginning of each chunk; a slice may reach past the "
        "end.",
        code="""
            def prefill_chunks_mine(model, cache, token_ids, chunk):
                model.check_room(..., cache)
                for start in range(0, len(token_ids), chunk):
                    fed = token_ids[...]
                    logits = model.forward(fed, cache, last_only=True)
                return logits[-1]
            """,
    ),
    "fork_cache": Guide(
        20,
        EXTRA,
        question="What does a cache hold for each layer, and what says how many positions count?",
        idea="`cache.keys(layer)` and `cache.values(layer)` are views of the past, and `append` "
        "on a new cache copies what it is given. When all layers are there, the positions have "
        "to be made to count: `advance`. The new cache should have as much room as the old one.",
        code="""
            def fork_cache_mine(model, cache):
                twin = model.new_cache(max_seq=...)
                for layer in range(cache.n_layers):
                    twin.append(layer, ..., ...)
                twin.advance(...)
                return twin
            """,
    ),
}
