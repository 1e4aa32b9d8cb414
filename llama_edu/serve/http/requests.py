"""The JSON that comes in: what a request may say, in the words of OpenAI's API.

Every field is known by name; one that is not is refused, so that a misspelt `max_token` is not
silently ignored. Fields of other servers pass where they change nothing (`foreign_fields`).

Source of names and ranges: OpenAI API reference, "Create chat completion", "Create completion".
Fields that OpenAI does not have are spelt as vLLM and llama.cpp spell them: `top_k`, `min_p`,
`repetition_penalty` (`repeat_penalty` in llama.cpp), `prompt_logprobs`, `truncate_prompt_tokens`,
`chat_template_kwargs`, `add_generation_prompt`, `continue_final_message`, `ignore_eos`.
`context_overflow` is ours.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from llama_edu.engine.sampling import Sampling
from llama_edu.serve.grammar import TextRule
from llama_edu.serve.http.foreign_fields import Place, known_fields_of

__all__ = [
    "ChatRequest",
    "CompletionRequest",
    "ContentPart",
    "DetokenizeRequest",
    "MessageIn",
    "ResponseFormat",
    "Rule",
    "SharedFields",
    "TemplateRequest",
    "TokenizeRequest",
    "ToolChoice",
    "ToolIn",
]

MAX_STOPS = 16  # OpenAI has 4, vLLM and llama.cpp no limit
MAX_STOP_CHARS = 256
MAX_CHOICES = 16
MAX_PROMPTS = 64  # in one request
MAX_MESSAGES = 4096  # each with a role and its marks, they fill any context before
MAX_TOOLS = 128
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's own

StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
# One fault in a list is enough, here and below: to tell a hundred thousand takes a second.
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]


class Strict(BaseModel):
    """Refuses what it does not know, and does not turn text into numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)
    place: ClassVar[Place] = "elsewhere"

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_known(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = {field.alias or name for name, field in cls.model_fields.items()}
        spellings = [
            [one for one in field.validation_alias.choices if isinstance(one, str)]
            for field in cls.model_fields.values()
            if isinstance(field.validation_alias, AliasChoices)
        ]
        known = known_fields_of(names.union(*spellings), data, place=cls.place)
        for choices in spellings:
            first, *others = [one for one in choices if one in known] or [""]
            for other in others:  # the same field under another name
                if known[other] != known[first] or type(known[other]) is not type(known[first]):
                    raise ValueError(
                        f"{first}: expected the value of {other}, another name of it, "
                        f"got {known[first]!r:.40} and {known[other]!r:.40}"
                    )
                del known[other]
        return known


def refused(field: str, message: str) -> PydanticCustomError:
    """An error that says in which words a value is refused."""
    return PydanticCustomError("not_supported", "{message}", {"field": field, "message": message})


class StreamOptions(Strict):
    """What a stream ends with."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchema(Strict):
    """A schema and its name."""

    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """What a reply must be: any text, any JSON object, or JSON after a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormat":
        given = self.schema_ is not None or (
            self.json_schema is not None and self.json_schema.schema_ is not None
        )
        if self.type == "json_schema" and not given:
            raise ValueError("response_format: expected json_schema with a schema, got none")
        return self

    @property
    def wanted_schema(self) -> dict[str, Any] | bool | None:
        """The schema a reply must follow; None for any text."""
        if self.type == "text":
            return None
        if self.schema_ is not None:
            return self.schema_
        if self.json_schema is not None and self.json_schema.schema_ is not None:
            return self.json_schema.schema_
        return {"type": "object"}


RuleText = Annotated[str, Field(max_length=2**16)]
Choices = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=2**12)]], Field(max_length=2**10)
]


@dataclass(frozen=True)
class Rule:
    """What a text must follow, and the field that says so."""

    kind: Literal["json"] | TextRule
    source: Any
    param: str


def _schema(given: dict[str, Any] | str, param: str) -> Any:
    """A schema that may come as a text, which vLLM takes, too."""
    if not isinstance(given, str):
        return given
    if given == "json":  # Ollama's word for any object
        return {"type": "object"}
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{param}: expected a schema, got {given[:80]!r}") from problem


class StructuredOutputs(Strict):
    """What a text must follow, in vLLM's words."""

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    regex: RuleText | None = None
    choice: Choices | None = None
    grammar: RuleText | None = None
    json_object: bool | None = None


class SharedFields(Strict):
    """What both kinds of request have in common."""

    place = "request"
    response_format: ResponseFormat | None = None
    json_schema: dict[str, Any] | str | None = Field(
        None,
        description="As response_format with that schema.",
        validation_alias=AliasChoices("json_schema", "guided_json", "format"),
    )
    grammar: RuleText | None = Field(
        None,
        description="What the text must follow: GBNF, as in llama.cpp, or Lark.",
        validation_alias=AliasChoices("grammar", "guided_grammar"),
    )
    guided_regex: RuleText | None = Field(
        None, description="A regular expression that the text must match."
    )
    guided_choice: Choices | None = Field(None, description="The text is one of these.")
    structured_outputs: StructuredOutputs | None = None
    model: str | None = Field(
        None,
        description="A name that GET /v1/models lists; may be left out where one model is served.",
    )
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="0 takes the likeliest token."
    )
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = Field(
        None, description="Draw among that many of the likeliest tokens; 0 or -1 for all."
    )
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Draw among tokens at least that many times as likely as the likeliest."
    )
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = Field(
        None, validation_alias=AliasChoices("repetition_penalty", "repeat_penalty")
    )
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, description="Token ids, as text, and what to add to their logits.", max_length=1024
    )
    seed: Seed | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    max_tokens: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = Field(
        None,
        description="Cut to what the context has room for; -1 for all of it.",
        validation_alias=AliasChoices("max_tokens", "n_predict", "num_predict"),
    )
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    best_of: int | None = Field(None, description="As many as n; no more are written.")
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None, description="Only with stream: true.")
    ignore_eos: bool | None = Field(None, description="Write on after a token that ends a text.")
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = Field(
        None,
        description="Keep that many of the prompt's last tokens; -1: all there is room for.",
    )
    prompt_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Log-probabilities of the prompt's tokens; not with a stream."
    )
    add_special_tokens: bool | None = Field(
        None, description="Whether a prompt given as text gets the tokens around a text."
    )

    @model_validator(mode="after")
    def _options_fit(self) -> "SharedFields":
        options = self.stream_options
        if options is not None and any(options.model_dump().values()) and not self.stream:
            raise ValueError("stream_options: expected stream to be true beside it, got false")
        if self.prompt_logprobs is not None and self.stream:
            raise ValueError("prompt_logprobs: expected stream to be false beside it, got true")
        for name in self.logit_bias or ():
            if not name.removeprefix("-").isdecimal() or len(name) > 10:
                raise ValueError(f"logit_bias: expected token ids, got {name[:80]!r}")
        rules = self._rules()
        if len(rules) > 1:
            raise ValueError(
                f"{rules[1].param}: expected one rule for the text, got another by {rules[0].param}"
            )
        if self.best_of is not None and self.best_of != (self.n or 1):
            message = (
                f"best_of is not supported here: expected n, which is {self.n or 1}, "
                f"got {self.best_of}"
            )
            raise refused("best_of", message)
        return self

    @property
    def rule(self) -> Rule | None:
        """What the text must follow, if anything."""
        rules = self._rules()
        return rules[0] if rules else None

    def _rules(self) -> list[Rule]:
        """Everything that was asked for, under any name: at most one, once it is validated."""
        said = self.structured_outputs or StructuredOutputs.model_construct()
        wanted = self.response_format and self.response_format.wanted_schema
        rules = [] if wanted is None else [Rule("json", wanted, "response_format")]
        for schema, param in (
            (self.json_schema, "json_schema"),
            (said.json_, "structured_outputs"),
            ({"type": "object"} if said.json_object else None, "structured_outputs"),
        ):
            if schema is not None and schema not in ("", {}):
                rules.append(Rule("json", _schema(schema, param), param))
        texts: list[tuple[TextRule, str | list[str] | None, str]] = [
            ("regex", self.guided_regex, "guided_regex"),
            ("regex", said.regex, "structured_outputs"),
            ("choice", self.guided_choice, "guided_choice"),
            ("choice", said.choice, "structured_outputs"),
            ("gbnf", self.grammar, "grammar"),
            ("gbnf", said.grammar, "structured_outputs"),
        ]
        return rules + [Rule(kind, source, param) for kind, source, param in texts if source]

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def sampling(self) -> Sampling:
        """How to choose, with OpenAI's defaults for what was left out: 1, no cut, no penalty."""
        temperature = 1.0 if self.temperature is None else float(self.temperature)
        return Sampling(
            # The fewest tokens that reach a probability of 0: one, the likeliest.
            temperature=0.0 if self.top_p == 0 else temperature,
            top_k=max(self.top_k or 0, 0),
            top_p=float(self.top_p or 1.0),
            min_p=float(self.min_p or 0.0),
            repetition_penalty=float(self.repetition_penalty or 1.0),
            presence_penalty=float(self.presence_penalty or 0.0),
            frequency_penalty=float(self.frequency_penalty or 0.0),
            logit_bias=tuple((int(k), float(v)) for k, v in (self.logit_bias or {}).items()),
        )


class ContentPart(Strict):
    """A part of a message. Only text can be read."""

    place = "message"
    type: str
    text: str = ""

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("type"), str):
            kind = data["type"]
            if kind == "refusal":
                return {"type": "text", "text": data.get("refusal")}
            if kind != "text":
                message = f"a part of type {kind[:80]!r} is not supported here: expected 'text'"
                raise refused("messages", f"messages: {message}, got {kind[:80]!r}")
            if "text" not in data:
                raise ValueError("messages: expected text in a part of type 'text', got none")
        return data


class FunctionCall(Strict):
    """Which function a model called, and with what, as JSON in a text."""

    name: str
    arguments: str | dict[str, Any]


class ToolCallIn(Strict):
    """A call that an earlier reply made."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None


class MessageIn(Strict):
    """One message. "developer" is a newer word for "system", "function" an older one for "tool"."""

    place = "message"
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[ContentPart], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: Annotated[list[ToolCallIn], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = (
        None
    )
    # What a reply has besides: clients send it back as they got it.
    refusal: str | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    reasoning_content: str | None = Field(
        None, validation_alias=AliasChoices("reasoning_content", "reasoning", "thinking")
    )

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("role") not in (None, "assistant"):
            if "content" not in data:
                raise PydanticCustomError("missing_content", "Field required")
            if data["content"] is None:
                raise ValueError("messages: expected content, got none")
        return data

    @property
    def text(self) -> str:
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class FunctionIn(Strict):
    """What a tool is called, what it is for, and what it takes."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-zA-Z0-9_.-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


def _only_functions(data: Any) -> Any:
    """Refuses tools of other kinds, and choices of them, by their name."""
    if isinstance(data, dict) and isinstance(kind := data.get("type"), str) and kind != "function":
        message = f"a tool of type {kind[:80]!r} is not supported here: expected 'function'"
        raise refused("tools", f"tools: {message}, got {kind[:80]!r}")
    return data


class ToolIn(Strict):
    """A tool that the model may call. Only functions can be called."""

    _functions = model_validator(mode="before")(_only_functions)

    type: Literal["function"]
    function: FunctionIn


class NamedFunction(Strict):
    """The name of a function."""

    name: str


class ToolChoice(Strict):
    """The one function to call."""

    _functions = model_validator(mode="before")(_only_functions)

    type: Literal["function"]
    function: NamedFunction


Messages = Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]


class TemplateRequest(Strict):
    """The body of POST /apply-template: what a chat's prompt is made of."""

    place = "request"
    model: str | None = None
    messages: Messages
    tools: Annotated[list[ToolIn], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Further variables for the model's chat template."
    )
    add_generation_prompt: bool | None = Field(
        None, description="Whether the assistant's next reply begins after the messages."
    )
    continue_final_message: bool | None = Field(
        None, description="Go on with the last message. So it is by default, if it is a reply's."
    )

    @model_validator(mode="after")
    def _one_way_to_end(self) -> "TemplateRequest":
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError(
                "continue_final_message: expected one of it and add_generation_prompt, got both"
            )
        return self

    @property
    def continues(self) -> bool:
        """Whether the reply goes on with the last message, by default as in llama.cpp."""
        if self.continue_final_message is not None:
            return self.continue_final_message
        return self.messages[-1].role == "assistant" and not self.add_generation_prompt


class ChatRequest(SharedFields, TemplateRequest):
    """The body of POST /v1/chat/completions."""

    max_completion_tokens: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Only with logprobs: true."
    )
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    context_overflow: Literal["refuse", "drop_oldest"] | None = Field(
        None,
        description="Where messages do not fit the context: refuse them, or leave out the oldest "
        "turns. The answer says how many messages were left out.",
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: expected logprobs to be true beside it, got false")
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and self.max_tokens != self.max_completion_tokens:
            raise ValueError(
                "max_tokens: expected the value of max_completion_tokens, its newer name, "
                f"got {self.max_tokens} and {self.max_completion_tokens}"
            )
        names = [tool.function.name for tool in self.tools or ()]
        if isinstance(self.tool_choice, ToolChoice):
            if self.tool_choice.function.name not in names:
                raise ValueError(
                    f"tool_choice: expected one of the tools {names}, "
                    f"got {self.tool_choice.function.name[:80]!r}"
                )
        elif self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: expected tools beside 'required', got none")
        if self.forced_tools and (rule := self.rule):
            got = "JSON" if rule.kind == "json" else rule.kind
            raise ValueError(f"{rule.param}: expected text where a tool must be called, got {got}")
        return self

    def new_tokens(self, room: int) -> int:
        """How many to write at most: what was asked for, as far as there is room."""
        asked = (
            self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        )
        return max(room if asked is None or asked < 0 else min(asked, room), 0)

    @property
    def wanted_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def usable_tools(self) -> list[ToolIn]:
        """The tools the model is told of."""
        return [] if self.tool_choice == "none" else list(self.tools or ())

    @property
    def forced_tools(self) -> list[ToolIn]:
        """The tools one of which it must call; none if it may reply as it likes."""
        if isinstance(self.tool_choice, ToolChoice):
            wanted = self.tool_choice.function.name
            return [tool for tool in self.usable_tools if tool.function.name == wanted]
        return self.usable_tools if self.tool_choice == "required" else []


class CompletionRequest(SharedFields):
    """The body of POST /v1/completions."""

    prompt: (
        str
        | TokenIds
        | Annotated[
            list[Annotated[str, Field(max_length=2**20)] | TokenIds],
            Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True),
        ]
    ) = Field(description="A text, or its token ids, or a list of either, mixed as you like.")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Log-probabilities of each token, and of that many of the likeliest."
    )
    echo: bool | None = Field(None, description="Whether the text begins with the prompt.")

    def new_tokens(self, room: int) -> int:
        """How many to write at most: OpenAI's 16 without a word on it, as far as there is room."""
        asked = DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens
        return max(room if asked < 0 else min(asked, room), 0)

    @property
    def wanted_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def wanted_prompt_logprobs(self) -> int | None:
        """Those that were asked for by either name."""
        return self.logprobs if self.echo and self.logprobs is not None else self.prompt_logprobs

    @property
    def prompts(self) -> list[str] | list[list[int]] | list[str | list[int]]:
        """Every prompt on its own."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt


class TokenizeRequest(Strict):
    """The body of POST /tokenize, in llama.cpp's words (`content`) or vLLM's.

    vLLM's are `prompt`, to which the tokens around a text are added unless one says no, or
    `messages`, whose prompt is encoded.
    """

    model: str | None = None
    content: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    tools: Annotated[list[ToolIn], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special: bool | None = Field(
        None, validation_alias=AliasChoices("add_special", "add_special_tokens")
    )
    parse_special: bool = False
    with_pieces: bool = Field(
        False, validation_alias=AliasChoices("with_pieces", "return_token_strs")
    )

    @model_validator(mode="after")
    def _one_text(self) -> "TokenizeRequest":
        given = [n for n in ("content", "prompt", "messages") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"content: expected it, or prompt, or messages, got {' and '.join(given) or 'none'}"
            )
        return self

    @property
    def text(self) -> str:
        return self.content if self.content is not None else self.prompt or ""

    @property
    def adds_special(self) -> bool:
        """Whether the tokens around a text are added; by default as in either server."""
        return self.prompt is not None if self.add_special is None else self.add_special

    @property
    def conversation(self) -> TemplateRequest | None:
        """The messages, if it is those whose prompt is to be encoded."""
        if self.messages is None:
            return None
        return TemplateRequest.model_construct(
            model=self.model,
            messages=self.messages,
            tools=self.tools,
            chat_template_kwargs=self.chat_template_kwargs,
            add_generation_prompt=self.add_generation_prompt,
            continue_final_message=self.continue_final_message,
        )


class DetokenizeRequest(Strict):
    """The body of POST /detokenize."""

    model: str | None = None
    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)]
