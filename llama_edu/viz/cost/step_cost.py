"""A walk through one decode step, matrix by matrix, with the bytes it reads adding up."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llama_edu.analysis.roofline import Cost, Number, forward_costs, seconds_at_least
from llama_edu.formats.config import LlamaConfig
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.listing import Listing
from llama_edu.viz.parts.stepper import Matrix, Operand, Side, Step, stepper

__all__ = ["step_cost"]

COLUMNS = ("MB", "MB so far", "ms so far")
CACHE = {"qk_scores": "keys", "score_v": "values"}
OTHERS = "the others"


def step_cost(
    config: LlamaConfig,
    past: int,
    bytes_per_s: Number,
    flops_per_s: Number,
    *,
    weight_itemsize: Number = 4,
    cache_itemsize: int = 4,
) -> Html:
    """Walk through what one new token reads: the first layer part by part, the others, the head.

    Each step adds its bytes to those so far, and tells how long a machine of these two speeds
    needs for them at least. Item sizes are as in `forward_costs`, whose counts these are and whose
    lines are shown. Raises `InputError` as it and `seconds_at_least` do.
    """
    one_layer = replace(config, num_hidden_layers=1)
    *layer, head = forward_costs(
        one_layer, 1, past, weight_itemsize=weight_itemsize, cache_itemsize=cache_itemsize
    )
    parts = [*layer, *_others(layer, config.num_hidden_layers - 1), head]
    ms = [1e3 * seconds_at_least(part, bytes_per_s, flops_per_s) for part in parts]
    mb = [part.nbytes / 1e6 for part in parts]
    table = np.stack([mb, np.cumsum(mb), np.cumsum(ms)], axis=1)
    listing = Listing.of(forward_costs)
    steps: list[Step] = []
    matrices: dict[str, Matrix] = {}
    for number, part in enumerate(parts):
        columns = _columns(table, [part.part for part in parts], number)
        code = f'("{part.part}"' if part.part != OTHERS else "layers, hidden ="
        steps.append(
            Step(
                part.part,
                _told(part, table[number], config.num_hidden_layers - 1),
                listing,
                code,
                _read(part, config, past),
                [Operand(f"{table[number, 1]:.1f} MB so far")],
                list(columns),
                "columns",
                at=(next(iter(columns)), number, 0),
            )
        )
        matrices |= columns
    return stepper(f"What one new token reads after {past:,} others", steps, matrices)


def _others(layer: Sequence[Cost], count: int) -> list[Cost]:
    """The layers after the first in one part; none if there are none."""
    if not count:
        return []
    sums = zip(*((c.flops, c.weight_nbytes, c.cache_nbytes) for c in layer), strict=True)
    return [Cost(OTHERS, *(count * sum(part) for part in sums))]


def _columns(table: np.ndarray, labels: list[str], number: int) -> dict[str, Matrix]:
    """The table as far as it is filled after a step, a matrix per column."""
    shown = np.where(np.arange(len(table))[:, None] <= number, table, -np.inf)
    rows = Side("part", labels, len(labels))
    return {
        f"{name} {number}": Matrix(
            name,
            shown[:, j : j + 1],
            rows,
            Side(name, [name], 1),
            tell=f"{{row}}: {{value}} {name}",
            absent="·",
        )
        for j, name in enumerate(COLUMNS)
    }


def _read(part: Cost, config: LlamaConfig, past: int) -> list[Operand]:
    """What a part reads, by shape where it is one array."""
    q_width, kv_width = "n_heads*head_dim", "n_kv_heads*head_dim"
    axes = {
        "q_proj": (q_width, "hidden_size"),
        "k_proj": (kv_width, "hidden_size"),
        "v_proj": (kv_width, "hidden_size"),
        "o_proj": ("hidden_size", q_width),
        "gate_proj": ("intermediate_size", "hidden_size"),
        "up_proj": ("intermediate_size", "hidden_size"),
        "down_proj": ("hidden_size", "intermediate_size"),
        "lm_head": ("vocab_size", "hidden_size"),
        **dict.fromkeys(CACHE, ("n_kv_heads", "total_seq", "head_dim")),
    }
    if part.part == OTHERS:
        return [Operand("the same matrices", ("layers",), (config.num_hidden_layers - 1,))]
    sizes = {
        **config.axis_sizes,
        "total_seq": past + 1,
        q_width: config.num_attention_heads * config.head_dim,
        kv_width: config.num_key_value_heads * config.head_dim,
    }
    named = axes[part.part]
    name = CACHE.get(part.part, part.part)
    return [Operand(name, named, [sizes[axis] for axis in named])]


def _told(part: Cost, row: np.ndarray, others: int) -> str:
    """One sentence or two: what is read, what is done with it, and what that came to."""
    what = {
        "qk_scores": "The keys of all positions so far, from the cache",
        "score_v": "The values of all positions so far, from the cache",
        "lm_head": "The head, once for the whole model",
        OTHERS: f"The same once more for each of the other {others} layers",
    }.get(part.part, f"The matrix of `{part.part}`, every number of it once")
    return (
        f"{what}: {row[0]:.2f} MB for {part.flops / 1e6:.2f} million operations. "
        f"So far {row[1]:.1f} MB, which take {row[2]:.2f} ms at least."
    )
