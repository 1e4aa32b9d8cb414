"""Programs that do anything but answer, and what is said of each."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llama_edu.cli.main import main
from llama_edu.verify.protocol import Program, ProgramError, command_of
from llama_edu.verify.run import Options, verify_program

STORY = Options(("story",), ("forward",), limit=20.0, naming_seconds=0.01, tiny=False)

# A program that answers hello, and then does as the test says with `request`.
PROGRAM = """
import json, sys, time, os
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "hello":
        answer = {{"name": "p", "protocol": 1, "ops": {ops}}}
    else:
        {then}
    print(json.dumps(answer), flush=True)
"""


def program(tmp_path: Path, then: str, ops: tuple[str, ...] = ("forward",)) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(then=then, ops=list(ops)), "utf-8")
    return [sys.executable, "-S", str(path)]


def first(command: list[str], options: Options = STORY) -> tuple[str, str, int]:
    """Status and detail of the first case, and the exit code."""
    report = verify_program(command, options)
    return report.results[0].status, report.results[0].detail, report.exit_code


def test_a_program_that_is_not_there() -> None:
    status, detail, code = first(["./no_such_engine"])
    assert (status, code) == ("failed", 3)
    assert "no file called './no_such_engine'" in detail


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    assert "got a directory" in first([str(tmp_path)])[1]


@pytest.mark.skipif(os.name == "nt", reason="first lines are Unix's")
def test_a_script_whose_interpreter_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_text("#!/no/such/interpreter\n", "utf-8")
    path.chmod(0o755)
    assert "is not installed" in first([str(path)])[1]


def test_every_position_at_once(tmp_path: Path) -> None:
    then = "answer = {'logits': [0.0] * 2048 * len(request['ids'])}"
    report = verify_program(program(tmp_path, then), STORY)
    assert report.results[1].detail.endswith("got 14336 (7 · 2048: those after every id?)")


def test_a_file_that_is_here_and_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_engine").write_text("", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert "got no command 'my_engine' (did you mean ./my_engine?)" in first(["my_engine"])[1]


@pytest.mark.posix
def test_a_file_that_the_system_cannot_run(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_bytes(b"\x7fELF, and then nothing")
    path.chmod(0o755)
    assert "Exec format error" in first([str(path)])[1]


def test_blank_lines_are_no_answers(tmp_path: Path) -> None:
    then = "print('\\n', flush=True); answer = {'error': 'nothing yet'}"
    assert first(program(tmp_path, then))[1] == "expected logits, got an error: nothing yet"


@pytest.mark.skipif(os.name == "nt", reason="permissions are Unix's")
def test_a_program_that_may_not_be_executed(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_text("", "utf-8")
    assert "may not be executed" in first([str(path)])[1]


@pytest.mark.parametrize("text", ["", "'open"])
def test_no_command_at_all(text: str) -> None:
    with pytest.raises(ProgramError, match="expected a command"):
        command_of(text)


MISBEHAVIOURS = {
    "hangs": ("time.sleep(60)", "within 0.7 s, got none (end each answer with a newline", 3),
    "panics": ("sys.exit('panicked at engine.rs:4\\nlen is 3')", "engine.rs:4 | len is 3", 3),
    "dies": ("sys.exit('out of memory')", "exit code 1; its last words: out of memory", 3),
    "is killed": ("os.kill(os.getpid(), 9)", "signal SIGKILL", 3),
    "says something else": ("print('Loading…', flush=True)", "got 'Loading…'", 3),
    "gives a list": ("answer = [1, 2]", "expected a JSON object", 3),
    "gives no logits": ("answer = {'ids': [1]}", "got nothing", 3),
    "gives text": (
        "answer = {'logits': ['a'] * 2048}",
        "got a list of 2048 that holds a text: 'a'",
        3,
    ),
    "gives too few": ("answer = {'logits': [0.0] * 2047}", "expected 2048 logits", 3),
    "gives all positions": (
        "answer = {'logits': [[0.0] * 2048]}",
        "a list of 1 that holds a list of 2048",
        3,
    ),
    "raises": ("raise ValueError('no head')", "ValueError: no head", 3),
    "nests without end": (
        "print('[' * 100000, flush=True); continue",
        "expected one line of JSON",
        3,
    ),
    "takes two lines": ("print('{', flush=True)", "'{' (an answer has to be on one line)", 3),
    "refuses": ("answer = {'error': 'not today'}", "got an error: not today", 3),
    "gives NaN": ("answer = {'logits': [float('nan')] * 2048}", "2048 of 2048 logits are NaN", 1),
    "gives NaN as C++ writes it": (
        "print('{\"logits\": [-nan,nan(snan),-inf' + ',0' * 2045 + ']}', flush=True); continue",
        "3 of 2048 logits are NaN",
        1,
    ),
    "gives null": ("answer = {'logits': [None] + [0.0] * 2047}", "1 of 2048 logits are NaN", 1),
    "gives zeros": ("answer = {'logits': [0.0] * 2048}", "logits are off by up to", 1),
}


@pytest.mark.parametrize("what", MISBEHAVIOURS)
def test_a_program_that(what: str, tmp_path: Path) -> None:
    then, told, code = MISBEHAVIOURS[what]
    limit = 0.7 if what == "hangs" else 20.0
    options = replace(STORY, limit=limit)
    start = time.perf_counter()
    _, detail, exit_code = first(program(tmp_path, then), options)
    assert told in detail
    assert exit_code == code
    assert time.perf_counter() - start < 30


def test_a_program_that_writes_without_end(tmp_path: Path) -> None:
    """Its output does not block the questions, nor the questions its end."""
    path = tmp_path / "noise.py"
    path.write_text("import sys\nwhile True: sys.stdout.write('x' * 1000 + '\\n')\n", "utf-8")
    told = pytest.raises(ProgramError, match="messages for people belong on standard error")
    with Program([sys.executable, str(path)], tmp_path, 5.0) as noisy, told:
        noisy.ask({"op": "hello", "protocol": 1})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("{'name': 'p', 'protocol': 2, 'ops': []}", 'expected "protocol":1 in hello, got 2'),
        ("{'name': 'p', 'ops': []}", "got no such field"),
        ("{'protocol': 1}", "expected ops as a list of names"),
        ("{'error': 'who are you?'}", "expected an answer to hello"),
    ],
)
def test_another_hello(answer: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(f"import json\ninput()\nprint(json.dumps({answer}), flush=True)\n", "utf-8")
    assert told in first([sys.executable, "-S", str(path)])[1]


def test_a_stage_that_was_asked_for_and_is_not_offered_fails(tmp_path: Path) -> None:
    options = Options(models=("story",), tiny=False, stages=("tokens",))
    report = verify_program(program(tmp_path, "answer = {}"), options)
    assert not report.ok
    assert report.exit_code == 3
    assert report.missing == ["tokens: expected the op encode or decode in hello, got ['forward']"]


STREAM = """
import json, sys
from llama_edu import Tokenizer
tokenizer = Tokenizer(sys.argv[1])
for line in sys.stdin:
    request = json.loads(line)
    answer = {"name": "p", "protocol": 1, "ops": ["stream"]}
    if request["op"] == "stream":
        answer = {"pieces": [tokenizer.decode([token_id]) for token_id in request["ids"]]}
    print(json.dumps(answer), flush=True)
"""


def test_a_mistake_of_streaming_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(STREAM, "utf-8")
    options = Options(models=("story",), tiny=False, stages=("tokens",))
    report = verify_program([sys.executable, str(path)], options)
    names = [named.keys for verdict in report.verdicts for named in verdict.named]
    assert names == [("tokens.each_alone",)]


def test_to_refuse_everything_is_no_merit(tmp_path: Path) -> None:
    """Damaged files are for engines that read the others."""
    options = Options(models=("story",), tiny=False, stages=("bytes",))
    report = verify_program(program(tmp_path, "answer = {'error': 'not written yet'}"), options)
    assert not report.ok
    assert set(report.counts) == {"refused"}


def test_nothing_compared_is_not_right(tmp_path: Path) -> None:
    report = verify_program(program(tmp_path, "answer = {}", ops=()), STORY)
    assert not report.ok


def test_the_command_writes_json_and_junit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = " ".join(program(tmp_path, "answer = {'logits': [0.0] * 2048}"))
    junit = tmp_path / "report.xml"
    options = ["--model", "story", "--no-tiny", "--stage", "forward", "--naming-seconds", "0.01"]
    code = main(["verify", "--program", command, *options, "--json", "--junit", str(junit)])
    assert code == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["exit_code"], told["counts"]) == (False, 1, {"wrong": 3})
    assert told["verdicts"][0]["named"] == []
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (
        "forward.story",
        "3",
        "3",
    )
    failures = suite.findall("./testcase/failure")
    assert len(failures) == 3


@pytest.mark.parametrize("language", ["python", "js", "rust", "cpp", "go", "zig"])
def test_starters_are_written_and_never_over_something(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--init", language, str(tmp_path / "mine")]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written.parent == tmp_path / "mine"
    written.write_text("mine", "utf-8")
    assert main(["verify", "--init", language, str(tmp_path / "mine")]) == 1
    assert written.read_text("utf-8") == "mine"


def test_a_starter_speaks_the_protocol(tmp_path: Path) -> None:
    main(["verify", "--init", "python", str(tmp_path)])
    report = verify_program([sys.executable, "-S", str(tmp_path / "engine.py")], STORY)
    assert report.missing == ["forward: expected the op forward in hello, got []"]


def test_cases_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--cases", "--model", "story"]) == 0
    cases = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert cases[1]["case"] == "prompt-of-7"
    assert {"model", "case", "past", "ids", "flags"} == cases[1].keys()
