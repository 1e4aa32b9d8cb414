"""OpenAI's own client: chats, streams, texts, structured replies, tools, errors."""

import os

import openai
import pydantic

MODEL = os.environ["MODEL"]
HI = [{"role": "user", "content": "Hello!"}]


class Pet(pydantic.BaseModel):
    """What a reply is parsed into."""

    name: str
    legs: int


class Weather(pydantic.BaseModel):
    """A tool."""

    city: str


client = openai.OpenAI(max_retries=0)

reply = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=20, seed=1, n=2)
assert len(reply.choices) == 2 and reply.choices[0].message.content, reply
assert reply.usage.completion_tokens > 0
print("ok: chat")

options = {"stream": True, "stream_options": {"include_usage": True}}
*chunks, last = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=20, **options)
assert "".join(c.choices[0].delta.content or "" for c in chunks), chunks
assert last.usage.total_tokens > 0, last
print("ok: streams")

with client.chat.completions.stream(model=MODEL, messages=HI, max_tokens=20) as stream:
    kinds = {event.type for event in stream}
    assert {"content.delta", "content.done"} <= kinds, kinds
    assert stream.get_final_completion().choices[0].message.content

text = client.completions.create(model="story", prompt="Once", max_tokens=9, logprobs=2, echo=True)
assert text.choices[0].text.startswith("Once"), text
assert len(text.choices[0].logprobs.tokens) >= 9
print("ok: completions, log-probabilities, echo")

scored = client.chat.completions.create(
    model=MODEL, messages=HI, max_tokens=3, logprobs=True, top_logprobs=2
)
assert len(scored.choices[0].logprobs.content[0].top_logprobs) == 2

pet = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Pet, max_tokens=300)
assert isinstance(pet.choices[0].message.parsed, Pet), pet
print("ok: .parse")

called = client.chat.completions.parse(
    model=MODEL,
    messages=HI,
    tools=[openai.pydantic_function_tool(Weather)],
    tool_choice={"type": "function", "function": {"name": "Weather"}},
    max_tokens=300,
)
call = called.choices[0].message.tool_calls[0]
assert isinstance(call.function.parsed_arguments, Weather), call
print("ok: tools")

assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL
for wrong, kind in (
    (lambda: client.chat.completions.create(model="none", messages=HI), openai.NotFoundError),
    (
        lambda: client.chat.completions.create(model=MODEL, messages=HI, temperature=9),
        openai.BadRequestError,
    ),
    (lambda: client.embeddings.create(model=MODEL, input="x"), openai.BadRequestError),
    (lambda: client.responses.create(model=MODEL, input="x"), openai.BadRequestError),
):
    try:
        wrong()
    except kind as problem:
        said = str(problem)
    else:
        said = "nothing was refused"
    assert "expected" in said or "not supported here" in said, said
print("ok: models, errors")
