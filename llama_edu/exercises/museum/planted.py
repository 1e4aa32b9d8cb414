"""Five bugs planted in a model, one place each, to be found by their first wrong array.

What each of them is stands in the functions below; the chapter that asks folds the answer away.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from llama_edu.engine.llama import Llama
from llama_edu.engine.weights import LayerWeights, Weights

__all__ = ["PLANTED", "planted"]


def planted(model: Llama, letter: str) -> AbstractContextManager[object]:
    """Inside the `with` block, `model` has the bug of that letter; after it, its own weights.

    Raises `KeyError` for a letter that is not in `PLANTED`. The model needs two layers or more.
    """
    return model.using(weights=PLANTED[letter](model.weights))


def _with_layer(weights: Weights, index: int, **parts: Any) -> Weights:
    layers: list[LayerWeights] = list(weights.layers)
    layers[index] = replace(layers[index], **parts)
    return replace(weights, layers=tuple(layers))


def _gate_and_up_swapped(weights: Weights) -> Weights:
    layer = weights.layers[-1]
    return _with_layer(weights, -1, gate_proj=layer.up_proj, up_proj=layer.gate_proj)


def _output_turned(weights: Weights) -> Weights:
    """Only where n_heads · head_dim equals hidden_size is the turned matrix accepted."""
    layer = weights.layers[0]
    turned = np.ascontiguousarray(np.asarray(layer.o_proj.weight).T)
    return _with_layer(weights, 0, o_proj=replace(layer.o_proj, weight=turned))


def _norms_swapped(weights: Weights) -> Weights:
    layer = weights.layers[-1]
    return _with_layer(
        weights,
        -1,
        input_layernorm=layer.post_attention_layernorm,
        post_attention_layernorm=layer.input_layernorm,
    )


def _keys_of_another_layer(weights: Weights) -> Weights:
    return _with_layer(weights, -1, k_proj=weights.layers[0].k_proj)


def _no_final_gain(weights: Weights) -> Weights:
    return replace(weights, norm=np.ones_like(weights.norm))


PLANTED: dict[str, Callable[[Weights], Weights]] = {
    "A": _gate_and_up_swapped,
    "B": _output_turned,
    "C": _norms_swapped,
    "D": _keys_of_another_layer,
    "E": _no_final_gain,
}
"""The bugs, by the letter a reader knows them by."""
