"""Build the tiny random checkpoints with ``transformers`` and record what it computes on them.

A checkpoint is stored in the case's dtype and read back as float32 before it
runs: both sides then do the same float32 arithmetic on the same numbers, and
all that can differ is the order of the additions.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from tools.goldens.cases import (
    CASES,
    LINEAR_SCALING,
    LLAMA3_SCALING,
    MAX_POSITION_EMBEDDINGS,
    YARN_SCALING,
    Case,
)
from tools.goldens.record import Recorder

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
NEW_TOKENS = 20
# Two tokens closer than this could swap places by rounding alone.
SAFE_MARGIN = 1e-2


def make_tiny(data: Path) -> None:
    """Write ``data/tiny/<case>/`` for every case: the checkpoint and ``golden.npz``."""
    shutil.rmtree(data / "tiny", ignore_errors=True)
    for number, case in enumerate(CASES):
        directory = data / "tiny" / case.name
        write_checkpoint(case, directory, seed=number)
        golden = golden_of(case, directory, seed=number)
        np.savez_compressed(directory / "golden.npz", **golden)  # type: ignore[arg-type]
        print(f"{case.name}: {len(golden)} arrays, {_kilobytes(directory)} kB")


def write_checkpoint(case: Case, directory: Path, seed: int) -> None:
    """Save a random model the way ``save_pretrained`` does, in the case's spelling."""
    model = AutoModelForCausalLM.from_config(_config(case))
    _randomise(model, torch.Generator().manual_seed(seed))
    model.to(DTYPES[case.storage])
    model.save_pretrained(directory, max_shard_size="14KB" if case.sharded else "1GB")
    if case.old_spelling:
        path = directory / "config.json"
        config = _old_spelling(json.loads(path.read_text("utf-8")), case)
        path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _config(case: Case) -> Any:
    scaling = {
        "default": {},
        "linear": LINEAR_SCALING,
        "llama3": LLAMA3_SCALING,
        "yarn": YARN_SCALING,
    }[case.rope]
    fields: dict[str, Any] = {
        "vocab_size": case.vocab_size,
        "hidden_size": case.hidden_size,
        "intermediate_size": case.intermediate_size,
        "num_hidden_layers": case.n_layers,
        "num_attention_heads": case.n_heads,
        "num_key_value_heads": case.n_kv_heads,
        "head_dim": case.head_dim,
        "max_position_embeddings": MAX_POSITION_EMBEDDINGS,
        "rms_norm_eps": case.rms_norm_eps,
        "tie_word_embeddings": case.tied,
        "rope_parameters": {"rope_type": case.rope, "rope_theta": case.rope_theta, **scaling},
        "eos_token_id": [2, 3] if case.old_spelling else 2,
    }
    if case.family in ("llama", "qwen3", "smollm3"):
        fields["attention_bias"] = case.attention_bias
    if case.family in ("llama", "smollm3"):
        fields["mlp_bias"] = case.mlp_bias
    extra = {name: list(v) if isinstance(v, tuple) else v for name, v in case.extra}
    return AutoConfig.for_model(case.family, **fields, **extra)


def _randomise(model: Any, rng: torch.Generator) -> None:
    """Weights large enough that attention is peaked and every bias and gain shows.

    The usual initialisation (standard deviation 0.02, biases 0, gains 1) would
    leave the softmax nearly uniform and hide a forgotten bias or norm weight.
    """
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=rng)
            if name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "norm" in name:
                parameter.copy_(1.0 + 0.3 * noise)
            elif "embed_tokens" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(1.5 * noise * parameter.shape[1] ** -0.5)


def _old_spelling(config: dict[str, Any], case: Case) -> dict[str, Any]:
    """The same configuration as files of 2023 and 2024 spell it."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if case.rope == "default" else rope
    if case.rope == "linear":  # the first spelling of all: "type"
        config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")
    config["torch_dtype"] = config.pop("dtype")
    if case.head_dim * case.n_heads == case.hidden_size:
        del config["head_dim"]
    if case.n_heads == case.n_kv_heads:
        del config["num_key_value_heads"]
    return config


def golden_of(case: Case, directory: Path, seed: int) -> dict[str, np.ndarray]:
    """Two passes over a cache, and a greedy continuation, with float32 arithmetic."""
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    golden: dict[str, np.ndarray] = {}
    rng = torch.Generator().manual_seed(1000 + seed)
    ids = torch.randint(case.vocab_size, (case.seq + case.more,), generator=rng)
    cache = DynamicCache()
    for step, part in (("first", ids[: case.seq]), ("second", ids[case.seq :])):
        with torch.no_grad(), Recorder(model) as record:
            model(part[None], past_key_values=cache)
        golden[f"{step}/token_ids"] = part.numpy()
        golden |= {f"{step}/{name}": array for name, array in record.arrays.items()}
    return golden | _greedy(model, case, rng)


def _greedy(model: Any, case: Case, rng: torch.Generator) -> dict[str, np.ndarray]:
    """A prompt whose greedy continuation is never decided by a hair, and that continuation."""
    model.generation_config.eos_token_id = None  # run the full length
    for _ in range(200):
        prompt = torch.randint(case.vocab_size, (4,), generator=rng)
        tokens, margins = greedy(model, prompt, NEW_TOKENS)
        if margins.min() > SAFE_MARGIN:
            return {
                "greedy/prompt_ids": prompt.numpy(),
                "greedy/token_ids": tokens,
                "greedy/margins": margins,
            }
    raise RuntimeError(f"{case.name}: no prompt with a safe greedy continuation")


def greedy(model: Any, prompt: torch.Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) token ids from ``model.generate`` and (n,) gaps between the best two logits."""
    with torch.no_grad():
        out = model.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt[None]),
            do_sample=False,
            max_new_tokens=n,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=0,
        )
    logits = torch.cat(out.logits)
    best, second = logits.topk(2).values.T
    return out.sequences[0, len(prompt) :].numpy(), (best - second).numpy()


def _kilobytes(directory: Path) -> int:
    return sum(f.stat().st_size for f in directory.iterdir()) // 1000
