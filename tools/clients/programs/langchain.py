"""LangChain: chats, streams, batches, structured replies, tools."""

import os

import pydantic
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI


class Pet(pydantic.BaseModel):
    """A pet."""

    name: str
    legs: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


llm = ChatOpenAI(model=os.environ["MODEL"], temperature=0, max_tokens=300)
assert llm.invoke([SystemMessage("Be brief."), HumanMessage("Hello!")]).content
assert all(one.content for one in llm.batch(["Hello!", "Who are you?"]))
print("ok: chat")
assert "".join(chunk.content for chunk in llm.stream("Hello!"))
print("ok: streams")
for method in ("json_schema", "function_calling"):
    assert isinstance(llm.with_structured_output(Pet, method=method).invoke("Tom"), Pet), method
assert isinstance(llm.with_structured_output(method="json_mode").invoke("JSON, please"), dict)
print("ok: structured output")
forced = llm.bind_tools([weather], tool_choice="weather").invoke("Is it warm?")
assert forced.tool_calls[0]["name"] == "weather", forced
print("ok: tools")
assert OpenAI(model="story", max_tokens=9).invoke("Once")
print("ok: completions")
