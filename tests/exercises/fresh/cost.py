"""What it costs."""

import numpy as np
from fresh_answers import right, wrong

CN, SF, LL, TS = "cache_nbytes", "score_flops", "last_logits", "tokens_per_s"


def nbytes(layers, kv, d, positions, itemsize):
    return 2 * layers * kv * d * positions * itemsize


def nbytes_loop(layers, kv, d, positions, itemsize):
    per_layer = sum(kv * d * itemsize for _ in ("keys", "values"))
    return layers * positions * per_layer


def flops(seq, total, kv, groups, d):
    return 2 * kv * groups * seq * total * d


def flops_per_row(seq, total, kv, groups, d):
    per_row = total * (d + d)
    return seq * kv * groups * per_row


def logits_one_by_one(model, token_ids):
    cache = model.new_cache()
    for token in token_ids:
        logits = model.forward([token], cache)
    return logits


def logits_prefill(model, token_ids):
    cache = model.new_cache()
    if len(token_ids) > 1:
        model.forward(token_ids[:-1], cache)
    return model.forward(token_ids[-1:], cache)


def logits_numpy(model, token_ids):
    ids = np.array(token_ids)
    return model.forward(ids, model.new_cache(), last_only=True)[-1][None]


def speed(
    c,
    past,
    itemsize,
    bw,
    fl,
    *,
    cache=True,
    both=False,
    new=True,
    head=True,
    embed=False,
    mac=2,
    groups=True,
    kv=True,
    gate=3,
    flops_too=True,
    worst=max,
    o=True,
    byte=1,
):
    n, kvh, d, h = c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.hidden_size
    kvh = kvh if kv else n
    matrices = h * n * d * (2 if o else 1) + 2 * h * kvh * d + gate * h * c.intermediate_size
    weights = c.num_hidden_layers * matrices + (c.vocab_size * h if head else 0)
    weights += c.vocab_size * h if embed else 0
    cached = 2 * c.num_hidden_layers * kvh * d * (past + (1 if new else 0)) if cache else 0
    reading = (weights + cached) * itemsize * byte / bw
    computing = mac * (weights + (n // kvh if groups else 1) * cached) / fl
    if not flops_too:
        return 1 / reading
    return 1 / (reading + computing) if both else 1 / worst(reading, computing)


def speed_steps(c, past, itemsize, bw, fl):
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    per_layer = c.hidden_size * (q + kv + kv + q + 3 * c.intermediate_size)
    params = c.num_hidden_layers * per_layer + c.hidden_size * c.vocab_size
    total = past + 1
    nbytes_ = itemsize * (params + 2 * c.num_hidden_layers * kv * total)
    ops = 2 * params + c.num_hidden_layers * 4 * q * total
    return min(bw / nbytes_, fl / ops)


ANSWERS = (
    right(CN, "product", nbytes),
    right(CN, "per position", nbytes_loop),
    wrong(CN, "keys only", lambda *a: nbytes(*a) // 2, "keys_only"),
    wrong(CN, "one layer", lambda n, k, d, p, i: nbytes(1, k, d, p, i), "one_layer"),
    wrong(CN, "four bytes", lambda n, k, d, p, i: nbytes(n, k, d, p, 4), "float32"),
    wrong(CN, "numbers", lambda n, k, d, p, i: nbytes(n, k, d, p, 1), "numbers"),
    wrong(CN, "bits", lambda *a: 8 * nbytes(*a), "bits"),
    wrong(CN, "positions squared", lambda n, k, d, p, i: nbytes(n, k, d, p * p, i), "squared"),
    wrong(CN, "a float", lambda *a: float(nbytes(*a))),
    wrong(CN, "megabytes", lambda *a: nbytes(*a) / 2**20),
    wrong(CN, "one head", lambda n, k, d, p, i: nbytes(n, 1, d, p, i), "one_head"),
    wrong(CN, "one position more", lambda n, k, d, p, i: nbytes(n, k, d, p + 1, i), "one_more"),
    wrong(CN, "sum", lambda *a: sum(a), "summed"),
    wrong(CN, "both twice", lambda *a: 2 * nbytes(*a), "twice"),
    right(SF, "product", flops),
    right(SF, "per row", flops_per_row),
    wrong(SF, "kv heads", lambda s, t, k, g, d: flops(s, t, k, 1, d), "per_kv_head"),
    wrong(SF, "products only", lambda *a: flops(*a) // 2, "half"),
    wrong(SF, "square", lambda s, t, k, g, d: flops(s, s, k, g, d), "square"),
    wrong(SF, "total square", lambda s, t, k, g, d: flops(t, t, k, g, d), "total_square"),
    wrong(SF, "causal half", lambda *a: flops(*a) // 2 + 1),
    wrong(SF, "groups only", lambda s, t, k, g, d: flops(s, t, 1, g, d), "one_group"),
    wrong(
        SF, "exact additions", lambda s, t, k, g, d: k * g * s * t * (2 * d - 1), "one_fewer_sum"
    ),
    wrong(SF, "with the values", lambda *a: 2 * flops(*a), "values_too"),
    wrong(SF, "no head_dim", lambda s, t, k, g, d: flops(s, t, k, g, 1), "no_width"),
    wrong(SF, "a float", lambda *a: flops(*a) / 1),
    wrong(
        SF,
        "with the scaling",
        lambda s, t, k, g, d: flops(s, t, k, g, d) + k * g * s * t,
        "scaling_too",
    ),
    wrong(SF, "seq left out", lambda s, t, k, g, d: flops(1, t, k, g, d), "one_query"),
    right(LL, "last_only", lambda m, t: m.forward(t, last_only=True)),
    right(LL, "an array of ids", logits_numpy),
    wrong(LL, "all rows, last cut", lambda m, t: m.forward(t)[-1:], "all_rows"),
    wrong(LL, "one by one", logits_one_by_one, "one_by_one"),
    wrong(LL, "last token alone", lambda m, t: m.forward(t[-1:]), "forgets"),
    wrong(LL, "first row", lambda m, t: m.forward(t)[:1], "first_row"),
    wrong(LL, "flat", lambda m, t: m.forward(t, last_only=True)[0], "flat"),
    wrong(LL, "all rows", lambda m, t: m.forward(t), "every_row"),
    wrong(LL, "prefill and one", logits_prefill),
    wrong(
        LL, "without the last", lambda m, t: m.forward(t[:-1] or t, last_only=True), "without_last"
    ),
    wrong(LL, "the id", lambda m, t: int(m.forward(t, last_only=True).argmax()), "an_id"),
    wrong(LL, "a list", lambda m, t: m.forward(t, last_only=True).tolist()),
    right(TS, "two times", speed),
    right(TS, "two speeds", speed_steps),
    wrong(TS, "no cache", lambda *a: speed(*a, cache=False), "no_cache"),
    wrong(TS, "sum of both", lambda *a: speed(*a, both=True), "sum"),
    wrong(TS, "memory only", lambda *a: speed(*a, flops_too=False), "memory_only"),
    wrong(TS, "new token not counted", lambda *a: speed(*a, new=False), "old_past"),
    wrong(TS, "no head", lambda *a: speed(*a, head=False), "no_head"),
    wrong(TS, "embedding as well", lambda *a: speed(*a, embed=True), "embedding_too"),
    wrong(TS, "one operation", lambda *a: speed(*a, mac=1), "one_operation"),
    wrong(TS, "no groups", lambda *a: speed(*a, groups=False)),
    wrong(TS, "as many kv heads", lambda *a: speed(*a, kv=False)),
    wrong(TS, "two matrices of the MLP", lambda *a: speed(*a, gate=2)),
    wrong(TS, "the better of both", lambda *a: speed(*a, worst=min), "better"),
    wrong(TS, "seconds", lambda *a: 1 / speed(*a), "seconds"),
    wrong(TS, "no o_proj", lambda *a: speed(*a, o=False)),
    wrong(TS, "bits", lambda *a: speed(*a, byte=8), "bits"),
    wrong(TS, "a whole number", lambda *a: int(speed(*a)), "whole_number"),
)
