"""Chat templates: from messages to the token ids of a prompt.

A checkpoint brings its own template, a small Jinja program that writes roles and turns around what
people say. It is code from a stranger, so it runs in Jinja's sandbox, with the variables and
filters that `transformers` gives it. It sees messages as they are, for many templates decide by
them: they cut a `</think>` out of earlier replies, or look for `/no_think`.

What people say is from strangers as well: a message that reads `<|im_end|>` is ten characters and
must not end the turn. So messages go in as strings that know who wrote each character
(`chat.provenance`), and only a template can write a control token. Nothing is escaped on the page:
harmless messages get the ids `transformers` gives.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

import jinja2.ext
import jinja2.nodes
import jinja2.parser
import numpy as np
from jaxtyping import Int64

from llama_edu.chat.provenance import REWORKED, TEMPLATE, ProvenanceEnvironment, Text, sources_of
from llama_edu.errors import InputError, LlamaEduError, TokenizerError
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["ROLES", "ChatTemplate", "Message"]

ROLES = ("system", "user", "assistant", "tool")

# Who wrote a character, as bits: what one author may not write, the other may.
PERSON, MODEL = 1, 2


@dataclass(frozen=True)
class Message:
    """What one side said.

    A reply that the model wrote comes with its `token_ids`, without the one that ended it. Where
    the template writes the reply's text as it is, the ids go into the prompt: text made of tokens
    need not become the same tokens again. `content` is that text; left empty, it is decoded from
    the ids. `fields` are further fields that the template may look at, such as `tool_calls`.
    """

    role: str
    content: str = ""
    token_ids: tuple[int, ...] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class _Rendered:
    """A rendered chat, the source of each character, and where in it each message's would be.

    Message i's content has the sources `first[i]`, `first[i] + 1` and so on.
    """

    text: str
    sources: Int64[np.ndarray, " nchars"]
    contents: tuple[str, ...]
    first: tuple[int, ...]

    def message_of(self, sources: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The number of the message each source lies in; -1 for no message's."""
        return np.searchsorted(np.asarray(self.first), sources, side="right") - 1

    def places(self, number: int, start: int, wanted: str) -> list[int]:
        """Where the text `wanted`, from `start` in a message's content, stands unchanged."""
        source = self.first[number] + start
        following = np.arange(source, source + len(wanted), dtype=np.int64)
        return [
            at
            for at in np.flatnonzero(self.sources == source).tolist()
            if self.text.startswith(wanted, at)
            and np.array_equal(self.sources[at : at + len(wanted)], following)
        ]


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
        self._barred = self._barred_tokens()

    def _barred_tokens(self) -> dict[int, int]:
        """Token → the authors who cannot write it.

        Nobody can type a control token. What the model said may hold those that are not marked as
        special, `</think>` among them, unless they steer: unless the template ends a reply with
        them, or opens and ends the turn of a person. What it writes before a reply does not count,
        for there many templates open or close a thought.
        """
        controls = self._tokenizer.control_tokens(self.source)
        barred = dict.fromkeys(controls, PERSON | MODEL)
        plain = [Message("user", "x"), Message("assistant", "x"), Message("user", "x")]
        try:
            rendered = self._rendered(plain, False, None)
        except LlamaEduError:  # it wants more than that: all are barred
            return barred
        replied = max(rendered.places(1, 0, "x"), default=0)
        around = rendered.text[replied:]
        for token_id in controls.keys() - self._tokenizer.special_ids:
            if controls[token_id] not in around:
                barred[token_id] = PERSON
        return barred

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of the prompt, special tokens written out. To look at: `encode` encodes it.

        `add_generation_prompt` ends it where the assistant's next reply begins;
        `continue_final_message` instead at the end of the last message's text, to go on from there.
        `variables` are further ones for the template, such as `tools` or `enable_thinking`.
        Raises as `encode` does.
        """
        asks = add_generation_prompt and not continue_final_message
        rendered = self._rendered(messages, asks, variables)
        return rendered.text[: self._end(rendered) if continue_final_message else None]

    def encode(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The ids of the prompt, as `render` writes it. The template says where a bos goes.

        Raises `InputError` for no messages, an unknown role, messages that the template refuses
        or a last one that it does not write; `TokenizerError` if the template fails or a text
        cannot be encoded.
        """
        asks = add_generation_prompt and not continue_final_message
        rendered = self._rendered(messages, asks, variables)
        end = self._end(rendered) if continue_final_message else len(rendered.text)
        authors = self._authors(rendered, messages)
        ids: list[int] = []
        done = 0
        for start, stop, reply in self._replies(rendered, messages, variables):
            if start >= done and stop <= end:
                ids += self._encoded(rendered.text[done:start], authors[done:start], done > 0)
                ids += reply
                done = stop
        return ids + self._encoded(rendered.text[done:end], authors[done:end], done > 0)

    def _encoded(self, text: str, authors: bytes, continues: bool) -> list[int]:
        return self._tokenizer.encode_rendered(text, authors, self._barred, continues=continues)

    def _rendered(
        self, messages: Sequence[Message], asks: bool, variables: Mapping[str, Any] | None
    ) -> _Rendered:
        _check(messages)
        contents = tuple(self._content(message) for message in messages)
        first, given = [], []
        following = TEMPLATE + 1
        for message, content in zip(messages, contents, strict=True):
            said = {"role": message.role, "content": Text.said(content, following)}
            given.append({**_typed(_named_as_known(message.fields)), **said})
            first.append(following)
            following += len(content) + 1  # so that no message goes on where another ends
        text = self._run(given, asks, _typed(variables or {}))
        # `str.__str__` gives a plain string; `"".join` would cut the text into letters first.
        plain, sources = str.__str__(text), np.array(sources_of(text), dtype=np.int64)
        return _Rendered(plain, sources, contents, tuple(first))

    def _content(self, message: Message) -> str:
        if message.content or message.token_ids is None:
            return message.content
        return self._tokenizer.decode(message.token_ids)

    def _run(self, messages: list[dict[str, Any]], asks: bool, variables: dict[str, Any]) -> str:
        given = {"tools": None, "documents": None, **self._tokenizer.names, **variables}
        given |= {"messages": messages, "add_generation_prompt": asks}
        try:
            return self._template.render(given)
        except _RefusedError as problem:
            raise InputError(f"the chat template refuses these messages: {problem}") from problem
        except Exception as problem:  # the template is a program; it can fail in any way
            raise TokenizerError(
                "expected a chat template that renders these messages, got "
                f"{type(problem).__name__}: {problem}"
            ) from problem

    def _authors(self, rendered: _Rendered, messages: Sequence[Message]) -> bytes:
        """Who wrote each character: 0 for the template, and for blanks, which anybody may write.

        Text that was made of messages in a way that is not followed counts as a person's.
        """
        bits = [MODEL if message.role == "assistant" else PERSON for message in messages]
        sources = rendered.sources
        authors = np.array(bits, dtype=np.uint8)[rendered.message_of(sources)]
        authors[sources == REWORKED] = PERSON
        authors[sources == TEMPLATE] = 0
        blanks = [at for at, char in enumerate(rendered.text) if char.isspace()]
        authors[blanks] = 0
        return authors.tobytes()

    def _replies(
        self,
        rendered: _Rendered,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None,
    ) -> list[tuple[int, int, tuple[int, ...]]]:
        """Where replies' ids stand for the text, as (start, stop, ids), first things first.

        They do where the reply's text comes out unchanged, and where a template that trims writes
        the blanks at its ends itself.
        """
        found = []
        for number, message in enumerate(messages):
            if not message.token_ids:
                continue
            content = rendered.contents[number]
            # With the leading space that the text of a reply has lost.
            written = self._tokenizer.decode(message.token_ids, continues=True)
            core = content.strip() or content
            if not core or written.strip() != content.strip():
                continue  # nothing to find, or the ids are of another text
            texts = [text for text in (content, written) if core in text]
            for at in rendered.places(number, content.index(core), core):
                for text in texts:
                    start = at - text.index(core)
                    stop = start + len(text)
                    if rendered.text[start:stop] == text:
                        lead = written.removesuffix(text)
                        if lead and rendered.text[:start].endswith(lead):
                            asked = self._rendered(messages[:number], True, variables).text
                            start = len(asked) if rendered.text[:start] == asked + lead else start
                        found.append((start, stop, message.token_ids))
                        break
        return sorted(found)

    def _end(self, rendered: _Rendered) -> int:
        """Where the text of the last message ends."""
        own = np.flatnonzero(rendered.sources >= rendered.first[-1])
        if not own.size:
            raise InputError(
                "expected a template that writes the last message as it is, to continue it, "
                "got none of its text"
            )
        return int(own[-1]) + 1


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


def _check(messages: Sequence[Message]) -> None:
    """Raise `InputError` unless there are messages, of known roles.

    Their order is the template's to judge: some let the assistant begin, some refuse it.
    """
    if not messages:
        raise InputError("expected at least one message, got none")
    for number, message in enumerate(messages, 1):
        if message.role not in ROLES:
            raise InputError(
                f"message {number}: expected a role of {', '.join(ROLES)}, got {message.role!r}"
            )


REASONING = ("reasoning_content", "thinking", "reasoning")


def _named_as_known(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields, what the model thought under both names that templates look for.

    As `transformers` does: some templates read `reasoning_content`, others `thinking`.
    """
    thought = next((fields[name] for name in REASONING if fields.get(name) is not None), None)
    if thought is None:
        return fields
    return {"thinking": thought, **fields, "reasoning_content": thought}


def _typed(value: Any) -> Any:
    """The same value, its texts marked as written by people."""
    if isinstance(value, str):
        return Text.reworked(value)
    if isinstance(value, Mapping):
        return {_typed(name): _typed(one) for name, one in value.items()}
    return [_typed(one) for one in value] if isinstance(value, list | tuple) else value


def _compiled(source: str) -> jinja2.Template:
    environment = ProvenanceEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.add_filter("tojson", _to_json)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    try:
        return environment.from_string(source)
    except Exception as problem:  # also: nested too deep for Python to compile
        raise TokenizerError(
            f"expected a chat template that Jinja can read, got {problem}"
        ) from problem
