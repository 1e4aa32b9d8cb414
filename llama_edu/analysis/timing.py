"""How long a decode step takes, and where its time goes: part by part, on the path a model runs."""

import copy
import functools
import inspect
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from llama_edu.engine.backends import numpy_decode as one_token
from llama_edu.engine.llama import Llama
from llama_edu.errors import InputError

__all__ = ["operator_seconds", "seconds_per_token"]

OPERATORS = (
    *("linear", "rms_norm", "apply_rope", "qk_scores"),
    *("apply_mask", "softmax", "score_v", "swiglu"),
)
BETWEEN = "between"

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

    The parts are those of the path the model takes. Where it has the NumPy step for one token,
    they are the functions of `numpy_decode`: of a function that calls another, only what it does
    itself; products with weights are under "products", the last of them under "head".
    Else they are the operators of `Llama.forward`. The rest of a step, from looking up the
    embedding to Python itself, is under "between".

    While it runs, no other thread should decode: it would be counted. Raises as `Llama.forward`
    does, and `InputError` for a compiled step, which is one call and has no parts to time. Timings
    are of this machine, now; compare only what ran side by side.
    """
    clock = _Clock()
    if model.operators.step is None:
        watched = copy.copy(model)  # a second Llama around the same weights
        timed = {name: clock.timed(name, getattr(model.operators, name)) for name in OPERATORS}
        watched.operators = model.operators.replaced(**timed)
        return _decoded(watched, clock, prompt_ids, token_ids)
    if model.operators.step is not one_token.step:
        raise InputError("expected a step written in NumPy, got a compiled one: it is one call")
    with _exchanged(_parts_of_a_step(clock, model)):
        return _decoded(model, clock, prompt_ids, token_ids)


@dataclass
class _Clock:
    """Seconds by name. What a timed call spends in another timed call is the other's."""

    spent: dict[str, float] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=list)  # of each running call, in calls below it

    def timed(self, name: str, function: Function) -> Function:
        """The function, with its own time added under a name at each call."""
        return self.timed_by(lambda *_: name, function, [name])

    def timed_by(
        self, name_of: Callable[..., str], function: Function, names: Sequence[str]
    ) -> Function:
        """The same, with a name that depends on the arguments: one of `names`."""
        self.spent.update(dict.fromkeys(names, 0.0))

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self.spent[name_of(*args)] += seconds - self._inner.pop()
                if self._inner:
                    self._inner[-1] += seconds

        return call


def _parts_of_a_step(clock: _Clock, model: Llama) -> dict[str, Any]:
    """What `numpy_decode` looks up by name, each timed: all that is known of it here.

    Those are its functions, but for `step`, which is the whole, and `product_for`, which only
    chooses. Its products with weights are NumPy's `dot` and `vecdot`; they are told from products
    of two vectors, which belong to whoever asks, by their matrix.
    """
    functions = {
        name: function
        for name, function in inspect.getmembers(one_token, inspect.isfunction)
        if function.__module__ == one_token.__name__ and name not in ("step", "product_for")
    }
    head = model.weights.lm_head

    def name_of(weight: np.ndarray, *_: Any) -> str:
        return "head" if weight is head else "products"

    def product(function: Function) -> Function:
        timed = clock.timed_by(name_of, function, ["products", "head"])
        return lambda weight, *args: (timed if weight.ndim == 2 else function)(weight, *args)

    numpy = vars(one_token)["np"]
    timed_numpy = SimpleNamespace(**vars(numpy))
    timed_numpy.dot, timed_numpy.vecdot = product(numpy.dot), product(numpy.vecdot)
    timed = {name: clock.timed(name, function) for name, function in functions.items()}
    return {**timed, "np": timed_numpy}


@contextmanager
def _exchanged(names: Mapping[str, Any]) -> Iterator[None]:
    """What `numpy_decode` finds under these names, and what it found before at the end."""
    kept = {name: vars(one_token)[name] for name in names}
    try:
        vars(one_token).update(names)
        yield
    finally:
        vars(one_token).update(kept)


def _decoded(
    model: Llama, clock: _Clock, prompt_ids: Sequence[int], token_ids: Sequence[int]
) -> dict[str, float]:
    """Decode, and tell what the clock saw and what it did not. The prompt does not count."""
    cache = model.new_cache()
    model.forward(prompt_ids, cache, last_only=True)
    clock.spent.update(dict.fromkeys(clock.spent, 0.0))
    start = time.perf_counter()
    for token_id in token_ids:
        model.forward([token_id], cache)
    whole = time.perf_counter() - start
    return clock.spent | {BETWEEN: max(0.0, whole - sum(clock.spent.values()))}
