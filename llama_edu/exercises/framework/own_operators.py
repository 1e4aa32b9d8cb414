"""Bring your own operator: the whole real model, run on functions a reader wrote.

    with use_operators(rms_norm=rms_norm_mine) as run:
        print(run.write("Tom had a red ball."))

On entering, the model is run both ways and the comparison is printed: what it writes with the
book's functions and with yours, and where the numbers first part. Inside the block the model
computes with yours; after it, with its own again, whatever happened.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from itertools import groupby
from textwrap import TextWrapper
from typing import Any

import numpy as np

from llama_edu.engine.generate import generate
from llama_edu.engine.llama import Llama
from llama_edu.engine.operators import Operators
from llama_edu.errors import InputError
from llama_edu.exercises.framework.compare import Comparison, Writing, compare, steadiest
from llama_edu.hub import BOOK_MODEL
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["Run", "as_text", "use_operators"]

# The shortcuts have no default: they are no step of the book.
NAMES = tuple(field.name for field in fields(Operators) if field.default is not None)
PROMPTS = (  # the one that is continued furthest without a near tie is taken
    "Down by the lake lived a shy bear called Amy. All day long she sang: bo ti dum zo pim. On a "
    "foggy day",
    "Of all the animals near the mill, none was as patient as Karl the duck. When he was "
    "delighted, Karl sang: bo lu zo ram ti. Karl never went anywhere without his white basket. "
    "But one afternoon a",
    "Do you know Sam, the playful lamb from the river? He loved to sing songs. That day a silver "
    "fish made him laugh. His little song was this: pim ram ti lu zo. Beside his bed he kept a "
    "brown whistle, a gift from his sister. But one evening",
    "There was a little cat named Tim. He had a blue ball. One day, the blue ball",
    "Once upon a time there was a kind duck named Sam. One day, Sam",
    "Lily found a shiny button by the river. She",
)
ENDINGS = {"tie": " … (a near tie)", "broken": " … (logits that are no numbers)"}

# Most operators return what has the shape of their first argument.
_SHAPES: dict[str, Callable[..., tuple[int, ...]]] = {
    "linear": lambda x, weight, bias=None: (len(x), weight.shape[0]),
    "rope_cos_sin": lambda inv_freq, past, seq: (seq, len(inv_freq)),
    "split_query_heads": lambda q, n, head_dim: (n, q.shape[1] // (n * head_dim), len(q), head_dim),
    "split_kv_heads": lambda kv, n_kv_heads, head_dim: (n_kv_heads, len(kv), head_dim),
    "qk_scores": lambda q, k: (*q.shape[:-1], k.shape[1]),
    "score_v": lambda attn_weights, v: (*attn_weights.shape[:-1], v.shape[2]),
    "merge_heads": lambda attn_v: (attn_v.shape[2], attn_v[:, :, 0].size),
}
_PAIRS = ("rope_cos_sin",)  # return two arrays of that shape


@contextmanager
def use_operators(
    model: Llama | str = BOOK_MODEL,
    tokenizer: Tokenizer | None = None,
    /,
    *,
    prompt: str | Sequence[int] | None = None,
    max_new_tokens: int = 40,
    **functions: Any,
) -> Iterator["Run"]:
    """Run a whole model on your functions inside a `with` block, and say where it parts.

    `functions` are operators by their names in `llama_edu.engine.operators.Operators`, such as
    `rms_norm` or `qk_scores`, with the arguments and results the book's own have. `model` is a
    name, or a model with its tokenizer; a model alone is run on token ids. `prompt` is text or
    ids; without one, a beginning is taken whose continuation is clear. What your functions are
    given can be read, not written.

    Raises `InputError` for a name that is no operator, for what cannot be called, for a result of
    another shape or dtype than the book's function returns, and for text without a tokenizer;
    whatever your function raises comes through. The model is restored in every case.
    """
    if isinstance(model, str):
        tokenizer = tokenizer or Tokenizer.from_pretrained(model)
        model = Llama.from_pretrained(model)
    change = _changed(model, functions)
    prompt_ids = _prompt_ids(prompt, tokenizer) if prompt is not None else _own(model, tokenizer)
    comparison = compare(
        model, prompt_ids, change(), max_new_tokens=max_new_tokens, tokenizer=tokenizer
    )
    run = Run(model, tokenizer, tuple(functions), comparison)
    print(run)
    with change():
        yield run


@dataclass(frozen=True)
class Run:
    """A model on your functions, and how it compares with the same model on the book's.

    Printing it gives the comparison in words. `comparison` holds the numbers.
    """

    model: Llama
    tokenizer: Tokenizer | None
    names: tuple[str, ...]
    comparison: Comparison

    def write(self, prompt: str, max_new_tokens: int = 40) -> str:
        """Continue a text, taking the likeliest token each time. Needs a tokenizer.

        Within the block the words are those of your functions.
        """
        ids = _prompt_ids(prompt, self.tokenizer)
        new_ids = generate(self.model, ids, max_new_tokens=max_new_tokens, tokenizer=self.tokenizer)
        return self._text([*ids, *new_ids])

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        found = self.comparison
        yield f"{'✓' if found.same else '✗'} the model on your {_listed(self.names)}"
        if found.same:
            yield "  Every array and every row of logits is the book's, up to rounding."
            yield from self._wrapped("Both write:", found.changed)
            return
        yield from self._wrapped("The book's functions write:", found.right)
        yield from self._wrapped("Yours write:", found.changed)
        if (array := found.array) is not None:
            call = f"positions {array.first_position} to {array.last_position}"
            yield f"  First array that differs: {array.name}, in the pass over {call}"
            yield f"    at {array.place}: expected {array.want:.4g}, got {array.got:.4g};"
            yield f"    largest difference {array.largest_gap:.2g}"
        if (position := found.position) is not None:
            gap = found.gaps[position]
            yield f"  First logits that differ: at position {position}, by up to {gap:.2g}"
        after = "none" if found.token is None else f"new token {found.token}"
        yield f"  First token that differs: {after} ({len(found.right.ids)} were written)"

    def _wrapped(self, label: str, writing: Writing) -> Iterator[str]:
        wrap = TextWrapper(72, initial_indent="    ", subsequent_indent="    ")
        yield f"  {label}"
        ending = ENDINGS.get(writing.end, "")
        yield from wrap.wrap(self._text([*self.comparison.prompt_ids, *writing.ids]) + ending)

    def _text(self, ids: Sequence[int]) -> str:
        return str(list(ids)) if self.tokenizer is None else as_text(self.tokenizer, ids)


def as_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Ids as text. A broken model may choose an id that stands for nothing: `⟨2047⟩`."""
    pieces = []
    for known, run in groupby(ids, key=lambda token_id: token_id < tokenizer.vocab_size):
        some = list(run)
        pieces.append(tokenizer.decode(some) if known else "".join(f"⟨{i}⟩" for i in some))
    return "".join(pieces)


def _changed(
    model: Llama, functions: dict[str, Any]
) -> Callable[[], AbstractContextManager[object]]:
    """What to enter so that `model` runs on `functions`; each entry takes a new one."""
    if not functions:
        raise InputError(f"expected at least one operator of {', '.join(NAMES)}, got none")
    for name, function in functions.items():
        if name not in NAMES:
            raise InputError(f"expected operators of {', '.join(NAMES)}, got {name!r}")
        if not callable(function):
            raise InputError(f"expected a function as {name}, got {type(function).__name__}")
    guarded = {name: _guarded(name, function) for name, function in functions.items()}
    operators = model.operators.replaced(**guarded)
    return lambda: model.using(operators=operators)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, held to what an operator promises: arrays of the right shape and dtype."""
    shape_of: Callable[..., tuple[int, ...]] = _SHAPES.get(name, _like_the_first)

    def checked(*args: Any) -> Any:
        got = function(*map(_read_only, args))
        if name not in _PAIRS:
            _check(name, got, shape_of(*args), args[0].dtype)
        elif not isinstance(got, tuple) or len(got) != 2:
            raise InputError(f"expected {name} to return two arrays, got {type(got).__name__}")
        else:
            for part in got:
                _check(name, part, shape_of(*args), args[0].dtype)
        return got

    return checked


def _check(name: str, got: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if not isinstance(got, np.ndarray):
        raise InputError(f"expected {name} to return an array, got {type(got).__name__}")
    if got.shape != shape:
        raise InputError(f"expected {name} to return shape {shape}, got {got.shape}")
    if got.dtype != dtype:
        raise InputError(f"expected {name} to return {dtype}, got {got.dtype}")


def _like_the_first(first: np.ndarray, *others: Any) -> tuple[int, ...]:
    return first.shape


def _read_only(argument: Any) -> Any:
    if not isinstance(argument, np.ndarray):
        return argument
    view = argument.view()
    view.flags.writeable = False
    return view


def _prompt_ids(prompt: str | Sequence[int], tokenizer: Tokenizer | None) -> list[int]:
    if not isinstance(prompt, str):
        return [int(token_id) for token_id in prompt]
    if tokenizer is None:
        raise InputError("expected a tokenizer for a prompt in words, got a model alone")
    return tokenizer.encode(prompt)


def _own(model: Llama, tokenizer: Tokenizer | None) -> list[int]:
    """A prompt of ours."""
    if tokenizer is None:
        return list(range(8))
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    return prompts[steadiest(model, prompts, tokenizer=tokenizer)]


def _listed(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
