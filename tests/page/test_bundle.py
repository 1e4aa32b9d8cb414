"""The committed bundle is what its source makes, the types hold, and planted mistakes are seen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_engine import ROOT, PageEngine, directory_of

from llama_edu import Llama, Sampling, Tokenizer
from llama_edu.engine.sampling import probabilities
from llama_edu.page import BUNDLE, model_script, write_page_files

TINY = Path(__file__).parent.parent / "data" / "tiny"


@pytest.fixture
def modules(node: str) -> str:
    """Node, where the pinned tools are installed as well."""
    if not (ROOT / "node_modules" / "esbuild").is_dir():
        pytest.skip("node_modules is not there (npm ci): the bundle was not built again")
    return node


def test_the_bundle_is_what_its_source_makes(modules: str) -> None:
    script = [modules, "tools/pages/bundle.mjs", "-"]
    made = json.loads(subprocess.run(script, cwd=ROOT, capture_output=True, check=True).stdout)
    assert set(made) == {"llama.js", "src/kernels_wasm.js"}
    for name, text in made.items():
        committed = (BUNDLE.parent / name).read_text("utf-8")
        assert committed == text, f"{name} is older than its source: npm run build"


def test_the_types_hold(modules: str) -> None:
    script = [modules, "node_modules/typescript/bin/tsc", "--project", "llama_edu/page"]
    result = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_a_model_travels_as_a_script(node: str, tmp_path: Path) -> None:
    write_page_files(tmp_path)
    text = (tmp_path / "llama-story.js").read_text("utf-8")
    assert text == model_script("story", directory_of("story"))
    assert "</" not in text
    look = (
        "require(process.argv[1]); const {texts, weights} = llamaEduModels.story;"
        "console.log(JSON.stringify([texts, weights.length]))"
    )
    script = [node, "-e", look, str(tmp_path / "llama-story.js")]
    texts, length = json.loads(subprocess.run(script, capture_output=True, check=True).stdout)
    for name, content in texts.items():
        assert content == (directory_of("story") / name).read_text("utf-8")
    size = (directory_of("story") / "model.safetensors").stat().st_size
    assert length == 4 * -(-size // 3)


def mistake_names() -> list[str]:
    """Read from the file, so that they are known where node is not."""
    lines = (
        (BUNDLE.parent / "mistakes.mjs").read_text("utf-8").split("MISTAKES = {")[1].splitlines()
    )
    return [
        line.strip().split(":")[0]
        for line in lines
        if line.startswith("  ") and line[2].isalpha() and ":" in line
    ]


ONLY_IN = {"biases_ignored": "mha-default-f32", "rope_scaling_ignored": "gqa-llama3-f32"}


def difference(name: str, directory: Path) -> float:
    """The largest difference a mistake makes, in anything protocol 1 asks for."""
    model = Llama.from_pretrained(directory)
    rng = np.random.default_rng(8)
    worst = 0.0
    with PageEngine(directory, mistake=name) as engine:
        cache = model.new_cache()
        for past, count in ((0, 12), (12, 1), (13, 7), (9, 4), (13, 1), (0, 5), (5, 1)):
            cache.truncate(past)
            ids = rng.integers(0, model.config.vocab_size, count).tolist()
            answer = engine.answer("forward", ids=ids, past=past)
            want = model.forward(ids, cache, last_only=True)[0]
            if "error" in answer:
                return np.inf
            worst = max(worst, float(np.max(np.abs(np.array(answer["logits"]) - want))))
        row = rng.normal(0, 2, 50).astype(np.float32)
        p = engine.ask("probabilities", logits=row.tolist(), temperature=0.5, top_k=9, top_p=0.8)
        worst = max(worst, float(np.max(np.abs(p - probabilities(row, Sampling(0.5, 9, 0.8))))))
        if (directory / "tokenizer.json").is_file():
            tokenizer = Tokenizer(directory)
            text = "a <|endoftext|> 🐈"
            ids = tokenizer.encode(text)
            same = engine.ask("encode", text=text) == ids
            same &= engine.ask("decode", ids=ids) == tokenizer.decode(ids)
            worst = max(worst, 0.0 if same else 1.0)
    return worst


def test_there_are_enough_mistakes_to_find() -> None:
    assert len(mistake_names()) >= 25


@pytest.mark.parametrize("name", mistake_names())
def test_a_planted_mistake_changes_what_comes_out(name: str, node: str) -> None:
    directories = (
        [TINY / ONLY_IN[name]] if name in ONLY_IN else map(directory_of, ("story", "chat"))
    )
    assert max(difference(name, directory) for directory in directories) > 2e-4


def test_without_a_mistake_nothing_changes(node: str) -> None:
    for name in ("story", "chat"):
        assert difference("", directory_of(name)) <= 5e-5


def test_an_unknown_mistake_is_refused(node: str) -> None:
    adapter = str(BUNDLE.parent / "protocol.mjs")
    result = subprocess.run(
        [node, adapter, str(directory_of("story"))],
        env={"PATH": str(Path(node).parent), "LLAMA_PLANTED": "no_such"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "expected a mistake of" in result.stderr


def test_protocol_1_says_hello(page_engine: Callable[..., PageEngine]) -> None:
    hello = page_engine(directory_of("story")).answer("hello", protocol=1)
    assert hello["protocol"] == 1
    assert {"forward", "encode", "decode", "probabilities", "trace"} <= set(hello["ops"])
