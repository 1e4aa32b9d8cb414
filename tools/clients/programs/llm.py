"""Simon Willison's `llm`: its command, with and without a stream, a schema, a conversation."""

import os
import subprocess
import sys
from pathlib import Path

home = Path(os.environ["HOME"])
os.environ["LLM_USER_PATH"] = str(home)
(home / "extra-openai-models.yaml").write_text(
    f"- model_id: here\n  model_name: {os.environ['MODEL']}\n"
    f"  api_base: {os.environ['OPENAI_BASE_URL']}\n  supports_schema: true\n",
    "utf-8",
)


def llm(*arguments: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "llm", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


assert llm("-m", "here", "--no-stream", "Hello!").strip()
print("ok: chat")
assert llm("-m", "here", "Hello!").strip()
print("ok: streams")
assert llm("-m", "here", "-c", "What is your name?").strip()
print("ok: a conversation")
assert '"legs"' in llm("-m", "here", "--schema", "name, legs int", "Tom is a horse.")
print("ok: --schema")
