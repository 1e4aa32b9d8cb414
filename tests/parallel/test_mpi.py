"""The real thing: processes under mpiexec, equal, counted, and ended when one of them dies."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_edu import Llama, LlamaConfig, Tokenizer, generate
from llama_edu.cli import main as cli
from llama_edu.cli import parallel as cli_parallel
from llama_edu.errors import InputError, ParallelError
from llama_edu.hub import PRETRAINED_MODEL, locate
from llama_edu.parallel import launch, mpi, report
from llama_edu.parallel.cost import pipeline_wire_nbytes, tensor_wire_nbytes, weight_nbytes
from llama_edu.parallel.launch import mpiexec, run_ranks
from llama_edu.parallel.llama import PIECE_ROWS
from llama_edu.parallel.threads import run_threads

pytestmark = pytest.mark.posix
TEXT = "Once upon a time"
TOKENS = 12
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores for up to four ranks: more threads would only wait for each other."""
    pytest.importorskip("mpi4py")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def reported(size: int, *arguments: str) -> dict[str, Any]:
    written: list[bytes] = []
    assert run_ranks(size, ["-m", "llama_edu.parallel.report", *arguments], written.append) == 0
    return json.loads(b"".join(written))


@pytest.fixture(scope="module")
def alone() -> list[int]:
    model, prompt = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story").encode(TEXT)
    return list(generate(model, prompt, max_new_tokens=TOKENS))


@pytest.mark.parametrize(
    ("split", "size"), [("tensor", 2), ("tensor", 3), ("tensor", 4), ("pipeline", 2)]
)
def test_processes_write_the_same_text_and_send_what_the_formula_says(
    split: str, size: int, alone: list[int]
) -> None:
    config = LlamaConfig.from_directory(locate("story"))
    told = reported(size, "story", split, TEXT, "--tokens", str(TOKENS))
    assert told["ids"] == alone
    model = Llama.from_pretrained("story")
    logits = model.forward([*told["prompt_ids"], *alone[:-1]])[len(told["prompt_ids"]) - 1 :]
    np.testing.assert_allclose(told["largest"], logits.max(axis=1), rtol=1e-4)
    formula = tensor_wire_nbytes if split == "tensor" else pipeline_wire_nbytes
    sent = {
        part: sum(rank[f"{part}_sent_nbytes"] for rank in told["ranks"])
        for part in ("prefill", "decode")
    }
    assert sent["prefill"] == formula(config, size, len(told["prompt_ids"]))
    assert sent["decode"] == (TOKENS - 1) * formula(config, size)


def test_processes_read_a_long_prompt_in_pieces() -> None:
    config = LlamaConfig.from_directory(locate("story"))
    text = " ".join([TEXT] * 40)
    prompt = Tokenizer.from_pretrained("story").encode(text)
    assert len(prompt) > 2 * PIECE_ROWS
    told = reported(2, "story", "pipeline", text, "--tokens", "4")
    assert told["ids"] == list(
        generate(Llama.from_pretrained("story"), prompt, max_new_tokens=4, stop_ids=())
    )
    sent = sum(rank["prefill_sent_nbytes"] for rank in told["ranks"])
    assert sent == pipeline_wire_nbytes(config, 2, len(prompt))


@pytest.mark.smollm2
@pytest.mark.skipif(sys.platform != "linux", reason="where the system says whose memory it is")
def test_a_third_of_the_model_takes_a_third_of_the_memory() -> None:
    config = LlamaConfig.from_directory(locate(PRETRAINED_MODEL))
    told = reported(3, PRETRAINED_MODEL, "tensor", "The capital of France is", "--tokens", "2")
    assert Tokenizer.from_pretrained(PRETRAINED_MODEL).decode(told["ids"]).startswith(" Paris")
    whole = weight_nbytes(config, 1)
    for rank in told["ranks"]:
        assert rank["weight_nbytes"] == weight_nbytes(config, 3)
        assert rank["private_nbytes"] == pytest.approx(whole / 3, rel=0.1)


def test_measured_on_threads_says_the_same(alone: list[int]) -> None:
    told = run_threads(
        2, lambda world: report.measured(world, "tensor", "story", TEXT, tokens=TOKENS)
    )
    assert told[0]["ids"] == told[1]["ids"] == alone
    assert len(told[0]["ranks"]) == 2


def test_the_command_starts_its_ranks_and_prints_one_text(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    arguments = ["generate", "story", "The cat", "--max-new-tokens", "9", "--seed", "7"]
    assert cli.main(arguments) == 0
    want = capfdbinary.readouterr().out
    assert cli.main([*arguments, "--parallel", "tensor"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == want
    assert b"tensor on 2 ranks: rank 0 holds 1.3 MB" in err
    assert cli.main([*arguments, "--parallel", "pipeline", "--ranks", "3"]) == 1
    out, err = capfdbinary.readouterr()
    assert (out, err) == (b"", b"error: expected 1 to 2 ranks for 2 layers, got 3\n")


def test_started_by_mpiexec_with_a_prompt_from_standard_input() -> None:
    command = [mpiexec(), "-n", "3", sys.executable, "-m", "llama_edu", "generate", "story", "-"]
    options = ["--parallel", "tensor", "--temperature", "0", "--max-new-tokens", "5"]
    done = subprocess.run([*command, *options], input=b"The cat", capture_output=True, check=True)
    model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
    ids = list(generate(model, tokenizer.encode("The cat"), max_new_tokens=5))
    assert done.stdout.decode().strip() == tokenizer.decode(ids).strip()
    assert b"4 KV groups were filled up to 6" in done.stderr


def killed_in_the_middle(pid_file: Path) -> list[str]:
    """A rank that computes for ever; rank 1 says who it is, and dies of `SIGKILL`."""
    code = f"""
import os, signal
from pathlib import Path
from llama_edu.parallel.mpi import MPIWorld
from llama_edu.parallel.llama import split_llama
world = MPIWorld()
model = split_llama("tensor", "story", world)
with Path({str(pid_file)!r}).open("a") as file:
    file.write(f"{{os.getpid()}}\\n")
for step in range(10**9):
    model.forward([1, 2, 3])
    if world.rank == 1 and step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    if world.rank == 0 and step == 10:
        print("in the middle", flush=True)
"""
    return ["-c", code]


def test_a_rank_killed_in_the_middle_ends_all_within_seconds(tmp_path: Path) -> None:
    written: list[bytes] = []
    start = time.monotonic()
    with pytest.raises(ParallelError, match=r"expected 3 ranks to finish, got one ended by .*9"):
        run_ranks(3, killed_in_the_middle(tmp_path / "pids"), written.append)
    assert time.monotonic() - start < 20
    assert b"".join(written) == b"in the middle\n", "without the launcher's own words"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text("ascii").split()]
    assert len(pids) == 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]


def test_a_rank_that_hears_nothing_says_so() -> None:
    code = """
import time
from llama_edu.errors import ParallelError
from llama_edu.parallel.mpi import MPIWorld, leave
world = MPIWorld(timeout_s=0.3)
if world.rank == 1:
    time.sleep(30)
try:
    world.told(None, 1)
except ParallelError as problem:
    leave(world.rank, 1, f"error: {problem}")
"""
    command = [mpiexec(), "-n", "2", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode != 0
    assert b"error: rank 0: expected numbers from rank 1 within 0.3 s, got none\n" in done.stderr


class TestWithoutStartingAny:
    def test_the_launchers_own_words_are_left_out_however_they_come(self) -> None:
        said = b"a text\n== with signs ==\n" + launch.BAD_END + b"=====\n=   BAD TERMINATION"
        for size in (1, 7, 1000):
            reading, writing = os.pipe()
            written: list[bytes] = []
            child = os.fork()
            if child == 0:  # writes bit by bit
                os.close(reading)
                for start in range(0, len(said), size):
                    os.write(writing, said[start : start + size])
                os._exit(0)
            os.close(writing)
            launch.copy_output(reading, written.append)
            os.waitpid(child, 0)
            os.close(reading)
            assert b"".join(written) == b"a text\n== with signs ==\n"

    def test_there_must_be_a_launcher_and_a_rank(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(InputError, match="at least 1 rank, got 0"):
            run_ranks(0, [], print)
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(ParallelError, match="expected `mpiexec`, got none"):
            mpiexec()

    def test_it_is_told_where_mpi4py_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "mpi4py", None)
        with pytest.raises(ParallelError, match=r"expected mpi4py, got .*llama_edu\[parallel\]"):
            mpi.MPIWorld()

    def test_who_is_under_mpiexec(self) -> None:
        assert mpi.is_under_mpiexec({"PMI_RANK": "0"})
        assert mpi.is_under_mpiexec({"OMPI_COMM_WORLD_RANK": "1"})
        assert not mpi.is_under_mpiexec({"HOME": "/root"})

    def test_ranks_without_a_split_are_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["generate", "story", "x", "--ranks", "3"]) == 1
        assert "expected --parallel with --ranks 3, got none" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("problem", "code", "said"),
        [
            (InputError("expected a, got b"), 1, "error: expected a, got b\n"),
            (KeyboardInterrupt(), 130, ""),
            (BrokenPipeError(), 141, ""),
        ],
    )
    def test_what_goes_wrong_on_a_rank_is_told_there_and_noted(
        self,
        problem: BaseException,
        code: int,
        said: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
    ) -> None:
        left: list[int] = []
        monkeypatch.setattr(os, "_exit", left.append)
        monkeypatch.setenv(mpi.TOLD, str(tmp_path / "code"))
        args = argparse.Namespace(parallel="tensor", ranks=None)

        def work(world):
            monkeypatch.setattr(cli_parallel, "MPIWorld", lambda: world)
            with cli_parallel.joined(args):
                raise problem

        run_threads(1, work)
        assert left == [code]
        assert (tmp_path / "code").read_text("ascii") == str(code)
        assert capsys.readouterr().err == said

    def test_mpiexec_and_the_option_must_agree(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(os, "_exit", lambda code: None)
        args = argparse.Namespace(parallel="tensor", ranks=3)

        def work(world):
            monkeypatch.setattr(cli_parallel, "MPIWorld", lambda: world)
            with pytest.raises(RuntimeError, match="didn't yield"), cli_parallel.joined(args):
                raise AssertionError

        run_threads(1, work)
        assert "expected --ranks 1 under mpiexec, got 3" in capsys.readouterr().err
