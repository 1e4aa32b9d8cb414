"""Answers that are wrong in every way a program can have: each is told, and none is lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_edu import Llama, LlamaConfig, Tokenizer, hub
from llama_edu.chat.template import ChatTemplate
from llama_edu.formats.safetensors import open_checkpoint, save_file
from llama_edu.verify.cases import calls_for
from llama_edu.verify.chats import CHATS, right_ids
from llama_edu.verify.files import FILES
from llama_edu.verify.report import Report
from llama_edu.verify.run import MOST_NUMBERS, Options, verify_program
from llama_edu.verify.sampling import SAMPLING_CASES, distribution
from llama_edu.verify.texts import ids_of_text
from llama_edu.verify.tokens import TEXTS, decode_cases

STORY = Path(hub.locate("story"))

# A program that gives these answers in turn, whatever it is asked: each line of the file is one.
PROGRAM = """
import json, sys
answers = open({answers!r}, encoding="utf-8").read().splitlines()
for i, line in enumerate(sys.stdin):
    hello = {{"name": "p", "protocol": 1, "ops": {ops}}}
    print(answers[(i - 1) % len(answers)] if i else json.dumps(hello), flush=True)
"""


def options(stage: str, model: str = "story") -> Options:
    return Options((model,), (stage,), limit=20.0, naming_seconds=0.01, tiny=False)


def examined(
    folder: Path, op: str, answers: Sequence[Any], stage: str, model: str = "story", *ops: str
) -> Report:
    """What is said of a program with these answers to an op; a text goes out as it is."""
    lines = [one if isinstance(one, str) else json.dumps(one) for one in answers]
    (folder / "answers").write_text("\n".join(lines), "utf-8")
    source = PROGRAM.format(answers=str(folder / "answers"), ops=[op, *ops])
    (folder / "program.py").write_text(source, "utf-8")
    return verify_program([sys.executable, "-S", str(folder / "program.py")], options(stage, model))


def check(report: Report, told: dict[str, str], cases: Sequence[str]) -> None:
    """Every case has one result, and each of these answers is told for what it is."""
    assert [result.label for result in report.results] == list(cases)
    for (what, expected), result in zip(cycle(told.items()), report.results, strict=False):
        assert expected in result.detail, what
        assert result.status == ("wrong" if expected else "right"), what
    assert report.exit_code == 1


# What is no list of so many numbers, and how it is told.
NO_LIST: dict[str, tuple[Any, str]] = {
    "null": (None, "got nothing"),
    "a text": ("1 2 3", "got a text: '1 2 3'"),
    "a number": (7, "got a number: 7"),
    "a decimal": (0.5, "got a number: 0.5"),
    "a truth value": (True, "got a truth value: True"),
    "an object": ({"0": 1.0}, "got an object: {'0': 1.0}"),
    "rows": ([[1.0, 2.0]], "got a list of 1 that holds a list of 2"),
    "texts": (["1.0"] * 4, "got a list of 4 that holds a text: '1.0'"),
    "truth values": ([0.5, True], "got a list of 2 that holds a truth value: True"),
}


def test_tensors(tmp_path: Path) -> None:
    shown = [(n, a) for n, a in open_checkpoint(STORY).items() if a.size <= MOST_NUMBERS][:12]
    asked = [(name, array.astype(np.float32)) for name, array in shown]
    kinds = [
        (lambda a: {"error": "not yet"}, "expected a tensor, got: not yet"),
        (lambda a: {"values": [1.0]}, "got None"),
        (lambda a: {"shape": [3, 7], "values": [1.0]}, "got [3, 7]"),
        (lambda a: {"shape": a.shape}, "got nothing"),
        (lambda a: {"shape": a.shape, "values": [1, 2]}, "got a list of 2"),
        (lambda a: {"shape": a.shape, "values": a.reshape(-1).tolist()}, ""),
        (lambda a: {"shape": a.shape, "values": [a.flat[0].item(), *[9] * (a.size - 1)]}, "got 9"),
        (lambda a: {"shape": a.shape, "values": [None] * a.size}, "at number 0, got nan"),
        (lambda a: {"shape": a.shape, "values": [1e300] * a.size}, "at number 0, got 1e+300"),
    ]
    chosen = [kind for kind, _ in zip(cycle(kinds), asked, strict=False)]
    answers = [make(array) for (make, _), (_, array) in zip(chosen, asked, strict=True)]
    report = examined(tmp_path, "tensor", answers, "bytes")
    told = {str(i): expected for i, (_, expected) in enumerate(chosen)}
    check(report, told, [name for name, _ in asked])
    for result, (_, array) in zip(report.results[1:5], asked[1:5], strict=True):
        assert result.detail.startswith(("expected shape [", f"expected {array.size} values"))
    assert " at number 1, " in report.results[6].detail


@pytest.mark.parametrize(
    ("op", "key", "wrong"), [("encode", "ids", [1, 2]), ("decode", "text", "no such story")]
)
def test_texts_and_ids(op: str, key: str, wrong: Any, tmp_path: Path) -> None:
    tokenizer = Tokenizer(STORY)
    cases = list(TEXTS) if op == "encode" else [label for label, _ in decode_cases(tokenizer)]
    answers = {
        "an error": ({"error": "no"}, f"expected {key}, got an error: no"),
        "another key": ({"answer": wrong}, f"expected {key}, got ['answer']"),
        "null": ({key: None}, f"expected {key}, got null"),
        "wrong": ({key: wrong}, f"got {wrong!r}"),
        "another kind": ({key: 7}, "got 7"),
        "beyond every number": (f'{{"{key}": 1{"0" * 400}}}', "got inf"),
        "very long": ({key: "x" * 900}, "…"),
    }
    report = examined(tmp_path, op, [answer for answer, _ in answers.values()], "tokens")
    told = {what: expected for what, (_, expected) in answers.items()}
    check(report, told, [f"{op}, {label}" for label in cases])
    assert max(len(result.detail) for result in report.results) < 250


def test_streams(tmp_path: Path) -> None:
    answers = {
        "an error": ({"error": "no"}, "expected pieces, got an error: no"),
        "null": ({"pieces": None}, "expected pieces, got null"),
        "a text": ({"pieces": "Once"}, "got 'Once'"),
        "wrong": ({"pieces": ["O", 1]}, "got ['O', 1]"),
    }
    report = examined(tmp_path, "stream", [answer for answer, _ in answers.values()], "tokens")
    told = {what: expected for what, (_, expected) in answers.items()}
    cases = [f"stream, {label}" for label, _ in decode_cases(Tokenizer(STORY))]
    check(report, told, cases)


def test_probabilities(tmp_path: Path) -> None:
    answers = {
        what: ({"probabilities": value}, told) for what, (value, told) in NO_LIST.items()
    } | {
        "an error": ({"error": "no"}, "expected probabilities, got an error: no"),
        "NaN": ('{"probabilities": [nan, 0.5]}', "expected numbers, got NaN or ∞"),
        "too few": ({"probabilities": [0.5, 0.25, 0.25]}, "probabilities, got 3 ("),
        "none": ({"probabilities": []}, "probabilities, got 0 ("),
    }
    report = examined(
        tmp_path, "probabilities", [answer for answer, _ in answers.values()], "sampling"
    )
    told = {what: expected for what, (_, expected) in answers.items()}
    check(report, told, [case.label for case in SAMPLING_CASES])
    too_few = report.results[list(told).index("too few")].detail
    assert too_few.startswith("expected 5 probabilities")
    assert too_few.endswith("(temperature 1, top_k 2, top_p 1)")


def test_chats(tmp_path: Path) -> None:
    template = ChatTemplate(Tokenizer.from_pretrained("chat"))
    kinds: dict[str, tuple[Any, str]] = {
        "an error": ({"error": "no"}, "expected ids, got an error: no"),
        "right": ({"ids": right_ids(template, list(CHATS.values())[1])}, ""),
        "null": ({"ids": None}, "got None"),
        "a text": ({"ids": "Hi"}, "got 'Hi'"),
        "wrong": ({"ids": [1, 2]}, "got [1, 2]"),
    }
    report = examined(tmp_path, "chat", [answer for answer, _ in kinds.values()], "chat", "chat")
    check(
        Report("first", results=report.results[:5]),
        {what: told for what, (_, told) in kinds.items()},
        list(CHATS)[:5],
    )
    assert len(report.results) == len(CHATS)
    (verdict,) = report.verdicts
    assert verdict.advice == ["Nothing in the catalogue gives these answers."]


def test_a_model_without_a_template_has_no_chats(tmp_path: Path) -> None:
    report = examined(tmp_path, "chat", [{"ids": []}], "chat", "story")
    assert report.results == []
    assert report.exit_code == 3


def right_or(answers: Sequence[Any], refused: int) -> list[Any]:
    """Right answers, but for one that does not come."""
    return [*answers[:refused], {"error": "no"}, *answers[refused + 1 :]]


def test_what_did_not_come_has_no_mistake_s_name(tmp_path: Path) -> None:
    """Right answers are explained by every mistake that does not show in them: none is named."""
    tokenizer = Tokenizer(STORY)
    ids = [{"ids": tokenizer.encode(text)} for text in TEXTS.values()]
    texts = [{"text": tokenizer.decode(ids)} for _, ids in decode_cases(tokenizer)]
    template = ChatTemplate(Tokenizer.from_pretrained("chat"))
    chats = [{"ids": right_ids(template, turns)} for turns in CHATS.values()]
    chances = [{"probabilities": distribution(case).tolist()} for case in SAMPLING_CASES]
    for op, stage, model, answers in (
        ("encode", "tokens", "story", ids),
        ("decode", "tokens", "story", texts),
        ("stream", "tokens", "story", [{"pieces": [one["text"]]} for one in texts]),
        ("probabilities", "sampling", "story", chances),
        ("chat", "chat", "chat", chats),
    ):
        report = examined(tmp_path, op, right_or(answers, 2), stage, model)
        assert report.counts == {"right": len(answers) - 1, "wrong": 1}, op
        assert report.verdicts == [], op
        nothing = examined(tmp_path, op, [{"error": "no"}], stage, model)
        assert nothing.counts == {"wrong": len(answers)}, op
        assert nothing.verdicts == [], op


def forward(answer: Any, folder: Path) -> str:
    """What is said of the first answer to `forward`."""
    return examined(folder, "forward", [answer], "forward").results[0].detail


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"error": "logits are not finite"}, "expected finite logits, got: logits are not finite"),
        ({"error": "NaN in layer 3"}, "expected finite logits, got: NaN in layer 3"),
        ({"error": "no info on banana"}, "expected logits, got an error: no info on banana"),
        ({"logits": [1e39] * 2048}, "expected finite logits, got: 2048 of 2048 logits are NaN or"),
        (f'{{"logits": [{"9" * 5000}{",0" * 2047}]}}', "got: 1 of 2048 logits are NaN or ∞"),
    ],
)
def test_logits_that_are_no_numbers(answer: Any, told: str, tmp_path: Path) -> None:
    assert told in forward(answer, tmp_path)


FILE_PROGRAM = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
vocab = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
behaviours = {behaviours}
does = behaviours.get(folder.name, "logits")
if does == "leaves":
    sys.exit("cannot read this")
for line in sys.stdin:
    op = json.loads(line)["op"]
    if op == "hello":
        answer = {{"name": "p", "protocol": 1, "ops": ["forward"]}}
    elif does == "crashes":
        os.abort()
    else:
        answer = {{"error": "cannot read this"}} if does == "refuses" else {{"logits": [0] * vocab}}
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.posix
def test_files(tmp_path: Path) -> None:
    """To refuse is right for a damaged file and allowed for an odd one; to crash never is."""
    told = {  # of an odd file, and of a damaged one
        "logits": ("wrong", "got logits up to", "noted", "expected a refusal, got logits"),
        "refuses": ("refused", "cannot read this", "right", "cannot read this"),
        "leaves": ("refused", "cannot read this", "right", ""),
        "crashes": ("failed", "got neither", "failed", "got neither"),
    }
    odd = [i for i, file in enumerate(FILES) if not file.damaged]
    damaged = [i for i, file in enumerate(FILES) if file.damaged]
    some = {i: kind for group in (odd, damaged) for i, kind in zip(group, told, strict=False)}
    path = tmp_path / "program.py"
    behaviours = {f"file-{i}": kind for i, kind in some.items()}
    path.write_text(FILE_PROGRAM.format(behaviours=behaviours), "utf-8")
    report = verify_program([sys.executable, "-S", str(path)], options("bytes"))
    assert [result.label for result in report.results] == [FILES[i].label for i in odd + damaged]
    results = {result.label: result for result in report.results}
    for i, kind in some.items():
        result, of_damaged = results[FILES[i].label], 2 * FILES[i].damaged
        status, detail = told[kind][of_damaged : of_damaged + 2]
        assert (result.status, kind) == (status, kind)
        assert detail in result.detail


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, "not known (None: expected a readable file, got No such file or directory)"),
        ({"path": "\0"}, "not known (embedded null byte)"),
        ({"path": "{folder}"}, "not known ({folder}: expected a readable file"),
        ({"path": "{folder}/others"}, "not known (expected arrays under names such as "),
        ({"path": "{folder}/whole"}, "logits (off by up to"),
    ],
)
def test_traces(answer: dict[str, str], told: str, tmp_path: Path) -> None:
    """What is shown of a call that is off, after the same calls as before."""
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "others")
    save_file({"logits": np.zeros(2048, np.float32)}, tmp_path / "whole")
    first = calls_for(LlamaConfig.from_directory(STORY), ids_of_text(STORY, "story"))[0]
    right = Llama.from_pretrained(STORY).forward(list(first.ids))[-1].tolist()
    shown = {key: text.replace("{folder}", str(tmp_path)) for key, text in answer.items()}
    answers = [{"logits": right}, {"logits": [0] * 2048} | shown]
    report = examined(tmp_path, "forward", answers, "forward", "story", "trace")
    assert [result.status for result in report.results] == ["right", "wrong", "wrong"]
    (verdict,) = report.verdicts
    assert verdict.first_array.startswith(told.replace("{folder}", str(tmp_path)))
