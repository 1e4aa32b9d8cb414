"""A GGUF file read in place: its blocks as they are, its tokenizer, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from page_engine import PageEngine, RefusedModelError
from page_texts import thousand_texts
from tiny_files import gguf_tensors, write_gguf

from llama_edu import Llama, Tokenizer
from llama_edu.errors import TokenizerError
from llama_edu.hub.gguf.convert import convert_gguf


def written(path: Path, kind: Kind | None, *, tied: bool = True, **metadata: Any) -> Path:
    """A small GGUF file, its matrices quantised."""
    tensors = gguf_tensors(tied=tied)
    quantised = {name: kind for name, array in tensors.items() if kind and array.ndim == 2}
    return write_gguf(path / "model.gguf", tensors, metadata, quantised)


@pytest.mark.parametrize("backend", ["simd", "plain"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [None, Kind.Q8_0, Kind.Q4_1, Kind.F16], ids=str)
def test_logits_are_those_of_the_converted_file(
    kind: Kind | None, tied: bool, backend: str, tmp_path: Path, node: str
) -> None:
    file = written(tmp_path, kind, tied=tied)
    model = Llama.from_pretrained(convert_gguf(file, tmp_path / "model", dtype="F32"))
    rng = np.random.default_rng(2)
    cache = model.new_cache()
    with PageEngine(file, backend=backend) as engine:
        for past, count in ((0, 11), (11, 1), (12, 5), (6, 3), (9, 1)):
            cache.truncate(past)
            ids = rng.integers(0, model.config.vocab_size, count).tolist()
            want = model.forward(ids, cache, last_only=True)[0]
            got = engine.forward(ids, past)
            assert np.max(np.abs(got - want)) <= 5e-5 * np.max(np.abs(want))
            assert got.argmax() == want.argmax()


@pytest.mark.parametrize("pre", ["smollm", "gpt-2"])
def test_the_tokenizer_is_that_of_the_converted_file(pre: str, tmp_path: Path, node: str) -> None:
    opens = {"tokenizer.ggml.add_bos_token": True} if pre == "gpt-2" else {}
    file = written(tmp_path, None, **{"tokenizer.ggml.pre": pre, **opens})
    tokenizer = Tokenizer(convert_gguf(file, tmp_path / "model"))
    texts = thousand_texts()[:300]
    with PageEngine(file) as engine:
        answers = engine.answers([{"op": "encode", "text": text} for text in texts])
        decoded = engine.answers([{"op": "decode", "ids": a.get("ids", [])} for a in answers])
    for text, answer, back in zip(texts, answers, decoded, strict=True):
        try:
            want = tokenizer.encode(text)
        except TokenizerError:
            assert "error" in answer
            continue
        assert answer["ids"] == want
        assert back["text"] == tokenizer.decode(want)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"general.architecture": "qwen2"}, 'of architecture llama, got "qwen2"'),
        ({"llama.rope.scaling.type": "yarn"}, "RoPE scaling none"),
        ({"llama.rope.dimension_count": 8}, "rope.dimension_count of 16"),
        ({"tokenizer.ggml.model": "llama"}, "expected a byte-level tokenizer"),
        ({"tokenizer.ggml.pre": "unheard-of"}, "expected a byte-level tokenizer"),
        ({"split.count": 2}, "part of several"),
    ],
)
def test_what_the_engine_cannot_compute_is_refused(
    metadata: dict[str, Any], words: str, tmp_path: Path, node: str
) -> None:
    check_refused(written(tmp_path, None, **metadata), words)


def check_refused(file: Path, words: str) -> None:
    with pytest.raises(RefusedModelError, match=re.escape(words)):
        PageEngine(file)


def test_a_kind_of_block_that_is_not_read_is_refused(tmp_path: Path, node: str) -> None:
    check_refused(written(tmp_path, Kind.Q4_0), "got ggml's type 2")


def test_damaged_files_are_refused(tmp_path: Path, node: str) -> None:
    whole = written(tmp_path, Kind.Q8_0).read_bytes()
    cut = tmp_path / "cut.gguf"
    for end in (3, 20, 4000, len(whole) - 100):
        cut.write_bytes(whole[:end])
        check_refused(cut, "Error: ")
    cut.write_bytes(b"GGML" + whole[4:])
    check_refused(cut, "expected GGUF version 2 or 3")
