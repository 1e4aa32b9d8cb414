"""aider: a question about a folder of code."""

import os
import subprocess
import sys
from pathlib import Path

aider = Path(sys.executable).with_name("aider")
done = subprocess.run(
    [
        str(aider),
        *("--model", f"openai/{os.environ['MODEL']}", "--message", "/ask Who are you?"),
        *("--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings"),
        *("--map-tokens", "0", "--no-pretty", "--no-show-release-notes", "--analytics-disable"),
        "--no-auto-lint",
    ],
    capture_output=True,
    text=True,
    stdin=subprocess.DEVNULL,
    check=False,
)
assert "Tokens:" in done.stdout and "received" in done.stdout, done.stdout + done.stderr
print("ok: ask")
