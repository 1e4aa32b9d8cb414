"""guidellm: a short benchmark of chats, and one of texts."""

import json
import os
import subprocess
import sys
from pathlib import Path

prompts = Path(os.environ["HOME"]) / "prompts.jsonl"
prompts.write_text("\n".join(json.dumps({"prompt": f"Once {n}"}) for n in range(5)), "utf-8")
for model, route in ((os.environ["MODEL"], "/v1/chat/completions"), ("story", "/v1/completions")):
    backend = f"kind=openai_http,target={os.environ['SERVER']},model={model},request_format={route}"
    report = prompts.with_name(f"{model}.json")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("guidellm")),
            "run",
            *("--backend", backend, "--profile", "kind=synchronous"),
            *("--constraint", "kind=max_requests,count=3"),
            *("--data", f"kind=json_file,path={prompts}"),
            *("--output", f"kind=json,path={report}", "--disable-console-interactive"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=prompts.parent,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    totals = json.loads(report.read_text("utf-8"))["benchmarks"][0]["metrics"]["request_totals"]
    assert totals["successful"] == 3 and not totals["errored"], totals
    print(f"ok: a benchmark of {route}")
