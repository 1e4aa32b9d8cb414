"""LlamaIndex: chats, streams, completions, structured replies."""

import os

import pydantic
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


class Pet(pydantic.BaseModel):
    """A pet."""

    name: str
    legs: int


settings = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": "none", "max_tokens": 300}
llm = OpenAILike(model=os.environ["MODEL"], is_chat_model=True, **settings)
talk = [ChatMessage(role="user", content="Hello!")]
assert llm.chat(talk).message.content
print("ok: chat")
assert "".join(part.delta or "" for part in llm.stream_chat(talk))
print("ok: streams")
plain = OpenAILike(model="story", is_chat_model=False, **settings | {"max_tokens": 9})
assert plain.complete("Once").text
print("ok: completions")
tools = OpenAILike(
    model=os.environ["MODEL"], is_chat_model=True, is_function_calling_model=True, **settings
)
assert isinstance(tools.as_structured_llm(Pet).chat(talk).raw, Pet)
print("ok: structured output")
