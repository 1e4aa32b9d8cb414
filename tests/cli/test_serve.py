"""`python -m llama_edu serve` as a process: it starts, answers, and ends in order."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import openai
import pytest
from tiny_served import write_tiny

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 120.0  # a loaded machine is slow, not wrong


class Process:
    """A server of its own, and what it says."""

    def __init__(self, model, *options, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llama_edu", "serve", str(model), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment,
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


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "llama_edu", "serve", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_S,
        env={name: value for name, value in os.environ.items() if name != "LLAMA_EDU_API_KEY"},
    )


def test_what_cannot_be_served_is_told_in_a_line(model):
    for arguments, code, message in (
        (["no-such-model"], 1, "got 'no-such-model'"),
        ([str(model), str(model)], 1, "got two called 'tiny'"),
        (["--port", "70000"], 2, "expected a port from 0 to 65535, got 70000"),
        (["--max-num-seqs", "0"], 2, "expected max_num_seqs of at least 1, got 0"),
        (["--host", "0.0.0.0", "no-such-model"], 1, "note: 0.0.0.0 can be reached"),
    ):
        result = run(*arguments)
        assert result.returncode == code
        assert message in result.stderr
        assert "Traceback" not in result.stderr
