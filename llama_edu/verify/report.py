"""What was found, for people, for other programs, and for continuous integration.

A comparison that did not take place is never counted as right: a stage that was asked for and had
nothing to compare fails.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from llama_edu.verify.mistakes import Topic

__all__ = ["STAGES", "Named", "Report", "Result", "Verdict"]

STAGES = ("bytes", "tokens", "forward", "cache", "sampling", "chat")

MOST_ASIDES = 12  # of one kind, in the text
NOBODY = "-"  # the model of a stage that was not examined
RIGHT, WRONG, FAILED, REFUSED, NOTED = "right", "wrong", "failed", "refused", "noted"


@dataclass(frozen=True)
class Result:
    """One case: its stage, the model it was run with, and what came of it.

    `status` is "right"; "wrong", numbers or text are not what they should be; "failed", there was
    no usable answer; "refused", the engine said that it does not do this, and need not; "noted",
    allowed and worth knowing.
    """

    stage: str
    model: str
    label: str
    status: str
    detail: str = ""
    gap: float | None = None
    tolerance: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    """A mistake as it is told: one, or several that were found together."""

    keys: tuple[str, ...]
    says: tuple[str, ...]
    code: tuple[tuple[str, str], ...]
    topics: tuple[Topic, ...]
    exhibits: tuple[str, ...] = ()


@dataclass
class Verdict:
    """What follows from the cases of some stages that are off.

    `named` are the explanations, any one of which is enough; none, if nothing is known. `certainty`
    says how well they fit, `advice` where to look.
    """

    stages: tuple[str, ...]
    named: list[Named] = field(default_factory=list)
    certainty: str = ""
    advice: list[str] = field(default_factory=list)
    nearest: list[tuple[str, float]] = field(default_factory=list)
    first_array: str = ""


@dataclass
class Report:
    """Everything about one engine."""

    engine: str
    declared: str = "f32"
    results: list[Result] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def wrong(self) -> list[Result]:
        return [r for r in self.results if r.status in (WRONG, FAILED)]

    @property
    def counts(self) -> Counter[str]:
        return Counter(result.status for result in self.results)

    @property
    def ok(self) -> bool:
        """Whether something was compared, nothing is off, and nothing asked for is missing."""
        return not self.wrong and not self.missing and self.counts[RIGHT] > 0

    @property
    def exit_code(self) -> int:
        """0 right, 1 wrong, 3 not examined: it did not start, or gave no usable answer."""
        if self.ok:
            return 0
        return 1 if any(r.status == WRONG for r in self.results) else 3

    def named_for(self, stage: str) -> list[Named]:
        """The explanations for the cases of a stage."""
        return [named for v in self.verdicts if stage in v.stages for named in v.named]

    def text(self, *, colour: bool = False) -> Iterator[str]:
        """The report in lines of a terminal's width."""
        yield f"{_bold(self.engine, colour)}  ({self.declared}, {self.seconds:.1f} s)"
        yield from self._table()
        yield ""
        if self.ok:
            yield _green(f"✓ {self._all_right()}", colour)
            yield from self._asides()
            return
        for text in self.missing:
            yield _red(f"✗ {text}", colour)
        if not self.wrong and not self.missing:
            yield _red("✗ nothing was compared", colour)
        told: set[str] = set()
        for stages in [v.stages for v in self.verdicts] + [(stage,) for stage in STAGES]:
            if not told & set(stages):
                yield from self._what_is_wrong(stages, colour)
            told |= set(stages)
        yield from self._asides()

    def _all_right(self) -> str:
        refused = self.counts[REFUSED]
        told = f"; {refused} refused, which it may" if refused else ""
        return f"right in all {self.counts[RIGHT]} cases{told}"

    def _table(self) -> Iterator[str]:
        for stage in STAGES:
            rows: dict[str, Counter[str]] = {}
            for r in (r for r in self.results if r.stage == stage):
                rows.setdefault(r.model, Counter())[r.status] += 1
            for model, counts in rows.items():
                if model == NOBODY:
                    yield f"  {stage:9}not examined"
                    continue
                whole = sum(counts.values())
                others = [
                    f"{counts[status]} {status}"
                    for status in (WRONG, FAILED, REFUSED, NOTED)
                    if counts[status]
                ]
                told = f"   {', '.join(others)}" if others else ""
                yield f"  {stage:9}{model:36}{counts[RIGHT]:3} of {whole:3} right{told}"

    def _what_is_wrong(self, stages: tuple[str, ...], colour: bool) -> Iterator[str]:
        wrong = [r for r in self.wrong if r.stage in stages]
        if not wrong:
            return
        first = wrong[0]
        yield _red(f"✗ {first.stage}, {first.model}: {first.label}", colour)
        yield from _wrapped(first.detail, "  ")
        if len(wrong) > 1:
            yield f"  (the first of {len(wrong)} cases that are off; the others may follow from it)"
        for verdict in self.verdicts:
            if verdict.stages == stages:
                yield from _decided(verdict, colour)

    def _asides(self) -> Iterator[str]:
        """What the engine declined, and what is worth knowing."""
        for status, title in ((REFUSED, "refused"), (NOTED, "worth knowing")):
            some = [r for r in self.results if r.status == status]
            seen: Counter[tuple[str, str]] = Counter((r.model, r.detail) for r in some)
            if seen:
                yield ""
                yield f"{title}:"
                for (model, detail), count in list(seen.items())[:MOST_ASIDES]:
                    times = f" ({count} cases)" if count > 1 else ""
                    yield from _wrapped(f"{model}{times}: {detail}", "  ")
            if len(seen) > MOST_ASIDES:
                yield f"  and {len(seen) - MOST_ASIDES} more (--json has them all)"

    def json(self) -> str:
        """The report as JSON; numbers that are not finite are null."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False)

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": 1,
            "engine": self.engine,
            "declared": self.declared,
            "ok": self.ok,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "counts": dict(self.counts),
            "missing": self.missing,
            "verdicts": [_verdict_dict(verdict) for verdict in self.verdicts],
            "cases": [
                {
                    "stage": r.stage,
                    "model": r.model,
                    "label": r.label,
                    "status": r.status,
                    "detail": r.detail,
                    "gap": _finite(r.gap),
                    "tolerance": _finite(r.tolerance),
                    "flags": list(r.flags),
                }
                for r in self.results
            ],
        }

    def write_junit(self, path: Path) -> None:
        """The report as JUnit XML: a suite for each stage and model."""
        root = ElementTree.Element("testsuites", name=f"llama-edu verify: {self.engine}")
        suites: dict[str, list[Result]] = {}
        for result in self.results:
            suites.setdefault(f"{result.stage}.{result.model}", []).append(result)
        for text in self.missing:
            suites.setdefault("missing", []).append(Result("missing", "", text, FAILED, text))
        for name, results in suites.items():
            counts = Counter(r.status for r in results)
            suite = ElementTree.SubElement(
                root,
                "testsuite",
                name=name,
                tests=str(len(results)),
                failures=str(counts[WRONG]),
                errors=str(counts[FAILED]),
                skipped=str(counts[REFUSED]),
            )
            for result in results:
                _junit_case(suite, name, result, self.named_for(result.stage))
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _junit_case(
    suite: ElementTree.Element, name: str, result: Result, named: Sequence[Named]
) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=name, name=_xml(result.label))
    kinds = {WRONG: "failure", FAILED: "error", REFUSED: "skipped"}
    if result.status in kinds:
        inner = ElementTree.SubElement(case, kinds[result.status], message=_xml(result.detail))
        if result.status == WRONG and named:
            inner.text = _xml(" / ".join("; ".join(n.says) for n in named))


def _xml(text: str) -> str:
    """Control characters have no place in XML."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value or abs(value) == float("inf") else value


def _verdict_dict(verdict: Verdict) -> dict[str, Any]:
    return {
        "stages": list(verdict.stages),
        "named": [
            {
                "keys": list(named.keys),
                "says": list(named.says),
                "right": [right for right, _ in named.code],
                "wrong": [wrong for _, wrong in named.code],
                "sections": [topic.address for topic in named.topics],
                "exhibits": list(named.exhibits),
            }
            for named in verdict.named
        ],
        "certainty": verdict.certainty,
        "nearest": [{"key": key, "gap": _finite(gap)} for key, gap in verdict.nearest],
        "first_array": verdict.first_array or None,
        "advice": verdict.advice,
    }


def _decided(verdict: Verdict, colour: bool) -> Iterator[str]:
    if verdict.first_array:
        yield f"  first array that differs: {verdict.first_array}"
    for i, named in enumerate(verdict.named):
        yield ""
        if len(verdict.named) > 1:
            yield _bold("either" if i == 0 else "or", colour)
        yield from _told(named, colour)
    if verdict.named:
        yield ""
    if verdict.certainty:
        yield from _wrapped(verdict.certainty, "  ")
    for line in verdict.advice:
        yield from _wrapped(line, "  ")


def _told(named: Named, colour: bool) -> Iterator[str]:
    head = "the mistake" if len(named.says) == 1 else f"{len(named.says)} mistakes"
    for i, says in enumerate(named.says):
        title = f"{head}: " if i == 0 else "and: "
        yield from _wrapped(_bold(title, colour) + says, "")
        right, wrong = named.code[i]
        yield f"    right  {right}"
        yield f"    yours  {wrong or '(left out)'}"
        topic = named.topics[i]
        yield f"    chapter {topic.chapter}, {topic.section}: {topic.address}"
        if i < len(named.exhibits) and named.exhibits[i]:
            yield f"    bug museum, {named.exhibits[i]}"


def _wrapped(text: str, indent: str) -> Iterator[str]:
    line = indent
    for word in text.split():
        if len(line) + len(word) + 1 > 96 and line.strip():
            yield line.rstrip()
            line = indent
        line += word + " "
    if line.strip():
        yield line.rstrip()


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour else text


def _red(text: str, colour: bool) -> str:
    return f"\x1b[31m{text}\x1b[0m" if colour else text


def _green(text: str, colour: bool) -> str:
    return f"\x1b[32m{text}\x1b[0m" if colour else text
