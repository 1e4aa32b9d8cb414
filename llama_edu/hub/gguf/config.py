"""GGUF metadata → `config.json` and `generation_config.json`, for files of architecture "llama".

GGUF keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#llm. A key under `llama.` that
is not known here is refused by name unless it says zero or false: it might change the arithmetic.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32

from llama_edu.errors import ConfigError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import dtype_name
from llama_edu.hub.gguf.reader import GgufFile, Metadata
from llama_edu.ops.rope import inverse_frequencies

__all__ = ["hf_config", "hf_generation_config"]

ARCHITECTURE = "llama"
TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
ROPE_FACTORS = "rope_freqs.weight"

READ_KEYS = {  # used below, or without meaning for the numbers
    "vocab_size",
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
}
HARMLESS = {"attention.causal": True, "rope.scaling.attn_factor": 1.0}


def _check_architecture(metadata: Metadata, source: str) -> None:
    architecture = metadata.text("general.architecture")
    if architecture != ARCHITECTURE:
        raise ConfigError(
            f"{source}: expected architecture {ARCHITECTURE!r}, got {architecture!r}: not supported"
        )


def hf_config(file: GgufFile, tensor_names: set[str], dtype: np.dtype) -> dict[str, Any]:
    """`config.json` for a GGUF file; `tensor_names` are Hugging Face's, `dtype` as stored.

    Raises `ConfigError` for another architecture or for metadata without a counterpart.
    """
    metadata = file.metadata
    _check_architecture(metadata, file.source)
    _refuse_unknown(metadata, file.source)
    heads = metadata.integer("llama.attention.head_count")
    hidden = metadata.integer("llama.embedding_length")
    if heads < 1 or hidden < 1:
        raise ConfigError(f"{file.source}: expected heads and width, got {heads} and {hidden}")
    head_dim = metadata.integer("llama.attention.key_length", hidden // heads)
    _check_head(metadata, head_dim, file.source)
    context = metadata.integer("llama.context_length")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": file.shape("token_embd.weight")[0]
        if "token_embd.weight" in file.tensors
        else metadata.integer("llama.vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": metadata.integer("llama.feed_forward_length"),
        "num_hidden_layers": metadata.integer("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.integer("llama.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": metadata.number("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.number("llama.rope.freq_base", 10000.0),
        "rope_scaling": None,
        "tie_word_embeddings": "lm_head.weight" not in tensor_names,
        "attention_bias": any(
            name.endswith("proj.bias") and ".self_attn." in name for name in tensor_names
        ),
        "mlp_bias": any(name.endswith("proj.bias") and ".mlp." in name for name in tensor_names),
        "torch_dtype": TORCH_NAMES[dtype_name(dtype)],
        **_special_ids(metadata),
    }
    config["rope_scaling"] = _rope_scaling(file, config)
    return config


def hf_generation_config(file: GgufFile) -> dict[str, Any]:
    """`generation_config.json`: the ids a text begins and ends with."""
    return _special_ids(file.metadata)


def _special_ids(metadata: Metadata) -> dict[str, Any]:
    """bos, eos and pad ids. A chat model may end a turn with eot or eom instead of eos."""
    ids: dict[str, Any] = {}
    for name, key in (("bos", "bos"), ("pad", "padding")):
        value = metadata.optional(f"tokenizer.ggml.{key}_token_id", metadata.integer)
        if value is not None:
            ids[f"{name}_token_id"] = value
    ends = [
        metadata.integer(key)
        for key in (f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
        if key in metadata
    ]
    unique = list(dict.fromkeys(ends))
    if unique:
        ids["eos_token_id"] = unique[0] if len(unique) == 1 else unique
    return ids


def _refuse_unknown(metadata: Metadata, source: str) -> None:
    for key, value in metadata.items():
        stem = key.removeprefix(f"{ARCHITECTURE}.")
        if stem == key or stem in READ_KEYS or not value or HARMLESS.get(stem) == value:
            continue
        raise ConfigError(
            f"{source}: expected no metadata {key!r:.100}, got {value!r:.60}: not supported"
        )


def _check_head(metadata: Metadata, head_dim: int, source: str) -> None:
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        if (size := metadata.integer(key, head_dim)) != head_dim:
            raise ConfigError(
                f"{source}: expected {key} to be the head's {head_dim} dimensions, got {size}: "
                "not supported"
            )
    window = metadata.integer("llama.attention.sliding_window", 0)
    if 0 < window < metadata.integer("llama.context_length"):
        raise ConfigError(
            f"{source}: expected attention over the whole context, got a sliding window of "
            f"{window}: not supported"
        )


def _rope_scaling(file: GgufFile, config: dict[str, Any]) -> dict[str, Any] | None:
    metadata = file.metadata
    factor = metadata.number(
        "llama.rope.scaling.factor", metadata.number("llama.rope.scale_linear", 1.0)
    )
    kind = metadata.text("llama.rope.scaling.type", "none" if factor == 1.0 else "linear")
    if kind not in ("none", "linear"):
        raise ConfigError(
            f"{file.source}: expected RoPE scaling none or linear, or {ROPE_FACTORS!r}, "
            f"got {kind!r}: not supported"
        )
    linear = {"rope_type": "linear", "factor": factor} if kind == "linear" else None
    if ROPE_FACTORS not in file.tensors:
        return linear
    if linear is not None:
        raise ConfigError(f"{file.source}: expected one kind of RoPE scaling, got two")
    return _llama3_scaling(file, config)


def _llama3_scaling(file: GgufFile, config: dict[str, Any]) -> dict[str, Any] | None:
    """The `rope_scaling` that gives exactly the divisors in the file.

    GGUF keeps Llama 3.1's scaling as one divisor per pair of dimensions. The slowest pairs are
    divided by the whole factor; the other three numbers are the same in every Llama released, and
    if they do not explain the divisors, nothing is guessed.
    """
    divisors: Float32[np.ndarray, " half_dim"] = file.float32(ROPE_FACTORS).reshape(-1)
    factor = float(divisors.max(initial=0.0))
    if divisors.size and (divisors == 1.0).all():
        return None
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    if np.isfinite(factor) and factor >= 1.0 and divisors.size == config["head_dim"] // 2:
        plain = inverse_frequencies(LlamaConfig.from_dict({**config, "rope_scaling": None}))
        scaled = inverse_frequencies(LlamaConfig.from_dict({**config, "rope_scaling": scaling}))
        if np.allclose(plain / scaled, divisors, rtol=1e-5, atol=0.0):
            return scaling
    raise ConfigError(
        f"{file.source}: {ROPE_FACTORS!r}: expected the divisors of Llama 3.1's RoPE scaling, "
        f"got {divisors[:4].tolist()} …: not supported"
    )
