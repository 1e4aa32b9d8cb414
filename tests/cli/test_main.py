"""The command line: what comes out where, and how it ends, whatever happens."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tiny_files import gguf_tensors, sentencepiece_pieces, write_gguf

import llama_edu
from llama_edu import Llama, Sampling, Tokenizer, generate, hub
from llama_edu.cli import main as cli
from llama_edu.cli import terminal as cli_terminal
from llama_edu.cli.inspect import narrower_dtype, report
from llama_edu.exercises import check
from llama_edu.formats.safetensors import read_header, save_file
from llama_edu.hub.gguf import convert
from llama_edu.hub.gguf.convert import convert_gguf

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    return convert_gguf(write_gguf(folder / "tiny.gguf"), folder / "tiny")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = cli.main(arguments)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class TestUsage:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "--version") == (0, f"llama_edu {llama_edu.__version__}\n", "")

    @pytest.mark.parametrize("command", ["", "inspect", "fetch", "convert", "generate", "chat"])
    def test_help(self, capsys: pytest.CaptureFixture[str], command: str) -> None:
        code, out, err = run(capsys, *command.split(), "--help")
        assert (code, err) == (0, "")
        assert "example" in out or "smollm2-135m-instruct" in out
        if not command:
            assert all(name in out for name in ("inspect", "fetch", "convert", "generate", "chat"))

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["dance"],
            ["inspect"],
            ["generate", "story", "x", "--temperature", "warm"],
            ["generate", "story", "x", "--temperature", "-1"],
            ["generate", "story", "x", "--top-p", "0"],
            ["generate", "story", "x", "--top-k", "-2"],
            ["generate", "story", "x", "--seed", "-1"],
            ["generate", "story", "x", "--max-new-tokens", "0"],
            ["generate", "story", "x", "--guess", "--draft", "story"],
            ["chat", "chat", "--guess", "--draft", "chat"],
            ["convert", "a", "b", "--dtype", "q4"],
            ["generate", "story", "x", "--temp", "1"],  # no abbreviations: they age badly
        ],
    )
    def test_wrong_usage(self, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("usage: ")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["inspect", "no-such-model"],
            ["fetch", "no-such-model"],
            ["generate", "no-such-model", "x"],
            ["convert", "none.gguf", "out"],
        ],
    )
    def test_an_error_is_one_line(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        arguments: list[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"error: .*expected .*, got .*\n", err)

    def test_messages_cannot_steer_the_terminal(self) -> None:
        assert cli_terminal.one_line(ValueError("a\nb\x1b[2J é")) == r"a\nb\x1b[2J é"
        assert cli_terminal.one_line(KeyError()) == "KeyError"

    def test_what_the_system_says_is_put_into_words(self, tmp_path: Path) -> None:
        assert cli_terminal.one_line(MemoryError()).startswith("expected more memory")
        with pytest.raises(OSError) as missing:
            (tmp_path / "a").read_bytes()
        told = cli_terminal.one_line(missing.value)
        assert told == f"{tmp_path / 'a'}: expected a file or a folder there, got none"
        assert "full disk" in cli_terminal.one_line(OSError(errno.ENOSPC, "No space left"))

    @pytest.mark.parametrize(
        ("number", "told"),
        [
            (errno.ENOENT, "a.txt: expected a file or a folder there, got none"),
            (errno.EACCES, "a.txt: expected leave to use it, got a refusal of the system"),
            (errno.EISDIR, "a.txt: expected a file, got a folder"),
            (errno.ENOTDIR, "a.txt: expected a folder, got a file"),
            (errno.ENOSPC, "a.txt: expected room for what is written, got a full disk"),
            (errno.EIO, "a.txt: as the system says"),
        ],
    )
    def test_what_is_the_matter_with_a_file_is_put_into_words(self, number: int, told: str) -> None:
        assert cli_terminal.one_line(OSError(number, "as the system says", "a.txt")) == told

    def test_without_a_file_the_system_s_own_words_are_left(self) -> None:
        assert (
            cli_terminal.one_line(OSError(errno.EIO, "Input/output error")) == "Input/output error"
        )


class TestInspect:
    def test_bytes(self, model: Path) -> None:
        file = model / "model.safetensors"
        raw = file.read_bytes()
        header = read_header(file)
        lines = list(report(str(file)))
        rows = [
            re.fullmatch(r"([0-9a-f]{10})  (\w) ((?:[0-9a-f]{2} ?){1,16}) .*", x) for x in lines
        ]
        marks: dict[str, set[int]] = {}
        for row in filter(None, rows):
            start, data = int(row[1], 16), bytes.fromhex(row[3])
            assert raw[start : start + len(data)] == data
            marks.setdefault(row[2], set()).update(range(start, start + len(data)))
        assert marks["L"] == set(range(8))
        assert min(marks["J"]) == 8
        assert max(marks["J"]) == header.data_start - 1
        first, second, third = list(header.tensors.values())[:3]
        for letter, info in zip("abc", (first, second, third), strict=True):
            assert min(marks[letter]) == header.data_start + info.start
            assert f"  {letter}  {info.nbytes:,} bytes: {info.name}, BF16" in "\n".join(lines)
        assert f"length of the header, little-endian: {header.header_nbytes:,}" in lines[1]
        # What is left out between the rows is counted, to the byte.
        left_out = sum(
            int(match[1].replace(",", ""))
            for line in lines
            if (match := re.fullmatch(r" +… ([\d,]+) bytes", line))
        )
        assert left_out + sum(map(len, marks.values())) == len(raw)

    def test_tables(self, model: Path) -> None:
        header = read_header(model / "model.safetensors")
        text = "\n".join(report(str(model)))
        for info in header.tensors.values():
            shape = " × ".join(map(str, info.shape))
            at = header.data_start + info.start
            assert re.search(
                rf"^{re.escape(info.name)} +BF16 +{shape} +[\d,]+ +{info.nbytes:,} +{at:,}$",
                text,
                re.MULTILINE,
            )
        parameters = sum(a.size for a in gguf_tensors().values())
        assert re.search(rf"^BF16 +20 +{parameters:,} +{2 * parameters:,}$", text, re.MULTILINE)
        assert re.search(rf"^total +20 +{parameters:,} +{2 * parameters:,}$", text, re.MULTILINE)
        assert "metadata 'format': 'pt'" in text
        assert (
            "2 layers, hidden_size 64, intermediate_size 96, 4 query heads over 2 KV heads" in text
        )
        assert "embeddings tied, context of 64 positions" in text
        assert "F32" not in text

    def test_a_config_we_cannot_run_does_not_hide_the_tensors(
        self, model: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
        (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', "utf-8")
        lines = list(report(str(tmp_path)))
        assert "config.json: expected model_type" in lines[1]
        assert any(line.startswith("total") for line in lines)

    def test_shards(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(convert, "SHARD_NBYTES", 60_000)
        directory = convert_gguf(write_gguf(tmp_path / "x.gguf"), tmp_path / "x")
        n_files = len(list(directory.glob("*.safetensors")))
        assert n_files > 1
        lines = list(report(str(directory)))
        assert sum(line.startswith("model-0000") for line in lines) == n_files
        assert sum(line.startswith("tensor ") for line in lines) == n_files
        assert sum(line.startswith("total ") for line in lines) == 1
        assert "  20  " in next(line for line in lines if line.startswith("total "))

    def test_colour_only_on_top(self, model: Path) -> None:
        plain, coloured = (list(report(str(model), colour=c)) for c in (False, True))
        assert ESCAPE not in "".join(plain)
        assert ESCAPE in "".join(coloured)
        assert [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in coloured] == plain

    def test_colour_is_for_terminals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert cli_terminal.may_colour(Terminal())
        assert not cli_terminal.may_colour(io.StringIO())
        monkeypatch.setenv("TERM", "dumb")
        assert not cli_terminal.may_colour(Terminal())
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        assert not cli_terminal.may_colour(Terminal())

    @pytest.mark.parametrize(
        ("found", "told", "reads"), [(1, 1, True), (1, 0, False), (0, 1, False), (None, 1, False)]
    )
    def test_a_console_of_windows_is_told_to_read_codes(
        self, found: int | None, told: int, reads: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where there is one, and it can."""
        modes: list[int] = []
        kernel32 = SimpleNamespace(
            GetConsoleMode=lambda handle, mode: found,
            SetConsoleMode=lambda handle, mode: modes.append(mode) or told,
        )
        windll = SimpleNamespace() if found is None else SimpleNamespace(kernel32=kernel32)
        msvcrt = SimpleNamespace(get_osfhandle=lambda number: 7)
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(ctypes, "windll", windll, raising=False)
        monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
        with Path(os.devnull).open(encoding="utf-8") as stream:
            assert cli_terminal.reads_codes(stream) is reads
        assert modes == ([4] if found else [])

    @pytest.mark.parametrize(
        ("stored", "fits"), [(np.float32, ""), (ml_dtypes.bfloat16, "BF16"), (np.float16, "F16")]
    )
    def test_narrow_values_in_wide_tensors_are_noticed(
        self, tmp_path: Path, stored: Any, fits: str
    ) -> None:
        rng = np.random.default_rng(0)
        values = rng.standard_normal((3, 400), dtype=np.float32)
        narrow = values.astype(stored).astype(np.float32)
        save_file({"wide": values, "narrow": narrow}, tmp_path / "x.safetensors")
        text = "\n".join(report(str(tmp_path / "x.safetensors")))
        note = f"1 of 2 F32 tensors hold only values that {fits} can hold"
        assert (note in text) if fits else ("can hold" not in text)

    @pytest.mark.parametrize("size", [1, 2**20, 2**20 + 1])
    def test_one_value_is_enough_to_need_the_width(self, size: int) -> None:
        values = np.ones(size, dtype=np.float32)
        assert narrower_dtype(values) == "BF16"
        for bits in (8, 9, 10):  # after the point; bfloat16 has 7, float16 has 10
            values[-1] = 1 + 2**-bits
            assert narrower_dtype(values) == "F16"
        values[-1] = 1 + 2**-12
        assert narrower_dtype(values) == ""
        values[-1] = 2.0**17 + 2.0**8  # too large for float16
        assert narrower_dtype(values) == ""
        assert narrower_dtype(np.empty((0, 3), dtype=np.float32)) == ""

    def test_nan_and_infinity_are_values_too(self) -> None:
        assert narrower_dtype(np.array([np.inf, -np.inf, np.nan], dtype=np.float32)) == "BF16"

    def test_no_tensors(self, tmp_path: Path) -> None:
        save_file({}, tmp_path / "x.safetensors")
        assert next(line for line in report(str(tmp_path / "x.safetensors")) if "total" in line)

    @pytest.mark.parametrize("name", ["x.safetensors", "x.gguf"])
    def test_a_file_that_is_not_there(
        self, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        told = f"error: {tmp_path / name}: expected a file there, got none\n"
        assert run(capsys, "inspect", str(tmp_path / name)) == (1, "", told)

    def test_damaged_file(
        self, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
    ) -> None:
        damaged = tmp_path / "x.safetensors"
        damaged.write_bytes((model / "model.safetensors").read_bytes()[:-1])
        code, out, err = run(capsys, "inspect", str(damaged))
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1

    def test_gguf_gets_a_hint(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        code, _, err = run(capsys, "inspect", str(model.parent / "tiny.gguf"))
        assert code == 1
        assert "python -m llama_edu convert" in err


def continuation(model: Path, prompt: str, count: int, sampling: Sampling, seed: int) -> str:
    tokenizer = Tokenizer.from_pretrained(model)
    ids = generate(
        Llama.from_pretrained(model),
        tokenizer.encode(prompt),
        max_new_tokens=count,
        sampling=sampling,
        seed=seed,
    )
    return tokenizer.decode(ids)


class TestGenerate:
    STATISTICS = re.compile(
        r"(\d+) prompt tokens in \d+\.\d\d s, (\d+) new tokens(, \d+\.\d tokens/s)?, seed (\d+)\n"
    )

    def test_the_new_text_and_nothing_else(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        options = "--temperature 1.5 --top-k 40 --top-p 0.9 --seed 7 --max-new-tokens 12".split()
        code, out, err = run(capsys, "generate", str(model), "the cat", *options)
        assert code == 0
        assert out == continuation(model, "the cat", 12, Sampling(1.5, 40, 0.9), 7) + "\n"
        statistics = self.STATISTICS.fullmatch(err)
        assert statistics is not None
        prompt, new, rate, seed = statistics.groups()
        assert prompt == str(len(Tokenizer.from_pretrained(model).encode("the cat")))
        assert (new, seed) == ("12", "7")
        assert rate is not None

    def test_guessing_ahead_changes_no_greedy_text(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        base = ["--temperature", "0", "--max-new-tokens", "20"]
        options = ([], ["--guess"], ["--draft", str(model)])
        texts = {run(capsys, "generate", str(model), "the cat", *base, *o)[1] for o in options}
        assert len(texts) == 1

    def test_a_draft_model_of_other_tokens_is_refused(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        for command in (["generate", str(model), "the cat"], ["chat", "chat"]):
            code, _, err = run(capsys, *command, "--draft", "story")
            assert code == 1
            assert "expected a draft model of the same tokens, got 'story'" in err

    def test_each_option_matters(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        base = ["--temperature", "1.5", "--seed", "7", "--max-new-tokens", "20"]
        texts = {
            run(capsys, "generate", str(model), "the cat", *base, *more)[1]
            for more in ([], ["--temperature", "0"], ["--top-k", "3"], ["--top-p", "0.3"])
        }
        texts.add(run(capsys, "generate", str(model), "the cat", *base, "--seed", "8")[1])
        assert len(texts) == 5

    def test_the_seed_told_gives_the_text_again(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        arguments = ["generate", str(model), "the cat", "--max-new-tokens", "8"]
        _, first, err = run(capsys, *arguments)
        statistics = self.STATISTICS.fullmatch(err)
        assert statistics is not None
        _, second, _ = run(capsys, *arguments, "--seed", statistics[4])
        assert first == second

    def standard_input(self, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    @pytest.mark.parametrize("dash", [["-"], []])
    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    def test_prompt_from_a_pipe(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        model: Path,
        dash: list[str],
        end: bytes,
    ) -> None:
        self.standard_input(monkeypatch, "猫 the cat".encode() + end)
        options = ["--temperature", "0", "--max-new-tokens", "5"]
        code, out, _ = run(capsys, "generate", str(model), *dash, *options)
        expected = continuation(model, "猫 the cat", 5, Sampling(temperature=0.0), 0)
        assert (code, out) == (0, expected + "\n")

    def test_prompts_that_are_none(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        assert run(capsys, "generate", str(model), "")[::2] == (
            1,
            "error: expected a prompt of at least one token, got an empty one\n",
        )
        self.standard_input(monkeypatch, b"\xff\xfe")
        code, _, err = run(capsys, "generate", str(model), "-")
        assert code == 1
        assert err.startswith("error: expected UTF-8 text on standard input")
        code, out, err = run(capsys, "generate", str(model), "cat " * 100)
        assert (code, out) == (1, "")
        assert "expected at most 64 positions" in err

    def test_as_far_as_the_context_goes(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        """Unless told how many, it stops in time instead of refusing."""
        prompt = "the cat " * 10
        n_prompt = len(Tokenizer.from_pretrained(model).encode(prompt))
        _, _, err = run(capsys, "generate", str(model), prompt, "--seed", "1")
        statistics = self.STATISTICS.fullmatch(err)
        assert statistics is not None
        assert int(statistics[2]) <= 64 - n_prompt
        code, _, err = run(capsys, "generate", str(model), prompt, "--max-new-tokens", "64")
        assert code == 1
        assert "64 new" in err

    def test_special_tokens_only_when_asked(
        self, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        options = ["--max-new-tokens", "1"]
        _, _, plain = run(capsys, "generate", str(model), "<|im_start|>", *options)
        _, _, special = run(capsys, "generate", str(model), "<|im_start|>", *options, "--special")
        assert not plain.startswith("1 prompt tokens")
        assert special.startswith("1 prompt tokens")

    def test_text_is_written_as_it_is_made(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
    ) -> None:
        tokenizer = Tokenizer.from_pretrained(model)
        seen = []

        def slowly(*args: Any, **kwargs: Any) -> Any:
            for token_id in tokenizer.encode("one 猫!"):
                seen.append(capsys.readouterr().out)
                yield token_id

        monkeypatch.setattr(cli, "generate", slowly)
        assert cli.main(["generate", str(model), "the cat"]) == 0
        seen.append(capsys.readouterr().out)
        assert "".join(seen) == "one 猫!\n"
        assert seen[0] == ""
        assert sum(bool(piece) for piece in seen) >= 3

    def test_a_space_between_prompt_and_answer_is_kept(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """SentencePiece drops the first space of a text, but this text has begun before."""
        tokens, scores, types = sentencepiece_pieces()
        metadata = {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.token_type": types,
        }
        source = write_gguf(tmp_path / "x.gguf", gguf_tensors(vocab_size=len(tokens)), metadata)
        directory = convert_gguf(source, tmp_path / "x")
        monkeypatch.setattr(cli, "generate", lambda *_, **__: iter([tokens.index("▁cat")]))
        assert run(capsys, "generate", str(directory), "the")[1] == " cat\n"

    def test_a_model_cannot_steer_the_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terminal, pipe = Terminal(), io.StringIO()
        for stream in (terminal, pipe):
            monkeypatch.setattr(sys, "stdout", stream)
            cli_terminal.write_now("a\x1b[2J\x07\x9b\x7f\tb\n")
        assert terminal.getvalue() == "a␛[2J␇\ufffd\ufffd\tb\n"
        assert pipe.getvalue() == "a\x1b[2J\x07\x9b\x7f\tb\n"


class TestFetchAndConvert:
    def test_convert_prints_the_directory(
        self, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
    ) -> None:
        arguments = [str(model.parent / "tiny.gguf"), str(tmp_path / "out"), "--dtype", "f16"]
        assert run(capsys, "convert", *arguments) == (0, f"{tmp_path / 'out'}\n", "converting\n")
        assert Llama.from_pretrained(tmp_path / "out").config.dtype == "float16"
        code, out, err = run(capsys, "convert", *arguments)
        assert (code, out) == (1, "")
        assert "new or empty directory" in err

    def test_fetch_prints_the_directory(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: Path
    ) -> None:
        def fetch(name: str, report: hub.Report) -> Path:
            for done in (0.0, 0.5, 1.0):
                report("fetching", done)
            report("converting", 0.0)
            return model

        monkeypatch.setattr(hub, "fetch", fetch)
        assert run(capsys, "fetch", "x") == (0, f"{model}\n", "fetching\nconverting\n")

    def test_progress_on_a_terminal(self) -> None:
        stream = Terminal()
        with cli_terminal.progress_line(stream) as progress:
            progress("fetching", 0.25)
            progress("fetching", 1.0)
        text = stream.getvalue()
        assert "\r######                    25% fetching" in text
        assert f"\r{24 * '#'} 100% fetching" in text
        assert re.search(r"\r +\r$", text)  # and leaves the line empty
        assert "\n" not in text


# Runs the command line with generation that does not end.
ENDLESS = """
import sys, time
from llama_edu.cli import main as cli
def endless(*args, **kwargs):
    while True:
        yield 100
        time.sleep(0.01)
cli.generate = endless
sys.exit(cli.main(sys.argv[1:]))
"""


def command(*arguments: str, program: str | None = None, **environment: str) -> Any:
    start = ["-c", program] if program else ["-m", "llama_edu"]
    return subprocess.Popen(
        [sys.executable, *start, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


class TestProcesses:
    @pytest.mark.posix
    def test_interrupted(self, model: Path) -> None:
        with command("generate", str(model), "the cat", program=ENDLESS) as process:
            assert process.stdout.read(1)  # it has begun
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert err.endswith(b"\ninterrupted\n")
        assert b"new tokens" in err

    @pytest.mark.posix
    @pytest.mark.parametrize("name", ["inspect", "generate"])
    def test_the_reader_of_the_pipe_goes_away(self, model: Path, name: str) -> None:
        with command(name, str(model), *(["x"] if name == "generate" else [])) as process:
            process.stdout.close()
            err = process.stderr.read()
            process.wait(timeout=120)
        assert process.returncode == 141
        assert b"Traceback" not in err
        assert b"rror" not in err

    def test_a_terminal_without_our_letters(self, model: Path) -> None:
        with command("inspect", str(model), PYTHONIOENCODING="ascii") as process:
            out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, b"")
        assert rb"64 \xd7 64" in out
        out.decode("ascii")


class TestProgress:
    def test_what_is_solved_is_marked_and_the_next_is_named(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from llama_edu.exercises import check
        from llama_edu.exercises.framework import progress

        monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path))
        monkeypatch.delenv("LLAMA_EDU_PROGRESS", raising=False)
        names = [item.exercise.name for item in check]
        code, out, err = run(capsys, "progress")
        assert (code, err) == (0, "")
        assert out.startswith(f"0 of {len(names)} exercises solved\n")
        assert f"next: check.{names[0]}, Chapter 1" in out
        assert all(name in out for name in names)
        progress.record(names[0])
        progress.record("an exercise of another time")
        out = run(capsys, "progress")[1]
        assert out.startswith(f"1 of {len(names)} exercises solved\n")
        assert next(line for line in out.splitlines() if "✓" in line).endswith(names[0])
        assert f"next: check.{names[1]}" in out
        assert str(tmp_path) in out
        for name in names:
            progress.record(name)
        assert "All solved" in run(capsys, "progress")[1]

    def test_it_is_exported_imported_and_made_a_page(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from llama_edu.exercises.framework import progress

        monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path / "here"))
        monkeypatch.delenv("LLAMA_EDU_PROGRESS", raising=False)
        progress.record("clean")
        progress.record("an exercise of another time")
        carried, page = tmp_path / "mine.json", tmp_path / "mine.html"
        out = run(capsys, "progress", "--export", str(carried))[1]
        assert out == f"2 solved exercises in {carried}\n"
        assert run(capsys, "progress", "--export", "-")[1] == carried.read_text("utf-8")
        assert run(capsys, "progress", "--page", str(page))[1] == f"{page}\n"
        assert f"1 of {len(list(check))} exercises solved" in page.read_text("utf-8")
        monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path / "there"))
        code, out, err = run(capsys, "progress", "--import", str(carried))
        assert (code, out) == (0, "1 exercises added, 1 solved in all\n")
        assert err == "left out, no exercises of this book: an exercise of another time\n"
        assert progress.solved() == {"clean"}
        progress.record("merge")
        run(capsys, "progress", "--export", str(carried))
        code, out, err = run(capsys, "progress", "--import", str(carried))
        assert (code, out, err) == (0, "0 exercises added, 2 solved in all\n", "")
        carried.write_bytes(b"\xff")
        code, _, err = run(capsys, "progress", "--import", str(carried))
        assert code == 1
        assert "expected UTF-8 text" in err
        assert run(capsys, "progress", "--import", str(tmp_path / "nowhere"))[0] == 1
