"""Read Hugging Face `config.json` into a frozen `LlamaConfig`, field names kept verbatim.

Two spellings are met in the wild and both are read: `rope_theta` / `rope_scaling` / `torch_dtype`,
and the newer `rope_parameters` / `dtype`. A field that would change the arithmetic in a way this
engine does not implement is refused by name, never ignored. Fields that only matter for training
or for other software are ignored.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_edu.errors import ConfigError
from llama_edu.formats.strict_json import parse_object, short

__all__ = ["LlamaConfig", "RopeScaling"]

MODEL_TYPES = ("llama", "mistral")

# Field → the only values under which a Llama's arithmetic is what this engine computes.
# A missing field counts as the first of them.
REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "sliding_window": (None,),
    "pretraining_tp": (1, None),
    "quantization_config": (None,),
    "partial_rotary_factor": (1.0, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
}


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE frequencies are changed to reach further than the model was trained for.

    `rope_type` "linear" divides every frequency by `factor`. "llama3" divides only the slow ones
    and blends in between, by the three fields that follow (Llama 3.1, `modeling_rope_utils.py`).
    """

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes and switches of one model. See `book/notation.md` for what each size counts."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                "expected num_attention_heads to be a multiple of num_key_value_heads, "
                f"got {self.num_attention_heads} and {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(
                f"expected an even head_dim, since RoPE turns pairs, got {self.head_dim}"
            )

    @property
    def n_groups(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def axis_sizes(self) -> dict[str, int]:
        """The size of each named axis that the config fixes."""
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "n_heads": self.num_attention_heads,
            "n_kv_heads": self.num_key_value_heads,
            "n_groups": self.n_groups,
            "head_dim": self.head_dim,
        }

    @classmethod
    def from_directory(cls, directory: str | os.PathLike[str]) -> "LlamaConfig":
        """Read `config.json`, and `generation_config.json` where there is one."""
        config = _read_json(Path(directory) / "config.json")
        if config is None:
            raise ConfigError(f"{directory}: expected a config.json, got none")
        return cls.from_dict(config, _read_json(Path(directory) / "generation_config.json"))

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], generation: Mapping[str, Any] | None = None
    ) -> "LlamaConfig":
        """Build a config from the parsed JSON. `generation_config.json`'s eos ids win.

        Raises `ConfigError` naming the field that is missing, contradictory or unsupported.
        """
        _refuse_unsupported(config)
        theta, scaling = _rope(config)
        heads = _size(config, "num_attention_heads")
        hidden = _size(config, "hidden_size")
        head_dim = _size(config, "head_dim", default=hidden // heads)
        if config.get("head_dim") is None and hidden % heads:
            raise ConfigError(
                "expected head_dim, or a hidden_size that num_attention_heads divides, "
                f"got hidden_size {hidden} and {heads} heads"
            )
        generation = generation or {}
        eos = generation.get("eos_token_id")
        return cls(
            vocab_size=_size(config, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_size(config, "intermediate_size"),
            num_hidden_layers=_size(config, "num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=_size(config, "num_key_value_heads", default=heads),
            head_dim=head_dim,
            max_position_embeddings=_size(config, "max_position_embeddings"),
            rms_norm_eps=_positive(config, "rms_norm_eps"),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_word_embeddings=_flag(config, "tie_word_embeddings"),
            attention_bias=_flag(config, "attention_bias"),
            mlp_bias=_flag(config, "mlp_bias"),
            bos_token_id=_first(_token_ids(config.get("bos_token_id"), "bos_token_id")),
            eos_token_ids=_token_ids(
                config.get("eos_token_id") if eos is None else eos, "eos_token_id"
            ),
            dtype=str(_either(config, "dtype", "torch_dtype") or "float32"),
        )


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return parse_object(path.read_bytes(), str(path), ConfigError)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ConfigError(f"{path}: expected a readable file, got {problem.strerror}") from problem


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        raise ConfigError(
            f"expected model_type {' or '.join(MODEL_TYPES)}, got {short(model_type)}"
        )
    for name, allowed in REQUIRED_VALUES.items():
        value = config.get(name, allowed[0])
        if value not in allowed:
            raise ConfigError(f"expected {name} {allowed[0]!r}, got {short(value)}: not supported")
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list):
        raise ConfigError(f"expected layer_types to be a list, got {short(layer_types)}")
    if any(kind != "full_attention" for kind in layer_types):
        raise ConfigError(f"expected only full_attention layers, got {short(layer_types)}")


def _rope(config: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """`rope_theta` and the scaling, from whichever spelling the file uses."""
    parameters = _rope_parameters(config)
    given = (config.get("rope_theta"), parameters.get("rope_theta"))
    thetas = {_positive({"rope_theta": x}, "rope_theta") for x in given if x is not None}
    if len(thetas) > 1:
        raise ConfigError(f"expected one rope_theta, got {sorted(thetas)}")
    theta = thetas.pop() if thetas else 10000.0
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        fraction = parameters["partial_rotary_factor"]
        raise ConfigError(
            f"expected partial_rotary_factor 1.0, got {short(fraction)}: not supported"
        )
    rope_type = _either(parameters, "rope_type", "type") or "default"
    if rope_type == "default":
        return theta, None
    if rope_type == "linear":
        return theta, RopeScaling("linear", _positive(parameters, "factor"))
    if rope_type == "llama3":
        scaling = RopeScaling(
            "llama3",
            _positive(parameters, "factor"),
            _positive(parameters, "low_freq_factor"),
            _positive(parameters, "high_freq_factor"),
            _size(parameters, "original_max_position_embeddings"),
        )
        if scaling.low_freq_factor >= scaling.high_freq_factor:
            raise ConfigError(
                "expected low_freq_factor below high_freq_factor, "
                f"got {scaling.low_freq_factor} and {scaling.high_freq_factor}"
            )
        return theta, scaling
    raise ConfigError(f"expected rope_type default, linear or llama3, got {short(rope_type)}")


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `rope_parameters` and `rope_scaling` together; they must not disagree."""
    merged: dict[str, Any] = {}
    for name in ("rope_parameters", "rope_scaling"):
        given = config.get(name)
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"expected {name} to be an object, got {short(given)}")
        for field, value in (given or {}).items():
            if isinstance(value, Mapping):  # other architectures have a set per kind of layer
                raise ConfigError(
                    f"expected one set of RoPE parameters, got one for {short(field)}"
                )
            if field not in merged and value is not None:
                merged[field] = value
            elif value is not None and merged[field] != value:
                raise ConfigError(
                    f"expected {field} in rope_parameters and rope_scaling to agree, "
                    f"got {short(merged[field])} and {short(value)}"
                )
    return merged


def _either(config: Mapping[str, Any], name: str, other: str) -> Any:
    """The value under either spelling; `ConfigError` if both are there and disagree."""
    first, second = config.get(name), config.get(other)
    if first is not None and second is not None and first != second:
        raise ConfigError(
            f"expected {name} and {other} to agree, got {short(first)} and {short(second)}"
        )
    return second if first is None else first


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if type(value) is not int or value < 1:
        raise ConfigError(f"expected {name} to be a whole number of at least 1, got {short(value)}")
    if value >= 2**63:  # no array is as long, and no float need hold it
        raise ConfigError(f"expected {name} below 2**63, got {short(value)}")
    return value


def _positive(config: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = config.get(name)
    value = default if value is None else value
    # `bool` is an int to isinstance, and no number to a reader of JSON. An int may exceed floats.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not is_number or not 0 < value <= sys.float_info.max:
        raise ConfigError(f"expected {name} to be a positive number, got {short(value)}")
    return float(value)


def _flag(config: Mapping[str, Any], name: str) -> bool:
    value = config.get(name)
    if value not in (None, True, False):
        raise ConfigError(f"expected {name} to be true or false, got {short(value)}")
    return bool(value)


def _token_ids(value: Any, name: str) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise ConfigError(f"expected {name} to be an id or a list of ids, got {short(value)}")
    return tuple(ids)


def _first(ids: tuple[int, ...]) -> int | None:
    return ids[0] if ids else None
