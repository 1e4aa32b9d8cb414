"""One examination: a program, the models it is given, the stages it goes through."""

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu import hub
from llama_edu.chat.template import ChatTemplate
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import to_float32
from llama_edu.formats.safetensors import SafetensorsFile, open_checkpoint
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.advice import verdict_of
from llama_edu.verify.cases import Call, calls_for
from llama_edu.verify.chats import CHATS, name_chat, right_ids
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.dump import first_difference, traced
from llama_edu.verify.evidence import (
    Answer,
    Declared,
    Logits,
    Nothing,
    Observed,
    Session,
    references,
    widened,
)
from llama_edu.verify.files import FILES, write_case
from llama_edu.verify.naming import Finding, find_mistake, narrowed
from llama_edu.verify.parts import read_model
from llama_edu.verify.protocol import Program, ProgramError, RefusedError
from llama_edu.verify.report import STAGES, Named, Report, Result, Verdict
from llama_edu.verify.sampling import (
    SAMPLING_CASES,
    TOLERANCE,
    SamplingCase,
    name_sampling,
    sampling_gap,
)
from llama_edu.verify.texts import ids_of_text
from llama_edu.verify.tokens import (
    TEXTS,
    Asked,
    allowed_ids,
    allowed_texts,
    byte_pairs,
    decode_cases,
    name_decode,
    name_encode,
)

__all__ = ["MODELS", "Options", "Target", "verify_program"]

MODELS = ("story", "chat")
KINDS = {
    str: "a text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    dict: "an object",
}
# How an engine says that its logits are no numbers; "info" says something else.
NOT_FINITE = re.compile(r"\b(?:nans?|infs?|infinit(?:e|y)|(?:non-?)?finite)\b", re.IGNORECASE)
LARGE = 20_000_000  # numbers in a model; beyond that, long texts take too long for most engines
MOST_NUMBERS = 30_000  # of a tensor that is asked for
ODD_FILE = "an odd file"  # the model's name in results
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to examine, and how long to wait.

    `limit` is seconds for one answer, `naming_seconds` for the search in the catalogue. `tiny`
    adds the random checkpoints. `dtype`, `cache_dtype` and `sampling_order` stand for what the
    engine's hello does not say.
    """

    models: tuple[str, ...] = MODELS
    stages: tuple[str, ...] = STAGES
    limit: float = 60.0
    naming_seconds: float = 8.0
    tiny: bool = True
    dtype: str = ""
    cache_dtype: str = ""
    sampling_order: str = ""


@dataclass(frozen=True)
class Target:
    """A model to be run with. `declines` are features that an engine need not have."""

    name: str
    directory: Path
    declines: tuple[str, ...] = ()
    long: bool = True
    first: bool = False


@dataclass
class _Evidence:
    """What is gathered on the way, for naming."""

    sessions: list[Session] = field(default_factory=list)
    encoded: list[Asked] = field(default_factory=list)
    decoded: list[Asked] = field(default_factory=list)
    streamed: list[Asked] = field(default_factory=list)
    sampled: list[tuple[SamplingCase, np.ndarray | None]] = field(default_factory=list)
    sampled_wrongly: bool = False  # by some answer that came
    chats: list[tuple[tuple[tuple[str, str], ...], list[int]]] = field(default_factory=list)
    wrong_chats: Path | None = None  # the model that some were answered wrongly for


def verify_program(
    command: Sequence[str], options: Options | None = None, tell: Tell = lambda text: None
) -> Report:
    """Examine a program that speaks protocol 1. `tell` is called with what is being done.

    Raises `HubError` for a model that is not there; whatever the program does ends in the report.
    """
    options = Options() if options is None else options
    with tempfile.TemporaryDirectory(prefix="llama-edu-verify-") as folder:
        return _Examination(command, options, Path(folder), tell).run()


class _StopError(Exception):
    """There is no use in going on with this program."""


class _Examination:
    def __init__(self, command: Sequence[str], options: Options, folder: Path, tell: Tell) -> None:
        self.command, self.options, self.folder, self.tell = command, options, folder, tell
        self.report = Report(" ".join(command))
        self.evidence = _Evidence()
        self.declared = Declared()
        self.order = options.sampling_order
        self.offered: set[str] = set()
        self.greeted = False
        self.silent = 0

    def run(self) -> Report:
        start = time.perf_counter()
        try:
            for target in self._targets():
                self.tell(target.name)
                self._examine(target)
            if "bytes" in self.options.stages and "forward" in self.offered:
                for case in sorted(FILES, key=lambda case: case.damaged):
                    # To refuse what is damaged says nothing of an engine that refuses everything.
                    if case.damaged and not self._ever_answered():
                        break
                    self.tell(case.label)
                    self._file(case.label)
        except _StopError:
            pass
        self._check_presence()
        self.tell("naming")
        self._name()
        self.report.seconds = time.perf_counter() - start
        return self.report

    def _ever_answered(self) -> bool:
        """Whether logits came for any file that is whole."""
        odd = [r for r in self.report.results if r.model == ODD_FILE]
        sessions = self.evidence.sessions
        return any(s.observed for s in sessions) or any(r.status in ("right", "wrong") for r in odd)

    def _targets(self) -> Iterator[Target]:
        for i, name in enumerate(self.options.models):
            directory = Path(hub.locate(name))
            yield Target(name, directory, long=_is_small(directory), first=i == 0)
        needed = {"bytes", "forward", "cache", "tokens"} & set(self.options.stages)
        if not self.options.tiny or not needed:
            return
        for tiny in TINY:
            directory = self.folder / tiny.name
            directory.mkdir()
            write_tiny(tiny, directory)
            yield Target(tiny.name, directory, tiny.declines, tiny.long)

    def _examine(self, target: Target) -> None:
        """One model, stage by stage; a program that is lost on the way is started again."""
        stages = [self._bytes, self._tokens, self._forward, self._sampling, self._chat]
        while stages:
            try:
                with Program(self.command, target.directory, self.options.limit) as program:
                    hello = program.hello()
                    if target.first and not self.greeted:
                        self._introduced(hello)
                    while stages:
                        stages.pop(0)(program, target, set(hello["ops"]))
            except ProgramError as problem:
                self._lost(target, problem)
                if not self.greeted or problem.kind == "start" or not self._loaded(target):
                    return

    def _loaded(self, target: Target) -> bool:
        """Whether the program ever answered with this model."""
        return any(r.model == target.name and r.status != "failed" for r in self.report.results)

    def _introduced(self, hello: dict[str, Any]) -> None:
        self.report.engine = hello["name"]
        self.offered, self.greeted = set(hello["ops"]), True
        options = self.options
        dtype = options.dtype or _dtype(hello.get("dtype"))
        cache = options.cache_dtype or _dtype(hello.get("cache_dtype", hello.get("dtype")))
        self.declared = Declared(dtype, cache)
        self.report.declared = self.declared.words
        self.order = self.order or str(hello.get("sampling_order", ""))

    def _lost(self, target: Target, problem: ProgramError) -> None:
        """The program is gone, or might as well be."""
        self.silent += problem.kind == "silent"
        told = [r for r in self.report.results if r.model == target.name]
        if not any(str(problem) == r.detail for r in told):
            refused = target.declines and problem.clean_refusal and not told
            numbers = [s for s in ("forward", "tokens", "bytes") if s in self.options.stages]
            stage = numbers[0] if numbers else self.options.stages[0]
            status = "refused" if refused else "failed"
            self._add(target, stage, "start and answer", status, str(problem))
        if problem.kind == "start" or self.silent > 1 or (target.first and not self.greeted):
            raise _StopError

    def _add(self, target: Target, stage: str, label: str, status: str, detail: str) -> None:
        self.report.results.append(Result(stage, target.name, label, status, detail))

    def _bytes(self, program: Program, target: Target, ops: set[str]) -> None:
        """Tensors as they are read, for an engine that offers to show them."""
        if "bytes" not in self.options.stages or "tensor" not in ops:
            return
        stored = open_checkpoint(target.directory)
        # The whole of a vocabulary would take longer to write than all the rest.
        names = [name for name, array in stored.items() if array.size <= MOST_NUMBERS]
        for name in names[:12]:
            want = stored[name].astype(np.float32)
            try:
                answer = program.ask({"op": "tensor", "name": name})
            except RefusedError as refusal:
                self._add(target, "bytes", name, "wrong", f"expected a tensor, got: {refusal}")
                continue
            values = answer.get("values")
            got = _numbers(values)
            if answer.get("shape") != list(want.shape):
                detail = f"expected shape {list(want.shape)}, got {answer.get('shape')!r}"
            elif got is None or len(got) != want.size:
                detail = f"expected {want.size} values in a flat list, got {_kind(values)}"
            elif len(off := np.flatnonzero(_single(got) != want.reshape(-1))):
                i = int(off[0])
                detail = f"expected {want.reshape(-1)[i]:.9g} at number {i}, got {got[i]:.9g}"
            else:
                self._add(target, "bytes", name, "right", "")
                continue
            self._add(target, "bytes", name, "wrong", detail)

    def _tokens(self, program: Program, target: Target, ops: set[str]) -> None:
        has_text = target.name in (*self.options.models, TINY[0].name)
        if "tokens" not in self.options.stages or not has_text:
            return
        tokenizer, pairs = Tokenizer(target.directory), byte_pairs(target.directory)
        if "encode" in ops:
            for label, text in TEXTS.items():
                allowed = allowed_ids(tokenizer, text)
                came = self._one(
                    program, target, f"encode, {label}", {"op": "encode", "text": text}, "ids"
                )
                self._compare(target, f"encode, {label}", came, allowed)
                if pairs is not None and came is not None:
                    self.evidence.encoded.append(Asked(pairs, text, came, allowed))
        if "decode" in ops:
            for label, ids in decode_cases(tokenizer):
                texts = allowed_texts(tokenizer, ids)
                came = self._one(
                    program, target, f"decode, {label}", {"op": "decode", "ids": ids}, "text"
                )
                self._compare(target, f"decode, {label}", came, texts)
                if pairs is not None and came is not None:
                    self.evidence.decoded.append(Asked(pairs, ids, came, texts))
        if "stream" in ops:
            for label, ids in decode_cases(tokenizer):
                texts = allowed_texts(tokenizer, ids)
                joined = self._stream(program, target, label, ids, texts)
                if pairs is not None and joined is not None:
                    self.evidence.streamed.append(Asked(pairs, ids, joined, texts))

    def _one(
        self, program: Program, target: Target, label: str, request: dict[str, Any], key: str
    ) -> Any:
        """What one request brings under `key`; None, and a result, if nothing."""
        try:
            answer = program.ask(request)
        except RefusedError as refusal:
            self._add(target, "tokens", label, "wrong", f"expected {key}, got an error: {refusal}")
            return None
        came = answer.get(key)
        if came is None:
            got = "null" if key in answer else sorted(answer)
            self._add(target, "tokens", label, "wrong", f"expected {key}, got {got}")
        return came

    def _compare(self, target: Target, label: str, came: Any, allowed: Sequence[Any]) -> None:
        if came is None:
            return
        if came in allowed:
            self._add(target, "tokens", label, "right", "")
        else:
            detail = f"expected {_short(allowed[0])}, got {_short(came)}"
            self._add(target, "tokens", label, "wrong", detail)

    def _stream(
        self, program: Program, target: Target, label: str, ids: list[int], allowed: list[str]
    ) -> str | None:
        """Pieces as tokens come: whole characters, and together the text, which is returned."""
        label = f"stream, {label}"
        pieces = self._one(program, target, label, {"op": "stream", "ids": ids}, "pieces")
        if pieces is None:
            return None
        text = "".join(map(str, pieces)) if isinstance(pieces, list) else None
        if text not in allowed:
            detail = f"expected pieces of {_short(allowed[0])}, got {_short(pieces)}"
            self._add(target, "tokens", label, "wrong", detail)
        else:
            self._add(target, "tokens", label, "right", "")
        return text

    def _forward(self, program: Program, target: Target, ops: set[str]) -> None:
        if "forward" not in ops or not {"forward", "cache"} & set(self.options.stages):
            return
        config = LlamaConfig.from_directory(target.directory)
        calls = [
            call
            for call in calls_for(
                config, ids_of_text(target.directory, target.name), long=target.long
            )
            # Calls with a past continue those without, which are asked as well.
            if call.stage in self.options.stages or "cache" in self.options.stages
        ]
        wanted, bound = references(target.directory, calls, self.declared)
        model = read_model(target.directory)
        session = Session(target.name, model, optional=bool(target.declines))
        self.evidence.sessions.append(session)
        for call, want in zip(calls, wanted, strict=True):
            try:
                answer = _asked(program, call, len(want))
            except RefusedError as refusal:
                status = "refused" if target.declines and not session.observed else "failed"
                detail = f"expected logits, got an error: {refusal}"
                self._add(target, call.stage, call.label, status, detail)
                return
            except ProgramError as problem:
                declined = target.declines and not session.observed and problem.clean_refusal
                status = "refused" if declined else "failed"
                self._add(target, call.stage, call.label, status, str(problem))
                raise
            seen = Observed(call, answer, want, widened(bound, call))
            session.observed.append(seen)
            self.report.results.append(_result(target, seen, self.declared))

    def _sampling(self, program: Program, target: Target, ops: set[str]) -> None:
        if "sampling" not in self.options.stages or not target.first or "probabilities" not in ops:
            return
        last = self.order == "llama.cpp"
        for case in SAMPLING_CASES:
            try:
                came = program.ask(case.request).get("probabilities")
            except RefusedError as refusal:
                detail = f"expected probabilities, got an error: {refusal}"
                self._add(target, "sampling", case.label, "wrong", detail)
                continue
            got = _numbers(came)
            if got is None:
                detail = f"expected probabilities as a list of numbers, got {_kind(came)}"
                self._add(target, "sampling", case.label, "wrong", detail)
                continue
            if not np.isfinite(got).all():
                self.evidence.sampled.append((case, None))
                self.evidence.sampled_wrongly = True
                self._add(target, "sampling", case.label, "wrong", "expected numbers, got NaN or ∞")
                continue
            self.evidence.sampled.append((case, got))
            gap = sampling_gap(case, got, temperature_last=last)
            if gap <= TOLERANCE:
                self._add(target, "sampling", case.label, "right", "")
                continue
            self.evidence.sampled_wrongly = True
            detail = _sampling_detail(case, got, gap)
            self._add(target, "sampling", case.label, "wrong", detail)

    def _chat(self, program: Program, target: Target, ops: set[str]) -> None:
        known = target.name in self.options.models
        if "chat" not in self.options.stages or "chat" not in ops or not known:
            return
        tokenizer = Tokenizer(target.directory)
        if tokenizer.chat_template is None:
            return
        template = ChatTemplate(tokenizer)
        for label, turns in CHATS.items():
            messages = [{"role": role, "content": text} for role, text in turns]
            want = right_ids(template, turns)
            try:
                got = program.ask({"op": "chat", "messages": messages}).get("ids")
            except RefusedError as refusal:
                self._add(target, "chat", label, "wrong", f"expected ids, got an error: {refusal}")
                continue
            if isinstance(got, list):
                self.evidence.chats.append((turns, got))
            if got == want:
                self._add(target, "chat", label, "right", "")
                continue
            detail = f"expected {_short(want)}, got {_short(got)}"
            self._add(target, "chat", label, "wrong", detail)
            if isinstance(got, list):
                self.evidence.wrong_chats = target.directory

    def _file(self, label: str) -> None:
        """One odd or damaged directory, with a program of its own."""
        case = next(case for case in FILES if case.label == label)
        directory = self.folder / f"file-{FILES.index(case)}"
        directory.mkdir()
        write_case(case, directory)
        target = Target("a damaged file" if case.damaged else ODD_FILE, directory)
        config = LlamaConfig.from_dict(dict(case.base.config))
        calls = calls_for(config, long=False)[:3]
        limit = min(self.options.limit, 10.0)
        try:
            with Program(self.command, directory, limit) as program:
                program.hello()
                answers = [_asked(program, call, config.vocab_size) for call in calls]
        except RefusedError as refusal:
            status = "right" if case.damaged else "refused"
            self._add(target, "bytes", label, status, f"{label}: {refusal}")
        except ProgramError as problem:
            self._add(target, "bytes", label, *_ended(case.damaged, problem, label))
        else:
            self._judge_file(target, case.damaged, label, (calls, answers))

    def _judge_file(
        self,
        target: Target,
        damaged: bool,
        label: str,
        answered: tuple[Sequence[Call], Sequence[Answer]],
    ) -> None:
        if damaged:
            detail = f"{label}: expected a refusal, got logits; do not give it files from strangers"
            self._add(target, "bytes", label, "noted", detail)
            return
        wanted, bound = references(target.directory, answered[0], self.declared)
        gaps = [answer.gap(want) for answer, want in zip(answered[1], wanted, strict=True)]
        if max(gaps) <= bound:
            self._add(target, "bytes", label, "right", "")
        else:
            detail = (
                f"expected the logits of the same model without this, or a refusal; "
                f"got logits up to {max(gaps):.2g} off"
            )
            self._add(target, "bytes", label, "wrong", detail)

    def _check_presence(self) -> None:
        """Stages that were asked for and had nothing to compare."""
        present = {r.stage for r in self.report.results if r.status != "noted"}
        explicit = self.options.stages != STAGES
        ops = {
            "bytes": "tensor or forward",
            "tokens": "encode or decode",
            "sampling": "probabilities",
            "chat": "chat",
        }
        for stage in self.options.stages:
            if stage in present or not self.greeted:
                continue
            needed = ops.get(stage, "forward")
            if explicit or stage in ("forward", "cache"):
                self.report.missing.append(
                    f"{stage}: expected the op {needed} in hello, got {sorted(self.offered)}"
                )
            else:
                detail = f"{stage} was not examined: the engine does not offer {needed}"
                self.report.results.append(Result(stage, "-", stage, "noted", detail))

    def _name(self) -> None:
        """Look for names, wherever something is off."""
        evidence = self.evidence
        sessions = [session for session in evidence.sessions if session.observed]
        for finding, about in _findings(sessions, self.options.naming_seconds):
            verdict = verdict_of(finding, about)
            if "trace" in self.offered:
                verdict.first_array = self._first_array(about)
            self.report.verdicts.append(verdict)
        # Answers that did not come have no mistake's name, and right ones would have any that does
        # not show in them: at least one has to be off.
        if _is_off(evidence.encoded):
            self._add_verdict("tokens", name_encode(evidence.encoded))
        elif _is_off(evidence.decoded):
            self._add_verdict("tokens", name_decode(evidence.decoded))
        elif _is_off(evidence.streamed):
            self._add_verdict("tokens", name_decode(evidence.streamed))
        if evidence.sampled_wrongly:
            last = self.order == "llama.cpp"
            found = name_sampling(evidence.sampled, temperature_last=last)
            self._add_verdict("sampling", found)
        if evidence.wrong_chats is not None:
            self._add_verdict("chat", name_chat(evidence.wrong_chats, evidence.chats))

    def _first_array(self, sessions: Sequence[Session]) -> str:
        """What an engine that shows its arrays has first among those that differ."""
        session = next(s for s in sessions if s.first_wrong() is not None)
        index = session.first_wrong() or 0
        calls = [seen.call for seen in session.observed]
        directory = session.model.directory
        try:
            with Program(self.command, directory, self.options.limit) as program:
                program.hello()
                for call in calls[:index]:
                    _asked(program, call, session.model.config.vocab_size)
                last = calls[index]
                request = {"op": "trace", "ids": list(last.ids), "past": last.past}
                path = Path(str(program.ask(request).get("path")))
                stored = {name: to_float32(a) for name, a in SafetensorsFile(path).items()}
            return first_difference(traced(directory, calls, index), stored)
        except (ProgramError, RefusedError, ValueError) as problem:  # the last: of what a file is
            return f"not known ({problem})"

    def _add_verdict(self, stage: str, found: Sequence[Any]) -> None:
        told = [Named((m.key,), (m.says,), ((m.right, m.wrong),), (m.topic,), ("",)) for m in found]
        advice = [] if told else ["Nothing in the catalogue gives these answers."]
        self.report.verdicts.append(Verdict((stage,), told, "", advice))


def _findings(
    sessions: Sequence[Session], seconds: float
) -> Iterator[tuple[Finding, Sequence[Session]]]:
    """What the numbers say: of the models every engine has to know, then of the others.

    An engine that ignores biases has a mistake; it must not hide the name of another.
    """
    core = [session for session in sessions if not session.optional]
    others = [session for session in sessions if session.optional]
    first: Finding | None = None
    if any(session.first_wrong() is not None for session in core):
        first = find_mistake(core, seconds=seconds)
        whole = narrowed(first, others) if first.named else None
        yield whole or first, sessions if whole else core
        if whole or not first.named:
            return
    if any(session.first_wrong() is not None for session in others):
        given = first.named[0] if first is not None else ()
        yield find_mistake(others, seconds=seconds, given=given), others


def _asked(program: Program, call: Call, vocab_size: int) -> Answer:
    """The answer to one call. Raises `ProgramError` for one of the wrong kind or length."""
    request = {"op": "forward", "ids": list(call.ids), "past": call.past}
    try:
        answer = program.ask(request)
    except RefusedError as refusal:
        if NOT_FINITE.search(str(refusal)):
            return Nothing(str(refusal))
        raise
    came = answer.get("logits")
    got = _numbers(came)
    if got is None:
        raise ProgramError("garbled", f"expected logits as a list of numbers, got {_kind(came)}")
    if len(got) != vocab_size:
        every = f" ({len(call.ids)} · {vocab_size}: those after every id?)"
        told = every if len(got) == len(call.ids) * vocab_size else ""
        raise ProgramError(
            "garbled",
            f"expected {vocab_size} logits, those after the last id, got {len(got)}{told}",
        )
    logits = _single(got)
    if not np.isfinite(logits).all():
        count = int((~np.isfinite(logits)).sum())
        return Nothing(f"{count} of {len(got)} logits are NaN or ∞")
    return Logits(logits)


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _numbers(value: Any) -> np.ndarray | None:
    """A flat list of numbers as an array; null counts as NaN. None if it is something else."""
    if not isinstance(value, list) or not all(map(_is_number, value)):
        return None
    return np.array([np.nan if x is None else x for x in value], dtype=np.float64)


def _single(numbers: np.ndarray) -> np.ndarray:
    """As float32; what is too large for that is infinite."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        odd = [one for one in value if not _is_number(one)]
        return f"a list of {len(value)}" + (f" that holds {_kind(odd[0])}" if odd else "")
    return "nothing" if value is None else f"{KINDS[type(value)]}: {_short(value)}"


def _is_off(asked: Sequence[Asked]) -> bool:
    return any(one.came not in one.allowed for one in asked)


def _result(target: Target, seen: Observed, declared: Declared) -> Result:
    gap, call = seen.gap, seen.call
    if seen.right:
        status, detail = "right", ""
    elif isinstance(seen.answer, Nothing):
        status, detail = "wrong", f"expected finite logits, got: {seen.answer.reason}"
    else:
        status = "wrong"
        detail = (
            f"logits are off by up to {gap:.3g}, where right engines in {declared.words} "
            f"differ by at most {seen.tolerance:.1g}"
        )
    return Result(
        call.stage, target.name, call.label, status, detail, gap, seen.tolerance, call.flags
    )


def _ended(damaged: bool, problem: ProgramError, label: str) -> tuple[str, str]:
    """The status of a file the program did not survive, and what is said of it."""
    if problem.clean_refusal:
        return ("right", "") if damaged else ("refused", f"{label}: {problem}")
    return "failed", f"expected an answer or a refusal, got neither: {problem}"


def _sampling_detail(case: SamplingCase, got: np.ndarray, gap: float) -> str:
    settings = f"temperature {case.temperature:g}, top_k {case.top_k}, top_p {case.top_p:g}"
    if len(got) != len(case.logits):
        return f"expected {len(case.logits)} probabilities, got {len(got)} ({settings})"
    return f"probabilities are off by up to {gap:.3g} ({settings}); their sum is {got.sum():.4g}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 90 else text[:87] + "…"


def _dtype(value: Any) -> str:
    """A format by any of its names; float32 where nothing is said."""
    names = {"float16": "f16", "half": "f16", "bfloat16": "bf16", "f16": "f16", "bf16": "bf16"}
    return names.get(str(value).lower(), "f32")


def _is_small(directory: Path) -> bool:
    return sum(array.size for array in open_checkpoint(directory).values()) < LARGE
