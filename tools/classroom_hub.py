"""JupyterHub for a class of three, by the recipe of docs/instructors.md, and what it costs.

    python -m tools.classroom_hub --bin ENVIRONMENT/bin --proxy FOLDER/node_modules/.bin

The environment holds jupyterhub, jupyterlab and what the package needs; the proxy is npm's
`configurable-http-proxy`. The hub runs on this machine alone, with accounts that are made up, in a
folder that goes away. Every student's server is started, opens a notebook's kernel there, reads
the real model and lets it say one word. Memory is what the kernel of the system counts (Linux:
`smaps_rollup`): a page that several processes share is divided among them.
"""

import argparse
import json
import os
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import websocket

from llama_edu import hub
from llama_edu.classroom.models import shared_copy

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "instructors.md"
STUDENTS = ("ann", "bob", "carol")
CLASS = 100
MIB = 1 << 20

# What this trial changes of the recipe: accounts, ports, and where things lie.
TRIAL = """
import os
c.JupyterHub.bind_url = "http://127.0.0.1:{ports[0]}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{ports[1]}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{ports[2]}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.ConfigurableHTTPProxy.auth_token = {token!r}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.JupyterHub.services = [{{"name": "trial", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [
    {{"name": "trial", "services": ["trial"],
      "scopes": ["admin:users", "admin:servers", "access:servers"]}}
]
c.Spawner.environment = c.Spawner.environment | {{
    "LLAMA_EDU_MODELS": {models!r}, "PYTHONPATH": {package!r}, "PATH": os.environ["PATH"],
}}
c.Spawner.args = [*c.Spawner.args, "--allow-root"]
"""
ONE_WORD = """
import time
start = time.perf_counter()
from llama_edu import Llama, Tokenizer
model = Llama.from_pretrained("smollm2-135m-instruct", precision={precision!r})
tokenizer = Tokenizer.from_pretrained("smollm2-135m-instruct")
opened = time.perf_counter()
logits = model.forward(tokenizer.encode("The capital of France is"), last_only=True)
word = tokenizer.decode([int(logits[-1].argmax())])
print(repr(word), opened - start, time.perf_counter() - opened, flush=True)
"""


@dataclass(frozen=True)
class Way:
    """One way for a class to have the model: which file, and the precision it is opened in."""

    title: str
    models: Path
    precision: str


@dataclass(frozen=True)
class Measured:
    """What a class of three cost: seconds, and bytes by process and student."""

    start: list[float]
    open_: list[float]
    word: list[float]
    server: list[int]  # private bytes of each server
    private: list[int]  # and of each kernel
    shared: int  # bytes that all the processes share

    def for_class(self, students: int) -> int:
        """Bytes for so many students: what is shared once, and the rest each."""
        each = statistics.mean(self.server) + statistics.mean(self.private)
        return round(self.shared + students * each)


def recipe() -> str:
    """The configuration that the guide prints."""
    (block,) = re.findall(
        r"```python\n(# jupyterhub_config\.py\n.*?)```", GUIDE.read_text("utf-8"), re.DOTALL
    )
    return str(block)


def ports(n: int) -> list[int]:
    """Ports of this machine that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


class Api:
    """The hub's interface, and through it that of every student's server."""

    def __init__(self, port: int, token: str) -> None:
        self.at = f"127.0.0.1:{port}"
        self._headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """One request; what comes back as JSON, or None. Raises `OSError` where it fails."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.at}{path}", data, self._headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def wait(self, path: str, ready: str = "", seconds: float = 120.0) -> Any:
        """Ask again until there is an answer, and its `ready` is true."""
        end = time.monotonic() + seconds
        while True:
            try:
                answer = self("GET", path)
                if not ready or answer.get("servers", {}).get("", {}).get(ready):
                    return answer
            except OSError:
                if time.monotonic() > end:
                    raise
            if time.monotonic() > end:
                raise TimeoutError(f"expected {path} to be {ready}, got {answer}")
            time.sleep(0.1)

    def run(self, student: str, code: str) -> str:
        """Run code in a new kernel of a student's server; what it printed."""
        kernel = self("POST", f"/user/{student}/api/kernels", {})["id"]
        address = f"ws://{self.at}/user/{student}/api/kernels/{kernel}/channels"
        channel = websocket.create_connection(address, header=self._headers, timeout=180)
        header = {"msg_id": secrets.token_hex(8), "username": student, "session": "trial"}
        header |= {"msg_type": "execute_request", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        channel.send(json.dumps(message | {"channel": "shell", "buffers": []}))
        printed = ""
        while True:
            said = json.loads(channel.recv())
            if said.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                continue
            if said["msg_type"] == "stream" and said["content"]["name"] == "stdout":
                printed += said["content"]["text"]
            if said["msg_type"] == "error":
                raise RuntimeError("\n".join(said["content"]["traceback"]))
            if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
                channel.close()
                return printed


@contextmanager
def running_hub(way: Way, folder: Path, args: argparse.Namespace) -> Iterator[Api]:
    """A hub by the recipe; ended, with all it started, when the block is left."""
    token, numbers = secrets.token_hex(16), ports(3)
    homes = folder / "homes"
    for student in STUDENTS:
        (homes / student).mkdir(parents=True)
    changes = TRIAL.format(
        ports=numbers,
        token=token,
        proxy=str(args.proxy / "configurable-http-proxy"),
        homes=str(homes),
        models=str(way.models),
        package=str(ROOT),
    )
    (folder / "jupyterhub_config.py").write_text(recipe() + changes, "utf-8")
    path = os.pathsep.join([str(args.bin), os.environ["PATH"]])
    with (folder / "hub.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(args.bin / "jupyterhub"), "-f", "jupyterhub_config.py"],
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            api = Api(numbers[0], token)
            api.wait("/hub/api/")
            yield api
        except OSError:
            print((folder / "hub.log").read_text("utf-8")[-3000:], file=sys.stderr)
            raise
        finally:
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            for child in started:  # the hub ends them; none may stay
                if child.is_running():
                    child.kill()


def memory(pid: int) -> tuple[int, int]:
    """Bytes of a process: its share of all it uses, and what is only its own."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
    sizes = {
        key: int(kb) * 1024 for key, kb in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)
    }
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def measure(way: Way, args: argparse.Namespace) -> Measured:
    """Start the class one after another, let each model say a word, and look at the memory."""
    start, open_, word = [], [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        with running_hub(way, folder, args) as api:
            for student in STUDENTS:
                api("POST", f"/hub/api/users/{student}")
                begun = time.monotonic()
                api("POST", f"/hub/api/users/{student}/server")
                api.wait(f"/hub/api/users/{student}", ready="ready")
                start.append(time.monotonic() - begun)
            for student in STUDENTS:
                said, opened, took = api.run(
                    student, ONE_WORD.format(precision=way.precision)
                ).rsplit(maxsplit=2)
                if said != "' Paris'":
                    raise RuntimeError(f"expected ' Paris', got {said}")
                open_.append(float(opened))
                word.append(float(took))
            pss = 0
            server: list[int] = []
            private: list[int] = []
            for process in psutil.process_iter(["pid", "cmdline"]):
                line = " ".join(process.info["cmdline"] or [])
                is_kernel = "ipykernel_launcher" in line and str(folder) in _home(process)
                if is_kernel or ("jupyterhub-singleuser" in line and str(folder) in _home(process)):
                    share, own = memory(process.pid)
                    pss += share
                    (private if is_kernel else server).append(own)
    if len(server) != len(STUDENTS) or len(private) != len(STUDENTS):
        raise RuntimeError(f"expected 3 servers and 3 kernels, got {len(server)}, {len(private)}")
    return Measured(start, open_, word, server, private, pss - sum(server) - sum(private))


def _home(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("HOME", ""))
    except (psutil.Error, OSError):
        return ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the guide's JupyterHub for a class.")
    parser.add_argument("--bin", type=Path, required=True, help="where jupyterhub is")
    parser.add_argument("--proxy", type=Path, required=True, help="where the proxy is")
    args = parser.parse_args()
    args.bin, args.proxy = args.bin.absolute(), args.proxy.absolute()
    model = hub.fetch(hub.PRETRAINED_MODEL)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        wide = Path(temporary) / "models"
        shared_copy(wide)
        ways = (
            Way("bf16 file, opened in float32", model.parent, "f32"),
            Way("bf16 file, opened in bf16", model.parent, "bf16"),
            Way("float32 file, opened in float32", wide, "f32"),
        )
        print(
            "| model | server up | model open | a word | server | kernel | shared | 100 students |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for way in ways:
            found = measure(way, args)
            print(
                f"| {way.title} | {statistics.median(found.start):.1f} s "
                f"| {statistics.median(found.open_):.1f} s "
                f"| {statistics.median(found.word):.1f} s "
                f"| {statistics.mean(found.server) / MIB:.0f} MB "
                f"| {statistics.mean(found.private) / MIB:.0f} MB "
                f"| {found.shared / MIB:.0f} MB | {found.for_class(CLASS) / 1024 / MIB:.1f} GB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
