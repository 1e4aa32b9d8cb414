"""What is refused on the way in: configs, headers, JSON. Both engines must refuse the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from page_engine import PageEngine, RefusedModelError, called, copied

from llama_edu import LlamaConfig
from llama_edu.errors import CheckpointError, ConfigError
from llama_edu.formats.safetensors import read_header

pytestmark = pytest.mark.usefixtures("node")

DATA = Path(__file__).parent.parent / "data"
BASE: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 30,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
}  # fmt: skip
FIELDS = (
    *BASE, "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings",
    "attention_bias", "mlp_bias", "hidden_act", "sliding_window", "pretraining_tp", "layer_types",
    "quantization_config", "partial_rotary_factor", "bos_token_id", "eos_token_id", "dtype",
    "torch_dtype", "is_encoder_decoder", "use_sliding_window", "max_window_layers",
    "no_rope_layers", "no_rope_layer_interval", "num_experts", "model_type",
)  # fmt: skip


def in_python(text: str) -> Mapping[str, Any]:
    from llama_edu.formats.strict_json import parse_object

    try:
        config = LlamaConfig.from_dict(parse_object(text.encode(), "config.json", ConfigError))
    except ConfigError:
        return {"error": "ConfigError"}
    read = asdict(config)
    for name in ("sliding_layers", "no_rope_layers"):
        layers = read[name]
        is_range = isinstance(layers, range) and len(layers) > 0
        read[name] = {"from": layers.start, "every": layers.step} if is_range else list(layers)
    read["eos_token_ids"] = list(config.eos_token_ids)
    return read


def as_float(number: int | None) -> float | None:
    return None if number is None or number >= 2**1000 else float(number)


def check_config(text: str) -> None:
    got, want = dict(called("config", text)), dict(in_python(text))
    got.pop("message", None)
    for read in (got, want):  # it changes nothing; each language writes what is no text its own way
        read.pop("dtype", None)
        # An id beyond 2**53 is no token's; JavaScript holds it as a float, or as infinity.
        ids = (*read.pop("eos_token_ids", ()), read.pop("bos_token_id", None))
        read["ids"] = [as_float(i) for i in ids]
        for name in {"rms_norm_eps", "rope_theta"} & read.keys():  # 1e19 is written as an int there
            read[name] = float(read[name])
        if scaling := read.get("rope_scaling"):  # a logarithm may differ by its last bit
            scaling["attention_factor"] = float(f"{scaling['attention_factor']:.12g}")
    assert got == want, text


quietly = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 70), st.sampled_from([2**53, 2**63, 10**400]),
    st.sampled_from([0.0, 1.0, 24.0, 1e-5, 1e300, 0.5]),
    st.sampled_from(["silu", "gelu", "mistral", "llama", "qwen2", "qwen3", "smollm3", "", "f16"]),
    st.lists(st.one_of(st.integers(0, 3), st.sampled_from(["full_attention", "x"])), max_size=2),
    st.lists(st.sampled_from(["full_attention", "sliding_attention"]), max_size=3),
    st.lists(st.sampled_from([0, 1, True, 1.0]), max_size=3),
)  # fmt: skip
rope = st.fixed_dictionaries(
    {},
    optional={
        "rope_type": st.sampled_from(["default", "linear", "llama3", "yarn", None]),
        "type": st.sampled_from(["default", "linear", "llama3", "yarn"]),
        "factor": st.sampled_from([4.0, 4, 8.0, -1, None, "4"]),
        "low_freq_factor": st.sampled_from([1.0, 1, 4.0]),
        "high_freq_factor": st.sampled_from([4.0, 2]),
        "original_max_position_embeddings": st.sampled_from([64, 64.0, 0]),
        "rope_theta": st.sampled_from([10000.0, 10000, 500000.0]),
        "partial_rotary_factor": st.sampled_from([1.0, 1, 0.5]),
        "beta_fast": st.sampled_from([32, 16.0, 1]),
        "truncate": st.sampled_from([True, False, None, "x"]),
        "mscale": st.sampled_from([1.0, 0.7, 0]),
        "mscale_all_dim": st.sampled_from([1.0, 0.5, "x"]),
        "attention_factor": st.sampled_from([1.0, 1.2, None]),
        "full_attention": st.just({"rope_type": "default"}),
    },
)


@quietly
@given(changes=st.dictionaries(st.sampled_from(FIELDS), st.one_of(plain, rope), max_size=4))
def test_configs_are_read_and_refused_alike(changes: dict[str, Any]) -> None:
    check_config(json.dumps(BASE | changes))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "sliding_window": st.sampled_from([8, 64, 4096, None, 0]),
            "use_sliding_window": st.booleans(),
            "max_window_layers": st.sampled_from([0, 1, 5, -1, None]),
            "layer_types": st.lists(
                st.sampled_from(["full_attention", "sliding_attention"]), min_size=1, max_size=3
            ),
            "no_rope_layers": st.lists(st.sampled_from([0, 1]), min_size=1, max_size=3),
            "no_rope_layer_interval": st.sampled_from([1, 2, 3]),
            "attention_bias": st.booleans(),
            "pretraining_tp": st.sampled_from([1, 2]),
        },
    )
)
def test_families_are_read_and_refused_alike(family: str, changes: dict[str, Any]) -> None:
    check_config(json.dumps(BASE | {"model_type": family} | changes))


def test_a_plain_config_is_read() -> None:
    assert called("config", json.dumps(BASE))["hidden_size"] == BASE["hidden_size"]


@quietly
@given(scaling=rope, parameters=st.one_of(st.none(), rope))
def test_rope_is_read_and_refused_alike(
    scaling: dict[str, Any], parameters: dict[str, Any] | None
) -> None:
    check_config(json.dumps(BASE | {"rope_scaling": scaling, "rope_parameters": parameters}))


@quietly
@given(cut=st.integers(0, 60), at=st.integers(0, 200), put=st.sampled_from(' "{}[],:01.e-\\unax\t'))
@example(cut=0, at=0, put=" ")
def test_damaged_json_is_refused_alike(cut: int, at: int, put: str) -> None:
    text = json.dumps(BASE)
    at %= len(text)
    check_config(text[:at] + put + text[at + cut % 3 :])


@pytest.mark.parametrize(
    "text",
    [
        '{"model_type": "llama", "model_type": "llama"}',
        '{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}', '{"a": "\\ud800"}', "[1]", "1", "",
        '{"a": ' + "[" * 2000 + "]" * 2000 + "}", '{"a": "\x01"}', '{"a": 01}', '{"a": 1} x',
    ],
)  # fmt: skip
def test_json_that_no_other_reader_could_hold(text: str) -> None:
    assert called("config", text)["error"] == in_python(text)["error"] == "ConfigError"


def check_header(data: bytes) -> None:
    try:
        read = read_header(data).tensors
        want: Mapping[str, Any] = {
            info.name: {
                "format": info.dtype,
                "shape": list(info.shape),
                "start": info.start,
                "end": info.end,
            }
            for info in read.values()
        }
    except CheckpointError:
        want = {"error": "CheckpointError"}
    got = called("header", list(data))
    got.pop("message", None)
    assert got == want


def whole_file() -> bytes:
    return (DATA / "tiny" / "mqa-wide-f32" / "model.safetensors").read_bytes()


def small_file(header: object, data: bytes = bytes(24)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
B = {"dtype": "BF16", "shape": [2, 4], "data_offsets": [8, 24]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": A, "b": B}, {"b": B, "a": A}, {"__metadata__": {"x": "y"}, "a": A, "b": B},
        {"__metadata__": {"x": 1}, "a": A, "b": B}, {"a": A}, {"b": B}, {},
        {"a": A | {"extra": 1}, "b": B}, {"a": A | {"dtype": "F31"}, "b": B},
        {"a\u202e": A, "b": B}, {"a b": A, "b": B},
        {"a": A | {"shape": [3]}, "b": B}, {"a": A | {"shape": [2.0]}, "b": B},
        {"a": A | {"shape": [True, 2]}, "b": B}, {"a": A | {"shape": [-2]}, "b": B},
        {"a": A | {"data_offsets": [0, 9]}, "b": B}, {"a": A | {"data_offsets": [8, 0]}, "b": B},
        {"a": A, "b": B | {"data_offsets": [4, 20]}}, {"a": [], "b": B},
        {"a": A, "b": B, "c": {"dtype": "F32", "shape": [0], "data_offsets": [24, 24]}},
        b" " + json.dumps({"a": A, "b": B}).encode(), b"{", b"", b'{"a": 1, "a": 1}',
    ],
)  # fmt: skip
def test_headers_are_read_and_refused_alike(header: object) -> None:
    check_header(small_file(header))


def test_a_real_header_whole_and_cut() -> None:
    data = whole_file()
    for end in (len(data), len(data) - 1, 200, 9, 8, 3, 0):
        check_header(data[:end])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 3}, "got none named"),
        ({"num_hidden_layers": 1}, "expected no tensor named"),
        ({"vocab_size": 42}, "expected shape"),
        ({"num_hidden_layers": 10**6}, "layers, got"),
        ({"tie_word_embeddings": False}, "not tied"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    source = DATA / "tiny" / "mqa-wide-f32"
    copied(source, tmp_path, "model.safetensors")
    config = json.loads((source / "config.json").read_text("utf-8")) | change
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(RefusedModelError, match=f"CheckpointError.*{words}"):
        PageEngine(tmp_path)
