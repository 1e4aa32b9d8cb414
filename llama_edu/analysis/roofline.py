"""What a forward pass takes: multiplications and bytes, counted from the config alone.

Counted are the matrix products, which are all but a few hundredths of the work of a model of any
size; not the norms, rotations and softmaxes between them. A product of (m, k) with (k, n) takes
2 · m · k · n floating-point operations, a multiplication and an addition each.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig

__all__ = ["Cost", "forward_costs", "seconds_at_least", "total_cost"]

Number = float | int


@dataclass(frozen=True)
class Cost:
    """One part of a forward pass, over all layers.

    flops          floating-point operations of its products
    weight_nbytes  bytes of weights read, each once, however many tokens share the reading
    cache_nbytes   bytes of keys or values read
    """

    part: str
    flops: int
    weight_nbytes: int = 0
    cache_nbytes: int = 0

    @property
    def nbytes(self) -> int:
        """All bytes that must come from memory."""
        return self.weight_nbytes + self.cache_nbytes

    @property
    def intensity(self) -> float:
        """Operations for each byte: what decides whether memory or arithmetic is the wall."""
        return self.flops / self.nbytes


def forward_costs(
    config: LlamaConfig,
    seq: int,
    past: int = 0,
    *,
    weight_itemsize: Number = 4,
    cache_itemsize: int = 4,
) -> list[Cost]:
    """The parts of a pass over `seq` new tokens after `past` cached ones.

    Item sizes are bytes per number as stored: 4 for float32, 2 for 16 bits, 1.0625 for int8 in
    blocks of 32. Only the last token's logits are made, as in generation. Every score is counted,
    the masked ones too, since the engine computes them. Raises `InputError` for a `seq` below 1, a
    negative `past` and item sizes that are not positive.
    """
    if seq < 1 or past < 0 or weight_itemsize <= 0 or cache_itemsize <= 0:
        raise InputError(
            f"expected seq ≥ 1, past ≥ 0 and item sizes > 0, got {seq}, {past}, "
            f"{weight_itemsize} and {cache_itemsize}"
        )
    layers, hidden = config.num_hidden_layers, config.hidden_size
    q_width = config.num_attention_heads * config.head_dim
    kv_width = config.num_key_value_heads * config.head_dim
    inter, total_seq = config.intermediate_size, past + seq

    def linear(part: str, rows: int, columns: int, times: int, tokens: int) -> Cost:
        count = times * rows * columns
        return Cost(part, 2 * tokens * count, weight_nbytes=round(weight_itemsize * count))

    def attention(part: str) -> Cost:
        kept = layers * kv_width * total_seq * cache_itemsize
        return Cost(part, 2 * layers * q_width * seq * total_seq, cache_nbytes=kept)

    return [
        linear("q_proj", q_width, hidden, layers, seq),
        linear("k_proj", kv_width, hidden, layers, seq),
        linear("v_proj", kv_width, hidden, layers, seq),
        attention("qk_scores"),
        attention("score_v"),
        linear("o_proj", hidden, q_width, layers, seq),
        linear("gate_proj", inter, hidden, layers, seq),
        linear("up_proj", inter, hidden, layers, seq),
        linear("down_proj", hidden, inter, layers, seq),
        linear("lm_head", config.vocab_size, hidden, 1, 1),
    ]


def total_cost(costs: Iterable[Cost]) -> Cost:
    """The sum of the parts."""
    parts = list(costs)
    return Cost(
        "total",
        sum(part.flops for part in parts),
        sum(part.weight_nbytes for part in parts),
        sum(part.cache_nbytes for part in parts),
    )


def seconds_at_least(cost: Cost, bytes_per_s: Number, flops_per_s: Number) -> float:
    """The time no program can beat on such a machine: the slower of reading and computing.

    Raises `InputError` for a speed that is not above 0.
    Source: Williams, Waterman and Patterson 2009, Roofline, doi:10.1145/1498765.1498785.
    """
    if bytes_per_s <= 0 or flops_per_s <= 0:
        raise InputError(
            f"expected speeds above 0, got {bytes_per_s} bytes/s and {flops_per_s} operations/s"
        )
    return max(cost.nbytes / bytes_per_s, cost.flops / flops_per_s)
