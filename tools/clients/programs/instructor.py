"""instructor: replies after a schema: by a format and by a forced tool."""

import os

import instructor
import openai
import pydantic


class Pet(pydantic.BaseModel):
    """A pet."""

    name: str
    legs: int


HI = [{"role": "user", "content": "Tom is a horse."}]
# Not `Mode.JSON`, any JSON at all: whether a small model finds the right keys is its own business.
for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS):
    client = instructor.from_openai(openai.OpenAI(), mode=mode)
    pet = client.chat.completions.create(
        model=os.environ["MODEL"], response_model=Pet, messages=HI, max_tokens=300, max_retries=0
    )
    assert isinstance(pet, Pet), pet
    print(f"ok: {mode.name}")
