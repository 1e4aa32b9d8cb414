"""Vectors without Python: a folder of JSON and safetensors that any language can be tested with.

`docs/vectors.md` describes the format. Everything is in the folder, the models too, and every file
is listed with its hash; a copy is complete, or it says so.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import llama_edu
from llama_edu import hub
from llama_edu.chat.template import ChatTemplate
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.safetensors import save_file
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.cases import FLAGS, calls_for
from llama_edu.verify.chats import CHATS, right_ids
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.dump import case_name
from llama_edu.verify.evidence import Declared, references, widened
from llama_edu.verify.files import FILES, write_case
from llama_edu.verify.sampling import BORDER, SAMPLING_CASES, TOLERANCE, Rules, distribution
from llama_edu.verify.texts import ids_of_text
from llama_edu.verify.tokens import TEXTS, allowed_ids, allowed_texts, decode_cases

__all__ = ["FORMAT", "export"]

FORMAT = 1
NEEDED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def export(folder: Path, names: Sequence[str] = ("story", "chat")) -> Path:
    """Write the vectors of known models and of the random checkpoints into a new folder.

    Returns the path of its manifest. Raises `InputError` if the folder is there and not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"expected a new or an empty folder, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    models = []
    for name in names:
        directory = folder / "models" / name
        _copy_model(Path(hub.locate(name)), directory)
        models.append(_write_vectors(folder, directory, name))
        _write_texts(folder, directory, name)
    for tiny in TINY:
        directory = folder / "models" / tiny.name
        directory.mkdir(parents=True)
        write_tiny(tiny, directory)
        models.append(_write_vectors(folder, directory, tiny.name, tiny.declines, long=tiny.long))
    files = [_write_file(folder, i) for i in range(len(FILES))]
    _write_json(folder / "vectors" / "sampling.json", _sampling())
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "made_by": f"llama_edu {llama_edu.__version__}",
        "flags": FLAGS,
        "models": models,
        "odd_files": files,
        "texts": [f"vectors/{name}.text.json" for name in names],
        "sampling": "vectors/sampling.json",
    }
    manifest["sha256"] = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return _write_json(folder / "manifest.json", manifest)


def _copy_model(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name in NEEDED or ".safetensors" in path.name:
            shutil.copyfile(path, target / path.name)


def _write_vectors(
    folder: Path, directory: Path, name: str, declines: Sequence[str] = (), *, long: bool = True
) -> dict[str, Any]:
    """The calls of one model as JSON, their logits as safetensors beside it."""
    config = LlamaConfig.from_directory(directory)
    calls = calls_for(config, ids_of_text(directory, name), long=long)
    wanted, bound = references(directory, calls, Declared())
    vectors = folder / "vectors"
    vectors.mkdir(exist_ok=True)
    logits = {case_name(call): want for call, want in zip(calls, wanted, strict=True)}
    save_file(logits, vectors / f"{name}.safetensors", {"format": "llama_edu vectors"})
    told = {
        "format": FORMAT,
        "model": f"models/{name}",
        "may_refuse": list(declines),
        "logits": f"vectors/{name}.safetensors",
        "calls": [
            {
                "case": case_name(call),
                "ids": list(call.ids),
                "past": call.past,
                "flags": list(call.flags),
                "tolerance": widened(bound, call),
            }
            for call in calls
        ],
    }
    _write_json(vectors / f"{name}.json", told)
    return {"name": name, "vectors": f"vectors/{name}.json"}


def _write_texts(folder: Path, directory: Path, name: str) -> None:
    """What a tokenizer and a chat template give; `allowed` holds every right answer."""
    tokenizer = Tokenizer(directory)
    told: dict[str, Any] = {
        "format": FORMAT,
        "model": f"models/{name}",
        "encode": [
            {"case": label, "text": text, "allowed": allowed_ids(tokenizer, text)}
            for label, text in TEXTS.items()
        ],
        "decode": [
            {"case": label, "ids": ids, "allowed": allowed_texts(tokenizer, ids)}
            for label, ids in decode_cases(tokenizer)
        ],
        "chat": [],
    }
    if tokenizer.chat_template is not None:
        template = ChatTemplate(tokenizer)
        told["chat"] = [
            {
                "case": label,
                "messages": [{"role": role, "content": text} for role, text in turns],
                "ids": right_ids(template, turns),
            }
            for label, turns in CHATS.items()
        ]
    _write_json(folder / "vectors" / f"{name}.text.json", told)


def _write_file(folder: Path, index: int) -> dict[str, Any]:
    """An odd or damaged directory; an odd one has the logits of its plain model."""
    case = FILES[index]
    name = f"file-{index:02}"
    directory = folder / "models" / name
    directory.mkdir(parents=True)
    write_case(case, directory)
    told: dict[str, Any] = {"case": case.label, "model": f"models/{name}", "damaged": case.damaged}
    if not case.damaged:
        told["same_logits_as"] = case.base.name
    return told


def _sampling() -> dict[str, Any]:
    cases = []
    for case in SAMPLING_CASES:
        switches = product((False, True), (False, True), (0.0, BORDER, -BORDER))
        rules = [
            replace(Rules(), keep_ties=ties, high_id_first=high, border=border)
            for ties, high, border in switches
        ]
        allowed: list[np.ndarray] = []
        for made in (distribution(case, one) for one in rules):
            if not any(np.allclose(made, other, atol=1e-9) for other in allowed):
                allowed.append(made)
        request = {k: v for k, v in case.request.items() if k != "op"}
        cases.append({"case": case.label, **request, "allowed": [a.tolist() for a in allowed]})
    return {"format": FORMAT, "tolerance": TOLERANCE, "cases": cases}


def _write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
