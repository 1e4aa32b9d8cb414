"""shell-gpt: its command."""

import os
import subprocess
import sys
from pathlib import Path

settings = {
    "CHAT_CACHE_PATH": str(Path(os.environ["HOME"]) / "chats"),
    "CACHE_PATH": str(Path(os.environ["HOME"]) / "cache"),
    "ROLE_STORAGE_PATH": str(Path(os.environ["HOME"]) / "roles"),
    "FUNCTIONS_PATH": str(Path(os.environ["HOME"]) / "functions"),
    "API_BASE_URL": os.environ["OPENAI_BASE_URL"],
    "DEFAULT_MODEL": os.environ["MODEL"],
    "OPENAI_USE_FUNCTIONS": "false",
    "USE_LITELLM": "false",
}
sgpt = Path(sys.executable).with_name("sgpt")
for arguments in (["--no-cache", "--no-md", "Hello!"], ["--no-cache", "--chat", "x", "Who?"]):
    done = subprocess.run(
        [str(sgpt), *arguments],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | settings,
    )
    assert done.stdout.strip(), done
print("ok: a question, a chat")
