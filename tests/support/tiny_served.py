"""A tiny random model with a tokenizer and a chat template, in memory and as a directory."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from helpers import TINY, tiny_config, tiny_tensors
from safetensors.numpy import save_file
from tiny_files import byte_level, write_tokenizer

from llama_edu import Llama, Tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT = 256
SIZES: dict[str, Any] = TINY | {"vocab_size": 400, "max_position_embeddings": CONTEXT}


def write_tiny(
    directory: Path, *, chat_template: str | None = CHATML, context: int = CONTEXT
) -> Path:
    """A model directory. Its weights are random, and its eos is <|im_end|>."""
    settings: dict[str, Any] = {"eos_token": "<|im_end|>"}
    if chat_template is not None:
        settings["chat_template"] = chat_template
    write_tokenizer(directory, byte_level(), **settings)
    save_file(tiny_tensors(tiny_config(**SIZES)), directory / "model.safetensors")
    config = SIZES | {"model_type": "llama", "eos_token_id": 2, "hidden_act": "silu"}
    config["max_position_embeddings"] = context
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    return directory


@cache
def tiny() -> tuple[Llama, Tokenizer]:
    """The model and its tokenizer, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        directory = write_tiny(Path(folder) / "tiny")
        return Llama.from_pretrained(directory), Tokenizer.from_pretrained(directory)
