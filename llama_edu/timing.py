"""Where the time of a forward pass goes, operator by operator."""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llama_edu.model import Llama

__all__ = ["operator_seconds"]

OPERATORS = (
    *("linear", "rms_norm", "apply_rope", "qk_scores"),
    *("apply_mask", "softmax", "score_v", "swiglu"),
)


def operator_seconds(
    model: Llama, prompt_ids: Sequence[int], token_ids: Sequence[int]
) -> dict[str, float]:
    """Seconds spent in each operator while `token_ids` are decoded one by one after a prompt.

    The rest of a step, from looking up the embedding to Python itself, is under "between". Raises
    as `Llama.forward` does. Timings are of this machine, now; compare only what ran side by side.
    """
    spent = dict.fromkeys(OPERATORS, 0.0)

    def timed(name: str) -> Callable[..., np.ndarray]:
        function = getattr(model.operators, name)

        def call(*args: Any) -> np.ndarray:
            start = time.perf_counter()
            result: np.ndarray = function(*args)
            spent[name] += time.perf_counter() - start
            return result

        return call

    watched = copy.copy(model)  # a second Llama around the same weights
    watched.operators = model.operators.replaced(**{name: timed(name) for name in OPERATORS})
    cache = watched.new_cache()
    watched.forward(prompt_ids, cache, last_only=True)
    spent.update(dict.fromkeys(spent, 0.0))
    start = time.perf_counter()
    for token_id in token_ids:
        watched.forward([token_id], cache)
    whole = time.perf_counter() - start
    return spent | {"between": max(0.0, whole - sum(spent.values()))}
