"""`config.json` in both spellings; fields that are missing, contradictory or unsupported."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from llama_edu import LlamaConfig
from llama_edu.errors import ConfigError
from llama_edu.formats.config import RopeScaling

# As transformers writes it today; every size is different.
NEWER = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 777,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0},
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": True,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "dtype": "bfloat16",
    "use_cache": True,
    "transformers_version": "5.0.0",
}
# As files of 2023 and 2024 spell the same model.
OLDER = {
    **{k: v for k, v in NEWER.items() if k not in ("rope_parameters", "dtype")},
    "rope_theta": 50000.0,
    "rope_scaling": None,
    "torch_dtype": "bfloat16",
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
WANT = LlamaConfig(
    vocab_size=101,
    hidden_size=48,
    intermediate_size=92,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=10,
    max_position_embeddings=777,
    rms_norm_eps=1e-6,
    rope_theta=50000.0,
    rope_scaling=None,
    tie_word_embeddings=True,
    attention_bias=True,
    mlp_bias=False,
    bos_token_id=1,
    eos_token_ids=(2,),
    dtype="bfloat16",
)


def read(config=NEWER, generation=None, **changes):
    """Read a config with some fields changed; a change to `...` takes the field away."""
    changed = {k: v for k, v in (config | changes).items() if v is not ...}
    return LlamaConfig.from_dict(changed, generation)


@pytest.mark.parametrize("config", [NEWER, OLDER], ids=["newer", "older"])
def test_both_spellings_say_the_same(config):
    assert read(config) == WANT


def test_both_spellings_in_one_file_may_agree():
    text = '{"rope_type": "linear", "type": "linear", "factor": 2.0, "rope_theta": 1e4}'
    scaled = read(rope_parameters=json.loads(text))  # two strings, not one twice
    assert scaled.rope_scaling == RopeScaling("linear", 2.0)


def test_a_config_is_frozen_and_the_dict_is_not_written():
    before = json.dumps(NEWER)
    config = read()
    assert json.dumps(NEWER) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.vocab_size = 5


def test_what_a_short_file_leaves_out():
    optional = ("head_dim", "num_key_value_heads", "rope_parameters", "tie_word_embeddings")
    optional += ("attention_bias", "mlp_bias", "bos_token_id", "eos_token_id", "dtype")
    config = read(**dict.fromkeys(optional, ...), hidden_act=...)
    assert config.head_dim == 48 // 6
    assert config.num_key_value_heads == 6
    assert config.rope_theta == 10000.0
    assert config.rope_scaling is None
    switches = (config.tie_word_embeddings, config.attention_bias, config.mlp_bias)
    assert switches == (False, False, False)
    assert (config.bos_token_id, config.eos_token_ids) == (None, ())
    assert config.dtype == "float32"
    assert read(**dict.fromkeys(optional)) == config  # null means the same as nothing


def test_a_head_dim_that_is_given_need_not_divide_the_hidden_size():
    assert read(hidden_size=50).head_dim == 10
    assert read(hidden_size=50, head_dim=..., model_type="qwen3").head_dim == 128


def test_a_config_made_of_its_sizes_alone_is_a_plain_llama():
    plain = LlamaConfig(*(getattr(WANT, name) for name in (*SIZES_IN_ORDER, "rms_norm_eps")))
    assert plain == read(
        rope_parameters=..., tie_word_embeddings=..., attention_bias=..., dtype=...,
        bos_token_id=..., eos_token_id=...,
    )  # fmt: skip
    assert plain.is_plain_llama is True


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen3"},
        {"model_type": "mistral", "sliding_window": 9},
        {"model_type": "smollm3", "no_rope_layers": [1, 0, 1]},
    ],
)
def test_what_a_llama_does_not_do_is_not_plain(changes):
    assert read(**changes).is_plain_llama is False


@pytest.mark.parametrize(
    ("family", "heads"),
    [("llama", 32), ("mistral", 8), ("qwen2", 32), ("qwen3", 32), ("smollm3", 4)],
)
def test_where_a_config_is_silent_the_familys_defaults_hold(family, heads):
    """Those of transformers' `configuration_*.py`. Null is no silence: a head for each query."""
    silent = {"model_type": family, "num_attention_heads": 32, "hidden_size": 512}
    assert read(**silent, num_key_value_heads=...).num_key_value_heads == heads
    assert read(**silent, num_key_value_heads=None).num_key_value_heads == 32
    assert read(**silent, rms_norm_eps=...).rms_norm_eps == 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "swish"},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 50000.0}},
        {
            "rope_parameters": ...,
            "rope_theta": 5e4,
            "rope_scaling": {"type": "dynamic", "factor": 2},
        },
        {"rope_scaling": {}},
        {"bos_token_id": [1, -1], "eos_token_id": [-1, 2]},
        {"num_local_experts": None},
        {"bos_token_id": [1, 5]},  # the first of them opens a text
        {"max_window_layers": "all", "use_sliding_window": "no", "no_rope_layers": 7},  # of others
    ],
)
def test_what_changes_nothing_is_no_reason_to_refuse(changes):
    """Dynamic scaling begins beyond `max_position_embeddings`, where this engine ends."""
    assert read(**changes) == WANT


def test_minus_one_is_no_token():
    config = read(bos_token_id=-1, eos_token_id=-1)
    assert (config.bos_token_id, config.eos_token_ids) == (None, ())


@pytest.mark.parametrize("kind", ["llama3", "yarn"])
def test_the_context_before_scaling_may_stand_beside_the_rope_parameters(kind):
    """There it counts for more; where nobody says it, it is the whole context (transformers)."""
    inside = LLAMA3 | {"rope_type": kind, "rope_theta": 50000.0}
    found = [
        read(rope_parameters=one, **beside).rope_scaling.original_max_position_embeddings
        for one in (inside, {k: v for k, v in inside.items() if k[:3] != "ori"})
        for beside in ({}, {"original_max_position_embeddings": 128})
    ]
    assert found == [256, 128, 777, 128]


def test_derived_sizes():
    config = read()
    assert config.n_groups == 3
    assert config.axis_sizes == {
        "vocab_size": 101,
        "hidden_size": 48,
        "intermediate_size": 92,
        "n_heads": 6,
        "n_kv_heads": 2,
        "n_groups": 3,
        "head_dim": 10,
    }


@pytest.mark.parametrize("window", [None, 777, 4096])
def test_mistral_without_a_window_that_hides_something_is_a_llama(window):
    assert read(model_type="mistral", sliding_window=window) == WANT
    assert read(sliding_window=window) == WANT


def windows(**changes):
    config = read(**changes)
    return [config.window_of(layer) for layer in range(config.num_hidden_layers)]


UPPER = {"use_sliding_window": True, "sliding_window": 9}
SILENT = {"use_sliding_window": True, "max_window_layers": 0, "max_position_embeddings": 9999}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"model_type": "mistral", "sliding_window": 776}, [776] * 3),
        ({"model_type": "mistral", "max_position_embeddings": 9999}, [4096] * 3),  # the default
        ({"model_type": "mistral", "sliding_window": 5, "layer_types": KINDS}, [5] * 3),
        ({"model_type": "qwen2", "sliding_window": 9}, [None] * 3),
        ({"model_type": "qwen2", "max_window_layers": 2, **UPPER}, [None, None, 9]),
        ({"model_type": "qwen2", "max_window_layers": 0, **UPPER}, [9] * 3),
        ({"model_type": "qwen3", "num_hidden_layers": 30, **UPPER}, [None] * 28 + [9, 9]),
        ({"model_type": "qwen3", "layer_types": KINDS, **UPPER}, [9, None, 9]),
        ({"model_type": "qwen2", **SILENT}, [4096] * 3),
        ({"model_type": "qwen3", **SILENT}, [4096] * 3),
        ({"model_type": "qwen3", "layer_types": KINDS, "sliding_window": 9}, [None] * 3),
        ({"model_type": "smollm3", "no_rope_layers": [1, 0, 1], **UPPER}, [None, 9, None]),
        ({"model_type": "smollm3", "no_rope_layers": [1, 0, 1]}, [None] * 3),
        ({"layer_types": ["sliding_attention"] * 3}, [None] * 3),  # a Llama has no window
    ],
)
def test_which_layers_look_through_a_window(changes, want):
    assert windows(**changes) == want


def test_a_window_is_told_of_layers_that_there_are_and_not_at_all_without_one():
    listed = read(model_type="qwen3", layer_types=[*KINDS, "sliding_attention"], **UPPER)
    assert (listed.sliding_window, listed.sliding_layers) == (9, (0, 2))
    above = read(model_type="qwen3", **UPPER)  # the first layer with a window would be the 29th
    assert (above.sliding_window, above.sliding_layers) == (None, ())


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, []),
        ({"model_type": "smollm3"}, []),  # every fourth
        ({"model_type": "smollm3", "num_hidden_layers": 9}, [3, 7]),
        ({"model_type": "smollm3", "no_rope_layer_interval": 2}, [1]),
        ({"model_type": "smollm3", "no_rope_layers": [0, 1, 0]}, [0, 2]),
        ({"model_type": "smollm3", "no_rope_layers": [0, 1, 0, 0]}, [0, 2]),  # of three layers
        ({"no_rope_layers": [0, 1, 0]}, []),  # a Llama turns all
    ],
)
def test_which_layers_do_without_rope(changes, want):
    assert list(read(**changes).no_rope_layers) == want


def test_what_a_family_does_and_what_it_fills_in():
    silent = dict.fromkeys(
        ("head_dim", "rope_parameters", "tie_word_embeddings", "attention_bias"), ...
    )
    found = {
        name: (c.head_dim, c.rope_theta, c.tie_word_embeddings, c.qkv_bias, c.qk_norm)
        for name in ("llama", "mistral", "qwen2", "qwen3", "smollm3")
        for c in [read(model_type=name, **silent)]
    }
    assert found == {
        "llama": (8, 1e4, False, False, False),
        "mistral": (8, 1e4, False, False, False),
        "qwen2": (8, 1e4, False, True, False),
        "qwen3": (128, 1e4, False, False, True),
        "smollm3": (8, 2e6, True, False, False),
    }
    assert read(model_type="qwen2", attention_bias=True).attention_bias is False
    assert read(model_type="qwen3").attention_bias is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"no_rope_layers": [1, 0]}, r"a 1 or a 0 for each of 3 layers, got \[1, 0\]"),
        ({"no_rope_layers": [1, 0, 2]}, "a 1 or a 0 for each of 3 layers"),
        ({"no_rope_layers": 3}, "a 1 or a 0 for each of 3 layers, got 3"),
        ({"no_rope_layer_interval": 0}, "no_rope_layer_interval to be a whole number"),
        ({"use_sliding_window": 3}, "use_sliding_window to be true or false, got 3"),
        ({"use_sliding_window": True, "sliding_window": 0}, "sliding_window to be a whole number"),
        ({"model_type": "qwen2", "max_window_layers": -1}, "max_window_layers of at least 0"),
    ],
)
def test_switches_of_families_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        read(**{"model_type": "smollm3"} | changes)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, {"attention_factor": 1.1386294361119891}),  # 0.1 ln 4 + 1
        ({"attention_factor": 0.5}, {"attention_factor": 0.5}),
        ({"mscale": 2.0, "mscale_all_dim": 1.0}, {"attention_factor": 1.1217517}),
        ({"mscale": 2.0}, {"attention_factor": 1.1386294361119891}),
        ({"factor": 0.5}, {"attention_factor": 1.0, "factor": 0.5}),
        ({"factor": 1.5}, {"attention_factor": 1.0405465108108164}),
        ({"factor": None}, {"factor": 777 / 64}),
        ({"original_max_position_embeddings": None}, {"original_max_position_embeddings": 777}),
        ({"beta_fast": 16, "beta_slow": 2}, {"beta_fast": 16.0, "beta_slow": 2.0}),
        ({"truncate": False}, {"truncate": False}),
    ],
)
def test_yarn(changes, want):
    scaling = read(rope_parameters=YARN | changes).rope_scaling
    assert scaling.rope_type == "yarn"
    for name, value in want.items():
        assert getattr(scaling, name) == pytest.approx(value), name
    defaults = (scaling.beta_fast, scaling.beta_slow, scaling.truncate)
    assert changes.keys() & {"beta_fast", "truncate"} or defaults == (32.0, 1.0, True)


@pytest.mark.parametrize("slow", [32.0, 33.0])
def test_yarn_with_its_bounds_swapped_is_refused(slow):
    with pytest.raises(ConfigError, match=f"beta_slow below beta_fast, got {slow} and 32.0"):
        read(rope_parameters=YARN | {"beta_slow": slow})


@pytest.mark.parametrize(
    ("newer", "older", "want"),
    [
        (
            {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
            {"type": "linear", "factor": 4.0},
            RopeScaling("linear", 4.0),
        ),
        (LLAMA3 | {"rope_theta": 1e4}, LLAMA3, RopeScaling("llama3", 8.0, 1.0, 4.0, 256)),
        ({"rope_type": "default", "rope_theta": 1e4}, {"rope_type": "default"}, None),
    ],
    ids=["linear", "llama3", "default"],
)
def test_rope_scaling_in_both_spellings(newer, older, want):
    for config in (read(rope_parameters=newer), read(OLDER, rope_scaling=older, rope_theta=1e4)):
        assert config.rope_scaling == want
        assert config.rope_theta == 1e4


def test_both_spellings_at_once_may_agree():
    scaling = {"type": "default", "factor": None, "rope_theta": None}  # null says nothing
    config = read(rope_theta=50000.0, torch_dtype="bfloat16", rope_scaling=scaling)
    assert config == WANT


@pytest.mark.parametrize(
    ("eos", "generation", "want"),
    [
        (2, None, (2,)),
        ([2, 5], None, (2, 5)),
        (None, None, ()),
        (2, {}, (2,)),
        (2, {"eos_token_id": None}, (2,)),
        (2, {"eos_token_id": 7}, (7,)),
        (2, {"eos_token_id": [7, 0]}, (7, 0)),
        (None, {"eos_token_id": 0}, (0,)),
    ],
)
def test_eos_may_be_a_number_or_a_list_and_generation_config_wins(eos, generation, want):
    assert read(eos_token_id=eos, generation=generation).eos_token_ids == want


SIZES = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
]
SIZES_IN_ORDER = (*SIZES[:5], "num_key_value_heads", "head_dim", SIZES[5])


@pytest.mark.parametrize("name", [*SIZES, "model_type"])
def test_a_missing_field_is_named(name):
    with pytest.raises(ConfigError, match=f"expected {name} .*got None"):
        read(**{name: ...})


@pytest.mark.parametrize("name", [*SIZES, "num_key_value_heads", "head_dim"])
@pytest.mark.parametrize("value", [0, -1, 3.0, "3", True, [3], 2.5])
def test_a_size_that_is_no_size_is_named(name, value):
    with pytest.raises(ConfigError, match=f"expected {name} to be a whole number") as raised:
        read(**{name: value})
    assert repr(value) in str(raised.value)


def test_the_largest_size_is_that_of_an_array():
    assert read(vocab_size=2**63 - 1).vocab_size == 2**63 - 1
    with pytest.raises(ConfigError, match=r"vocab_size below 2\*\*63, got 9223372036854775808"):
        read(vocab_size=2**63)


@pytest.mark.parametrize(
    "value", [0, -1e-5, float("nan"), float("inf"), "1e-5", True, 10**400], ids=lambda v: str(v)[:9]
)
def test_a_number_that_is_not_positive_is_named(value):
    with pytest.raises(ConfigError, match="expected rms_norm_eps to be a positive number"):
        read(rms_norm_eps=value)
    for changes in (
        {"rope_parameters": {"rope_theta": value}},
        {"rope_parameters": None, "rope_theta": value},
    ):
        with pytest.raises(ConfigError, match="expected rope_theta to be a positive number"):
            read(**changes)


def test_the_largest_number_is_that_of_a_float():
    assert read(rms_norm_eps=sys.float_info.max).rms_norm_eps == sys.float_info.max
    assert read(rms_norm_eps=5e-324).rms_norm_eps == 5e-324


@pytest.mark.parametrize("name", ["tie_word_embeddings", "attention_bias", "mlp_bias"])
@pytest.mark.parametrize("value", ["true", 2, []])
def test_a_switch_that_is_neither_on_nor_off_is_named(name, value):
    with pytest.raises(ConfigError, match=f"expected {name} to be true or false, got"):
        read(**{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 4}, "multiple of num_key_value_heads, got 6 and 4"),
        ({"num_key_value_heads": 12}, "multiple of num_key_value_heads, got 6 and 12"),
        ({"head_dim": 9}, "even head_dim, since RoPE turns pairs, got 9"),
        ({"head_dim": ..., "hidden_size": 50}, "got hidden_size 50 and 6 heads"),
        ({"head_dim": ..., "hidden_size": 54}, "even head_dim, since RoPE turns pairs, got 9"),
        ({"rope_theta": 10000.0}, r"one rope_theta, got \[10000.0, 50000.0\]"),
        ({"torch_dtype": "float16"}, "dtype and torch_dtype to agree, got 'bfloat16' and 'float16"),
        (
            {"rope_parameters": {"rope_type": "default", "type": "linear"}},
            "rope_type and type to agree, got 'default' and 'linear'",
        ),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_type in rope_parameters and rope_scaling to agree, got 'default' and 'linear'",
        ),
        (
            {
                "rope_parameters": {"rope_type": "linear", "factor": 4.0},
                "rope_scaling": {"rope_type": "linear", "factor": 2.0},
            },
            "factor in rope_parameters and rope_scaling to agree, got 4.0 and 2.0",
        ),
        (
            {"rope_parameters": LLAMA3 | {"low_freq_factor": 4.0}},
            "low_freq_factor below high_freq_factor, got 4.0 and 4.0",
        ),
        (
            {"rope_parameters": LLAMA3 | {"low_freq_factor": 5.0}},
            "low_freq_factor below high_freq_factor, got 5.0 and 4.0",
        ),
    ],
)
def test_a_contradiction_names_both_sides(changes, message):
    with pytest.raises(ConfigError, match=message):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma2"}, "model_type llama, mistral, .*, got 'gemma2': not supported"),
        ({"model_type": "mixtral"}, "model_type llama, mistral, .*, got 'mixtral': not supported"),
        ({"model_type": ["llama"]}, r"model_type llama, .*, got \['llama'\]"),
        ({"num_local_experts": 8}, "no mixture of experts, got num_local_experts 8"),
        ({"model_type": "qwen3", "num_experts": 128}, "no mixture of experts, got num_experts 128"),
        ({"n_routed_experts": 64}, "no mixture of experts, got n_routed_experts 64"),
        ({"num_experts": "8"}, "no mixture of experts, got num_experts '8'"),
        ({"num_experts": 2}, "no mixture of experts, got num_experts 2"),
        ({"num_local_experts": 2}, "no mixture of experts, got num_local_experts 2"),
        ({"n_routed_experts": 1}, "no mixture of experts, got n_routed_experts 1"),
        ({"moe_intermediate_size": 1}, "no mixture of experts, got moe_intermediate_size 1"),
        ({"hidden_act": "gelu"}, "hidden_act 'silu', got 'gelu'"),
        ({"sliding_window": 776}, "a sliding_window of the whole .*, got 776: .* a llama"),
        ({"quantization_config": {"bits": 4}}, "quantization_config None, got {'bits': 4}"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 1.0, got 0.5"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder False, got True"),
        ({"add_cross_attention": True}, "add_cross_attention False, got True"),
        (
            {"layer_types": ["full_attention"] * 2},
            "layer_types of full_attention or .* of 3 layers",
        ),
        ({"layer_types": ["full_attention", "chunked_attention", 1]}, "layer_types of full_att"),
        ({"layer_types": 3}, "layer_types to be a list, got 3"),
        ({"layer_types": [["full_attention"]]}, "layer_types of full_attention or sliding"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "rope_type .*'longrope'"),
        ({"rope_parameters": {"rope_type": ["linear"]}}, r"rope_type .*, got \['linear'\]"),
        ({"rope_parameters": "llama3"}, "rope_parameters to be an object, got 'llama3'"),
        (
            {"rope_parameters": ..., "rope_scaling": [1]},
            r"rope_scaling to be an object, got \[1\]",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
            "one set of RoPE parameters, got one for 'full_attention'",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}},
            "partial_rotary_factor 1.0, got 0.25",
        ),
        ({"rope_parameters": {"rope_theta": [1e4]}}, r"rope_theta .* number, got \[10000.0\]"),
        (
            {"rope_parameters": {"rope_theta": 1e4}, "rope_theta": "1e4"},
            "rope_theta to be a positive number, got '1e4'",
        ),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor to be a positive number, got None"),
        (
            {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 0}},
            "original_max_position_embeddings to be a whole number",
        ),
        ({"eos_token_id": "2"}, "eos_token_id to be an id or a list of ids, got '2'"),
        ({"eos_token_id": [2, -2]}, r"eos_token_id to be an id or a list of ids, got \[2, -2\]"),
        ({"bos_token_id": 1.5}, "bos_token_id to be an id or a list of ids, got 1.5"),
        ({"generation": {"eos_token_id": True}}, "eos_token_id to be an id .* got True"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=f"expected {message}"):
        read(**changes)


def test_values_that_change_nothing_are_let_through():
    harmless = {
        "pretraining_tp": 8,  # slices of the same products
        "num_local_experts": 1,
        "num_experts": 1,
        "n_routed_experts": 0,
        "moe_intermediate_size": 0,
        "sliding_window": 777,
        "partial_rotary_factor": 1.0,
        "layer_types": ["full_attention"] * 3,
        "quantization_config": None,
        "initializer_range": 0.1,
        "attention_dropout": 0.1,
    }
    assert read(**harmless) == WANT


def test_a_directory_is_read_with_its_generation_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(NEWER), "utf-8")
    assert LlamaConfig.from_directory(tmp_path) == WANT
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [9, 10]}', "utf-8")
    assert LlamaConfig.from_directory(str(tmp_path)).eos_token_ids == (9, 10)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b"\xff\xfe{}", "expected UTF-8"),
        (b'{"vocab_size": 1, "vocab_size": 2}', "expected each name once"),
        (b'{"rms_norm_eps": NaN}', "expected plain JSON numbers, got NaN"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    (tmp_path / "config.json").write_text(json.dumps(NEWER), "utf-8")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        LlamaConfig.from_directory(tmp_path)
    assert name in str(raised.value)


def test_a_directory_without_a_config_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a config\.json, got none"):
        LlamaConfig.from_directory(tmp_path)


def test_a_config_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json: expected a readable file, got Is a dir"):
        LlamaConfig.from_directory(tmp_path)


def test_defaults_of_a_scaling_are_those_of_llama_3_and_of_yarns_paper():
    assert RopeScaling("llama3", 8.0) == RopeScaling(
        *("llama3", 8.0),
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
        beta_fast=32.0,
        beta_slow=1.0,
        truncate=True,
        attention_factor=1.0,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gguf", r"a\.gguf: a GGUF file; convert it with `python -m llama_edu convert`"),
        ("params.json", r"params\.json: Meta's own layout"),
        ("adapter_config.json", r"adapter_config\.json: an adapter"),
    ],
)
def test_a_model_in_another_layout_is_named(tmp_path, name, message):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"expected a config\.json, got {message}"):
        LlamaConfig.from_directory(tmp_path)


def test_of_several_models_in_another_layout_the_first_is_named(tmp_path):
    for name in ("b.gguf", "a.gguf", "c.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"got a\.gguf: a GGUF file"):
        LlamaConfig.from_directory(tmp_path)


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "config.json").symlink_to("../blobs/12ab")
    with pytest.raises(ConfigError, match=r"got a link to \.\./blobs/12ab, which is not there"):
        LlamaConfig.from_directory(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": "gated"}, "expected a model's config, got a server's error: .*gated"),
        ({}, "expected model_type llama, .*, got None"),
        (NEWER | {"vocab_size": 0}, "expected vocab_size to be a whole number"),
    ],
)
def test_what_is_wrong_in_a_config_is_told_with_its_file(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        LlamaConfig.from_directory(tmp_path)
    assert str(raised.value).startswith(f"{path}: expected")


def said_of(field):
    """What *Port it* says of a field that is missing."""
    page = (Path(__file__).parents[2] / "book" / "port_it.md").read_text("utf-8")
    rows = [row.split("|")[1:3] for row in page.splitlines() if row.startswith("| `")]
    return next(missing.strip(" `") for fields, missing in rows if f"`{field}`" in fields)


def test_what_an_engine_is_told_of_missing_fields_is_what_ours_does():
    def without(field):
        return LlamaConfig.from_dict({k: v for k, v in OLDER.items() if k != field})

    for field in ("rms_norm_eps", "rope_theta"):
        assert getattr(without(field), field) == float(said_of(field))
    for field in ("tie_word_embeddings", "attention_bias", "mlp_bias"):
        assert json.loads(said_of(field)) is getattr(without(field), field)
    assert said_of("num_key_value_heads") == "num_attention_heads"
    assert without("num_key_value_heads").num_key_value_heads == OLDER["num_attention_heads"]
    assert without("head_dim").head_dim == OLDER["hidden_size"] // OLDER["num_attention_heads"]
    assert said_of("hidden_act") == "silu"
    assert without("hidden_act") == LlamaConfig.from_dict(OLDER)
    assert without("rope_scaling").rope_scaling is None
    refused = [field for field in OLDER if field in SIZES and said_of(field) == "refuse"]
    assert len(refused) == len(SIZES)
    for field in refused:
        with pytest.raises(ConfigError, match=field):
            without(field)


SIZES = {
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "max_position_embeddings"),
}
