"""Chat templates: from messages to the token ids of a prompt.

A checkpoint brings its own template, a small Jinja program that writes roles and turns around what
people say. It is code from a stranger, so it runs in Jinja's sandbox, with the variables and
filters that `transformers` gives it. What people say is from strangers as well: a message that
reads `<|im_end|>` is ten characters and must not end the turn. So every character of the rendered
text is known to come either from the template or from a person, and only a template can write a
control token. Nothing is escaped on the page: harmless messages get the ids `transformers` gives.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llama_edu.errors import InputError, TokenizerError
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["ROLES", "ChatTemplate", "Message"]

ROLES = ("system", "user", "assistant")

# Unicode's private planes: characters without a meaning, to stand for others while we render.
PRIVATE = (*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))


@dataclass(frozen=True)
class Message:
    """What one side said.

    A reply that the model wrote comes with its `token_ids`, without the one that ended it. They go
    into the prompt as they are: text made of tokens need not become the same tokens again.
    """

    role: str
    content: str = ""
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Rendered:
    """A rendered chat, and for each of its characters 1 if a person typed it, else 0."""

    text: str
    typed: bytes

    def part(self, start: int, stop: int) -> "_Rendered":
        return _Rendered(self.text[start:stop], self.typed[start:stop])


class ChatTemplate:
    """The chat template of a checkpoint, compiled. It never changes; threads may share it."""

    def __init__(self, tokenizer: Tokenizer, source: str | None = None) -> None:
        """Compile `source`, by default the checkpoint's own template.

        Raises `TokenizerError` if there is none, or if Jinja cannot read it.
        """
        source = tokenizer.chat_template if source is None else source
        if source is None:
            raise TokenizerError(
                "expected a chat template in chat_template.jinja or tokenizer_config.json, got "
                "none: a model without one continues texts and was not taught to converse"
            )
        self.source = source
        self._tokenizer = tokenizer
        self._template = _compiled(source)
        self._controls = tokenizer.control_tokens(source)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The text of the prompt, special tokens written out. To look at: `encode` encodes it.

        `add_generation_prompt` ends it where the assistant's next reply begins.
        Raises as `encode` does.
        """
        _check(messages, add_generation_prompt)
        contents = [message.content for message in messages]
        return self._rendered(messages, contents, add_generation_prompt).text

    def encode(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        """The ids of the prompt. The template itself says where a bos goes; none is added.

        Raises `InputError` for messages in an order that makes no conversation, or that the
        template refuses, and `TokenizerError` if the template fails or a text cannot be encoded.
        """
        _check(messages, add_generation_prompt)
        texts = [message.content for message in messages]
        replies = {i: m.token_ids for i, m in enumerate(messages) if m.token_ids is not None}
        stand_ins = dict(zip(replies, _unused(texts, self.source), strict=False))
        contents = [stand_ins.get(i, text) for i, text in enumerate(texts)]
        rendered = self._rendered(messages, contents, add_generation_prompt)
        if not replies:
            return self._encoded(rendered)
        reply_of = {mark: replies[i] for i, mark in stand_ins.items()}
        blanks = self._blanks_before(min(replies), messages, contents, rendered.text)
        return self._with_replies(rendered, reply_of, blanks)

    def _with_replies(
        self, rendered: _Rendered, reply_of: Mapping[str, tuple[int, ...]], blanks: str
    ) -> list[int]:
        """Encode what stands between the replies, and put their ids in between."""
        ids: list[int] = []
        start = 0
        for found in re.finditer(f"[{''.join(reply_of)}]", rendered.text):
            between = rendered.part(start, found.start())
            kept = len(between.text.removesuffix(blanks))
            ids += self._encoded(between.part(0, kept), continues=start > 0)
            ids += reply_of[found.group()]
            start = found.end()
        return ids + self._encoded(rendered.part(start, len(rendered.text)), continues=start > 0)

    def _blanks_before(
        self, first: int, messages: Sequence[Message], contents: Sequence[str], text: str
    ) -> str:
        """Blanks that the template writes before a reply, but not where it asks for one.

        Llama 2's does: the space after `[/INST]`. There the model writes it, as part of its first
        word, so it is among the reply's ids already.
        """
        asked = self._rendered(messages[:first], contents[:first], True).text
        before = text.partition(contents[first])[0]
        blanks = before.removeprefix(asked)
        return blanks if before.startswith(asked) and blanks.isspace() else ""

    def _encoded(self, rendered: _Rendered, *, continues: bool = False) -> list[int]:
        return self._tokenizer.encode_rendered(
            rendered.text, rendered.typed, self._controls, continues=continues
        )

    def _rendered(
        self, messages: Sequence[Message], contents: Sequence[str], prompt: bool
    ) -> _Rendered:
        """Render, and know who wrote each character.

        Characters without a meaning stand in for typed ones while the template runs; where they
        come out, the typed ones were. At best they stand for all that was typed. A template that
        looks into messages, for "/no_think" say, then sees nothing and writes something else than
        it would. So they next stand for the letters that open a control token, and at last for
        those letters where a whole control token was typed, which changes nothing in any other
        message. That last text is what the template means to write.
        """
        tokens = self._controls.values()
        whole = "|".join(f"{re.escape(t[0])}(?={re.escape(t[1:])})" for t in tokens) or "(?!)"
        openers = f"[{re.escape(''.join({t[0] for t in tokens}))}]" if tokens else "(?!)"
        meant, opaque, half_opaque = (
            self._render_hiding(pattern, messages, contents, prompt)
            for pattern in (whole, r"\S", openers)
        )
        for rendered in (opaque, half_opaque):
            if rendered.text == meant.text:
                return rendered
        # It looks for such letters, too. Unless that lets a message forge a token, so be it.
        return meant if self._steering(meant) == self._steering(half_opaque) else opaque

    def _render_hiding(
        self, pattern: str, messages: Sequence[Message], contents: Sequence[str], prompt: bool
    ) -> _Rendered:
        """Render with a stand-in for each typed character that matches `pattern`."""
        typed = sorted({char for text in contents for char in re.findall(pattern, text)})
        stand_in = dict(zip(typed, _unused(contents, self.source), strict=False))
        if len(stand_in) < len(typed):
            raise InputError(
                f"expected fewer than {len(PRIVATE)} different characters, got {len(typed)}"
            )
        said = [
            {"role": m.role, "content": re.sub(pattern, lambda found: stand_in[found[0]], text)}
            for m, text in zip(messages, contents, strict=True)
        ]
        text = self._run(said, prompt)
        meaning = {mark: char for char, mark in stand_in.items()}
        return _Rendered(
            text.translate(str.maketrans(meaning)), bytes(char in meaning for char in text)
        )

    def _run(self, messages: list[dict[str, str]], prompt: bool) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=prompt,
                tools=None,
                documents=None,
                **self._tokenizer.names,
            )
        except _RefusedError as problem:
            raise InputError(f"the chat template refuses these messages: {problem}") from problem
        except Exception as problem:  # the template is a program; it can fail in any way
            raise TokenizerError(
                "expected a chat template that renders these messages, got "
                f"{type(problem).__name__}: {problem}"
            ) from problem

    def _steering(self, rendered: _Rendered) -> list[int]:
        return [token_id for token_id in self._encoded(rendered) if token_id in self._controls]


def _check(messages: Sequence[Message], prompt: bool) -> None:
    """Raise `InputError` unless the messages are a conversation, in an order a reader expects."""
    if not messages:
        raise InputError("expected at least one message, got none")
    previous = None
    for number, message in enumerate(messages, 1):
        role = message.role
        if role not in ROLES:
            raise InputError(
                f"message {number}: expected a role of {', '.join(ROLES)}, got {role!r}"
            )
        if role == "system" and previous is not None:
            raise InputError(f"message {number}: expected the system message first, got it here")
        if role == "assistant" and previous != "user":
            raise InputError(
                f"message {number}: expected a user message before the assistant's, "
                f"got {previous or 'none'}"
            )
        previous = role
    if prompt and previous != "user":
        raise InputError(f"expected a user message to reply to at the end, got {previous}")


def _unused(texts: Sequence[str], source: str) -> Iterator[str]:
    """Private characters that occur nowhere."""
    used = set(source).union(*texts)
    return (char for char in map(chr, PRIVATE) if char not in used)


class _RefusedError(jinja2.TemplateError):
    """Raised by the template itself: it does not take these messages."""


def _refuse(reason: str) -> NoReturn:
    raise _RefusedError(reason)


def _to_json(value: Any, **layout: Any) -> str:
    """Jinja's own `tojson` writes for a web page: it escapes `<` and sorts keys."""
    return json.dumps(value, **{"ensure_ascii": False} | layout)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks replies for training. Here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012, as Jinja has it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _compiled(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    try:
        return environment.from_string(source)
    except Exception as problem:  # also: nested too deep for Python to compile
        raise TokenizerError(
            f"expected a chat template that Jinja can read, got {problem}"
        ) from problem
