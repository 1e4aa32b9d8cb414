"""A random Llama small enough to run hundreds of times, with every axis of another size."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np

from llama_edu.engine.cache import KVCache
from llama_edu.engine.llama import Llama
from llama_edu.engine.trace import Trace
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.tensor_shapes import expected_shapes

__all__ = ["BatchCountingModel", "CountingModel", "tiny_checkpoint", "tiny_llama"]


def tiny_llama(seed: int = 0) -> Llama:
    """Two layers, 6 query heads over 2 KV heads, random weights strong enough to matter.

    The weights can be read and not written: an answer that changed them would change what it is
    compared with.
    """
    return copy.copy(_tiny(seed))


@cache
def _tiny(seed: int) -> Llama:
    """Made once: its copies share the weights, and have all else for themselves."""
    model = Llama(*tiny_checkpoint(seed))
    for array in _arrays(model.weights):
        array.flags.writeable = False
    return model


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """Every array in a tree of dataclasses and lists."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _arrays(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _arrays(item)


def tiny_checkpoint(seed: int = 0) -> tuple[LlamaConfig, dict[str, np.ndarray]]:
    """The config and the tensors that `tiny_llama` is made of."""
    config = LlamaConfig(
        vocab_size=31,
        hidden_size=20,
        intermediate_size=27,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_theta=100.0,
    )
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        noise = rng.standard_normal(shape, dtype=np.float32)
        if "norm" in name:
            tensors[name] = 1 + noise * 0.3
        else:
            tensors[name] = noise * (1.0 if "embed" in name else 1.5 * shape[-1] ** -0.5)
    return config, tensors


class CountingModel(Llama):
    """A model that counts the positions it is asked to compute, one number per call."""

    def __init__(self, model: Llama) -> None:
        self.__dict__.update(model.__dict__)  # the same weights, not a copy
        self.positions: list[int] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "CountingModel":
        return CountingModel(self)  # the weights are read-only; the count starts anew

    def forward(
        self,
        token_ids: Sequence[int] | np.ndarray,
        cache: KVCache | None = None,
        *,
        last_only: bool = False,
        trace: Trace | None = None,
    ) -> np.ndarray:
        """As `Llama.forward`, counted."""
        logits = super().forward(token_ids, cache, last_only=last_only, trace=trace)
        self.positions.append(len(token_ids))
        return logits


class BatchCountingModel(Llama):
    """A model that counts the sequences of each shared step, one number per call."""

    def __init__(self, model: Llama) -> None:
        self.__dict__.update(model.__dict__)  # the same weights, not a copy
        self.sequences: list[int] = []

    def forward_batch(
        self,
        token_ids: Sequence[int] | np.ndarray,
        caches: Sequence[KVCache],
        *,
        trace: Trace | None = None,
    ) -> np.ndarray:
        """As `Llama.forward_batch`, counted."""
        logits = super().forward_batch(token_ids, caches, trace=trace)
        self.sequences.append(len(token_ids))
        return logits
