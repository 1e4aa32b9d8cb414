"""At the edge of what the API takes: the last value that is let in, and the first that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_served import SIZES, write_tiny

from llama_edu import Llama, Sampling, Tokenizer, generate
from llama_edu.serve.http.requests import MAX_STOP_CHARS
from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.http.server import running

PATIENCE_S = 120.0
ASK: dict[str, Any] = {"model": "tiny", "prompt": "The cat", "max_tokens": 4}
LARGEST_SEED = 2**63 - 1


def status(site: Any, **fields: Any) -> int:
    """The status of a completion with these fields, as it is answered."""
    answered: httpx.Response = site.http.post("/v1/completions", json=ASK | fields)
    return answered.status_code


@pytest.mark.parametrize("several", [False, True])
def test_a_stop_text_of_as_many_characters_as_are_taken(site: Any, several: bool) -> None:
    for length, want in ((MAX_STOP_CHARS, 200), (MAX_STOP_CHARS + 1, 400)):
        stop = "x" * length
        assert status(site, stop=[stop, "y"] if several else stop) == want
    assert MAX_STOP_CHARS == 256


@pytest.mark.parametrize("seed", [LARGEST_SEED, -LARGEST_SEED - 1])
def test_the_seeds_at_both_ends_draw_as_generate_does(site: Any, seed: int) -> None:
    fields = {"temperature": 1.3, "seed": seed, "max_tokens": 12}
    answered = site.http.post("/v1/completions", json=ASK | fields).json()
    model, tokenizer = site.tiny.model, site.tiny.tokenizer
    ids = generate(
        model,
        tokenizer.encode("The cat"),
        max_new_tokens=12,
        tokenizer=tokenizer,
        sampling=Sampling(1.3),
        seed=seed,
    )
    stream = tokenizer.stream(continues=True)
    text = "".join(map(stream.push, ids)) + stream.finish()
    assert answered["choices"][0]["text"] == text
    beyond = seed + 1 if seed > 0 else seed - 1
    assert status(site, seed=beyond) == 400


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (None, False),
        ({}, False),
        ({"include_usage": False}, False),
        ({"include_usage": True}, True),
    ],
)
def test_a_stream_ends_with_its_usage_if_that_was_asked_for(
    site: Any, options: dict[str, bool] | None, counts: bool
) -> None:
    fields = {"stream": True, "stream_options": options}
    answered = site.http.post("/v1/completions", json=ASK | fields)
    frames = [line.removeprefix("data: ") for line in answered.text.splitlines() if line]
    assert frames.pop() == "[DONE]"
    chunks = [json.loads(text) for text in frames]
    assert [chunk["choices"] == [] for chunk in chunks] == [False] * (len(chunks) - counts) + (
        [True] * counts
    )
    assert all(("usage" in chunk) == counts for chunk in chunks)
    assert [bool(chunk.get("usage")) for chunk in chunks][-1] == counts


def test_an_end_that_only_the_tokenizer_knows_and_padding_over_http(tmp_path: Path) -> None:
    """The text is that of `generate` with the tokenizer, and no id without a token is in it."""
    directory = write_tiny(tmp_path / "padded")
    config = json.loads((directory / "config.json").read_text("utf-8"))
    del config["eos_token_id"]
    config["vocab_size"] = 410
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    tensors = load_file(directory / "model.safetensors")
    rng = np.random.default_rng(0)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        more = rng.standard_normal((10, SIZES["hidden_size"]), dtype=np.float32)
        tensors[name] = np.concatenate([tensors[name], more])
    tensors["lm_head.weight"][2] *= 4  # <|im_end|>
    save_file(tensors, directory / "model.safetensors")
    model, tokenizer = Llama.from_pretrained(directory), Tokenizer.from_pretrained(directory)
    assert model.config.eos_token_ids == ()
    reasons = set()
    with (
        running(Serving(load([str(directory)]))) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http,
    ):
        for seed in range(6):
            ask = ASK | {"model": "padded", "max_tokens": 60, "temperature": 1.5, "seed": seed}
            choice = http.post("/v1/completions", json=ask).json()["choices"][0]
            options: dict[str, Any] = {"sampling": Sampling(1.5), "seed": seed}
            prompt = tokenizer.encode("The cat")
            assert max(generate(model, prompt, max_new_tokens=200, **options)) >= 400
            ids = list(generate(model, prompt, max_new_tokens=60, tokenizer=tokenizer, **options))
            stopped = ids[-1] == 2
            assert choice["finish_reason"] == ("stop" if stopped else "length")
            stream = tokenizer.stream(continues=True)
            shown = ids[:-1] if stopped else ids
            assert choice["text"] == "".join(map(stream.push, shown)) + stream.finish()
            reasons.add(choice["finish_reason"])
    assert "stop" in reasons
