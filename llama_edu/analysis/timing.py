"""How long a decode step takes, and where its time goes: part by part, on the path a model runs."""

import copy
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from llama_edu.engine.backends.numpy_decode import SmallModelDecode
from llama_edu.engine.llama import Llama
from llama_edu.engine.operators import Operators
from llama_edu.errors import InputError

__all__ = ["operator_seconds", "seconds_per_token"]

BETWEEN = "between"
SHORTCUTS = ("fused_attention", "decode_step")

Function = Callable[..., Any]


def seconds_per_token(model: Llama, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> float:
    """The median time of a step while `token_ids` are decoded one by one after a prompt.

    Nothing is watched: these are the steps `generate` takes. Raises as `Llama.forward` does, and
    `InputError` for no tokens. A timing is of this machine, now.
    """
    if not token_ids:
        raise InputError("expected at least one token to time, got none")
    cache = model.new_cache()
    model.forward(prompt_ids, cache, last_only=True)
    stamps = [time.perf_counter()]
    for token_id in token_ids:
        model.forward([token_id], cache)
        stamps.append(time.perf_counter())
    return statistics.median(np.diff(stamps).tolist())


def operator_seconds(
    model: Llama, prompt_ids: Sequence[int], token_ids: Sequence[int]
) -> dict[str, float]:
    """Seconds spent in each part of a step while `token_ids` are decoded after a prompt.

    The parts are the operators that ran, by name: those of `llama_edu.engine.operators`, or for a
    model small enough those of `llama_edu.engine.backends.numpy_decode`. Products with weights are
    under "linear", the last of them under "head". The rest of a step, from looking up the
    embedding to Python itself, is under "between".

    Nothing of the model is changed: another one around the same weights is timed. Raises as
    `Llama.forward` does, and `InputError` for a compiled step, which is one call and has no parts
    to time. Timings are of this machine, now; compare only what ran side by side.
    """
    clock = _Clock()
    watched = copy.copy(model)  # a second Llama around the same weights
    watched.operators = _timed(model, clock)
    cache = watched.new_cache()
    watched.forward(prompt_ids, cache, last_only=True)
    clock.spent.clear()  # the prompt does not count
    start = time.perf_counter()
    for token_id in token_ids:
        watched.forward([token_id], cache)
    whole = time.perf_counter() - start
    return clock.spent | {BETWEEN: max(0.0, whole - sum(clock.spent.values()))}


@dataclass
class _Clock:
    """Seconds by name, of what was called."""

    spent: dict[str, float] = field(default_factory=dict)

    def timed(self, name_of: Callable[..., str], function: Function) -> Function:
        """The function, with the time of each call added under a name."""

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                seconds = time.perf_counter() - start
                name = name_of(*args)
                self.spent[name] = self.spent.get(name, 0.0) + seconds

        return call


def _timed(model: Llama, clock: _Clock) -> Operators:
    """The model's operators, and those of its shortcut, each under the clock."""
    ops, head = model.operators, model.weights.lm_head
    shortcut = ops.decode_step
    if shortcut is not None and not isinstance(shortcut, SmallModelDecode):
        raise InputError("expected a step written in NumPy, got a compiled one: it is one call")

    def wrapped(parts: Operators | SmallModelDecode) -> dict[str, Function]:
        return {
            part.name: clock.timed(_name_of(part.name, head), getattr(parts, part.name))
            for part in fields(parts)
            if part.name not in SHORTCUTS
        }

    timed = ops.replaced(**wrapped(ops))
    return (
        timed
        if shortcut is None
        else replace(timed, decode_step=replace(shortcut, **wrapped(shortcut)))
    )


def _name_of(name: str, head: object) -> Callable[..., str]:
    """What a call of an operator is timed as; a product with the matrix of the head, as "head"."""
    if name != "linear":
        return lambda *_: name
    return lambda *args: "head" if any(arg is head for arg in args) else "linear"
