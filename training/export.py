"""Write a trained model in the Hugging Face layout, for `llama_edu` and `transformers` alike.

As a command it exports the last checkpoint of a run, finished or not:

    python -m training.export training/story.toml
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tokenizers import Tokenizer

from training import bpe
from training.model import Llama, Shape
from training.recipe import Recipe, load


def model_config(recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
    """`config.json`, with the older and plainer spellings, which every reader knows."""
    bos = recipe.tokenizer.bos
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": recipe.tokenizer.vocab_size,
        **recipe.model,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_scaling": None,
        "bos_token_id": None if bos is None else tokenizer.token_to_id(bos),
        "eos_token_id": tokenizer.token_to_id(recipe.tokenizer.eos[0]),
        "torch_dtype": recipe.dtype,
    }


def generation_config(recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
    """`generation_config.json`: where to begin and where to stop."""
    bos = recipe.tokenizer.bos
    ends = [tokenizer.token_to_id(token) for token in recipe.tokenizer.eos]
    config: dict[str, Any] = {"eos_token_id": ends if len(ends) > 1 else ends[0]}
    return config if bos is None else {"bos_token_id": tokenizer.token_to_id(bos), **config}


def tensors(model: Llama, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights under their Hugging Face names; a tied output matrix is stored once."""
    state = {n: t.detach().cpu().to(dtype).contiguous() for n, t in model.state_dict().items()}
    if model.shape.tie_word_embeddings:
        del state["lm_head.weight"]
    return state


def write(model: Llama, tokenizer: Tokenizer, recipe: Recipe, directory: Path) -> None:
    """Write weights, configs and tokenizer into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    weights = save(tensors(model, dtype), metadata={"format": "pt"})
    (directory / "model.safetensors").write_bytes(weights)
    for name, config in (
        ("config.json", model_config(recipe, tokenizer)),
        ("generation_config.json", generation_config(recipe, tokenizer)),
    ):
        (directory / name).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    bpe.save(tokenizer, recipe.tokenizer, model.shape.max_position_embeddings, directory)
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"wrote {directory} ({size / 1e6:.2f} MB)")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Export the last checkpoint of a run.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--to", type=Path, help="directory (default: the package)")
    arguments = parser.parse_args()
    recipe = load(arguments.recipe)
    shape = Shape(vocab_size=recipe.tokenizer.vocab_size, **recipe.model)
    model = Llama(shape, seed=0)
    state = torch.load(recipe.run_directory / "checkpoint.pt", weights_only=True)
    model.load_state_dict(state["model"])
    tokenizer = Tokenizer.from_file(str(recipe.run_directory / "tokenizer.json"))
    write(model, tokenizer, recipe, arguments.to or recipe.export_directory)


if __name__ == "__main__":
    main()
