"""The whole engine against `transformers`: logits, every intermediate, greedy tokens.

`data/tiny` holds random checkpoints that `transformers` saved, and what it
computed on them in float32 (`tools/goldens/make.py`). Nothing here needs it.

How close is close enough? Both sides do the same float32 arithmetic on the same
stored numbers, so only the order of additions differs, and the last bits of exp,
cos and rsqrt. One rounding is 6e-8 of a value. A sum of 60 terms adds up to about
ten of them, a layer chains a dozen such sums, and the two or three layers of a
case magnify what they are given a few times: some 1e-6 of an array's largest value.
The bound is 2e-5, ten times that; a wrong formula is off by 1e-2 or more.
`pytest tests/engine/test_parity.py -rP` prints what was measured.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import DATA, assert_close

from llama_edu import Llama, LlamaConfig, Trace, generate
from llama_edu.formats.safetensors import ShardedCheckpoint, open_checkpoint

TOLERANCE = 2e-5
CASES = sorted((DATA / "tiny").iterdir())
cases = pytest.mark.parametrize("directory", CASES, ids=lambda path: path.name)


def golden(directory: Path) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of one case by step: "first", "second" (on top of the cache), "greedy"."""
    steps: dict[str, dict[str, np.ndarray]] = {}
    with np.load(directory / "golden.npz") as file:
        for name, array in file.items():
            step, rest = name.split("/")
            steps.setdefault(step, {})[rest] = array
    return steps


@cases
def test_every_intermediate_of_two_passes_agrees(directory):
    model, want = Llama.from_pretrained(directory), golden(directory)
    cache = model.new_cache()
    with Trace() as t:
        for step in ("first", "second"):
            model.forward(want[step].pop("token_ids"), cache, trace=t)
    worst = (0.0, "")
    for step, records in zip(("first", "second"), t.steps, strict=True):
        assert records.keys() == want[step].keys()
        for name, record in records.items():
            error = assert_close(record.array, want[step][name], TOLERANCE, f"{step} {name}")
            worst = max(worst, (error, f"{step} {name}"))
    print(f"{directory.name}: {worst[0]:.1e} at most, in {worst[1]}")


@cases
def test_logits_agree_without_a_cache_and_in_one_pass(directory):
    model, want = Llama.from_pretrained(directory), golden(directory)
    ids = np.concatenate([want["first"]["token_ids"], want["second"]["token_ids"]])
    logits = np.concatenate([want["first"]["logits"], want["second"]["logits"]])
    error = assert_close(model.forward(ids), logits, TOLERANCE)
    print(f"{directory.name}: {error:.1e}")


@cases
def test_greedy_tokens_are_identical(directory):
    model, want = Llama.from_pretrained(directory), golden(directory)["greedy"]
    assert want["margins"].min() > 1e-2  # rounding cannot decide a token
    n = len(want["token_ids"])
    got = generate(model, want["prompt_ids"], max_new_tokens=n, stop_ids=())
    assert list(got) == want["token_ids"].tolist()
    assert n == 20


FAMILIES = [path for path in CASES if path.name.startswith(("mistral", "qwen", "smollm", "yarn"))]


@pytest.mark.parametrize("directory", FAMILIES, ids=lambda path: path.name)
def test_families_go_the_same_way_in_numba_and_in_batches(directory):
    model, want = Llama.from_pretrained(directory, backend="numba"), golden(directory)["greedy"]
    plain = Llama.from_pretrained(directory)
    got = generate(model, want["prompt_ids"], max_new_tokens=20, stop_ids=())
    assert list(got) == want["token_ids"].tolist()
    ids = want["token_ids"]
    for one in (model, plain):
        caches = [one.new_cache() for _ in range(3)]
        one.forward_chunks([ids[:9], ids[:2], ids[:5]], caches)  # of different pasts
        logits = one.forward_chunks([ids[9:10], ids[2:6], ids[5:6]], caches)
        alone = np.stack([plain.forward(ids[:n])[-1] for n in (10, 6, 6)])
        assert_close(logits, alone, TOLERANCE)


def choices(directory: Path) -> dict[str, str]:
    """What a case stands for, read from the files themselves."""
    config = json.loads((directory / "config.json").read_text("utf-8"))
    tensors = open_checkpoint(directory)
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    q_width = tensors["model.layers.0.self_attn.q_proj.weight"].shape[0]
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {
        "heads": {heads: "MHA", 1: "MQA"}.get(kv_heads, "GQA"),
        "tying": "untied" if "lm_head.weight" in tensors else "tied",
        "rope": rope.get("rope_type") or rope.get("type") or "default",
        "storage": str(tensors["model.norm.weight"].dtype),
        "attention bias": str("model.layers.0.self_attn.o_proj.bias" in tensors),
        "mlp bias": str("model.layers.0.mlp.up_proj.bias" in tensors),
        "head_dim": {-1: "narrow", 0: "hidden / heads", 1: "wide"}[
            int(np.sign(q_width - config["hidden_size"]))
        ],
        "files": "shards" if isinstance(tensors, ShardedCheckpoint) else "one",
        "spelling": "old" if "torch_dtype" in config else "new",
    }


def is_llama(directory: Path) -> bool:
    """Whether the case is one of those that pair every choice with every other."""
    config = json.loads((directory / "config.json").read_text("utf-8"))
    return config["model_type"] == "llama" and "yarn" not in json.dumps(config)


LEVELS = {
    "heads": {"MHA", "GQA", "MQA"},
    "tying": {"tied", "untied"},
    "rope": {"default", "linear", "llama3"},
    "storage": {"float32", "float16", "bfloat16"},
    "attention bias": {"True", "False"},
    "mlp bias": {"True", "False"},
    "head_dim": {"narrow", "hidden / heads", "wide"},
    "files": {"one", "shards"},
    "spelling": {"old", "new"},
}


def test_every_pair_of_choices_meets_in_some_case():
    found = [choices(path) for path in CASES if is_llama(path)]
    assert all(case.keys() == LEVELS.keys() for case in found)
    for one, other in itertools.combinations(LEVELS, 2):
        met = {(case[one], case[other]) for case in found}
        assert met == set(itertools.product(LEVELS[one], LEVELS[other])), (one, other)


@cases
def test_no_two_axes_of_a_case_have_the_same_size(directory):
    config, want = LlamaConfig.from_directory(directory), golden(directory)
    sizes = config.axis_sizes
    sizes |= {"seq": len(want["first"]["token_ids"]), "more": len(want["second"]["token_ids"])}
    sizes |= {"total_seq": sizes["seq"] + sizes["more"]}
    sizes |= {"q_width": sizes["n_heads"] * config.head_dim}
    sizes |= {"kv_width": sizes["n_kv_heads"] * config.head_dim}
    # What the structure makes equal: MHA has one query head per KV head, MQA one KV head.
    if sizes["n_groups"] == 1:
        del sizes["n_heads"], sizes["q_width"]
    if sizes["n_kv_heads"] == 1:
        del sizes["n_groups"], sizes["kv_width"]
    if sizes.get("q_width") == sizes["hidden_size"]:
        del sizes["q_width"]
    if sizes.get("kv_width") == sizes["hidden_size"]:
        del sizes["kv_width"]
    shared = {a for a, b in itertools.permutations(sizes, 2) if sizes[a] == sizes[b]}
    assert not shared, {name: sizes[name] for name in shared}


def test_every_family_is_there():
    families = {
        json.loads((path / "config.json").read_text("utf-8"))["model_type"] for path in CASES
    }
    assert families == {"llama", "mistral", "qwen2", "qwen3", "smollm3"}
