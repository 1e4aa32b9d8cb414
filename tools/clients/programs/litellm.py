"""litellm: chats, streams, texts, structured replies."""

import os

import litellm
import pydantic


class Pet(pydantic.BaseModel):
    """A pet."""

    name: str
    legs: int


MODEL = f"openai/{os.environ['MODEL']}"
HI = [{"role": "user", "content": "Hello!"}]
assert litellm.completion(MODEL, HI, max_tokens=20).choices[0].message.content
print("ok: chat")
chunks = litellm.completion(MODEL, HI, max_tokens=20, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
print("ok: streams")
text = litellm.text_completion(
    model="text-completion-openai/story", prompt="Once", max_tokens=9, echo=True, logprobs=1
)
assert text.choices[0].text.startswith("Once"), text
print("ok: completions")
pet = litellm.completion(MODEL, HI, response_format=Pet, max_tokens=300)
Pet.model_validate_json(pet.choices[0].message.content)
print("ok: structured output")
