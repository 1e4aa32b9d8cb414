"""Run other people's clients against the server, each in an environment of its own.

    python -m tools.clients.run                    # all of them; the first time installs them
    python -m tools.clients.run openai litellm     # some
    python -m tools.clients.run --environments ~/.cache/llama_edu/clients

Makes a virtual environment for each client in Python, and a folder for those in Node, in a folder
that is kept, so that a second run needs no network. Starts a server of its own with the small
models `chat` and `story`, on a free port of this machine, and hands each client's program in
`tools/clients/programs` its address. A program prints a line for everything that worked and fails
at the first thing that does not. Prints the table of docs/server.md; the exit code is 1 if a client
failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.http.server import running

PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENTS = Path.home() / ".cache" / "llama_edu" / "clients"
INSTALL_S, RUN_S = 1800, 600
PYTHON = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"


@dataclass(frozen=True)
class Client:
    """What to install and which program to run; `packages` are npm's if that ends in `.mjs`."""

    program: str
    packages: tuple[str, ...]

    @property
    def is_node(self) -> bool:
        return self.program.endswith(".mjs")


CLIENTS = {
    "openai": Client("openai_python.py", ("openai", "pydantic")),
    "openai (Node)": Client("openai_node.mjs", ("openai",)),
    "Vercel ai": Client("vercel_ai.mjs", ("ai", "@ai-sdk/openai-compatible", "zod")),
    "LangChain": Client("langchain.py", ("langchain-openai", "pydantic")),
    "LlamaIndex": Client("llama_index.py", ("llama-index-llms-openai-like", "pydantic")),
    "litellm": Client("litellm.py", ("litellm",)),
    "instructor": Client("instructor.py", ("instructor",)),
    "pydantic-ai": Client("pydantic_ai.py", ("pydantic-ai-slim[openai]",)),
    "llm": Client("llm.py", ("llm",)),
    "shell-gpt": Client("shell_gpt.py", ("shell-gpt", "click")),
    "aider": Client("aider.py", ("aider-chat",)),
    "lm-eval": Client("lm_eval.py", ("lm-eval[api]",)),
    "guidellm": Client("guidellm.py", ("guidellm",)),
    "curl": Client("curl.py", ()),
}


def main() -> None:
    """Install what is missing, run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("client", nargs="*", metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, metavar="FOLDER")
    arguments = parser.parse_args()
    chosen = arguments.client or list(CLIENTS)
    unknown = [name for name in chosen if name not in CLIENTS]
    if unknown:
        parser.error(f"expected clients among {', '.join(CLIENTS)}, got {', '.join(unknown)}")
    rows, failed = [], False
    with running(Serving(load(["chat", "story"]))) as url:
        for name in chosen:
            client = CLIENTS[name]
            folder = arguments.environments / Path(client.program).stem
            try:
                version = installed(client, folder)
                done = ran(client, folder, url)
            except subprocess.SubprocessError as problem:
                failed = True
                version, done = "", [f"FAILED: {_told(problem)}"]
            rows.append(f"| {name} | {version} | {', '.join(done)} |")
            print(rows[-1], flush=True)
    print("\n| client | version | worked |\n|---|---|---|", *rows, sep="\n")
    sys.exit(failed)


def installed(client: Client, folder: Path) -> str:
    """Install the client's packages unless they are there; the version of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "installed.json"
    wanted = list(client.packages)
    if not (done.is_file() and json.loads(done.read_text("utf-8")) == wanted):
        if client.is_node:
            (folder / "package.json").write_text("{}", "utf-8")
            _run(["npm", "install", "--no-audit", "--no-fund", *wanted], folder, INSTALL_S)
        else:
            _run([sys.executable, "-m", "venv", str(folder)], folder, INSTALL_S)
            pip = [str(folder / PYTHON), "-m", "pip", "install", "--quiet"]
            _run([*pip, *wanted], folder, INSTALL_S) if wanted else None
        done.write_text(json.dumps(wanted), "utf-8")
    if not wanted:
        return _run([Path(client.program).stem, "--version"], folder, RUN_S).split()[1]
    if client.is_node:
        package = folder / "node_modules" / wanted[0] / "package.json"
        return str(json.loads(package.read_text("utf-8"))["version"])
    first = wanted[0].partition("[")[0]
    ask = f"import importlib.metadata; print(importlib.metadata.version({first!r}))"
    return _run([str(folder / PYTHON), "-c", ask], folder, RUN_S).strip()


def ran(client: Client, folder: Path, url: str) -> list[str]:
    """Run the client's program; what it says that worked."""
    with tempfile.TemporaryDirectory() as home:
        told = {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_BASE": f"{url}/v1",  # litellm's and aider's name for it
            "OPENAI_API_KEY": "none",
            "SERVER": url,
            "MODEL": "chat",
            "HOME": home,  # many write settings, logs and statistics there
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "AIDER_ANALYTICS": "false",
            "NO_PROXY": "127.0.0.1",
        }
        if client.is_node:  # which looks for packages beside the program
            program = folder / client.program
            program.write_text((PROGRAMS / client.program).read_text("utf-8"), "utf-8")
            command = ["node", str(program)]
        else:
            # Not its folder on the path: a program is called like the package it uses.
            command = [str(folder / PYTHON), "-P", str(PROGRAMS / client.program)]
        printed = _run(command, Path(home), RUN_S, os.environ | told)
    worked = [line.removeprefix("ok: ") for line in printed.splitlines() if line[:4] == "ok: "]
    if not worked:
        raise subprocess.SubprocessError(f"expected lines that begin with 'ok: ', got {printed!r}")
    return worked


def _run(
    command: list[str], folder: Path, seconds: float, environment: dict[str, str] | None = None
) -> str:
    """What a command prints. Raises `SubprocessError` if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=True,
    )
    return done.stdout


def _told(problem: subprocess.SubprocessError) -> str:
    """The last lines of what a command that failed said."""
    said = f"{getattr(problem, 'stdout', '') or ''}\n{getattr(problem, 'stderr', '') or problem}"
    return " / ".join(said.strip().splitlines()[-6:])[-900:]


if __name__ == "__main__":
    main()
