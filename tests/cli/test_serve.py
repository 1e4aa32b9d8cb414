"""`python -m llama_edu serve` as a process: it starts, answers, and ends in order."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest
from tiny_served import write_tiny

from llama_edu.cli import main as cli
from llama_edu.errors import InputError
from llama_edu.ops.threads import VARIABLES
from llama_edu.serve.job import Limits

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 120.0  # a loaded machine is slow, not wrong

# As it is shipped: the tests around this one may have been given one thread.
SHIPPED = {name: value for name, value in os.environ.items() if name not in VARIABLES}


class Process:
    """A server of its own, and what it says."""

    def __init__(self, model, *options, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llama_edu", "serve", str(model), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=SHIPPED | environment,
        )
        line = self.process.stdout.readline()
        assert line.startswith("Serving "), self.process.communicate()
        self.url = line.split()[-1]

    def end(self, *signals):
        """Send the signals; return the exit code and the lines of the log."""
        for one in signals:
            self.process.send_signal(one)
        _, log = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny", context=4096)


def client(process, key="none"):
    return openai.OpenAI(base_url=f"{process.url}/v1", api_key=key, max_retries=0)


@pytest.mark.posix
def test_it_asks_for_its_key_and_ends_at_ctrl_c(model):
    process = Process(model, LLAMA_EDU_API_KEY="sesame")
    got = client(process, "sesame").completions.create(model="tiny", prompt="x", max_tokens=2)
    assert got.choices[0].text
    with pytest.raises(openai.AuthenticationError, match="expected the server's key"):
        client(process, "other").completions.create(model="tiny", prompt="x")
    for path, status in (("/", 200), ("/readyz", 200), ("/metrics", 401), ("/v1/models", 401)):
        assert httpx.get(process.url + path, timeout=PATIENCE_S).status_code == status
    code, log = process.end(signal.SIGINT)
    assert code == 0
    assert [line["status"] for line in log if line["event"] == "request"][:2] == [200, 401]
    assert "sesame" not in json.dumps(log)


@pytest.mark.posix
@pytest.mark.parametrize("grace", ["60", "0"])
def test_a_stream_is_finished_at_the_end_or_told_that_it_is_not(model, grace):
    process = Process(model, "--grace", grace)
    stream = client(process).completions.create(
        model="tiny", prompt="The cat", temperature=0, max_tokens=800, n=16, stream=True
    )
    chunks = iter(stream)
    next(chunks)
    ended = threading.Thread(target=process.end, args=(signal.SIGTERM,))
    ended.start()
    if grace == "0":
        with pytest.raises(openai.APIError, match="shut down first") as seen:
            list(chunks)
        assert seen.value.code == "shutting_down"
    else:
        reasons = [chunk.choices[0].finish_reason for chunk in chunks]
        assert [reason for reason in reasons if reason] == ["length"] * 16
    ended.join(PATIENCE_S)
    assert process.process.returncode == -signal.SIGTERM


def test_a_second_ctrl_c_ends_it_at_once_and_without_a_traceback(model):
    process = Process(model, "--grace", "100")
    stream = client(process).completions.create(
        model="tiny",
        prompt="The cat",
        temperature=0,
        max_tokens=3900,
        n=16,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    chunks = iter(stream)
    next(chunks)
    start = time.monotonic()
    process.process.send_signal(signal.SIGINT)
    while httpx_answers(process.url):  # it takes nothing new: the first has been heard
        time.sleep(0.05)
    code, log = process.end(signal.SIGINT)
    assert code == 0
    assert time.monotonic() - start < 100
    assert "Traceback" not in json.dumps(log)
    assert [line for line in log if line["level"] == "ERROR"] == []
    with pytest.raises(openai.APIError, match="shut down first"):
        list(chunks)


def httpx_answers(url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/healthz", timeout=PATIENCE_S, trust_env=False).status_code == 200
    return False


def test_a_page_that_is_invited_may_ask(model):
    site = "https://chat.example"
    process = Process(model, "--allowed-origin", site, LLAMA_EDU_API_KEY="sesame")
    ask = {"Origin": site, "Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}
    ask |= {"Access-Control-Request-Headers": "authorization, content-type"}
    with httpx.Client(base_url=process.url, timeout=PATIENCE_S, trust_env=False) as http:
        first = http.options("/v1/completions", headers=ask)
        assert first.status_code == 200
        assert first.headers["access-control-allow-origin"] == site
        headers = {"Origin": site, "Authorization": "bearer sesame", "Sec-Fetch-Site": "cross-site"}
        body = {"prompt": "x", "max_tokens": 1}
        answer = http.post("/v1/completions", headers=headers, json=body)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, site)
        refused = http.post("/v1/completions", headers={"Origin": site}, json=body)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, site)
        other = http.post("/v1/completions", headers=headers | {"Origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers
    assert process.end(signal.SIGINT)[0] == 0


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "llama_edu", "serve", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_S,
        env={name: value for name, value in os.environ.items() if name != "LLAMA_EDU_API_KEY"},
    )


def test_a_key_that_no_header_can_hold_is_refused_at_the_start(model):
    for key in ("sésame", "open sesame", "ses\name"):
        result = subprocess.run(
            [sys.executable, "-m", "llama_edu", "serve", str(model), "--port", "0"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE_S,
            env=SHIPPED | {"LLAMA_EDU_API_KEY": key},
        )
        assert result.returncode == 1
        assert "expected a key of printable ASCII characters" in result.stderr
        assert key not in result.stderr


def test_what_cannot_be_served_is_told_in_a_line(model):
    for arguments, code, message in (
        (["no-such-model"], 1, "got 'no-such-model'"),
        ([str(model), str(model)], 1, "got two called 'tiny'"),
        (["--port", "70000"], 2, "expected a port from 0 to 65535, got 70000"),
        (["--threads", "0"], 2, "expected threads of at least 1, got 0"),
        (["--replicas", "0"], 2, "expected replicas of at least 1, got 0"),
        (["--max-connections-per-address", "0"], 2, "per_address of at least 1, got 0"),
        (["--allowed-origin", "chat.example", str(model)], 1, "an origin such as https://"),
        (["--max-num-seqs", "0"], 2, "expected max_num_seqs of at least 1, got 0"),
        (["--host", "0.0.0.0", "no-such-model"], 1, "note: 0.0.0.0 can be reached"),
    ):
        result = run(*arguments)
        assert result.returncode == code
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_guesses_are_made_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Limits] = []

    def load(names: list[str], limits: Limits, **options: str) -> None:
        given.append(limits)
        raise InputError("expected no more than these limits")

    monkeypatch.setattr("llama_edu.serve.http.served.load", load)
    for options in ([], ["--guess"]):
        assert cli.main(["serve", "story", *options]) == 1
    assert [limits.most_guesses for limits in given] == [0, 12]


def test_a_port_in_use_names_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "story", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"error: expected a free port, got {port}, which another program uses; "
        "--port 0 takes one that is free\n"
    )
    assert cli.main(["serve", "story", "--host", "192.0.2.1", "--port", "0"]) == 1
    assert "an address of this computer, got 192.0.2.1" in capsys.readouterr().err


def test_a_port_that_may_not_be_used_names_the_way_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(host: str, port: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("llama_edu.serve.http.server.listen", refused)
    assert cli.main(["serve", "story", "--port", "80"]) == 1
    assert capsys.readouterr().err == (
        "error: expected a port that may be used, got 80; --port 0 takes one that is\n"
    )


@pytest.mark.parametrize(
    ("model", "told"),
    [("no-such-model", "no-such-model"), ("story", "expected a free port, got {port}")],
)
def test_what_is_wrong_is_told_before_any_replica_is_started(
    model: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", model, "--replicas", "2", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told.format(port=port) in error
    assert error.count("\n") == 1
