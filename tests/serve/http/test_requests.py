"""What a request may say: however much of it is wrong, a few faults are told."""

import pytest
from pydantic import ValidationError

from llama_edu.serve.http.requests import MAX_MESSAGES, ChatRequest, CompletionRequest

SAID = {"role": "user", "content": "x"}
MANY = {str(number): 1 for number in range(10_000)}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ChatRequest, {"messages": [{}] * 10_000}),
        (ChatRequest, {"messages": [{"role": "user", "content": [{}] * 10_000}]}),
        (ChatRequest, {"messages": [SAID | MANY]}),
        (ChatRequest, {"messages": [SAID] * (MAX_MESSAGES + 1)}),
        (ChatRequest, {"messages": [SAID], "tools": [1] * 10_000}),
        (CompletionRequest, {"prompt": [-1] * 10_000}),
        (CompletionRequest, {"prompt": [[-1] * 10_000] * 2}),
        (CompletionRequest, {"prompt": [1] * 10_000 + ["x"]}),
        (CompletionRequest, {"prompt": "x", "stop": [1] * 10_000}),
        (CompletionRequest, {"prompt": "x", "logit_bias": MANY}),
        (CompletionRequest, {"prompt": "x"} | MANY),
    ],
)
def test_a_few_faults_are_told(kind, fields):
    with pytest.raises(ValidationError) as seen:
        kind.model_validate({"model": "tiny"} | fields)
    assert 1 <= seen.value.error_count() <= 6


def test_the_first_unknown_field_is_the_one_that_is_named():
    with pytest.raises(ValidationError) as seen:
        CompletionRequest.model_validate({"model": "tiny", "prompt": "x", "b": 1, "a": 2})
    assert [error["ctx"]["field"] for error in seen.value.errors()] == ["b"]


def test_a_long_conversation_is_none_of_them():
    assert ChatRequest.model_validate({"model": "tiny", "messages": [SAID] * MAX_MESSAGES})
