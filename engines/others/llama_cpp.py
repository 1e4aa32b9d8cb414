"""llama.cpp's own server on a checkpoint of the book, to be examined over HTTP.

    pip install xllamacpp gguf
    python engines/others/llama_cpp.py story --port 8091
    llama-edu verify --url http://127.0.0.1:8091/v1 --model story --cache-dtype f16

The checkpoint is written as a GGUF file first: float32 stays float32, rows of q and k go back to
the interleaved order of RoPE that GGUF stores. llama.cpp keeps its cache in float16, unless
`--cache f32` is given. The server is the one of the `xllamacpp` wheel;
any other llama.cpp can be given the file that `--only-write FILE` makes.
"""

import argparse
import json
import tempfile
import threading
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from llama_edu import LlamaConfig
from llama_edu.formats.precision import to_float32
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub import locate
from llama_edu.ops.rope import half_split_to_interleaved

# A checkpoint's name for each tensor of a layer, by GGUF's.
LAYER = {
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


def write_gguf(directory: Path, path: Path) -> None:
    """A model of GPT-2's kind of tokenizer as one GGUF file, every weight in float32."""
    config, tensors = LlamaConfig.from_directory(directory), open_checkpoint(directory)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(directory.name)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_tokenizer(writer, json.loads((directory / "tokenizer.json").read_text("utf-8")))

    def add(name: str, source: str, heads: int = 0) -> None:
        weight = np.array(to_float32(tensors[f"{source}.weight"]))
        if heads:
            weight = half_split_to_interleaved(weight, heads)
        writer.add_tensor(f"{name}.weight", np.ascontiguousarray(weight))

    add("token_embd", "model.embed_tokens")
    add("output_norm", "model.norm")
    if not config.tie_word_embeddings:
        add("output", "lm_head")
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for i in range(config.num_hidden_layers):
        for name, source in LAYER.items():
            add(f"blk.{i}.{name}", f"model.layers.{i}.{source}", heads.get(name, 0))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, document: dict[str, Any]) -> None:
    """Byte-level BPE, cut into words as GPT-2 does."""
    vocab = {**document["model"]["vocab"]}
    special = {token["content"]: token["id"] for token in document["added_tokens"]}
    by_id = {i: text for text, i in (vocab | special).items()}
    merges = document["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([by_id[i] for i in range(len(by_id))])
    kinds = gguf.TokenType
    known = set(special.values())
    writer.add_token_types(
        [kinds.CONTROL if i in known else kinds.NORMAL for i in range(len(by_id))]
    )
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    first = min(special.values())
    writer.add_bos_token_id(first)
    writer.add_eos_token_id(first)


def serve(path: Path, context: int, port: int, cache: str) -> None:
    """llama.cpp's server, until it is interrupted."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.port = context, 1, port
    if cache == "f32":
        kinds = xllamacpp.ggml_type, xllamacpp.llama_flash_attn_type
        parameters.cache_type_k = parameters.cache_type_v = kinds[0].GGML_TYPE_F32
        # Flash attention on a processor rounds keys and values to float16 whatever the cache is.
        parameters.flash_attn_type = kinds[1].LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    threading.Event().wait()


def main() -> None:
    """Write the file, then serve it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a known model or a directory")
    parser.add_argument("--port", type=int, default=8091)
    parser.add_argument("--cache", choices=("f32", "f16"), default="f16")
    parser.add_argument("--only-write", type=Path, metavar="FILE")
    args = parser.parse_args()
    directory = Path(locate(args.model))
    if args.only_write:
        write_gguf(directory, args.only_write)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{directory.name}.gguf"
        write_gguf(directory, path)
        context = LlamaConfig.from_directory(directory).max_position_embeddings
        serve(path, context, args.port, args.cache)


if __name__ == "__main__":
    main()
