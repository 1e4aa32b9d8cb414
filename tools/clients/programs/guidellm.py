"""guidellm: a short benchmark."""

import os
import subprocess
import sys
from pathlib import Path

done = subprocess.run(
    [
        str(Path(sys.executable).with_name("guidellm")),
        "benchmark",
        *("--target", os.environ["SERVER"], "--model", "story"),
        *("--rate-type", "synchronous", "--max-requests", "3"),
        *("--request-type", "text_completions"),
        *("--data", str(Path("prompts.jsonl"))),
    ],
    capture_output=True,
    text=True,
    check=False,
)
assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
print("ok: a benchmark")
