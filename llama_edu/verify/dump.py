"""Arrays in files: a folder of safetensors under the names of a trace, and what differs first.

An engine that writes its arrays needs no protocol: one file for each case, named after it
("prompt-of-7.safetensors"), with any of the arrays of a trace (`llama_edu.engine.trace`) in it,
`logits` above all. `llama-edu verify --cases` lists the names, the ids and the past of every case.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from llama_edu import hub
from llama_edu.engine.llama import Llama
from llama_edu.engine.trace import Trace
from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import to_float32
from llama_edu.formats.safetensors import SafetensorsFile
from llama_edu.verify.advice import verdict_of
from llama_edu.verify.cases import Call, calls_for
from llama_edu.verify.evidence import (
    Declared,
    Logits,
    Nothing,
    Observed,
    Session,
    Unseen,
    references,
    widened,
)
from llama_edu.verify.naming import find_mistake
from llama_edu.verify.parts import read_model
from llama_edu.verify.report import Report, Result
from llama_edu.verify.texts import ids_of_text

__all__ = ["case_name", "first_difference", "list_cases", "traced", "verify_dump"]

RELATIVE = 2e-4  # of an array's largest number; logits have a bound of their own


def case_name(call: Call) -> str:
    """A case as the name of a file: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", call.label.lower()).strip("-")


def list_cases(directory: Path, name: str) -> list[dict[str, object]]:
    """Every case of a model, in order: each keeps `past` positions of what came before."""
    return [
        {"case": case_name(call), "past": call.past, "ids": list(call.ids), "flags": call.flags}
        for call in _calls(directory, name)
    ]


def _calls(directory: Path, name: str) -> tuple[Call, ...]:
    return calls_for(LlamaConfig.from_directory(directory), ids_of_text(directory, name))


def traced(directory: Path, calls: Sequence[Call], index: int) -> dict[str, np.ndarray]:
    """The arrays of one call by name, in the order they are made, as the book's engine has them."""
    model = Llama.from_pretrained(directory)
    cache = model.new_cache()
    for call in calls[:index]:
        cache.truncate(call.past)
        model.forward(list(call.ids), cache, last_only=True)
    cache.truncate(calls[index].past)
    with Trace() as trace:
        model.forward(list(calls[index].ids), cache, trace=trace)
    return {record.name: record.array for record in trace}


def first_difference(want: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> str:
    """The first array, in the order of `want`, that differs; "" if none of those there does.

    Raises `InputError` if the two have no name in common.
    """
    shared = [name for name in want if name in got]
    if not shared:
        some = ", ".join(list(want)[:4])
        raise InputError(f"expected arrays under names such as {some}, got {sorted(got)[:4]}")
    return next((told for name in shared if (told := _differs(name, want[name], got[name]))), "")


def _differs(name: str, want: np.ndarray, got: np.ndarray) -> str:
    if want.size != got.size:
        # A dump of the last row alone is enough for logits.
        if name == "logits" and got.size == want.shape[-1]:
            want = want[-1]
        else:
            return f"{name} (expected shape {want.shape}, got {got.shape})"
    flat, other = want.reshape(-1), got.reshape(-1).astype(np.float32)
    hidden = np.isneginf(flat)
    if not np.array_equal(hidden, np.isneginf(other)):
        return f"{name} (other numbers are -inf)"
    with np.errstate(invalid="ignore"):
        gaps = np.where(hidden, 0, np.abs(np.where(hidden, 0, other) - np.where(hidden, 0, flat)))
    largest = float(np.abs(flat[~hidden]).max(initial=0.0))
    worst = int(np.argmax(np.nan_to_num(gaps, nan=np.inf)))
    if gaps[worst] <= RELATIVE * max(largest, 1e-6):
        return ""
    place = tuple(int(i) for i in np.unravel_index(worst, want.shape))
    return f"{name} (off by up to {gaps[worst]:.3g}, at {place} of {want.shape})"


def verify_dump(folder: Path, names: Sequence[str], *, naming_seconds: float = 8.0) -> Report:
    """Compare the dumps of a folder, or of a folder for each model in it.

    Raises `InputError` for a folder without any, `CheckpointError` for a damaged file.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of dumps, got {folder}")
    report = Report(f"dump {folder}")
    sessions = []
    for name in names:
        place = folder / name if (folder / name).is_dir() else folder
        if place == folder and len(names) > 1:
            report.missing.append(f"expected a folder {name} in {folder}, got none")
            continue
        sessions.append(_compared(report, place, Path(hub.locate(name)), name))
    if any(session.first_wrong() is not None for session in sessions):
        finding = find_mistake(sessions, seconds=naming_seconds)
        verdict = verdict_of(finding, sessions)
        verdict.first_array = next((r.detail for r in report.results if r.status == "wrong"), "")
        report.verdicts.append(verdict)
    return report


def _compared(report: Report, folder: Path, directory: Path, name: str) -> Session:
    calls = _calls(directory, name)
    there = [
        i for i, call in enumerate(calls) if (folder / f"{case_name(call)}.safetensors").is_file()
    ]
    if not there:
        wanted = ", ".join(case_name(call) for call in calls[:3])
        raise InputError(f"{folder}: expected files such as {wanted} (.safetensors), got none")
    calls = calls[: there[-1] + 1]
    wanted_logits, bound = references(directory, calls, Declared())
    session = Session(name, read_model(directory))
    for i, (call, want) in enumerate(zip(calls, wanted_logits, strict=True)):
        answer: Logits | Nothing | Unseen = Unseen()
        if i in there:
            arrays = dict(_arrays(folder / f"{case_name(call)}.safetensors"))
            status, detail = _status(traced(directory, calls, i), arrays)
            report.results.append(Result(call.stage, name, call.label, status, detail))
            if "logits" in arrays:
                row = arrays["logits"].reshape(-1)[-len(want) :].astype(np.float32)
                finite = row.shape == want.shape and np.isfinite(row).all()
                answer = Logits(row) if finite else Nothing("not finite")
        session.observed.append(Observed(call, answer, want, widened(bound, call)))
    return session


def _status(want: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> tuple[str, str]:
    try:
        told = first_difference(want, got)
    except InputError as problem:
        return "failed", str(problem)
    return ("wrong", told) if told else ("right", "")


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    try:
        for name, array in SafetensorsFile(path).items():
            yield name, to_float32(array)
    except CheckpointError as problem:
        raise InputError(f"expected a dump, got a damaged file: {problem}") from problem
