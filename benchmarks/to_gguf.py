"""Write a model as the GGUF files that llama.cpp is measured with: f32, bf16 and q8_0.

    python benchmarks/to_gguf.py smollm2-135m-instruct SOURCE.gguf FOLDER

SOURCE is any GGUF of the same model; its tokenizer and settings are copied, its weights replaced by
those of the checkpoint, so that both engines compute with the same numbers. Norms stay float32, as
llama.cpp keeps them; q and k rows go back to the interleaved RoPE order that GGUF stores.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np

from llama_edu import LlamaConfig
from llama_edu.formats.precision import to_float32
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub import locate
from llama_edu.ops.rope import half_split_to_interleaved

FILE_TYPES = {"f32": 0, "bf16": 32, "q8_0": 7, "q4_1": 3}
NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def checkpoint_name(name: str) -> str:
    """The name a GGUF tensor has in a checkpoint."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return f"{ENDS[parts[0]]}.weight"


def write(kind: str, source: gguf.GGUFReader, directory: Path, path: Path) -> None:
    """One file of one type."""
    tensors, config = open_checkpoint(directory), LlamaConfig.from_directory(directory)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in source.fields.items():
        if key == "general.file_type":
            writer.add_file_type(FILE_TYPES[kind])
        elif not key.startswith("GGUF.") and key != "general.architecture":
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    for tensor in source.tensors:
        weight = np.array(to_float32(tensors[checkpoint_name(tensor.name)]))
        for part, count in heads.items():
            if part in tensor.name:
                weight = half_split_to_interleaved(weight, count)
        # In four bits the head stays in eight, as in the engine's `q4`.
        at_an_end = tensor.name.split(".")[0] in ENDS
        name = "q8_0" if kind == "q4_1" and at_an_end else kind
        stored = gguf.GGMLQuantizationType[name.upper() if weight.ndim == 2 else "F32"]
        data = gguf.quants.quantize(weight, stored)
        writer.add_tensor(tensor.name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source = gguf.GGUFReader(args.source)
    for kind in FILE_TYPES:
        write(kind, source, locate(args.model), args.folder / f"{kind}.gguf")
        print(args.folder / f"{kind}.gguf")


if __name__ == "__main__":
    main()
