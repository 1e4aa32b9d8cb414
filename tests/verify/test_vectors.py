"""The exported vectors, read by a reader of another language and by none of our code."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from compilers import working

from llama_edu.cli.main import main
from llama_edu.verify.cases import FLAGS
from llama_edu.verify.checkpoints import TINY

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "vectors"
    assert main(["verify", "--export", str(folder), "--model", "story"]) == 0
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_file_is_listed_with_its_hash(vectors: Path) -> None:
    listed = read(vectors / "manifest.json")["sha256"]
    there = {p.relative_to(vectors).as_posix() for p in vectors.rglob("*") if p.is_file()}
    assert there - listed.keys() == {"manifest.json"}
    assert listed.keys() <= there
    for path, wanted in listed.items():
        assert hashlib.sha256((vectors / path).read_bytes()).hexdigest() == wanted


def test_every_case_has_finite_logits_a_bound_and_known_flags(vectors: Path) -> None:
    models = read(vectors / "manifest.json")["models"]
    assert [model["name"] for model in models] == ["story", *(tiny.name for tiny in TINY)]
    seen = set()
    for model in models:
        told = read(vectors / model["vectors"])
        logits = safetensors.numpy.load_file(vectors / told["logits"])
        assert {call["case"] for call in told["calls"]} == logits.keys()
        assert len(told["calls"]) == len(logits)
        vocab = read(vectors / told["model"] / "config.json")["vocab_size"]
        for call in told["calls"]:
            assert logits[call["case"]].shape == (vocab,)
            assert np.isfinite(logits[call["case"]]).all()
            assert 1e-5 < call["tolerance"] < 1e-2
            seen |= set(call["flags"])
    assert seen == FLAGS.keys()


def test_an_export_writes_over_nothing(vectors: Path) -> None:
    assert main(["verify", "--export", str(vectors)]) == 1


def test_a_reader_in_another_language_finds_the_book_s_engine_right(vectors: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("there is no Node")
    reader = Path(__file__).with_name("read_vectors.mjs")
    engine = [sys.executable, str(ROOT / "engines" / "python" / "engine.py")]
    rustc = working("rustc")
    if rustc is not None:
        built = vectors.parent / "engine"
        source = ROOT / "engines" / "rust" / "llama.rs"
        options = ["--edition", "2021", "-C", "opt-level=1", "-A", "warnings"]
        subprocess.run([rustc, *options, str(source), "-o", str(built)], check=True)
        engine = [str(built)]
    done = subprocess.run(
        ["node", str(reader), str(vectors), *engine],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["refused"] == []
    assert told["calls"] > 200
    assert told["texts"] > 50
    assert told["sampling"] >= 30
    assert told["flags"].keys() == FLAGS.keys()
