"""Damaged configs end in `ConfigError` or in a config that holds what it promises."""

import copy
import json
import math
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.errors import ConfigError
from llama_edu.formats.config import LlamaConfig, RopeScaling

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
VALID = {
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
    "rope_parameters": LLAMA3 | {"rope_theta": 5e4},
    "rope_scaling": LLAMA3,
    "rope_theta": 5e4,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": True,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "dtype": "bfloat16",
    "torch_dtype": "bfloat16",
    "layer_types": ["full_attention"] * 3,
    "sliding_window": None,
    "num_local_experts": None,
    "partial_rotary_factor": 1.0,
    "quantization_config": None,
}
NUMBERS = [0, 1, -1, 2, 7, 1.5, 1.0, 0.0, -2.5, 1e308, 5e-324, 2**63, 10**400, -(10**400)]
TEXTS = ["", "7", "default", "linear", "llama3", "yarn", "mistral", "float16", "x" * 500]
LISTS = [
    ["x" * 500] * 9,
    [],
    [1],
    [[1]],
    [None],
    [1, "a"],
    [1, 2.5],
    [True],
    [{}],
    ["full_attention", 1],
]
OBJECTS = [{}, {"a": 1}, {"rope_type": "linear", "factor": 2}, {"type": ["linear"]}, LLAMA3]
ODD = [None, True, False, *NUMBERS, *TEXTS, *LISTS, *OBJECTS]


def damaged(rng: Random) -> dict:
    config = copy.deepcopy(VALID)
    for _ in range(rng.choice((1, 1, 2, 3))):
        target = config
        inner = config.get(rng.choice(("rope_parameters", "rope_scaling")))
        if isinstance(inner, dict) and rng.random() < 0.4:
            target = inner
        name = rng.choice([*target, "rope_type", "type", "factor"])
        if rng.random() < 0.2:
            target.pop(name, None)
        else:
            target[name] = copy.deepcopy(rng.choice(ODD))
    return config


def check(config: LlamaConfig) -> None:
    """What the rest of the package relies on, whatever the file said."""
    hash(config)
    for name in (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    ):
        value = getattr(config, name)
        assert type(value) is int, name
        assert 1 <= value < 2**63, name
    assert config.n_groups * config.num_key_value_heads == config.num_attention_heads
    assert config.head_dim % 2 == 0
    for name in ("tie_word_embeddings", "attention_bias", "mlp_bias"):
        assert type(getattr(config, name)) is bool, name
    floats = [config.rms_norm_eps, config.rope_theta]
    if config.rope_scaling is not None:
        assert type(config.rope_scaling) is RopeScaling
        assert config.rope_scaling.rope_type in ("linear", "llama3")
        floats.append(config.rope_scaling.factor)
        assert config.rope_scaling.original_max_position_embeddings < 2**63
        assert config.rope_scaling.low_freq_factor < config.rope_scaling.high_freq_factor
    for value in floats:
        assert type(value) is float
        assert 0 < value < math.inf
    ids = (*config.eos_token_ids, *([] if config.bos_token_id is None else [config.bos_token_id]))
    assert all(type(i) is int and i >= 0 for i in ids)
    assert type(config.dtype) is str


def refusal(config: dict, generation: dict | None = None) -> str:
    """Why the config was refused; "" for a config that holds what it promises."""
    try:
        check(LlamaConfig.from_dict(config, generation))
    except ConfigError as problem:
        return str(problem)
    return ""


def test_the_undamaged_config_is_read():
    assert refusal(VALID) == ""
    assert LlamaConfig.from_dict(VALID).rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 256)


@settings(max_examples=500)
@given(seed=st.integers(0, 2**64 - 1))
def test_damaged_configs(seed):
    rng = Random(seed)
    config = damaged(rng)
    generation = rng.choice((None, {}, {"eos_token_id": rng.choice(ODD)}))
    before = json.dumps([config, generation])
    message = refusal(config, generation)
    assert not message or re.search("expected .*, got ", message)
    assert len(message) < 300
    assert json.dumps([config, generation]) == before


@pytest.mark.parametrize("name", VALID)
def test_one_odd_value_at_a_time(name):
    messages = [refusal(VALID | {name: value}) for value in ODD]
    assert any(messages)
    assert all(re.search("expected .*, got ", message) for message in messages if message)
