"""Which tensors a config calls for, and in which shapes."""

from helpers import tiny_config

from llama_edu.formats.tensor_shapes import expected_shapes


def test_the_shapes_a_config_calls_for():
    """Six query heads of 8 on a hidden size of 20: nothing here is square."""
    shapes = expected_shapes(tiny_config(num_hidden_layers=1, attention_bias=True, mlp_bias=True))
    assert shapes == {
        "model.embed_tokens.weight": (31, 20),
        "model.layers.0.input_layernorm.weight": (20,),
        "model.layers.0.post_attention_layernorm.weight": (20,),
        "model.layers.0.self_attn.q_proj.weight": (48, 20),
        "model.layers.0.self_attn.q_proj.bias": (48,),
        "model.layers.0.self_attn.k_proj.weight": (16, 20),
        "model.layers.0.self_attn.k_proj.bias": (16,),
        "model.layers.0.self_attn.v_proj.weight": (16, 20),
        "model.layers.0.self_attn.v_proj.bias": (16,),
        "model.layers.0.self_attn.o_proj.weight": (20, 48),
        "model.layers.0.self_attn.o_proj.bias": (20,),
        "model.layers.0.mlp.gate_proj.weight": (27, 20),
        "model.layers.0.mlp.gate_proj.bias": (27,),
        "model.layers.0.mlp.up_proj.weight": (27, 20),
        "model.layers.0.mlp.up_proj.bias": (27,),
        "model.layers.0.mlp.down_proj.weight": (20, 27),
        "model.layers.0.mlp.down_proj.bias": (20,),
        "model.norm.weight": (20,),
        "lm_head.weight": (31, 20),
    }


def test_qwen2_has_biases_on_q_k_and_v_alone():
    names = [n for n in expected_shapes(tiny_config(qkv_bias=True)) if n.endswith("bias")]
    assert [name.split(".")[-2] for name in names] == ["q_proj", "k_proj", "v_proj"] * 2
