"""Text that must be JSON, or follow another grammar: at each step, which tokens keep it so.

`llguidance` follows a grammar byte by byte and says, for every token of the vocabulary, whether the
text may go on with it. All others get a logit of -∞, so that whatever is chosen fits. The library
is an extra: `pip install "llama_edu[json]"`.

Source: https://github.com/guidance-ai/llguidance, documentation of `LLMatcher`.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool

from llama_edu.errors import InputError, ServeError
from llama_edu.serve.closing import Closing, Place
from llama_edu.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import llguidance

__all__ = ["GrammarConstraint", "Grammars", "TextRule"]

TextRule = Literal["choice", "gbnf", "regex"]

LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
"""As `json.dumps` writes it. Blanks anywhere would let a small model write nothing else."""


BOUNDS: dict[str, dict[str, Any]] = {
    "string": {"maxLength": 1000},
    "integer": {"minimum": -(2**53), "maximum": 2**53},
    "array": {"maxItems": 100},
}
"""Where a schema sets no end, by type: a small model may not find one by itself. Beyond 2⁵³, most
readers of JSON lose digits anyway."""


MARGIN = 16  # tokens to spare when a text is brought to its end
LONGEST_END = 1024  # tokens: others wait while it is looked for


class GrammarConstraint:
    """One text on its way through a grammar."""

    # Of a text that is brought to its end:
    _left: int
    _look_at: int
    _is_late: bool

    def __init__(
        self,
        matcher: "llguidance.LLMatcher",
        vocab_size: int,
        ending: tuple[Closing, int] | None = None,
        most: int | None = None,
    ) -> None:
        """With both, a JSON text is brought to its end within `most` tokens, if that can be.

        That is found out by going there: how many tokens the shortest end takes from here. It is
        looked at only now and then, the more often the less is left; `ending` has what brings a
        text to its end, and how many tokens it takes from the beginning.
        """
        self._matcher, self._vocab_size = matcher, vocab_size
        self._closing: Closing | None = None
        self._place = Place()
        if ending is not None and most is not None:
            self._closing, shortest = ending
            self._left = most
            self._look(most, shortest)

    def allowed(self) -> Bool[np.ndarray, " vocab_size"]:
        """For each id, whether the text may go on with it; the ids of its end where it may end."""
        allowed = self._allowed(self._matcher)
        _check(self._matcher)
        if self._closing is not None and self._must_close(self._closing):
            forced = self._matcher.compute_ff_bytes()
            return self._closing.narrowed(allowed, self._place, forced)
        return allowed

    def accept(self, token_id: int) -> None:
        """Go on with this id. Raises `ServeError` if it was not allowed."""
        if not self._matcher.consume_token(token_id):
            raise ServeError("internal", f"llguidance: {self._matcher.get_error()}")
        if self._closing is not None:
            self._place.go_on(self._closing.tokens[token_id])
            self._left -= 1

    def _allowed(self, matcher: "llguidance.LLMatcher") -> Bool[np.ndarray, " vocab_size"]:
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool)

    def _must_close(self, closing: Closing) -> bool:
        """Whether the tokens that are left are just enough for the shortest end."""
        if not self._is_late and self._left <= self._look_at:
            self._look(self._left, self.tokens_to_the_end(closing))
        return self._is_late

    def _look(self, left: int, shortest: int) -> None:
        """Note whether it is late, and otherwise, when to look again."""
        spare = left - shortest - MARGIN
        self._is_late = spare <= 0
        self._look_at = left - max(spare // 4, 1)

    def tokens_to_the_end(self, closing: Closing) -> int:
        """How many tokens the shortest end takes; no more than `LONGEST_END` are tried.

        Raises `InputError` where the way there is too much for the library.
        """
        matcher, place = self._matcher.deep_copy(), self._place.copy()
        for count in range(LONGEST_END):
            if matcher.is_stopped():
                _check(matcher)
                return count
            allowed = self._allowed(matcher)
            if not allowed.any():
                return count
            token_id = closing.likely_longest(
                closing.narrowed(allowed, place, matcher.compute_ff_bytes())
            )
            matcher.consume_token(token_id)
            place.go_on(closing.tokens[token_id])
        return LONGEST_END


def _check(matcher: "llguidance.LLMatcher") -> None:
    """Raise `InputError` if the library gave up: some rules have no end, or too many ways."""
    if matcher.is_error():
        fault = matcher.get_error().partition("\n")[0]
        raise InputError(f"expected a rule that can be followed, got one with: {fault}"[:300])


ConstraintMaker = Callable[..., GrammarConstraint]


class Grammars:
    """The grammars of one model's vocabulary."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer, self._vocab_size = tokenizer, vocab_size

    def json(self, schema: Mapping[str, Any] | bool) -> "ConstraintMaker":
        """Makes a new constraint to JSON after a schema, each time it is called.

        Called with a number of tokens, one that ends the text within them, where the schema lets
        it. Raises `InputError` for a schema that cannot be followed, and `ServeError` without the
        library.
        """

        def grammar() -> str:
            from llguidance import LLMatcher

            # `true` lets anything through, as {} does, which is all that the library knows.
            text = json.dumps(_bounded({} if schema is True else schema))
            return LLMatcher.grammar_from_json_schema(text, LAYOUT)  # type: ignore[arg-type]

        return self._maker(grammar, "schema", self._closing)

    def text(self, kind: TextRule, source: str | Sequence[str]) -> "ConstraintMaker":
        """The same for any other text: one of several, or after a regular expression or grammar.

        A grammar is one in llama.cpp's form, GBNF, or in Lark's. Raises as `json` does.
        """

        def grammar() -> str:
            import llguidance

            text = source if isinstance(source, str) else json.dumps(list(source))
            return llguidance.grammar_from(kind, text)

        return self._maker(grammar, kind.replace("gbnf", "grammar"), None)

    def _maker(
        self, grammar: Callable[[], str], what: str, closing: Closing | None
    ) -> "ConstraintMaker":
        tokens = self._tokens
        from llguidance import LLMatcher

        try:
            compiled = grammar()
            fault = LLMatcher.validate_grammar(compiled, tokens)
        except (ValueError, RecursionError) as problem:
            fault = str(problem)
        if fault and not fault.startswith("WARNING"):
            raise InputError(f"expected a {what} that can be followed, got one with: {fault}"[:300])
        first = LLMatcher(tokens, compiled)
        trial = GrammarConstraint(first.deep_copy(), self._vocab_size)
        ending = None if closing is None else (closing, trial.tokens_to_the_end(closing))
        trial.allowed()

        def constraint(most: int | None = None) -> GrammarConstraint:
            return GrammarConstraint(first.deep_copy(), self._vocab_size, ending, most)

        return constraint

    @functools.cached_property
    def _closing(self) -> Closing:
        return Closing(self._vocabulary.tokens, self._tokenizer.eos_token_ids)

    @functools.cached_property
    def _vocabulary(self) -> "_Vocabulary":
        return _Vocabulary(self._tokenizer, self._vocab_size)

    @functools.cached_property
    def _tokens(self) -> "llguidance.LLTokenizer":
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError as problem:
            raise ServeError(
                "not_supported",
                "JSON replies are not supported here until the server's operator runs "
                'pip install "llama_edu[json]"',
            ) from problem
        return LLTokenizer(
            TokenizerWrapper(self._vocabulary),
            n_vocab=self._vocab_size,
            eos_token=list(self._tokenizer.eos_token_ids),
        )


def _bounded(schema: Any) -> Any:
    """The schema, with an end where it sets none."""
    if isinstance(schema, list):
        return [_bounded(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {
        key: value if key in ("const", "enum", "default", "examples") else _bounded(value)
        for key, value in schema.items()
    }
    kind = schema.get("type")
    bounds = BOUNDS.get(kind, {}) if isinstance(kind, str) else {}
    free = not {"enum", "const", "pattern", "format", "multipleOf"} & schema.keys()
    exclusive = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
    taken = schema.keys() | {exclusive[key] for key in exclusive.keys() & schema.keys()}
    return {key: value for key, value in bounds.items() if free and key not in taken} | result


class _Vocabulary:
    """A tokenizer as llguidance wants to see one."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        without = frozenset(tokenizer.ids_without_token(vocab_size).tolist())
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.eos_token_ids[0]
        self.bos_token_id = tokenizer.bos_token_id
        self.special_token_ids = sorted(tokenizer.special_ids)
        self.tokens = [b"" if i in without else tokenizer.token_bytes(i) for i in range(vocab_size)]

    def __call__(self, text: str | bytes) -> list[int]:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        return self._tokenizer.encode(text, add_special=False)
