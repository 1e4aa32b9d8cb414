"""Small random checkpoints, made anew wherever they are needed: every shape a Llama may have.

Each is a model directory as Hugging Face lays it out, tokenizer included, of a few hundred
kilobytes. Together they meet: as many key/value heads as query heads, fewer, and one; heads wider
and narrower than hidden_size / heads; tied and untied ends; float32, float16 and bfloat16; RoPE
plain, "linear" and "llama3", in both spellings; biases; fields left at their defaults; more than
ten layers; square matrices, where a turned one fits. Nobody has seen them, so nobody can have
learnt their answers; and their numbers are large enough that a mistake shows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.safetensors import save_file
from llama_edu.formats.tensor_shapes import expected_shapes
from llama_edu.text.tokenizer import byte_letters

__all__ = ["TINY", "Tiny", "write_tiny"]

NUMPY_DTYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
VOCAB_SIZE = 288  # 256 bytes, 31 merges and one special token


@dataclass(frozen=True)
class Tiny:
    """One checkpoint: the fields of its config, and what an engine may decline to read.

    `embedding` is the size of its embeddings. `declines` names features that an engine need not
    have; to refuse them is no mistake, to compute wrong numbers from them is one.
    `absent` lists fields its file leaves out.
    """

    name: str
    seed: int
    config: Mapping[str, Any]
    declines: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    long: bool = False
    embedding: float = 0.5


def _config(
    heads: tuple[int, int, int], hidden: int, inter: int, layers: int, **others: Any
) -> dict[str, Any]:
    n_heads, n_kv_heads, head_dim = heads
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": hidden,
        "intermediate_size": inter,
        "num_hidden_layers": layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": 384,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "bos_token_id": None,
        "eos_token_id": 0,
        "torch_dtype": "float32",
    } | others


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

OTHER_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 6.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 5.0,
    "original_max_position_embeddings": 48,
}

TINY: tuple[Tiny, ...] = (
    Tiny(
        "mha-tied-f32",
        1,
        _config((4, 4, 8), 32, 52, 2, tie_word_embeddings=True, rms_norm_eps=0.02),
        embedding=0.1,  # smaller than the root of its eps
        long=True,
    ),
    Tiny(
        "gqa-untied-bf16",
        2,
        _config(
            (6, 2, 10), 44, 56, 3, torch_dtype="bfloat16", rms_norm_eps=0.004, rope_theta=500.0
        ),
        long=True,
    ),
    Tiny(
        "mqa-untied-f32",
        3,
        _config((4, 1, 16), 40, 64, 2, rms_norm_eps=0.01, rope_theta=500000.0),
    ),
    Tiny("square-untied-f32", 4, _config((4, 2, 12), 48, 48, 2, rms_norm_eps=0.001)),
    Tiny("layers-12", 5, _config((4, 2, 6), 28, 36, 12, rope_theta=2000.0, rms_norm_eps=0.003)),
    Tiny(
        "defaults",
        6,
        _config((4, 4, 10), 40, 44, 2),
        declines=("fields left out of the config",),
        absent=(
            "num_key_value_heads",
            "head_dim",
            "rope_theta",
            "rope_scaling",
            "tie_word_embeddings",
            "attention_bias",
            "mlp_bias",
            "torch_dtype",
            "bos_token_id",
        ),
    ),
    Tiny(
        "mqa-tied-f16",
        7,
        _config(
            (6, 1, 8), 36, 40, 2, torch_dtype="float16", tie_word_embeddings=True, rms_norm_eps=0.05
        ),
        declines=("float16",),
    ),
    Tiny(
        "mha-untied-f16",
        8,
        _config((3, 3, 8), 20, 44, 2, torch_dtype="float16", rope_theta=100.0, rms_norm_eps=1e-9),
        declines=("float16",),
        embedding=3e-5,  # float16 holds these as subnormal numbers, and the first norm needs them
    ),
    Tiny(
        "gqa-tied-bf16-linear",
        9,
        _config(
            (4, 2, 16),
            48,
            52,
            2,
            torch_dtype="bfloat16",
            tie_word_embeddings=True,
            rope_scaling={"type": "linear", "factor": 4.0},
            rope_theta=300.0,
        ),
        declines=("rope_scaling linear",),
    ),
    Tiny(
        "gqa-untied-f32-llama3",
        10,
        _config((4, 2, 16), 52, 44, 2, rope_scaling=LLAMA3, rope_theta=500.0),
        declines=("rope_scaling llama3",),
        long=True,
    ),
    Tiny(
        "mha-tied-bf16-llama3-new-spelling",
        11,
        _config(
            (3, 3, 12),
            40,
            36,
            2,
            tie_word_embeddings=True,
            torch_dtype="bfloat16",
            rope_parameters=OTHER_LLAMA3 | {"rope_theta": 1000.0},
        ),
        declines=("rope_parameters", "rope_scaling llama3"),
        absent=("rope_theta", "rope_scaling"),
    ),
    Tiny(
        "theta-in-rope-parameters",
        12,
        _config(
            (6, 3, 8),
            44,
            40,
            2,
            rope_parameters={"rope_type": "default", "rope_theta": 150.0},
        ),
        declines=("rope_parameters",),
        absent=("rope_theta", "rope_scaling"),
    ),
    Tiny(
        "attention-bias-f32",
        13,
        _config((6, 3, 8), 40, 44, 2, attention_bias=True, tie_word_embeddings=True),
        declines=("attention_bias",),
    ),
    Tiny(
        "both-biases-bf16",
        14,
        _config((4, 2, 8), 36, 44, 2, attention_bias=True, mlp_bias=True, torch_dtype="bfloat16"),
        declines=("attention_bias", "mlp_bias"),
    ),
)
"""Every checkpoint, the ones that any engine must read first."""


def write_tiny(tiny: Tiny, directory: Path) -> None:
    """Write a checkpoint into an existing, empty directory."""
    written = {k: v for k, v in tiny.config.items() if k not in tiny.absent}
    (directory / "config.json").write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    config = LlamaConfig.from_dict(written)
    save_file(
        tiny_tensors(config, tiny, str(tiny.config["torch_dtype"])),
        directory / "model.safetensors",
        {"format": "pt"},
    )
    tokenizer = json.dumps(_tokenizer(), ensure_ascii=False)
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def tiny_tensors(config: LlamaConfig, tiny: Tiny, dtype: str) -> dict[str, np.ndarray]:
    """Random tensors for a config: as large as trained ones, so that every part matters."""
    rng = np.random.default_rng(tiny.seed)
    # Many layers of full strength would turn rounding into noise.
    strength = 1.3 * min(1.0, (4 / config.num_hidden_layers) ** 0.5)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        noise = rng.standard_normal(shape, dtype=np.float32)
        if "norm" in name:
            array = 1 + 0.4 * noise
        elif name.endswith(".bias"):
            array = 0.5 * noise
        elif "embed_tokens" in name:
            array = tiny.embedding * noise
        elif name.startswith("lm_head"):
            array = 2.0 * shape[-1] ** -0.5 * noise
        else:
            # q and k a little stronger: attention should choose, not average.
            more = 1.5 if ".q_proj" in name or ".k_proj" in name else 1.0
            array = more * strength * shape[-1] ** -0.5 * noise
        tensors[name] = array.astype(NUMPY_DTYPES[dtype])
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


MERGES = (
    *("Ġ t", "h e", "i n", "e r", "Ġ a", "o n", "Ġt he", "Ġ s", "a n", "r e", "Ġ w", "in g"),
    *("Ġ o", "e d", "o u", "l l", "a t", "Ġ c", "Ġo f", "an d", "o r", "' S", "Ċ a"),
    # Pairs that tell cuts and orders apart: see `llama_edu.verify.tokens`.
    *("b c", "a b", "ab c", "a a", "Ġ Ġ", "c 1", "f Ã", "n '"),
)


def _tokenizer() -> dict[str, Any]:
    """A byte-level tokenizer of 256 bytes, 31 merges and one special token."""
    merges = [merge.split(" ") for merge in MERGES]
    tokens = ["<|endoftext|>", *byte_letters(), *("".join(pair) for pair in merges)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    special = {
        "id": 0,
        "content": "<|endoftext|>",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"use_regex": True},
        "post_processor": None,
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }
