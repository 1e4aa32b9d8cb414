"""What goes out and what is said of it, held against the types of the `openai` package."""

import json
import types
from typing import Annotated, Any, Union, get_args, get_origin

import openai.types as theirs
import pydantic
import pytest
from openai.types import chat as their_chat

from llama_edu.serve.http import openapi as ours

# The page needs two of them; the third is vLLM's name.
OURS_ALONE = {"ModelCard.context_length", "ModelCard.chat", "ModelCard.max_model_len"}


def models_in(annotation):
    """The pydantic models of an annotation such as `list[Model] | None`."""
    if get_origin(annotation) in (list, Union, types.UnionType):
        return [one for part in get_args(annotation) for one in models_in(part)]
    if get_origin(annotation) is Annotated:
        return models_in(get_args(annotation)[0])
    is_model = isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)
    return [annotation] if is_model else []


def differences(own, other):
    """Fields of our description that the official type does not have, nested ones included."""
    for name, field in own.model_fields.items():
        place = f"{own.__name__}.{name}"
        if name not in other.model_fields:
            yield place
            continue
        for one in models_in(field.annotation):
            # Of several kinds that the official type knows, ours is one.
            kinds = models_in(other.model_fields[name].annotation)
            yield from min((list(differences(one, kind)) for kind in kinds), key=len)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (ours.ChatAnswer, their_chat.ChatCompletion),
        (ours.TextAnswer, theirs.Completion),
        (ours.ModelCard, theirs.Model),
        (ours.ErrorDetail, theirs.shared.ErrorObject),
    ],
)
def test_what_is_described_is_what_the_official_client_knows(own, other):
    assert set(differences(own, other)) <= OURS_ALONE
    needed = {name for name, field in other.model_fields.items() if field.is_required()}
    assert needed <= set(own.model_fields)


def test_differences_are_found_where_there_are_some():
    class Detail(pydantic.BaseModel):
        cached_tokens: int
        warm: bool

    class Usage(pydantic.BaseModel):
        prompt_tokens_details: list[Detail] | None

    assert list(differences(Usage, theirs.CompletionUsage)) == ["Detail.warm"]


def unknown(value: Any, place: str = "") -> list[str]:
    """Where a parsed answer holds fields that its type does not name."""
    if isinstance(value, list):
        return [one for part in value for one in unknown(part, place)]
    if not isinstance(value, pydantic.BaseModel):
        return []
    own = type(value).__name__
    found = [f"{own}.{name}" for name in value.model_extra or {}]
    for name in type(value).model_fields:
        found += unknown(getattr(value, name), name)
    return found


CHAT = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 6,
    "temperature": 0,
}
TEXT = {"model": "tiny", "prompt": "The cat", "max_tokens": 6, "temperature": 0}
SCORED_CHAT = CHAT | {"logprobs": True, "top_logprobs": 2}
SCORED_TEXT = TEXT | {"logprobs": 2}


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", CHAT, their_chat.ChatCompletion),
        ("/v1/chat/completions", SCORED_CHAT | {"n": 2}, their_chat.ChatCompletion),
        ("/v1/completions", TEXT, theirs.Completion),
        ("/v1/completions", SCORED_TEXT | {"n": 2}, theirs.Completion),
    ],
)
def test_an_answer_is_of_the_official_type(site, path, body, kind):
    answer = kind.model_validate(site.http.post(path, json=body).json(), strict=True)
    assert unknown(answer) == []


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", SCORED_CHAT, their_chat.ChatCompletionChunk),
        ("/v1/completions", SCORED_TEXT, theirs.Completion),
    ],
)
def test_so_is_every_chunk_of_a_stream(site, path, body, kind):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    text = site.http.post(path, json=body | options).text
    *chunks, last = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert last == "[DONE]"
    assert len(chunks) > 3
    for number, chunk in enumerate(chunks):
        data = json.loads(chunk)
        if kind is theirs.Completion:  # its type knows no chunks, where the reason is still open
            for choice in data["choices"]:
                assert choice.pop("finish_reason") in (None, "stop", "length")
            data["choices"] = [one | {"finish_reason": "stop"} for one in data["choices"]]
        parsed = kind.model_validate(data, strict=True)
        assert unknown(parsed) == []
        assert (parsed.usage is not None) == (number == len(chunks) - 1)
