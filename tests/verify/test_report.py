"""The report for people, for programs and for continuous integration: nothing is lost in any."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llama_edu.verify.advice import named
from llama_edu.verify.mistakes import CATALOGUE
from llama_edu.verify.report import STAGES, Report, Result, Verdict

RELU, ROPE = CATALOGUE["gate.relu"], CATALOGUE["rope.interleaved"]
NUMBERS = ("bytes", "forward", "cache")


def told(report: Report, *, colour: bool = False) -> str:
    return "\n".join(report.text(colour=colour))


def test_every_result_is_counted_in_the_table() -> None:
    statuses = ["right", "wrong", "failed", "refused", "noted", "right"]
    results = [Result("forward", "story", str(i), status) for i, status in enumerate(statuses)]
    others = [Result("chat", "-", "chat", "noted", "chat was not examined")]
    text = told(
        Report("mine", results=[*results, Result("tokens", "story", "a", "right"), *others])
    )
    rows = [" ".join(line.split()) for line in text.splitlines()[1:4]]
    assert rows == [
        "tokens story 1 of 1 right",
        "forward story 2 of 6 right 1 wrong, 1 failed, 1 refused, 1 noted",
        "chat not examined",
    ]


def test_what_is_right_says_so_and_what_was_declined() -> None:
    results = [Result("forward", "a", str(i), "right") for i in range(3)]
    results += [Result("forward", "b", str(i), "refused", "no biases") for i in range(2)]
    report = Report("mine", results=results)
    lines = told(report).splitlines()
    assert "✓ right in all 3 cases; 2 refused, which it may" in lines
    assert lines[-2:] == ["refused:", "  b (2 cases): no biases"]
    assert (report.ok, report.exit_code) == (True, 0)


def test_the_first_that_is_off_is_told_for_each_stage() -> None:
    results = [
        Result("forward", "story", "one token", "wrong", "logits are off"),
        Result("cache", "story", "decode", "wrong", "logits are off, too"),
        Result("tokens", "story", "encode, x", "failed", ""),
    ]
    verdicts = [
        Verdict(NUMBERS, advice=["Look at the gate."]),
        Verdict(("chat",), advice=["Not me"]),
    ]
    report = Report("mine", results=results, verdicts=verdicts, missing=["chat: expected the op"])
    text = told(report)
    assert text.index("✗ chat: expected the op") < text.index("✗ forward, story: one token")
    first = text.partition("✗ forward, story: one token\n")[2].splitlines()
    assert first[0] == "  logits are off"
    assert first[1].startswith("  (the first of 2 cases that are off")
    assert first[2] == "  Look at the gate."
    assert text.endswith("✗ tokens, story: encode, x")
    assert "Not me" not in text
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("results", "code"),
    [([], 3), ([Result("forward", "story", "one token", "refused", "no")], 3)],
)
def test_no_comparison_is_not_right(results: list[Result], code: int) -> None:
    report = Report("mine", results=results)
    assert "✗ nothing was compared" in told(report)
    assert (report.ok, report.exit_code) == (False, code)


def test_explanations_are_alternatives_and_have_their_places() -> None:
    results = [Result("forward", "story", "one token", "wrong", "off")]
    explained = [named((RELU,)), named((ROPE, RELU))]
    verdict = Verdict(NUMBERS, explained, "Each of them explains all calls.", first_array="logits")
    text = told(Report("mine", results=results, verdicts=[verdict]))
    assert "  first array that differs: logits" in text
    either, _, both = text.partition("either\n")[2].partition("\n\nor\n")
    assert either.startswith(f"the mistake: {RELU.says}\n    right  {RELU.right}\n    yours  ")
    assert both.startswith(f"2 mistakes: {ROPE.says}")
    assert f"\nand: {RELU.says}" in both
    for mistake in (RELU, ROPE):
        place = f"    chapter {mistake.topic.chapter}, {mistake.topic.section}: "
        assert place + mistake.topic.address in text
    assert text.count("    bug museum, exhibit ") == sum(
        bool(m.exhibit) for m in (RELU, ROPE, RELU)
    )
    assert text.endswith("Each of them explains all calls.")


def test_one_explanation_is_no_alternative() -> None:
    results = [Result("forward", "story", "one token", "wrong", "off")]
    verdict = Verdict(NUMBERS, [named((RELU,))])
    text = told(Report("mine", results=results, verdicts=[verdict]))
    assert "either" not in text
    assert "first array" not in text


def test_lines_are_as_wide_as_a_terminal_and_lose_no_word() -> None:
    long = " ".join(f"word{i}" for i in range(60)) + " " + "x" * 200
    lines = told(Report("mine", results=[Result("forward", "a", "b", "wrong", long)])).splitlines()
    detail = lines[lines.index("✗ forward, a: b") + 1 :]
    assert " ".join(" ".join(detail).split()) == long
    assert max(len(line) for line in detail[:-1]) <= 96
    assert len(detail) > 4


def test_of_many_asides_the_rest_is_counted() -> None:
    results = [Result("bytes", "f", str(i), "noted", f"file {i}") for i in range(15)]
    results += [Result("bytes", "f", "right", "right")]
    lines = told(Report("mine", results=results)).splitlines()
    shown = [line for line in lines if line.startswith("  f: file ")]
    assert len(shown) == 12
    assert lines[-1] == "  and 3 more (--json has them all)"


def test_colours_change_no_word() -> None:
    results = [Result("forward", "a", "b", "wrong", "off")]
    verdicts = [Verdict(NUMBERS, [named((RELU,)), named((ROPE,))])]
    for report in (
        Report("mine", results=results, verdicts=verdicts, missing=["chat"]),
        Report("mine", results=[Result("forward", "a", "b", "right")]),
        Report("mine"),
    ):
        coloured = told(report, colour=True)
        assert "\x1b[" in coloured
        assert re.sub(r"\x1b\[\d+m", "", coloured) == told(report)


def test_json_has_every_case_and_no_number_that_is_none() -> None:
    results = [
        Result("forward", "a", "b", "wrong", "off", float("inf"), 0.5, ("ends",)),
        Result("cache", "a", "c", "wrong", "off", float("nan"), None),
        Result("tokens", "a", "d", "right"),
    ]
    verdict = Verdict(NUMBERS, [named((RELU,))], nearest=[("x", float("nan")), ("y", 0.25)])
    report = Report("é", results=results, verdicts=[verdict], missing=["chat"])
    read = json.loads(report.json(), parse_constant=pytest.fail)
    assert [case["gap"] for case in read["cases"]] == [None, None, None]
    assert [case["tolerance"] for case in read["cases"]] == [0.5, None, None]
    assert read["verdicts"][0]["named"][0]["sections"] == [RELU.topic.address]
    assert read["verdicts"][0]["nearest"] == [{"key": "x", "gap": None}, {"key": "y", "gap": 0.25}]
    assert (read["engine"], read["missing"], read["ok"]) == ("é", ["chat"], False)


def test_junit_has_a_suite_for_each_stage_and_what_is_missing(tmp_path: Path) -> None:
    results = [
        Result("forward", "a", "one\x00token", "wrong", "off\x1b[0m"),
        Result("forward", "a", "noted", "noted", "well"),
        Result("forward", "a", "refused", "refused", "no"),
        Result("tokens", "a", "failed", "failed", "gone"),
        Result("tokens", "a", "right", "right"),
    ]
    verdict = Verdict(NUMBERS, [named((RELU,)), named((ROPE,))])
    Report("mine", results=results, verdicts=[verdict], missing=["chat"]).write_junit(
        tmp_path / "report.xml"
    )
    suites = {s.attrib["name"]: s for s in ElementTree.parse(tmp_path / "report.xml").getroot()}
    counts = {
        name: [int(suite.attrib[what]) for what in ("tests", "failures", "errors", "skipped")]
        for name, suite in suites.items()
    }
    assert counts == {"forward.a": [3, 1, 0, 1], "tokens.a": [2, 0, 1, 0], "missing": [1, 0, 1, 0]}
    kinds = [[inner.tag for inner in case] for case in suites["forward.a"]]
    assert kinds == [["failure"], [], ["skipped"]]
    failure = suites["forward.a"][0][0]
    assert failure.attrib["message"] == "off\ufffd[0m"
    assert failure.text == f"{RELU.says} / {ROPE.says}"
    assert suites["tokens.a"][0][0].attrib["message"] == "gone"


def test_explanations_are_those_of_the_stage() -> None:
    report = Report("mine", verdicts=[Verdict(NUMBERS, [named((RELU,))]), Verdict(("chat",))])
    explained = {stage: len(report.named_for(stage)) for stage in STAGES}
    assert explained == {stage: int(stage in NUMBERS) for stage in STAGES}
