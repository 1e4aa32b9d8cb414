"""The bundle in a browser, opened from a file, with no network: parity, text, speed of a click."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_engine import directory_of
from playwright.sync_api import Browser, Page

from llama_edu import Llama, Sampling, Tokenizer, Trace, generate
from llama_edu.engine.sampling import probabilities
from llama_edu.page import write_page_files

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Model</title>
<script src="llama.js"></script><input type="file" id="files" multiple></html>"""

# Runs in the page: a model loaded once, and asked as a lab asks it.
LOAD = """async ([name, backend]) => {
  const script = document.createElement("script");
  script.src = `llama-${name}.js`;
  await new Promise((done, fail) => {
    script.onload = done; script.onerror = fail; document.head.append(script);
  });
  globalThis.model = await new llamaEdu.RemoteModel().load({ ...llamaEduModels[name], backend });
  return globalThis.model.loaded.backend;
}"""
PICK = """async () => {
  const files = [...document.querySelector("#files").files];
  const texts = {};
  for (const file of files) if (file.name.endsWith(".json")) texts[file.name] = await file.text();
  const weights = files.find((file) => file.name.endsWith(".safetensors"));
  globalThis.model = await new llamaEdu.RemoteModel().load({ name: "picked", texts, weights });
  return globalThis.model.loaded.backend;
}"""
ASK = "async ([op, request]) => globalThis.model.ask(op, request)"
# Without the numbers: as JSON, those of a real model would take seconds.
SHAPES = """async (ids) => Object.fromEntries(
  (await globalThis.model.ask("trace", { ids })).map(({ name, shape }) => [name, shape]))"""
LOGITS = "async (ids) => Array.from((await globalThis.model.ask('logits', { ids })).logits)"


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page opened from a file; whatever it asks for elsewhere fails the test."""
    write_page_files(tmp_path, ("story", "chat"))
    (tmp_path / "page.html").write_text(PAGE, "utf-8")
    context = browser.new_context(offline=True)
    context.set_default_timeout(120_000)
    opened = context.new_page()
    outside: list[str] = []
    complaints: list[str] = []
    inside = (tmp_path.as_uri(), "blob:", "data:")
    opened.on("request", lambda r: None if r.url.startswith(inside) else outside.append(r.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda line: complaints.append(line.text) if line.type == "error" else None
    )
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    context.close()
    assert outside == []
    assert complaints == []


def ask(page: Page, op: str, **request: Any) -> Any:
    return page.evaluate(ASK, [op, request])


def check_model(page: Page, name: str, tolerance: float) -> None:
    """Logits of prompts in one piece and in chunks, a distribution, greedy text, a trace."""
    model, tokenizer = Llama.from_pretrained(name), Tokenizer.from_pretrained(name)
    rng = np.random.default_rng(9)
    for length in (1, 2, 31):
        ids = rng.integers(0, model.config.vocab_size, length).tolist()
        want = model.forward(ids, last_only=True)[0]
        got = np.array(page.evaluate(LOGITS, ids), np.float32)
        assert np.max(np.abs(got - want)) <= tolerance
        assert got.argmax() == want.argmax()
        p = probabilities(got, Sampling(0.8, 50, 0.9))
        asked = {"logits": got.tolist(), "sampling": {"temperature": 0.8, "topK": 50, "topP": 0.9}}
        q = ask(page, "probabilities", **asked)["probabilities"]
        q = np.array([q[str(i)] for i in range(len(q))] if isinstance(q, dict) else q)
        assert np.max(np.abs(p - q)) <= 1e-6
    prompt = tokenizer.encode("Once upon a time, a little cat")
    assert ask(page, "encode", text="Once upon a time, a little cat")["ids"] == prompt
    want_ids = list(generate(model, prompt, max_new_tokens=24, stop_ids=()))
    made = ask(page, "generate", ids=prompt, count=24, stopIds=[])
    assert made["ids"] == want_ids
    assert ask(page, "decode", ids=made["ids"])["text"] == tokenizer.decode(want_ids)
    with Trace() as trace:
        model.forward(prompt, trace=trace)
    assert page.evaluate(SHAPES, prompt) == {r.name: list(r.shape) for r in trace}


@pytest.mark.parametrize("backend", ["simd", "plain"])
@pytest.mark.parametrize("name", ["story", "chat"])
def test_an_embedded_model_from_a_file_without_network(name: str, backend: str, page: Page) -> None:
    used = page.evaluate(LOAD, [name, backend])
    assert used == {"simd": "WebAssembly SIMD", "plain": "plain JavaScript"}[backend]
    check_model(page, name, 5e-5)


@pytest.mark.smollm2
def test_smollm2_from_files_the_reader_picked(page: Page) -> None:
    folder = directory_of("smollm2-135m-instruct")
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    page.locator("#files").set_input_files([folder / name for name in names])
    assert page.evaluate(PICK) == "WebAssembly SIMD"
    check_model(page, "smollm2-135m-instruct", 2e-4)


def test_text_streams_and_can_be_stopped(page: Page) -> None:
    page.evaluate(LOAD, ["story", "simd"])
    parts, ids = page.evaluate(
        """async () => {
          const { ids } = await model.encode("Once upon a time");
          const parts = [];
          const running = model.generate({ ids, count: 400, stopIds: [] }, (part) => {
            parts.push(part.text);
            if (parts.length === 40) running.stop();
          });
          return [parts, (await running.promise).ids];
        }"""
    )
    assert 40 <= len(ids) < 400
    assert "".join(parts) == Tokenizer.from_pretrained("story").decode(ids)


def test_a_question_the_model_cannot_answer_is_an_error(page: Page) -> None:
    page.evaluate(LOAD, ["story", "simd"])
    said = page.evaluate(
        "() => model.ask('logits', { ids: [9999] }).catch((e) => e.name + ': ' + e.message)"
    )
    assert said == "InputError: expected token ids from 0 to 2047, got 9999"


def test_a_part_switched_off_changes_the_text(page: Page) -> None:
    page.evaluate(LOAD, ["story", "simd"])
    texts = page.evaluate(
        """async () => {
          const { ids } = await model.encode("Once upon a time, there was a little cat. The cat");
          const texts = {};
          for (const off of [{}, { mask: true }, { scale: true }, { sharing: true }, { rope: true },
                             { silenced: [[0, 0], [0, 1], [1, 2]] }]) {
            const made = await model.ask("generate", { ids, count: 24, off, stopIds: [] });
            texts[JSON.stringify(off)] = made.ids.join();
          }
          return texts;
        }"""
    )
    assert len(set(texts.values())) == len(texts)
