"""pydantic-ai: replies, streams, output types by schema and by a forced tool."""

import asyncio
import os

import pydantic
from pydantic_ai import Agent, NativeOutput, ToolOutput


class Pet(pydantic.BaseModel):
    """A pet."""

    name: str
    legs: int


MODEL = f"openai-chat:{os.environ['MODEL']}"
settings = {"max_tokens": 300}
assert Agent(MODEL, model_settings=settings).run_sync("Hello!").output
print("ok: chat")


async def streamed() -> str:
    """A reply as it comes."""
    async with Agent(MODEL, model_settings=settings).run_stream("Hello!") as reply:
        return "".join([part async for part in reply.stream_text(delta=True)])


assert asyncio.run(streamed())
print("ok: streams")
for output in (NativeOutput(Pet), ToolOutput(Pet)):
    agent = Agent(MODEL, output_type=output, model_settings=settings)
    assert isinstance(agent.run_sync("Tom is a horse.").output, Pet)
    print(f"ok: {type(output).__name__}")
