"""A GGUF file of a Llama becomes a model directory in the Hugging Face layout.

Weights are dequantised, the rows of q and k go back from GGUF's interleaved order to half-split,
names and config take Hugging Face's spelling, the tokenizer is written as `tokenizer.json`. What
would change the arithmetic and has no place in that layout is refused by name. Other architectures
are refused; nothing is quantised here. `open_in_place` makes no directory: it hands the file's own
blocks to the engine.
"""

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.four_bits import BLOCK_NBYTES, FourBits
from llama_edu.formats.precision import DTYPES
from llama_edu.formats.quantize import Quantized
from llama_edu.formats.safetensors import save_file
from llama_edu.formats.tensor_shapes import LM_HEAD, expected_shapes
from llama_edu.hub.gguf.config import hf_config, hf_generation_config
from llama_edu.hub.gguf.reader import GgufFile, open_gguf
from llama_edu.hub.gguf.tokenizer import hf_tokenizer, hf_tokenizer_config
from llama_edu.ops.rope import interleaved_to_half_split

__all__ = ["OUTPUT_DTYPES", "convert_gguf", "open_in_place"]

OUTPUT_DTYPES = ("BF16", "F16", "F32")
SHARD_NBYTES = 2**30  # what is held in memory at once; a larger model is written as several files

MODEL_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TENSOR_NAME = re.compile(
    r"(?:blk\.(?P<layer>0|[1-9]\d{0,5})\.)?(?P<stem>\w+)\.(?P<kind>weight|bias)"
)
ROPE_FACTORS = "rope_freqs.weight"  # says how frequencies are scaled; becomes config, not weights


Report = Callable[[str, float], None]


def _silent(stage: str, done: float) -> None:
    """The default report: nobody is told."""


def convert_gguf(
    source: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    dtype: str = "BF16",
    report: Report = _silent,
) -> Path:
    """Convert a GGUF file into the new directory `directory`, and return it.

    `dtype` is how the weights are stored: "BF16", "F16" or "F32". The directory appears when it is
    complete, not before. At most about 1 GiB of weights is in memory at once.

    Raises `InputError` if the directory exists and is not empty, or for another dtype;
    `CheckpointError` for a damaged file or missing tensors; `ConfigError` and `TokenizerError` for
    an architecture, a scaling or a tokenizer that is not supported.
    """
    target = Path(directory)
    if dtype not in OUTPUT_DTYPES:
        raise InputError(f"expected a dtype of {', '.join(OUTPUT_DTYPES)}, got {dtype!r}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"expected a new or empty directory, got {target}, which has content")
    file = open_gguf(source)
    names = _hf_names(file)
    settings = hf_config(file, set(names), DTYPES[dtype])
    config = LlamaConfig.from_dict(settings)
    _check_shapes(file, names, config)
    documents = {
        "config.json": settings,
        "generation_config.json": hf_generation_config(file),
        "tokenizer.json": hf_tokenizer(file),
        "tokenizer_config.json": hf_tokenizer_config(file, config.max_position_embeddings),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=f".{target.name}.partial-"
    ) as partial:
        built = Path(partial) / "model"
        built.mkdir()
        for name, content in documents.items():
            text = json.dumps(content, ensure_ascii=False, indent=2)
            (built / name).write_text(text + "\n", encoding="utf-8")
        _write_weights(file, names, config, DTYPES[dtype], built, report)
        if target.exists():
            target.rmdir()  # empty, as checked; rename onto it works on POSIX only
        built.rename(target)
    return target


def open_in_place(
    source: str | os.PathLike[str],
) -> tuple[LlamaConfig, dict[str, np.ndarray | FourBits | Quantized]]:
    """A GGUF file's config, and its tensors for `Llama`, by Hugging Face's names.

    Four-bit blocks are used where they lie in the file, memory-mapped: nothing is rounded again.
    Only the rows of q and k are copied, since they go back to half-split order, and 8-bit blocks,
    whose codes and scales are taken apart. Any other type is dequantised to float32.

    `precision="q4"` reads what was stored as Q4_1 and Q8_0, "q4_0" what was stored as Q4_0. Raises
    as `convert_gguf` does for a file that is damaged or not supported.
    """
    file = open_gguf(source)
    names = _hf_names(file)
    config = LlamaConfig.from_dict(hf_config(file, set(names), DTYPES["F32"]))
    _check_shapes(file, names, config)
    tensors: dict[str, np.ndarray | FourBits | Quantized] = {}
    for name in _stored_shapes(config):
        kind = file.tensors[names[name]].kind.name if name in names else "F32"
        if kind in BLOCK_NBYTES:
            blocks = file.blocks(names[name], BLOCK_NBYTES[kind])
            tensors[name] = FourBits(_half_split(blocks, name, config))
        elif kind == "Q8_0":
            blocks = _half_split(file.blocks(names[name], 34), name, config)
            scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0]
            codes = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
            tensors[name] = Quantized(codes.reshape(file.shape(names[name])), scales, 32)
        else:
            tensors[name] = _tensor(file, names, name, config, DTYPES["F32"])
    return config, tensors


def _half_split(values: np.ndarray, name: str, config: LlamaConfig) -> np.ndarray:
    """Rows of q and k in half-split order; of anything else the array itself."""
    if ".q_proj." in name:
        return interleaved_to_half_split(values, config.num_attention_heads)
    if ".k_proj." in name:
        return interleaved_to_half_split(values, config.num_key_value_heads)
    return values


def _hf_names(file: GgufFile) -> dict[str, str]:
    """Hugging Face name → GGUF name, of every tensor that is a weight."""
    names = {}
    for name in file.tensors:
        if name == ROPE_FACTORS:
            continue
        match = TENSOR_NAME.fullmatch(name)
        layer = match and match["layer"]
        stem = match and (LAYER_NAMES if layer else MODEL_NAMES).get(match["stem"])
        if not match or not stem:
            raise CheckpointError(
                f"{file.source}: expected the tensors of a Llama, got {name!r:.100}: not supported"
            )
        names[f"model.layers.{layer}.{stem}.{match['kind']}" if layer else f"{stem}.weight"] = name
    return names


def _stored_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """What the directory will hold: everything the config calls for, a tied table once."""
    shapes = expected_shapes(config)
    if config.tie_word_embeddings:
        del shapes[LM_HEAD]
    return shapes


def _check_shapes(file: GgufFile, names: Mapping[str, str], config: LlamaConfig) -> None:
    layers = {name.split(".")[2] for name in names if name.startswith("model.layers.")}
    if len(layers) != config.num_hidden_layers:  # before any list is made that long
        raise CheckpointError(
            f"{file.source}: expected {config.num_hidden_layers} layers, got {len(layers)}"
        )
    shapes = _stored_shapes(config)
    for name, gguf_name in names.items():
        if name not in shapes:
            raise CheckpointError(f"{file.source}: expected no tensor {gguf_name!r}, got one")
        if file.shape(gguf_name) != shapes[name]:
            raise CheckpointError(
                f"{file.source}: {gguf_name!r}: expected shape {shapes[name]} from the metadata, "
                f"got {file.shape(gguf_name)}"
            )
    missing = [name for name in shapes if name not in names and not name.endswith(".bias")]
    if missing:
        raise CheckpointError(
            f"{file.source}: expected {len(shapes)} tensors, got none for {missing[0]!r}"
            + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
        )


def _tensor(
    file: GgufFile, names: Mapping[str, str], name: str, config: LlamaConfig, dtype: np.dtype
) -> np.ndarray:
    """One weight as it will be stored. Its shape was checked before."""
    if name not in names:
        # Some files have biases for q, k and v but none for o. Adding zeros changes nothing.
        return np.zeros(_stored_shapes(config)[name], dtype=dtype)
    values = _half_split(file.float32(names[name]), name, config)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(dtype)
    if not np.isfinite(stored).all():
        raise CheckpointError(
            f"{file.source}: {names[name]!r}: expected finite values within the range of {dtype}, "
            f"got {values.min():.5g} to {values.max():.5g}"
        )
    return stored


def _shards(shapes: Mapping[str, tuple[int, ...]], itemsize: int) -> list[list[str]]:
    """Names in order, cut into groups of at most `SHARD_NBYTES` where one tensor allows it."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, shape in shapes.items():
        nbytes = math.prod(shape) * itemsize
        if groups[-1] and size + nbytes > SHARD_NBYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += nbytes
    return groups


def _write_weights(
    file: GgufFile,
    names: Mapping[str, str],
    config: LlamaConfig,
    dtype: np.dtype,
    directory: Path,
    report: Report,
) -> None:
    shapes = _stored_shapes(config)
    groups = _shards(shapes, dtype.itemsize)
    total = sum(math.prod(shape) for shape in shapes.values())
    done = 0
    weight_map = {}
    for i, group in enumerate(groups, start=1):
        tensors = {}
        for name in group:
            report("converting", done / total)
            tensors[name] = _tensor(file, names, name, config, dtype)
            done += tensors[name].size
        shard = f"model-{i:05d}-of-{len(groups):05d}.safetensors"
        path = directory / ("model.safetensors" if len(groups) == 1 else shard)
        save_file(tensors, path, metadata={"format": "pt"})  # transformers insists on "pt"
        weight_map.update(dict.fromkeys(group, path.name))
    if len(groups) > 1:
        index = {"metadata": {"total_size": total * dtype.itemsize}, "weight_map": weight_map}
        (directory / "model.safetensors.index.json").write_text(
            json.dumps(index, indent=2) + "\n", "utf-8"
        )
    report("converting", 1.0)
