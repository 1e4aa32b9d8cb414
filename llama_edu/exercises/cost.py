"""Exercises on speed: bytes of a cache, operations of a pass, the roof, one wasted product."""

from collections.abc import Callable

import numpy as np

from llama_edu.analysis.roofline import forward_costs, seconds_at_least, total_cost
from llama_edu.engine.llama import Llama
from llama_edu.exercises.framework.draw import pick, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.tiny import tiny_llama
from llama_edu.formats.config import LlamaConfig

Array = np.ndarray


# ★ cache_nbytes(layers, n_kv_heads, head_dim, positions, itemsize) -> bytes


def _cache(layers: int, n_kv_heads: int, head_dim: int, positions: int, itemsize: int) -> int:
    return 2 * layers * n_kv_heads * head_dim * positions * itemsize


def _cache_counted(
    layers: int, n_kv_heads: int, head_dim: int, positions: int, itemsize: int
) -> int:
    one = np.empty((n_kv_heads, positions, head_dim), dtype=f"V{itemsize}")
    return sum(one.nbytes for _ in range(layers) for _ in ("keys", "values"))


def _cache_keys(layers: int, n_kv_heads: int, head_dim: int, positions: int, itemsize: int) -> int:
    return layers * n_kv_heads * head_dim * positions * itemsize


def _cache_one_layer(
    layers: int, n_kv_heads: int, head_dim: int, positions: int, itemsize: int
) -> int:
    return 2 * n_kv_heads * head_dim * positions * itemsize


def _cache_float32(
    layers: int, n_kv_heads: int, head_dim: int, positions: int, itemsize: int
) -> int:
    return 2 * layers * n_kv_heads * head_dim * positions * 4


def _cache_squared(
    layers: int, n_kv_heads: int, head_dim: int, positions: int, itemsize: int
) -> int:
    return 2 * layers * n_kv_heads * head_dim * positions**2 * itemsize


def _cache_nbytes_drawn(rng: np.random.Generator) -> list[Case]:
    layers, heads, dim, positions = wholes(rng, 4, 3, 99)
    return [Case("another model", (layers, heads, dim, positions, pick(rng, [1, 2, 8], 1)[0]))]


CACHE_NBYTES = Exercise(
    name="cache_nbytes",
    topic="cost",
    books=("llama_edu.analysis.roofline.forward_costs",),
    stars=1,
    task="Count the bytes of a KV cache that holds so many positions.",
    section="A cache, byte by byte",
    cases=lambda: [
        Case("2 layers, 4 KV heads of 16, 100 positions, float32", (2, 4, 16, 100, 4)),
        Case("30 layers, 3 KV heads of 64, 2,000 positions, 16 bits", (30, 3, 64, 2000, 2)),
        Case("80 layers, 8 KV heads of 128, one position, 16 bits", (80, 8, 128, 1, 2)),
    ],
    drawn=_cache_nbytes_drawn,
    correct=(_cache, _cache_counted),
    mutants=(
        Mutant("keys_only", _cache_keys, "when only keys are counted, and no values"),
        Mutant("one_layer", _cache_one_layer, "when one layer is counted"),
        Mutant("float32", _cache_float32, "when every number is taken for 4 bytes"),
        Mutant(
            "squared",
            _cache_squared,
            "when the cache grows with the square of the positions: that is the scores",
            section="How the cost grows with the past",
        ),
        Mutant(
            "numbers",
            lambda layers, n_kv_heads, head_dim, positions, itemsize: (
                2 * layers * n_kv_heads * head_dim * positions
            ),
            "when numbers are counted and not bytes",
        ),
        Mutant(
            "one_head",
            lambda layers, n_kv_heads, head_dim, positions, itemsize: (
                2 * layers * head_dim * positions * itemsize
            ),
            "when the KV heads are not counted",
        ),
        Mutant(
            "one_more",
            lambda layers, n_kv_heads, head_dim, positions, itemsize: _cache(
                layers, n_kv_heads, head_dim, positions + 1, itemsize
            ),
            "when one position more is counted",
        ),
        Mutant(
            "bits",
            lambda layers, n_kv_heads, head_dim, positions, itemsize: (
                8 * _cache(layers, n_kv_heads, head_dim, positions, itemsize)
            ),
            "when bits are counted",
        ),
        Mutant(
            "twice",
            lambda layers, n_kv_heads, head_dim, positions, itemsize: (
                2 * _cache(layers, n_kv_heads, head_dim, positions, itemsize)
            ),
            "when keys and values are counted twice",
        ),
        Mutant(
            "summed",
            lambda layers, n_kv_heads, head_dim, positions, itemsize: (
                layers + n_kv_heads + head_dim + positions + itemsize
            ),
            "when sizes are added and not multiplied",
        ),
    ),
)


# ★★ score_flops(seq, total_seq, n_kv_heads, n_groups, head_dim) -> operations of Q@K


def _scores_flops(seq: int, total_seq: int, n_kv_heads: int, n_groups: int, head_dim: int) -> int:
    return 2 * n_kv_heads * n_groups * seq * total_seq * head_dim


def _scores_flops_loop(
    seq: int, total_seq: int, n_kv_heads: int, n_groups: int, head_dim: int
) -> int:
    # A stacked product per KV group: (n_groups · seq, head_dim) with (head_dim, total_seq).
    return sum(2 * (n_groups * seq) * head_dim * total_seq for _ in range(n_kv_heads))


def _scores_flops_kv(
    seq: int, total_seq: int, n_kv_heads: int, n_groups: int, head_dim: int
) -> int:
    return 2 * n_kv_heads * seq * total_seq * head_dim


def _scores_flops_square(
    seq: int, total_seq: int, n_kv_heads: int, n_groups: int, head_dim: int
) -> int:
    return 2 * n_kv_heads * n_groups * seq * seq * head_dim


def _scores_flops_half(
    seq: int, total_seq: int, n_kv_heads: int, n_groups: int, head_dim: int
) -> int:
    return n_kv_heads * n_groups * seq * total_seq * head_dim


def _score_flops_drawn(rng: np.random.Generator) -> list[Case]:
    seq, past, heads, groups, dim = wholes(rng, 5, 2, 30)
    return [Case("other sizes", (seq, seq + past, heads, groups, dim))]


SCORE_FLOPS = Exercise(
    name="score_flops",
    topic="cost",
    books=("llama_edu.analysis.roofline.forward_costs",),
    stars=2,
    task="Repair the count of operations of Q@K over all query heads.",
    section="Bytes and operations",
    cases=lambda: [
        Case("a prompt: seq 6, total_seq 6", (6, 6, 2, 3, 16)),
        Case("one token: seq 1, total_seq 9", (1, 9, 4, 2, 16)),
        Case("a second turn: seq 5, total_seq 21", (5, 21, 3, 3, 64)),
    ],
    drawn=_score_flops_drawn,
    correct=(_scores_flops, _scores_flops_loop),
    mutants=(
        Mutant(
            "per_kv_head",
            _scores_flops_kv,
            "when each KV head is counted once: each query head multiplies with its group's keys",
            section="A cache, byte by byte",
        ),
        Mutant(
            "square",
            _scores_flops_square,
            "when the past is forgotten: seq by seq",
            section="How the cost grows with the past",
        ),
        Mutant("half", _scores_flops_half, "when a multiplication and its addition count as one"),
        Mutant(
            "one_group",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                2 * n_groups * seq * total_seq * head_dim
            ),
            "when the KV heads are not counted",
        ),
        Mutant(
            "one_query",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                2 * n_kv_heads * n_groups * total_seq * head_dim
            ),
            "when one query is counted and not all of seq",
        ),
        Mutant(
            "total_square",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                2 * n_kv_heads * n_groups * total_seq**2 * head_dim
            ),
            "when the past asks as well",
        ),
        Mutant(
            "no_width",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                2 * n_kv_heads * n_groups * seq * total_seq
            ),
            "when a score is counted as one product, whatever head_dim is",
        ),
        Mutant(
            "one_fewer_sum",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                n_kv_heads * n_groups * seq * total_seq * (2 * head_dim - 1)
            ),
            "when the first addition of each sum is left out: by custom it counts",
        ),
        Mutant(
            "scaling_too",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                n_kv_heads * n_groups * seq * total_seq * (2 * head_dim + 1)
            ),
            "when the scaling of each score counts as well",
        ),
        Mutant(
            "values_too",
            lambda seq, total_seq, n_kv_heads, n_groups, head_dim: (
                4 * n_kv_heads * n_groups * seq * total_seq * head_dim
            ),
            "when the product with the values counts as well",
        ),
    ),
)


# ★★ last_logits(model, token_ids) -> (1, vocab_size) with no row wasted


def _last(model: Llama, token_ids: list[int]) -> Array:
    return model.forward(token_ids, last_only=True)


def _last_with_cache(model: Llama, token_ids: list[int]) -> Array:
    cache = model.new_cache(len(token_ids))
    if len(token_ids) > 1:
        model.forward(token_ids[:-1], cache, last_only=True)
    return model.forward(token_ids[-1:], cache)


def _last_of_all(model: Llama, token_ids: list[int]) -> Array:
    return model.forward(token_ids)[-1:]


def _last_forgets(model: Llama, token_ids: list[int]) -> Array:
    return model.forward(token_ids[-1:])


def _last_one_by_one(model: Llama, token_ids: list[int]) -> Array:
    cache = model.new_cache(len(token_ids))
    for token_id in token_ids:
        logits = model.forward([token_id], cache)
    return logits


def _first_row(model: Llama, token_ids: list[int]) -> Array:
    return model.forward(token_ids)[:1]


def _rows_of_head(answer: Callable[..., Array], token_ids: list[int]) -> list[object]:
    """The logits, and what the head's product did for them."""
    model = tiny_llama()
    products: list[int] = []
    head, linear = model.weights.lm_head, model.operators.linear

    def watched(x: Array, weight: Array, bias: Array | None = None) -> Array:
        if weight is head:
            products.append(len(x))
        result: Array = linear(x, weight, bias)
        return result

    model.operators = model.operators.replaced(linear=watched)
    logits = answer(model, token_ids)
    if sum(products) <= 2:  # feeding all but the last first makes one row more, which is fine
        return [logits, "as few rows as it takes"]
    return [logits, f"the head was given {products} rows"]


def _last_logits_drawn(rng: np.random.Generator) -> list[Case]:
    return [Case("other tokens", (rng.integers(31, size=whole(rng, 3, 8)).tolist(),))]


LAST_LOGITS = Exercise(
    name="last_logits",
    topic="cost",
    stars=2,
    task="Give the last token's logits, (1, vocab_size), without a row that nobody reads.",
    section="Which optimisation can help?",
    cases=lambda: [
        Case("7 tokens", ([3, 1, 4, 1, 5, 9, 2],)),
        Case("4 tokens", ([2, 7, 1, 8],)),
        Case("1 token", ([6],)),
    ],
    drawn=_last_logits_drawn,
    correct=(_last, _last_with_cache),
    harness=_rows_of_head,
    parts=("the logits", "the rows of the head's products"),
    mutants=(
        Mutant(
            "all_rows",
            _last_of_all,
            "when logits are made for every token, and all rows but one thrown away",
        ),
        Mutant("one_by_one", _last_one_by_one, "when every token goes through the head on its own"),
        Mutant("forgets", _last_forgets, "when the tokens before the last are not fed"),
        Mutant("first_row", _first_row, "when the first row is taken for the last"),
        Mutant(
            "flat",
            lambda model, token_ids: _last(model, token_ids)[0],
            "when the axis of rows is dropped",
        ),
        Mutant(
            "every_row",
            lambda model, token_ids: model.forward(token_ids),
            "when a row for each token comes back",
        ),
        Mutant(
            "without_last",
            lambda model, token_ids: model.forward(token_ids[:-1] or token_ids, last_only=True),
            "when the last token is not fed",
        ),
        Mutant(
            "an_id",
            lambda model, token_ids: int(_last(model, token_ids).argmax()),
            "when the likeliest id comes back and not the logits",
        ),
    ),
)


# ★★★ tokens_per_s(config, past, itemsize, bytes_per_s, flops_per_s)


def _rate(
    config: LlamaConfig, past: int, itemsize: int, bytes_per_s: float, flops_per_s: float
) -> float:
    costs = forward_costs(config, 1, past, weight_itemsize=itemsize, cache_itemsize=itemsize)
    return 1 / seconds_at_least(total_cost(costs), bytes_per_s, flops_per_s)


def _rate_by_hand(
    config: LlamaConfig, past: int, itemsize: int, bytes_per_s: float, flops_per_s: float
) -> float:
    weights, cached = _counts(config, past + 1)
    heads = _heads(config)
    flops = 2 * weights + 2 * cached * heads
    return 1 / max((weights + cached) * itemsize / bytes_per_s, flops / flops_per_s)


def _counts(config: LlamaConfig, total_seq: int) -> tuple[int, int]:
    """Weights a step multiplies by, and cached numbers it reads."""
    c = config
    hidden, inter, layers = c.hidden_size, c.intermediate_size, c.num_hidden_layers
    q = c.num_attention_heads * c.head_dim
    kv = c.num_key_value_heads * c.head_dim
    per_layer = 2 * q * hidden + 2 * kv * hidden + 3 * inter * hidden
    return layers * per_layer + c.vocab_size * hidden, 2 * layers * kv * total_seq


def _heads(config: LlamaConfig) -> int:
    return config.num_attention_heads // config.num_key_value_heads


def _rate_no_cache(
    config: LlamaConfig, past: int, itemsize: int, bytes_per_s: float, flops_per_s: float
) -> float:
    weights, _ = _counts(config, past + 1)
    return 1 / max(weights * itemsize / bytes_per_s, 2 * weights / flops_per_s)


def _rate_sum(
    config: LlamaConfig, past: int, itemsize: int, bytes_per_s: float, flops_per_s: float
) -> float:
    weights, cached = _counts(config, past + 1)
    flops = 2 * weights + 2 * cached * _heads(config)
    return 1 / ((weights + cached) * itemsize / bytes_per_s + flops / flops_per_s)


def _rate_bits(
    config: LlamaConfig, past: int, itemsize: int, bytes_per_s: float, flops_per_s: float
) -> float:
    return _rate(config, past, itemsize, bytes_per_s / 8, flops_per_s)


def _rate_old_past(
    config: LlamaConfig, past: int, itemsize: int, bytes_per_s: float, flops_per_s: float
) -> float:
    weights, cached = _counts(config, past)
    flops = 2 * weights + 2 * cached * _heads(config)
    return 1 / max((weights + cached) * itemsize / bytes_per_s, flops / flops_per_s)


def _tiny_config() -> LlamaConfig:
    return tiny_llama().config


def _tokens_per_s_drawn(rng: np.random.Generator) -> list[Case]:
    config, past = _tiny_config(), whole(rng, 5, 60)
    return [
        Case("another past, slow memory", (config, past, 2, 1e6 * whole(rng, 1, 9), 1e15)),
        Case("another past, slow arithmetic", (config, past, 4, 1e15, 1e6 * whole(rng, 1, 9))),
    ]


def _rate_of(
    config: LlamaConfig, past: int, itemsize: int, speeds: tuple[float, float], *, weights: int
) -> float:
    """With so many weights more than there are."""
    counted, cached = _counts(config, past + 1)
    counted += weights
    reading = (counted + cached) * itemsize / speeds[0]
    return 1 / max(reading, 2 * (counted + cached * _heads(config)) / speeds[1])


TOKENS_PER_S = Exercise(
    name="tokens_per_s",
    forbids=("llama_edu.analysis.roofline",),
    topic="cost",
    stars=3,
    task="Predict the most tokens a second a machine can decode, from its two speeds.",
    section="Put both under a roof",
    cases=lambda: [
        Case("memory is the wall", (_tiny_config(), 50, 4, 1e6, 1e12)),
        Case("arithmetic is the wall", (_tiny_config(), 20, 2, 1e12, 1e6)),
        Case("no past yet", (_tiny_config(), 0, 2, 1e5, 1e6)),
    ],
    drawn=_tokens_per_s_drawn,
    correct=(_rate, _rate_by_hand),
    tolerance=1e-9,
    mutants=(
        Mutant(
            "no_cache",
            _rate_no_cache,
            "when the keys and values of the past cost nothing",
            section="How the cost grows with the past",
        ),
        Mutant("sum", _rate_sum, "when reading and computing are added: they go on at once"),
        Mutant("bits", _rate_bits, "when bytes are taken for bits"),
        Mutant(
            "old_past",
            _rate_old_past,
            "when the new token's own key and value are not counted",
            section="How the cost grows with the past",
        ),
        Mutant(
            "memory_only",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: _rate(
                config, past, itemsize, bytes_per_s, 1e30
            ),
            "when only the memory is a wall",
        ),
        Mutant(
            "compute_only",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: _rate(
                config, past, itemsize, 1e30, flops_per_s
            ),
            "when only arithmetic is a wall",
        ),
        Mutant(
            "better",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: max(
                _rate(config, past, itemsize, bytes_per_s, 1e30),
                _rate(config, past, itemsize, 1e30, flops_per_s),
            ),
            "when the faster of the two walls is taken",
        ),
        Mutant(
            "seconds",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: (
                1 / _rate(config, past, itemsize, bytes_per_s, flops_per_s)
            ),
            "when seconds a token come back",
        ),
        Mutant(
            "whole_number",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: int(
                _rate(config, past, itemsize, bytes_per_s, flops_per_s)
            ),
            "when the speed is cut to a whole number",
        ),
        Mutant(
            "no_head",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: _rate_of(
                config,
                past,
                itemsize,
                (bytes_per_s, flops_per_s),
                weights=-config.vocab_size * config.hidden_size,
            ),
            "when the head is not read",
        ),
        Mutant(
            "embedding_too",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: _rate_of(
                config,
                past,
                itemsize,
                (bytes_per_s, flops_per_s),
                weights=config.vocab_size * config.hidden_size,
            ),
            "when the whole embedding is read as well: it is one row",
        ),
        Mutant(
            "one_operation",
            lambda config, past, itemsize, bytes_per_s, flops_per_s: _rate(
                config, past, itemsize, bytes_per_s, 2 * flops_per_s
            ),
            "when a multiplication and its addition count as one",
        ),
    ),
)

EXERCISES = (CACHE_NBYTES, SCORE_FLOPS, LAST_LOGITS, TOKENS_PER_S)
