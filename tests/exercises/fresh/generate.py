"""Generation and the cache."""

import numpy as np
from fresh_answers import right, wrong

from llama_edu.engine.cache import KVCache
from llama_edu.errors import ContextError
from llama_edu.ops.rope import apply_rope, rope_cos_sin

DL, RC, RP, PC, FC = (
    "decode_loop",
    "rotate_in_calls",
    "reuse_prefix",
    "prefill_chunks",
    "fork_cache",
)


def decode(
    model,
    token_ids,
    count,
    *,
    eos=True,
    one_eos=False,
    first_eos=True,
    keep_eos=True,
    cached=True,
    extra=0,
    pick=np.argmax,
    with_prompt=False,
    last_fed=False,
):
    cache = model.new_cache() if cached else None
    ends = set(model.config.eos_token_ids)
    ends = {min(ends)} if one_eos and ends else ends
    new, fed = [], list(token_ids)
    for step in range(count + extra):
        logits = model.forward(fed, cache)
        token = int(pick(logits[-1]))
        is_end = eos and token in ends and (first_eos or step > 0)
        if is_end and not keep_eos:
            break
        new.append(token)
        if is_end:
            break
        fed = [token] if cached else [*token_ids, *new]
    if last_fed and cached and new:
        model.forward(new[-1:], cache)
    return [*token_ids, *new] if with_prompt else new


def decode_by_tokens(model, token_ids, count):
    cache = model.new_cache()
    for token in token_ids:
        logits = model.forward([token], cache)
    out = []
    while len(out) < count:
        out.append(int(logits[-1].argmax()))
        if out[-1] in model.config.eos_token_ids:
            break
        if len(out) < count:
            logits = model.forward([out[-1]], cache)
    return out


def decode_prompt_again(model, token_ids, count):
    cache, new = model.new_cache(), []
    fed = list(token_ids)
    while len(new) < count:
        new.append(int(model.forward(fed, cache)[-1].argmax()))
        if new[-1] in model.config.eos_token_ids:
            break
        fed = [*token_ids, *new]
    return new


def decode_first_row(model, token_ids, count):
    cache, new, fed = model.new_cache(), [], list(token_ids)
    while len(new) < count:
        new.append(int(model.forward(fed, cache)[0].argmax()))
        if new[-1] in model.config.eos_token_ids:
            break
        fed = new[-1:]
    return new


def decode_then_damage(model, token_ids, count):
    new = decode(model, token_ids, count)
    model.weights.lm_head[...] = 0
    return new


def calls(x, inv_freq, sizes, *, step="past"):
    out, past = [], 0
    for number, seq in enumerate(sizes):
        rows = x[:, past : past + seq]
        start = {
            "past": past,
            "zero": 0,
            "number": number,
            "twice": 2 * past,
            "one": past + 1,
            "off": max(past - 1, 0),
        }[step]
        out.append(apply_rope(rows, *rope_cos_sin(inv_freq, start, seq)))
        past += seq
    return np.concatenate(out, axis=1)


def all_in_one(x, inv_freq, sizes):
    return apply_rope(x, *rope_cos_sin(inv_freq, 0, sum(sizes)))


def calls_cumsum(x, inv_freq, sizes):
    ends = np.cumsum(sizes)
    cos, sin = rope_cos_sin(inv_freq, 0, int(ends[-1]))
    pieces = [
        apply_rope(x[:, e - n : e], cos[e - n : e], sin[e - n : e])
        for e, n in zip(ends.tolist(), sizes, strict=True)
    ]
    return np.concatenate(pieces, axis=1)


def calls_same_rows(x, inv_freq, sizes):
    out, past = [], 0
    for seq in sizes:
        out.append(apply_rope(x[:, :seq], *rope_cos_sin(inv_freq, past, seq)))
        past += seq
    return np.concatenate(out, axis=1)


def calls_first_size(x, inv_freq, sizes):
    out, past = [], 0
    for number, seq in enumerate(sizes):
        rows = x[:, past : past + seq]
        out.append(apply_rope(rows, *rope_cos_sin(inv_freq, number * sizes[0], seq)))
        past += seq
    return np.concatenate(out, axis=1)


def shared_length(old, new, most=None):
    n = 0
    while n < min(len(old), len(new)) and old[n] == new[n]:
        n += 1
    return n if most is None else min(n, most)


def reuse(model, cache, old_ids, new_ids):
    keep = shared_length(old_ids, new_ids, len(new_ids) - 1)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_with_zip(model, cache, old_ids, new_ids):
    keep = 0
    for one, other in zip(
        old_ids[:-1] if list(old_ids) == list(new_ids) else old_ids, new_ids[:-1], strict=False
    ):
        if one != other:
            break
        keep += 1
    cache.truncate(min(keep, cache.length))
    return model.forward(list(new_ids)[keep:], cache, last_only=True)[0]


def reuse_nothing(model, cache, old_ids, new_ids):
    cache.truncate(0)
    return model.forward(new_ids, cache)[-1]


def reuse_not_truncated(model, cache, old_ids, new_ids):
    keep = shared_length(old_ids, new_ids, len(new_ids) - 1)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_sets(model, cache, old_ids, new_ids):
    keep = min(len(set(old_ids) & set(new_ids)), len(new_ids) - 1, cache.length)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_all_positions(model, cache, old_ids, new_ids):
    keep = sum(a == b for a, b in zip(old_ids, new_ids, strict=False))
    keep = min(keep, len(new_ids) - 1)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_new_cache(model, cache, old_ids, new_ids):
    return model.forward(new_ids, model.new_cache())[-1]


def reuse_one_less(model, cache, old_ids, new_ids):
    keep = max(shared_length(old_ids, new_ids, len(new_ids) - 1) - 1, 0)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_crash(model, cache, old_ids, new_ids):
    keep = shared_length(old_ids, new_ids)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_rows(model, cache, old_ids, new_ids):
    keep = shared_length(old_ids, new_ids, len(new_ids) - 1)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)


def reuse_first_row(model, cache, old_ids, new_ids):
    return reuse_rows(model, cache, old_ids, new_ids)[0]


def reuse_by_lengths(model, cache, old_ids, new_ids):
    keep = min(len(old_ids), len(new_ids) - 1)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def reuse_whole_or_nothing(model, cache, old_ids, new_ids):
    keep = len(old_ids) if list(new_ids[: len(old_ids)]) == list(old_ids) else 0
    keep = min(keep, len(new_ids) - 1)
    cache.truncate(keep)
    return model.forward(new_ids[keep:], cache)[-1]


def chunks(
    model, cache, token_ids, chunk, *, check=True, rows=False, skip_rest=False, size=0, limit=None
):
    room = (cache.max_seq - cache.length) if limit is None else limit(model, cache)
    if check and len(token_ids) > room:
        raise ContextError("too long")
    logits = None
    step = chunk + size
    stop = len(token_ids) // step * step if skip_rest and len(token_ids) >= step else len(token_ids)
    for i in range(0, stop, step):
        logits = model.forward(token_ids[i : i + step], cache, last_only=not rows)
    return logits if rows else logits[-1]


def chunks_short_first(model, cache, token_ids, chunk):
    cache.check_room(len(token_ids))
    first = len(token_ids) % chunk or chunk
    pieces = [token_ids[:first]]
    pieces += [token_ids[i : i + chunk] for i in range(first, len(token_ids), chunk)]
    for piece in pieces:
        logits = model.forward(piece, cache)
    return logits[-1]


def chunks_while(model, cache, token_ids, chunk):
    if cache.length + len(token_ids) > cache.max_seq:
        raise ContextError(f"expected room for {len(token_ids)}")
    rest = list(token_ids)
    while rest:
        logits = model.forward(rest[:chunk], cache, last_only=True)[0]
        rest = rest[chunk:]
    return logits


def chunks_cut(model, cache, token_ids, chunk):
    fits = token_ids[: cache.max_seq - cache.length]
    return chunks(model, cache, fits, chunk)


def chunks_cut_left(model, cache, token_ids, chunk):
    room = cache.max_seq - cache.length
    return chunks(model, cache, token_ids[-room:], chunk)


def chunks_value_error(model, cache, token_ids, chunk):
    if len(token_ids) > cache.max_seq - cache.length:
        raise ValueError("too long")
    return chunks(model, cache, token_ids, chunk)


def chunks_rolled_back(model, cache, token_ids, chunk):
    before = cache.length
    try:
        return chunks(model, cache, token_ids, chunk, check=False)
    except ContextError:
        cache.truncate(before)
        raise


def chunks_each_new(model, cache, token_ids, chunk):
    cache.check_room(len(token_ids))
    for i in range(0, len(token_ids), chunk):
        logits = model.forward(token_ids[i : i + chunk])
    return logits[-1]


def chunks_none(model, cache, token_ids, chunk):
    try:
        return chunks(model, cache, token_ids, chunk)
    except ContextError:
        return None


def fork(
    model, cache, *, share=False, advance=True, room=None, layers=None, values=True, swap=False
):
    new = model.new_cache(cache.max_seq if room is None else room(cache))
    for layer in range(cache.n_layers if layers is None else layers):
        k, v = cache.keys(layer), cache.values(layer)
        v = v if values else np.zeros_like(v)
        new.append(layer, *((v, k) if swap else (k, v)))
    if advance:
        new.advance(cache.length)
    return new


def fork_constructed(model, cache):
    new = KVCache(cache.n_layers, cache.n_kv_heads, cache.head_dim, cache.max_seq, cache.dtype)
    for layer in range(cache.n_layers):
        new.append(layer, cache.keys(layer).copy(), cache.values(layer).copy())
    new.advance(cache.length)
    return new


def fork_rows(model, cache):
    new = model.new_cache(cache.max_seq)
    new.extend(*cache.rows(0, cache.length))
    return new


def fork_advance_inside(model, cache):
    new = model.new_cache(cache.max_seq)
    for layer in range(cache.n_layers):
        new.append(layer, cache.keys(layer), cache.values(layer))
        new.advance(cache.length)
    return new


def fork_shared(model, cache):
    new = model.new_cache(cache.max_seq)
    new.__dict__.update(cache.__dict__)
    return new


def fork_moved(model, cache):
    new = fork(model, cache)
    cache.truncate(0)
    return new


def fork_but_last(model, cache):
    new = fork(model, cache)
    new.truncate(max(cache.length - 1, 0))
    return new


def fork_reversed(model, cache):
    new = model.new_cache(cache.max_seq)
    for layer in range(cache.n_layers):
        new.append(layer, cache.keys(layer)[:, ::-1], cache.values(layer)[:, ::-1])
    new.advance(cache.length)
    return new


def fork_layer_0(model, cache):
    new = model.new_cache(cache.max_seq)
    for layer in range(cache.n_layers):
        new.append(layer, cache.keys(0), cache.values(0))
    new.advance(cache.length)
    return new


ANSWERS = (
    right(DL, "with a cache", decode),
    right(DL, "token by token", decode_by_tokens),
    wrong(DL, "no cache", lambda m, t, n: decode(m, t, n, cached=False), "no_cache"),
    wrong(DL, "never ends", lambda m, t, n: decode(m, t, n, eos=False), "never_stops"),
    wrong(DL, "one end token", lambda m, t, n: decode(m, t, n, one_eos=True), "one_end"),
    wrong(
        DL,
        "first token not tested",
        lambda m, t, n: decode(m, t, n, first_eos=False),
        "first_untested",
    ),
    wrong(DL, "end left out", lambda m, t, n: decode(m, t, n, keep_eos=False), "end_left_out"),
    wrong(DL, "one too many", lambda m, t, n: decode(m, t, n, extra=1), "one_more"),
    wrong(DL, "one too few", lambda m, t, n: decode(m, t, n, extra=-1), "one_fewer"),
    wrong(DL, "with the prompt", lambda m, t, n: decode(m, t, n, with_prompt=True), "with_prompt"),
    wrong(DL, "least likely", lambda m, t, n: decode(m, t, n, pick=np.argmin), "least_likely"),
    wrong(DL, "last one fed", lambda m, t, n: decode(m, t, n, last_fed=True), "feeds_the_last"),
    wrong(DL, "prompt fed again", decode_prompt_again),
    wrong(DL, "first row", decode_first_row, "first_row"),
    wrong(DL, "weights damaged", decode_then_damage),
    wrong(DL, "nothing", lambda m, t, n: None),
    right(RC, "past counted", calls),
    right(RC, "cumsum", calls_cumsum),
    right(RC, "all in one", all_in_one),
    wrong(RC, "starts again", lambda x, f, s: calls(x, f, s, step="zero"), "restarts"),
    wrong(RC, "number of the call", lambda x, f, s: calls(x, f, s, step="number"), "by_calls"),
    wrong(RC, "past counted twice", lambda x, f, s: calls(x, f, s, step="twice"), "past_twice"),
    wrong(RC, "from one", lambda x, f, s: calls(x, f, s, step="one"), "from_one"),
    wrong(RC, "one back", lambda x, f, s: calls(x, f, s, step="off"), "one_back"),
    wrong(RC, "first rows always", calls_same_rows),
    wrong(RC, "first size always", calls_first_size, "first_size"),
    wrong(
        RC,
        "backwards",
        lambda x, f, s: apply_rope(
            x, rope_cos_sin(f, 0, sum(s))[0], -rope_cos_sin(f, 0, sum(s))[1]
        ),
        "backwards",
    ),
    wrong(RC, "not turned", lambda x, f, s: x.copy()),
    wrong(
        RC,
        "sin and cos exchanged",
        lambda x, f, s: apply_rope(x, *rope_cos_sin(f, 0, sum(s))[::-1]),
        "exchanged",
    ),
    wrong(RC, "a list", lambda x, f, s: list(calls(x, f, s))),
    wrong(RC, "last call only", lambda x, f, s: calls(x, f, s)[:, -s[-1] :], "last_call"),
    right(RP, "shared prefix", reuse),
    right(RP, "zip", reuse_with_zip),
    wrong(RP, "nothing reused", reuse_nothing, "reuses_nothing"),
    wrong(RP, "not truncated", reuse_not_truncated, "stale_rows"),
    wrong(RP, "sets", reuse_sets, "counts_equal_tokens"),
    wrong(RP, "equal anywhere", reuse_all_positions, "counts_equal_tokens"),
    wrong(RP, "a new cache", reuse_new_cache, "new_cache"),
    wrong(RP, "one less", reuse_one_less, "one_less"),
    wrong(RP, "nothing left to run", reuse_crash),
    wrong(RP, "all rows", reuse_rows, "all_rows"),
    wrong(RP, "first row", reuse_first_row, "first_row"),
    wrong(RP, "by lengths", reuse_by_lengths, "by_length"),
    wrong(RP, "whole or nothing", reuse_whole_or_nothing, "reuses_nothing"),
    right(PC, "range", chunks),
    right(PC, "while", chunks_while),
    right(PC, "short piece first", chunks_short_first),
    wrong(PC, "no check", lambda m, c, t, n: chunks(m, c, t, n, check=False), "half_done"),
    wrong(PC, "all at once", lambda m, c, t, n: m.forward(t, c)[-1], "all_at_once"),
    wrong(PC, "rest left out", lambda m, c, t, n: chunks(m, c, t, n, skip_rest=True)),
    wrong(PC, "all rows", lambda m, c, t, n: chunks(m, c, t, n, rows=True)),
    wrong(PC, "chunk plus one", lambda m, c, t, n: chunks(m, c, t, n, size=1), "chunk_and_one"),
    wrong(
        PC,
        "past not counted",
        lambda m, c, t, n: chunks(m, c, t, n, limit=lambda m, c: c.max_seq),
        "past_not_counted",
    ),
    wrong(
        PC,
        "one too strict",
        lambda m, c, t, n: chunks(m, c, t, n, limit=lambda m, c: c.max_seq - c.length - 1),
        "too_strict",
    ),
    wrong(PC, "cut", chunks_cut, "cut_at_end"),
    wrong(PC, "cut at the left", chunks_cut_left, "cut_off"),
    wrong(PC, "ValueError", chunks_value_error, "another_error"),
    wrong(PC, "rolled back", chunks_rolled_back, "rolled_back"),
    wrong(PC, "without the cache", chunks_each_new, "no_cache"),
    wrong(PC, "None for too long", chunks_none),
    right(FC, "append", fork),
    right(FC, "constructed", fork_constructed),
    right(FC, "rows", fork_rows),
    wrong(FC, "the same", lambda m, c: c, "the_same_cache"),
    wrong(FC, "shared arrays", fork_shared),
    wrong(FC, "not advanced", lambda m, c: fork(m, c, advance=False), "not_counted"),
    wrong(FC, "advanced in the loop", fork_advance_inside),
    wrong(FC, "room of the past", lambda m, c: fork(m, c, room=lambda c: c.length), "own_room"),
    wrong(FC, "room of the model", lambda m, c: fork(m, c, room=lambda c: None), "other_room"),
    wrong(FC, "first layer only", lambda m, c: fork(m, c, layers=1)),
    wrong(FC, "keys only", lambda m, c: fork(m, c, values=False), "no_values"),
    wrong(FC, "keys and values exchanged", lambda m, c: fork(m, c, swap=True), "swapped"),
    wrong(FC, "empty", lambda m, c: m.new_cache(c.max_seq), "not_counted"),
    wrong(FC, "moved", fork_moved, "moved"),
    wrong(FC, "all but the last", fork_but_last, "all_but_last"),
    wrong(FC, "reversed", fork_reversed),
    wrong(FC, "layer 0 everywhere", fork_layer_0, "first_layer"),
    wrong(FC, "nothing", lambda m, c: None),
)
