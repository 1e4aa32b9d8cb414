"""What splitting costs and brings: bytes on the wire, bytes per rank, and seconds, by formula.

The counts are exact, and a test holds them against what was sent and what is held. The seconds are
a model of the least a token can take: reading a rank's share of the weights and the cache, then the
messages, each of which takes a link's latency and its bytes' time. Nothing overlaps: for one token,
there is nothing else to do. What the pieces of a prompt overlap, `bubble_share` tells.
"""

import math
from dataclasses import dataclass

from llama_edu.analysis.roofline import forward_costs, total_cost
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.parallel.shards import layers_of, tensor_config

__all__ = [
    "Link",
    "bubble_share",
    "cache_nbytes",
    "pipeline_seconds",
    "pipeline_wire_nbytes",
    "tensor_seconds",
    "tensor_wire_nbytes",
    "weight_nbytes",
]

Number = float | int
WIDE = 4  # bytes of a number on its way: activations and logits are float32


@dataclass(frozen=True)
class Link:
    """What connects two machines: seconds until a message is there, and bytes a second after."""

    latency_s: float
    bytes_per_s: float

    def message_s(self, nbytes: Number) -> float:
        """How long a message takes."""
        return self.latency_s + nbytes / self.bytes_per_s

    def sum_s(self, nbytes: Number, size: int) -> float:
        """An all-reduce over `size` machines, the quicker of two ways for this many bytes.

        Round a ring in 2 (size − 1) messages of a piece each; or by doubling, in log₂ size messages
        of the whole (Thakur, Rabenseifner and Gropp 2005, doi:10.1177/1094342005051521).
        """
        ring = 2 * (size - 1) * self.message_s(nbytes / size)
        doubling = math.ceil(math.log2(size)) * self.message_s(nbytes)
        return min(ring, doubling)

    def gather_s(self, nbytes: Number, size: int) -> float:
        """An all-gather of `nbytes` in all: by doubling, so few messages and each byte once."""
        return math.ceil(math.log2(size)) * self.latency_s + nbytes * (size - 1) / size / (
            self.bytes_per_s
        )


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
    works in `pieces` of pieces + size − 1 turns (Huang et al. 2018, arXiv:1811.06965).
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
    itemsize: Number = 2,
) -> tuple[float, float]:
    """Seconds that a token takes at least on `size` machines: reading, and talking.

    Each machine reads `bytes_per_s` from its memory. What is left of the KV groups is rounded up;
    beyond one group a machine, those without one wait for those with.
    """
    if size < 1:
        raise InputError(f"expected at least 1 machine, got {size}")
    whole = forward_costs(config, 1, past, weight_itemsize=itemsize, cache_itemsize=2)
    per_head = ("q_proj", "k_proj", "v_proj", "o_proj", "qk_scores", "score_v")
    heads = total_cost(cost for cost in whole if cost.part in per_head).nbytes
    rest = total_cost(whole).nbytes - heads
    groups = config.num_key_value_heads
    reading = heads * math.ceil(groups / size) / groups + rest / size
    if size == 1:
        return reading / bytes_per_s, 0.0
    sums = (2 * config.num_hidden_layers + 1) * link.sum_s(WIDE * config.hidden_size, size)
    return reading / bytes_per_s, sums + link.gather_s(WIDE * config.vocab_size, size)


def pipeline_seconds(
    config: LlamaConfig, size: int, link: Link, bytes_per_s: Number, *, past: int = 1000
) -> tuple[float, float]:
    """Seconds that a token of one text takes at least, split by layers: reading, and talking.

    One rank works at a time, so the reading is that of one machine. Only the id goes back.
    """
    layers_of(config.num_hidden_layers, 0, size)
    whole = total_cost(forward_costs(config, 1, past, weight_itemsize=2, cache_itemsize=2))
    hops = (size - 1) * link.message_s(WIDE * config.hidden_size)
    back = link.message_s(WIDE) if size > 1 else 0.0
    return whole.nbytes / bytes_per_s, hops + back
