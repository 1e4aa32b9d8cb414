"""Record what ``transformers`` computes when the whole model runs in 16 bits.

    python -m tools.goldens.precision

Reads the checkpoints under ``tests/data/tiny`` and writes
``tests/data/precision/<dtype>.npz``: for each case the logits of a prompt, run
with the "eager" attention in bfloat16 and in float16, and each operator of the
first layer, input and output. ``torch`` and ``transformers`` are needed; the
tests only read the files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
CASES = ("gqa-wide-bf16", "mha-linear-bf16", "mqa-llama3-bf16", "gqa-llama3-f32")
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
PROMPT_LENGTH = 12


def main() -> None:
    """Write both files, and the versions beside them."""
    torch.set_num_threads(1)  # one order of additions, whatever the machine
    transformers.logging.set_verbosity_error()
    folder = DATA / "precision"
    folder.mkdir(exist_ok=True)
    for name, dtype in DTYPES.items():
        arrays: dict[str, np.ndarray] = {}
        for case in CASES:
            arrays |= {f"{case}/{key}": a for key, a in record(DATA / "tiny" / case, dtype).items()}
        np.savez_compressed(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        print(f"{name}: {len(arrays)} arrays, {(folder / f'{name}.npz').stat().st_size // 1024} kB")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    (folder / "made_with.json").write_text(json.dumps(versions, indent=2) + "\n", "utf-8")


def record(directory: Path, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Logits of a prompt, and what went in and out of the first layer's modules."""
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager"
    ).eval()
    ids = np.random.default_rng(0).integers(3, model.config.vocab_size, PROMPT_LENGTH)
    seen: dict[str, torch.Tensor] = {}
    layer = model.model.layers[0]
    modules = {
        "rms_norm": layer.input_layernorm,
        "q_proj": layer.self_attn.q_proj,
        "o_proj": layer.self_attn.o_proj,
        "down_proj": layer.mlp.down_proj,
        "layer": layer,
    }
    for name, module in modules.items():
        module.register_forward_hook(_keep(seen, name))
    with torch.inference_mode():
        seen["logits"] = model(torch.tensor(ids[None])).logits
    arrays = {name: tensor[0].float().numpy() for name, tensor in seen.items()}
    return arrays | {"ids": ids}


def _keep(seen: dict[str, torch.Tensor], name: str) -> Any:
    def hook(module: Any, arguments: Any, output: Any) -> None:
        seen[f"{name}.out"] = output[0] if isinstance(output, tuple) else output
        if arguments:
            seen[f"{name}.in"] = arguments[0]

    return hook


if __name__ == "__main__":
    main()
