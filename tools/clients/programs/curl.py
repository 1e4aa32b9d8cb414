"""curl: a chat, and a stream that ends with [DONE]."""

import json
import os
import subprocess

URL = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
BODY = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 9}


def curl(**fields: object) -> str:
    """The answer's body."""
    body = json.dumps({"model": os.environ["MODEL"], **BODY, **fields})
    command = ["curl", "-sSfN", URL, "-H", "Content-Type: application/json", "-d", body]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


assert json.loads(curl())["choices"][0]["message"]["content"]
print("ok: chat")
assert curl(stream=True).rstrip().endswith("data: [DONE]")
print("ok: streams")
