"""Record what ``transformers`` computes on full-size models, small enough to be kept.

The weights are not stored beside these goldens: SmolLM2 is fetched, ``story`` and
``chat`` are part of the package. Of every intermediate of one prompt 16 numbers
are kept, evenly spaced over the flattened array, with its mean and mean absolute
value. Greedy continuations come with the gap between the best two logits at each
step, and only prompts are kept where no gap is so small that rounding could decide.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tools.goldens.record import Recorder
from tools.goldens.tiny import greedy

N_PROBES = 16
N_BEST = 20
NEW_TOKENS = 64
N_PROMPTS = 3
# Rounding moved no logit of these models by more than 2e-4 (`test_smollm2.py` prints it).
SAFE_MARGIN = 5e-3

CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = {
    "smollm2-135m-instruct": [
        "The capital of France is Paris, and the capital of Italy is",
        CHATML.format("Count from 1 to 12."),
        CHATML.format("What is the capital of Japan? Answer in one sentence."),
        CHATML.format("Write a haiku about a llama."),
        "def fibonacci(n):\n",
        "Once upon a time, in a small village, there lived",
        "1, 2, 3, 4, 5, 6, 7, 8,",
        "Water is made of",
    ],
    "story": [
        "Once upon a time",
        "One day",
        "There was a",
        "In the garden",
        "A little dog",
        "Long ago",
        "The sun",
    ],
    "chat": [
        CHATML.format("Hello! My name is Tom."),
        CHATML.format("What is 2 + 3?"),
        CHATML.format("What color is the sky?"),
        CHATML.format("Tell me a story."),
        CHATML.format("My favorite animal is the cat."),
        CHATML.format("Hi"),
        CHATML.format("What day comes after Monday?"),
    ],
}


def make_models(data: Path, directories: dict[str, Path]) -> None:
    """Write ``data/models/<name>.npz`` for every model whose directory is given."""
    (data / "models").mkdir(parents=True, exist_ok=True)
    for name, directory in directories.items():
        golden = golden_of(name, directory)
        path = data / "models" / f"{name}.npz"
        np.savez_compressed(path, **golden)  # type: ignore[arg-type]
        print(f"{name}: {len(golden['names'])} arrays probed, {path.stat().st_size} bytes")


def golden_of(name: str, directory: Path) -> dict[str, Any]:
    """Probes of one forward pass, and greedy continuations of ``N_PROMPTS`` prompts."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    prompts = [torch.tensor(tokenizer.encode(text).ids) for text in PROMPTS[name]]
    with torch.no_grad(), Recorder(model) as record:
        model(prompts[0][None])
    best = torch.from_numpy(record.arrays["logits"][-1]).topk(N_BEST)
    return {
        # A checkpoint trained anew needs new goldens; the test says so by this.
        "weights_sha256": hashlib.sha256(
            (directory / "model.safetensors").read_bytes()
        ).hexdigest(),
        "token_ids": prompts[0].numpy(),
        "names": np.array(list(record.arrays)),
        "probes": np.stack([probe(array) for array in record.arrays.values()]),
        "best_ids": best.indices.numpy(),
        "best_logits": best.values.numpy(),
        **_greedy(name, model, prompts, tokenizer),
    }


def probe(array: np.ndarray) -> np.ndarray:
    """(N_PROBES + 2,) float32: evenly spaced entries, the mean, the mean absolute value."""
    flat = np.where(np.isfinite(array), array, 0).reshape(-1)
    entries = flat[np.linspace(0, len(flat) - 1, N_PROBES).astype(np.int64)]
    wide = flat.astype(np.float64)
    means = [wide.mean(), np.abs(wide).mean()]
    return np.concatenate([entries, means]).astype(np.float32)


def _greedy(
    name: str, model: Any, prompts: list[torch.Tensor], tokenizer: Any
) -> dict[str, np.ndarray]:
    model.generation_config.eos_token_id = None  # run the full length
    golden: dict[str, np.ndarray] = {}
    for prompt in prompts:
        tokens, margins = greedy(model, prompt, NEW_TOKENS)
        safe = margins.min() > SAFE_MARGIN
        print(f"  {margins.min():.4f} {'kept' if safe else 'left'}: {tokenizer.decode(tokens)!r}")
        if safe:
            key = f"greedy/{len(golden) // 3}"
            golden |= {
                f"{key}/prompt_ids": prompt.numpy(),
                f"{key}/token_ids": tokens,
                f"{key}/margins": margins,
            }
        if len(golden) == 3 * N_PROMPTS:
            return golden
    raise RuntimeError(f"{name}: fewer than {N_PROMPTS} prompts have a safe greedy continuation")
