"""Which tensors a config calls for: their names in a checkpoint, and their shapes.

Whether they are there, and what becomes of them, is for others to say.
"""

from llama_edu.formats.config import LlamaConfig

__all__ = ["EMBED_TOKENS", "LM_HEAD", "expected_shapes"]

EMBED_TOKENS = "model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"


def expected_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor a model of this config is made of, by its checkpoint name, with its shape.

    Linear weights are (out_features, in_features). Both ends of the model are listed, the
    embedding table and the output head, even when they are tied.
    """
    hidden, inter = config.hidden_size, config.intermediate_size
    q_width = config.num_attention_heads * config.head_dim
    kv_width = config.num_key_value_heads * config.head_dim
    projections = {
        "self_attn.q_proj": (q_width, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, q_width),
        "mlp.gate_proj": (inter, hidden),
        "mlp.up_proj": (inter, hidden),
        "mlp.down_proj": (hidden, inter),
    }
    qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    has_bias = {
        name: (config.attention_bias if name.startswith("self_attn") else config.mlp_bias)
        or (config.qkv_bias and name in qkv)
        for name in projections
    }
    shapes: dict[str, tuple[int, ...]] = {EMBED_TOKENS: (config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        prefix = f"model.layers.{i}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        for name, shape in projections.items():
            shapes[f"{prefix}{name}.weight"] = shape
            if has_bias[name]:
                shapes[f"{prefix}{name}.bias"] = shape[:1]
        if config.qk_norm:
            shapes[prefix + "self_attn.q_norm.weight"] = (config.head_dim,)
            shapes[prefix + "self_attn.k_norm.weight"] = (config.head_dim,)
    shapes["model.norm.weight"] = (hidden,)
    shapes[LM_HEAD] = (config.vocab_size, hidden)
    return shapes
