"""What splitting costs and brings: bytes on the wire, bytes per rank, and seconds, by formula.

The counts are exact, and a test holds them against what was sent and what is held.

The seconds are a model of how long a token takes. A machine reads its share of the weights and of
the cache, both in 16 bits; then come the messages, whose numbers have 32 bits, as in this engine.
Each message takes a link's latency and the time of its bytes, and a sum takes the quickest of
several algorithms. Nothing overlaps: for one token, there is nothing else to do. What the pieces
of a prompt overlap, `bubble_share` tells.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from llama_edu.analysis.roofline import forward_costs, total_cost
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.parallel.shards import layers_of, tensor_config

__all__ = [
    "Link",
    "TokenSeconds",
    "bubble_share",
    "cache_nbytes",
    "llama_config",
    "pipeline_seconds",
    "pipeline_wire_nbytes",
    "sum_ways",
    "tensor_seconds",
    "tensor_wire_nbytes",
    "weight_nbytes",
]

Number = float | int
WIDE = 4  # bytes of a number on its way: activations and logits are float32
READ = 2  # bytes of a number that is read from memory, in the model of seconds


ALL_AT_ONCE = "all at once"
# Layers, hidden_size, the MLP's width and query heads, from each model's config.json.
LLAMAS = {
    "1 B": (16, 2048, 8192, 32),  # Llama 3.2
    "8 B": (32, 4096, 14_336, 32),  # Llama 3.1
    "70 B": (80, 8192, 28_672, 64),
}


def llama_config(parameters: str) -> LlamaConfig:
    """The sizes of a Llama of "1 B", "8 B" or "70 B" parameters, which all have 8 KV groups.

    Raises `InputError` for any other number of parameters.
    """
    if parameters not in LLAMAS:
        raise InputError(f"expected one of {', '.join(LLAMAS)}, got {parameters!r}")
    layers, hidden, inter, heads = LLAMAS[parameters]
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=hidden // heads,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        tie_word_embeddings=parameters == "1 B",
    )


def sum_ways(nbytes: Number, size: int) -> dict[str, tuple[int, Number]]:
    """The algorithms of an all-reduce: messages one after another, and bytes that a machine sends.

    "ring": in two laps, an n-th of the bytes a message. "doubling": all of them to a neighbour,
    then between pairs, between fours. "halving and doubling": the bytes of a ring in the steps of
    doubling, there and back. (Thakur, Rabenseifner and Gropp 2005, doi:10.1177/1094342005051521.)
    "all at once": everybody sends all to everybody, and waits once. log₂ `size` is rounded up, as
    is right for powers of two and for three; for other sizes a library may need two messages more.
    """
    steps = math.ceil(math.log2(size))
    twice = 2 * nbytes * (size - 1) / size
    return {
        "ring": (2 * (size - 1), twice),
        "doubling": (steps, steps * nbytes),
        "halving and doubling": (2 * steps, twice),
        ALL_AT_ONCE: (min(1, size - 1), (size - 1) * nbytes),
    }


class TokenSeconds(NamedTuple):
    """What a token takes, one after another: reading, waiting for messages, sending their bytes."""

    reading: Number
    latency: Number
    sending: Number

    @property
    def talking(self) -> Number:
        """What splitting costs: the latency of all messages, and the time of their bytes."""
        return self.latency + self.sending

    @property
    def total(self) -> Number:
        """Seconds from one token to the next."""
        return self.reading + self.talking


@dataclass(frozen=True)
class Link:
    """What connects machines: seconds until a message is there, and bytes a second after that.

    A machine handles one message at a time, which is right where latency is its own work, as in
    TCP. With `at_once` it starts messages to all others together, and only their bytes take turns,
    which is right where latency is the way.
    """

    latency_s: float
    bytes_per_s: float
    at_once: bool = False

    def sum_way(self, nbytes: Number, size: int) -> str:
        """The algorithm of `sum_ways` that is quickest over this link."""
        ways = sum_ways(nbytes, size)
        known = [way for way in ways if self.at_once or way != ALL_AT_ONCE]
        return min(known, key=lambda way: sum(self._took(*ways[way])))

    def sum_s(self, nbytes: Number, size: int) -> tuple[float, float]:
        """Seconds of an all-reduce over `size` machines by that algorithm: latency, and bytes."""
        return self._took(*sum_ways(nbytes, size)[self.sum_way(nbytes, size)])

    def gather_s(self, nbytes: Number, size: int) -> tuple[float, float]:
        """Seconds of an all-gather of `nbytes` in all, by doubling: each byte travels once."""
        steps = 1 if self.at_once else math.ceil(math.log2(size))
        return self._took(steps, nbytes * (size - 1) / size)

    def _took(self, messages: int, nbytes: Number) -> tuple[float, float]:
        return messages * self.latency_s, nbytes / self.bytes_per_s


def tensor_wire_nbytes(config: LlamaConfig, size: int, seq: int = 1, rows: int = 1) -> int:
    """Bytes that all ranks together send in a step of `seq` tokens, `rows` of them with logits.

    2 L + 1 sums of (seq, hidden_size), each 2 (size − 1) times its bytes; and the logits, of which
    every rank sends its part (size − 1) times. Padding is sent like anything else.
    """
    if size == 1:
        return 0
    share = tensor_config(config, size, pad=True)
    sums = (2 * config.num_hidden_layers + 1) * 2 * (size - 1) * seq * config.hidden_size
    logits = size * (size - 1) * rows * share.vocab_size
    return WIDE * (sums + logits)


def pipeline_wire_nbytes(config: LlamaConfig, size: int, seq: int = 1, rows: int = 1) -> int:
    """Bytes that all ranks together send: the rows from each to the next, the logits to all.

    In pieces the rows are as many bytes, in more messages.
    """
    layers_of(config.num_hidden_layers, 0, size)  # which refuses too many
    return WIDE * (size - 1) * (seq * config.hidden_size + rows * config.vocab_size)


def bubble_share(size: int, pieces: int) -> float:
    """The share of the time that `size` ranks in a line have nothing to do: GPipe's bubble.

    With equal pieces and layers, the last rank begins size − 1 turns after the first, and each
    works in `pieces` of pieces + size − 1 turns (Huang et al. 2018, arXiv:1811.06965). Raises
    `InputError` for less than one rank or one piece.
    """
    if size < 1 or pieces < 1:
        raise InputError(f"expected at least 1 rank and 1 piece, got {size} and {pieces}")
    return (size - 1) / (pieces + size - 1)


def weight_nbytes(config: LlamaConfig, size: int, itemsize: Number = WIDE) -> int:
    """Bytes of the matrices of a rank that splits by KV groups, padding included, norms too.

    The norms, 2 L + 1 vectors in float32, are on every rank. Biases are not counted.
    """
    share = tensor_config(config, size, pad=True)
    q = share.num_attention_heads * share.head_dim
    kv = share.num_key_value_heads * share.head_dim
    rows = 2 * q + 2 * kv + 3 * share.intermediate_size
    tables = 1 if config.tie_word_embeddings else 2
    count = (config.num_hidden_layers * rows + tables * share.vocab_size) * config.hidden_size
    return round(count * itemsize) + WIDE * (2 * config.num_hidden_layers + 1) * config.hidden_size


def cache_nbytes(config: LlamaConfig, size: int, positions: int, itemsize: int = WIDE) -> int:
    """Bytes of the keys and values of a rank that splits by KV groups, padding included."""
    share = tensor_config(config, size, pad=True)
    numbers = 2 * config.num_hidden_layers * share.num_key_value_heads * config.head_dim
    return numbers * positions * itemsize


def tensor_seconds(
    config: LlamaConfig,
    size: int,
    link: Link,
    bytes_per_s: Number,
    *,
    past: int = 1000,
    copies: bool = False,
) -> TokenSeconds:
    """Seconds of a token on `size` machines that share every layer.

    Each machine reads `bytes_per_s` from its memory. KV groups stay whole, and what is left of them
    is rounded up; beyond one group a machine, those without one wait in attention. With `copies`,
    machines share the query heads of a group there, and each reads the group's keys and values.
    Raises `InputError` for less than one machine.
    """
    if size < 1:
        raise InputError(f"expected at least 1 machine, got {size}")
    whole = forward_costs(config, 1, past, weight_itemsize=READ, cache_itemsize=READ)
    of_groups = ("k_proj", "v_proj", "qk_scores", "score_v")
    keys = total_cost(cost for cost in whole if cost.part in of_groups).nbytes
    queries = total_cost(cost for cost in whole if cost.part in ("q_proj", "o_proj")).nbytes
    rest = total_cost(whole).nbytes - keys - queries
    groups = math.ceil(config.num_key_value_heads / size)
    sharing = max(1, size // config.num_key_value_heads) if copies else 1
    heads = groups * math.ceil(config.n_groups / sharing)
    nbytes = (
        keys * groups / config.num_key_value_heads
        + queries * heads / config.num_attention_heads
        + rest / size
    )
    if size == 1:
        return TokenSeconds(nbytes / bytes_per_s, 0.0, 0.0)
    n_sums = 2 * config.num_hidden_layers + 1
    waited, sent = link.sum_s(WIDE * config.hidden_size, size)
    at_end, logits = link.gather_s(WIDE * config.vocab_size, size)
    return TokenSeconds(nbytes / bytes_per_s, n_sums * waited + at_end, n_sums * sent + logits)


def pipeline_seconds(
    config: LlamaConfig, size: int, link: Link, bytes_per_s: Number, *, past: int = 1000
) -> TokenSeconds:
    """Seconds of a token of one text, split by layers. Only the id goes back, to whoever asked.

    One rank works at a time, so the reading is that of one machine.
    """
    layers_of(config.num_hidden_layers, 0, size)
    whole = total_cost(forward_costs(config, 1, past, weight_itemsize=READ, cache_itemsize=READ))
    reading = whole.nbytes / bytes_per_s
    if size == 1:
        return TokenSeconds(reading, 0.0, 0.0)
    sent = (size - 1) * WIDE * config.hidden_size + WIDE
    return TokenSeconds(reading, size * link.latency_s, sent / link.bytes_per_s)
