"""Dumps of arrays, servers that give log-probabilities, and engines that show a trace."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_edu import hub
from llama_edu.engine.llama import Llama
from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.safetensors import SafetensorsFile, save_file
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.cases import calls_for
from llama_edu.verify.dump import case_name, first_difference, verify_dump
from llama_edu.verify.http import verify_url
from llama_edu.verify.protocol import ProgramError
from llama_edu.verify.run import Options, verify_program
from llama_edu.verify.texts import ids_of_text

ROOT = Path(__file__).resolve().parents[2]
STORY = Path(hub.locate("story"))


def relu_gate(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    return np.maximum(gate, 0) * up


def dump(folder: Path, model: Llama, count: int) -> None:
    """What a reader's engine would write for the first cases of `story`."""
    folder.mkdir()
    cache = model.new_cache()
    for call in calls_for(LlamaConfig.from_directory(STORY), ids_of_text(STORY, "story"))[:count]:
        cache.truncate(call.past)
        with Trace() as trace:
            model.forward(list(call.ids), cache, trace=trace)
        arrays = {record.name: record.array for record in trace}
        save_file(arrays, folder / f"{case_name(call)}.safetensors")


def test_right_dumps_are_right(tmp_path: Path) -> None:
    dump(tmp_path / "dumps", Llama.from_pretrained("story"), 4)
    report = verify_dump(tmp_path / "dumps", ["story"])
    assert report.ok, "\n".join(report.text())
    assert report.counts == {"right": 4}


def test_a_dump_shows_the_first_array_and_the_name(tmp_path: Path) -> None:
    model = Llama.from_pretrained("story")
    model.operators = model.operators.replaced(swiglu=relu_gate)
    dump(tmp_path / "dumps", model, 3)
    report = verify_dump(tmp_path / "dumps", ["story"], naming_seconds=60.0)
    (verdict,) = report.verdicts
    assert [named.keys for named in verdict.named] == [("gate.relu",)]
    assert verdict.first_array.startswith("layers.0.mlp.gated (off by up to")


def test_logits_alone_are_enough_for_a_name(tmp_path: Path) -> None:
    model = Llama.from_pretrained("story")
    model.operators = model.operators.replaced(swiglu=relu_gate)
    (tmp_path / "story").mkdir()
    call = calls_for(model.config, ids_of_text(STORY, "story"))[1]
    logits = model.forward(list(call.ids), last_only=True)
    save_file({"logits": logits}, tmp_path / "story" / f"{case_name(call)}.safetensors")
    report = verify_dump(tmp_path, ["story"], naming_seconds=60.0)
    assert [named.keys for named in report.verdicts[0].named] == [("gate.relu",)]


def test_other_arrays_than_logits_are_compared_and_named_by_none(tmp_path: Path) -> None:
    dump(tmp_path / "story", Llama.from_pretrained("story"), 1)
    (path,) = (tmp_path / "story").iterdir()
    arrays = {name: array + 1 for name, array in SafetensorsFile(path).items() if name != "logits"}
    save_file(arrays, path)
    report = verify_dump(tmp_path, ["story", "chat"])
    (result,) = report.results
    assert (result.status, result.detail[:13]) == ("wrong", "embed_tokens ")
    assert report.missing == [f"expected a folder chat in {tmp_path}, got none"]
    assert report.verdicts == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("", "utf-8")
    with pytest.raises(InputError, match="expected a folder of dumps, got "):
        verify_dump(tmp_path / "a", ["story"])


def test_an_empty_folder_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected files such as one-token"):
        verify_dump(tmp_path, ["story"])


@pytest.mark.parametrize(
    ("got", "told"),
    [
        ({"a": np.array([1.0, 2.0]), "b": np.array([1.0, 3.0])}, "b (off by up to 1, at (1,)"),
        ({"a": np.array([np.nan, 2.0])}, "a (off by up to nan"),
        ({"b": np.array([1.0])}, "b (expected shape (2,), got (1,))"),
        ({"a": np.array([-np.inf, 2.0])}, "a (other numbers are -inf)"),
        ({"b": np.array([1.0, 2.00001])}, ""),
    ],
)
def test_the_first_array_that_differs(got: dict[str, np.ndarray], told: str) -> None:
    want = {name: np.array([1.0, 2.0], dtype=np.float32) for name in "ab"}
    assert first_difference(want, got).startswith(told)


def test_no_array_in_common_is_no_comparison() -> None:
    with pytest.raises(InputError, match="expected arrays under names"):
        first_difference({"a": np.zeros(1)}, {"b": np.zeros(1)})


BROKEN = """
import sys
sys.path.insert(0, {engines!r})
import numpy as np
import engine

class Broken(engine.Engine):
    def __init__(self, directory):
        super().__init__(directory)
        gate = lambda gate, up: np.maximum(gate, 0) * up
        self.model.operators = self.model.operators.replaced(swiglu=gate)

engine.Engine = Broken
engine.main()
"""


def test_an_engine_that_shows_its_arrays_is_told_the_first_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(BROKEN.format(engines=str(ROOT / "engines" / "python")), "utf-8")
    options = Options(("story",), ("forward",), naming_seconds=60.0, tiny=False)
    report = verify_program([sys.executable, str(path)], options)
    (verdict,) = report.verdicts
    assert [named.keys for named in verdict.named] == [("gate.relu",)]
    assert verdict.first_array.startswith("layers.0.mlp.gated")


class Server(HTTPServer):
    """The least a server has to say: legacy completions with log-probabilities, four digits."""

    def __init__(self, model: Llama) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.tokenizer = model, Tokenizer(STORY)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "whatever"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, ids, cache = self.server.model, list(asked["prompt"]), self.server.model.new_cache()
        tokens, likeliest = [], []
        for _ in range(asked["max_tokens"]):
            logits = model.forward(ids, cache, last_only=True)[0].astype(np.float64)
            logprobs = logits - logits.max()
            logprobs -= np.log(np.exp(logprobs).sum())
            best = np.argsort(-logprobs)[: asked["logprobs"]]
            likeliest.append({self.text(i): round(float(logprobs[i]), 4) for i in best})
            tokens.append(self.text(best[0]))
            ids = [int(best[0])]
        choice = {"logprobs": {"tokens": tokens, "top_logprobs": likeliest}}
        self.reply({"choices": [choice]})

    def text(self, token_id: int) -> str:
        return self.server.tokenizer.token_bytes(int(token_id)).decode("utf-8", "replace")

    def reply(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Llama.from_pretrained("story")) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def test_a_right_server_is_right(server: Server) -> None:
    report = verify_url(address(server), ["story"])
    assert report.ok, "\n".join(report.text())
    assert report.counts["right"] > 20


def test_log_probabilities_are_enough_for_a_name(server: Server) -> None:
    server.model.operators = server.model.operators.replaced(swiglu=relu_gate)
    report = verify_url(address(server), ["story"], naming_seconds=60.0)
    assert [named.keys for v in report.verdicts for named in v.named] == [("gate.relu",)]


def test_no_server_there() -> None:
    with pytest.raises(ProgramError, match="expected a server at"):
        verify_url("http://127.0.0.1:9/v1", ["story"])


def test_the_book_s_own_server_is_right() -> None:
    """Over the wire as any client would, prefix cache and all."""
    command = [sys.executable, "-m", "llama_edu", "serve", "story", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if "http://127.0.0.1:" in line)
            port = line.split("http://127.0.0.1:")[1].split("/")[0].split()[0].strip('",')
            report = verify_url(f"http://127.0.0.1:{port}/v1", ["story"])
        finally:
            process.terminate()
            process.communicate(timeout=20)
    assert report.ok, "\n".join(report.text())
