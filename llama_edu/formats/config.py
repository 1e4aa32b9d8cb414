"""Read Hugging Face `config.json` into a frozen `LlamaConfig`, field names kept verbatim.

Two spellings are met in the wild and both are read: `rope_theta` / `rope_scaling` / `torch_dtype`,
and the newer `rope_parameters` / `dtype`. Families of the same structure differ in a few switches,
which `FAMILIES` lists. A field that would change the arithmetic in a way this engine does not
implement is refused by name, never ignored. Fields that only matter for training or for other
software, and values that change nothing, are ignored.
"""

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_edu.errors import ConfigError
from llama_edu.formats.first_bytes import NBYTES, really
from llama_edu.formats.strict_json import parse_object, short

__all__ = ["FAMILIES", "Family", "LlamaConfig", "RopeScaling"]


@dataclass(frozen=True)
class Family:
    """In what a `model_type` differs from Llama.

    The last fields are what transformers fills in where `config.json` is silent
    (`configuration_<model_type>.py`). `windows` says which layers look at the last
    `sliding_window` positions only: none, all, those from `max_window_layers` on, or those
    without RoPE; all but "all" need `use_sliding_window`.
    """

    qkv_bias: bool = False
    qk_norm: bool = False
    no_rope: bool = False
    windows: str = "none"
    sliding_window: int | None = None
    head_dim: int | None = None
    num_key_value_heads: int | None = None
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = False


FAMILIES = {
    "llama": Family(),
    "mistral": Family(windows="all", sliding_window=4096, num_key_value_heads=8),
    "qwen2": Family(qkv_bias=True, windows="upper", sliding_window=4096, num_key_value_heads=32),
    "qwen3": Family(
        qk_norm=True, windows="upper", sliding_window=4096, head_dim=128, num_key_value_heads=32
    ),
    "smollm3": Family(
        no_rope=True,
        windows="without RoPE",
        num_key_value_heads=4,
        rope_theta=2000000.0,
        tie_word_embeddings=True,
    ),
}
NO_TOKEN = -1  # some files' way to say that a role has none
RMS_NORM_EPS = 1e-6  # of all of them

# Field → the only values under which a model's arithmetic is what this engine computes.
# A missing field counts as the first of them.
REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),  # two names of one function
    "quantization_config": (None,),
    "partial_rotary_factor": (1.0, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
}
# Fields of a mixture of experts, and how many make none.
EXPERTS = {
    "num_local_experts": 1,
    "num_experts": 1,
    "n_routed_experts": 0,
    "moe_intermediate_size": 0,
}
ELSEWHERE = {  # models in another layout, and what to do about them
    "*.gguf": "a GGUF file; convert it with `python -m llama_edu convert`",
    "params.json": "Meta's own layout; convert it with transformers",
    "adapter_config.json": "an adapter, which is no model alone; merge it with `peft` first",
    "model_index.json": "a pipeline of several models, not supported",
}
MAX_WINDOW_LAYERS = 28  # of Qwen2 and Qwen3
NO_ROPE_INTERVAL = 4  # of SmolLM3


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE frequencies are changed to reach further than the model was trained for.

    `rope_type` "linear" divides every frequency by `factor`. "llama3" divides only the slow ones
    and blends in between, by the three fields that follow (Llama 3.1, `modeling_rope_utils.py`).
    "yarn" blends along the pairs, from those that turn `beta_fast` times within the original
    context to those that turn `beta_slow` times, whole pairs only if `truncate`; and it multiplies
    cosine and sine, hence the scores, by `attention_factor` (Peng et al. 2023, arXiv:2309.00071).
    """

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes and switches of one model. See `book/notation.md` for what each size counts.

    `attention_bias` puts a bias on q, k, v and o, `qkv_bias` on q, k and v alone. `qk_norm` puts an
    RMSNorm on every head's query and key. The layers of `sliding_layers` look at the last
    `sliding_window` positions only, those of `no_rope_layers` do not turn their pairs.

    Raises `ConfigError` for an odd head_dim, and for query heads that KV heads do not divide.
    """

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
    qkv_bias: bool = False
    qk_norm: bool = False
    sliding_window: int | None = None
    sliding_layers: tuple[int, ...] | range = ()
    no_rope_layers: tuple[int, ...] | range = ()
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
    def is_plain_llama(self) -> bool:
        """Whether every layer does what a Llama's does, and no more."""
        return not (self.qk_norm or self.sliding_layers or self.no_rope_layers)

    def window_of(self, layer: int) -> int | None:
        """How many positions a layer looks at, its own included; None for all."""
        return self.sliding_window if layer in self.sliding_layers else None

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
        """Read `config.json`, and `generation_config.json` where there is one.

        Raises `ConfigError`, with the file's name, if there is no `config.json`, if one of the two
        is no JSON object, or for what `from_dict` refuses.
        """
        path = Path(directory) / "config.json"
        config = _read_json(path)
        if config is None:
            raise ConfigError(f"{directory}: expected a config.json, got {_instead(path)}")
        generation = _read_json(path.with_name("generation_config.json"))
        try:
            return cls.from_dict(config, generation)
        except ConfigError as problem:
            # Few models have no type, but every answer of a server that refuses one.
            kind = None if "model_type" in config else really(path.read_bytes()[:NBYTES])
            expected = f"expected a model's config, got {kind}" if kind else problem
            raise ConfigError(f"{path}: {expected}") from problem

    @classmethod
    def from_dict(
        cls, config: Mapping[str, Any], generation: Mapping[str, Any] | None = None
    ) -> "LlamaConfig":
        """Build a config from the parsed JSON. `generation_config.json`'s eos ids win.

        Raises `ConfigError` naming the field that is missing, contradictory or unsupported.
        """
        family = _family(config)
        _refuse_unsupported(config)
        theta, scaling = _rope(config, family)
        heads = _size(config, "num_attention_heads")
        hidden = _size(config, "hidden_size")
        n_layers = _size(config, "num_hidden_layers")
        head_dim = _size(config, "head_dim", default=family.head_dim or hidden // heads)
        if config.get("head_dim") is None and family.head_dim is None and hidden % heads:
            raise ConfigError(
                "expected head_dim, or a hidden_size that num_attention_heads divides, "
                f"got hidden_size {hidden} and {heads} heads"
            )
        # Nothing said and null are two things here, as in transformers.
        silent = "num_key_value_heads" not in config
        kv_heads = (family.num_key_value_heads if silent else None) or heads
        no_rope = _no_rope_layers(config, family, n_layers)
        window, sliding = _windows(config, family, n_layers, no_rope)
        generation = generation or {}
        eos = generation.get("eos_token_id")
        return cls(
            vocab_size=_size(config, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_size(config, "intermediate_size"),
            num_hidden_layers=n_layers,
            num_attention_heads=heads,
            num_key_value_heads=_size(config, "num_key_value_heads", default=kv_heads),
            head_dim=head_dim,
            max_position_embeddings=_size(config, "max_position_embeddings"),
            rms_norm_eps=_positive(config, "rms_norm_eps", default=RMS_NORM_EPS),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_word_embeddings=_flag(config, "tie_word_embeddings", family.tie_word_embeddings),
            attention_bias=_flag(config, "attention_bias") and not family.qkv_bias,
            mlp_bias=_flag(config, "mlp_bias"),
            qkv_bias=family.qkv_bias,
            qk_norm=family.qk_norm,
            sliding_window=window,
            sliding_layers=sliding,
            no_rope_layers=no_rope,
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


def _instead(path: Path) -> str:
    """What there is in place of a file that is not there."""
    if path.is_symlink():
        return f"a link to {path.readlink()}, which is not there"
    for pattern, words in ELSEWHERE.items():
        if found := sorted(path.parent.glob(pattern)):
            return f"{found[0].name}: {words}"
    return "none"


def _family(config: Mapping[str, Any]) -> Family:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ConfigError(
            f"expected model_type {', '.join(FAMILIES)}, got {short(model_type)}: not supported"
        )
    return FAMILIES[model_type]


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    for name, count in EXPERTS.items():
        value = config.get(name)
        if value is not None and not (type(value) is int and value <= count):
            raise ConfigError(
                f"expected no mixture of experts, got {name} {short(value)}: not supported"
            )
    for name, allowed in REQUIRED_VALUES.items():
        value = config.get(name, allowed[0])
        if value not in allowed:
            raise ConfigError(f"expected {name} {allowed[0]!r}, got {short(value)}: not supported")


def _no_rope_layers(
    config: Mapping[str, Any], family: Family, n_layers: int
) -> tuple[int, ...] | range:
    """The layers without RoPE: `no_rope_layers` has a 0 for each, and a 1 for the others."""
    if not family.no_rope:
        return ()
    given = config.get("no_rope_layers")
    if given is None:
        every = _size(config, "no_rope_layer_interval", default=NO_ROPE_INTERVAL)
        return range(every - 1, n_layers, every)
    if not isinstance(given, list) or len(given) < n_layers or any(x not in (0, 1) for x in given):
        raise ConfigError(
            f"expected no_rope_layers to have a 1 or a 0 for each of {n_layers} layers, "
            f"got {short(given)}"
        )
    return tuple(i for i, turns in enumerate(given[:n_layers]) if not turns)


def _windows(
    config: Mapping[str, Any], family: Family, n_layers: int, no_rope: tuple[int, ...] | range
) -> tuple[int | None, tuple[int, ...] | range]:
    """The sliding window, and the layers that have it; none where it is as wide as the context."""
    window = config.get("sliding_window", family.sliding_window)
    asked = family.windows in ("all", "none") or _flag(config, "use_sliding_window")
    if window is not None and asked:
        window = _size({"sliding_window": window}, "sliding_window")
        if window >= _size(config, "max_position_embeddings"):
            window = None
    if window is not None and asked and family.windows == "none":
        raise ConfigError(
            f"expected a sliding_window of the whole context or none, got {window}: "
            f"not supported in a {config.get('model_type')}"
        )
    kinds = config.get("layer_types")
    if kinds is None or family.windows == "all":
        layers: tuple[int, ...] | range = no_rope  # of a family without any: none
        if family.windows == "all":
            layers = range(n_layers)
        elif family.windows == "upper":
            layers = range(_upper(config), n_layers)
    else:
        layers = _sliding_of(kinds, n_layers)
    if window is None or not asked:
        return None, ()
    return (window, layers) if layers else (None, ())


def _upper(config: Mapping[str, Any]) -> int:
    """The first layer with a window, which may be 0."""
    first = config.get("max_window_layers", MAX_WINDOW_LAYERS)
    if type(first) is not int or first < 0:
        raise ConfigError(f"expected max_window_layers of at least 0, got {short(first)}")
    return first


def _sliding_of(kinds: Any, n_layers: int) -> tuple[int, ...]:
    known = ("full_attention", "sliding_attention")
    if not isinstance(kinds, list):
        raise ConfigError(f"expected layer_types to be a list, got {short(kinds)}")
    if any(kind not in known for kind in kinds) or len(kinds) < n_layers:
        raise ConfigError(
            f"expected layer_types of {' or '.join(known)} for each of {n_layers} layers, "
            f"got {short(kinds)}"
        )
    return tuple(i for i, kind in enumerate(kinds[:n_layers]) if kind == known[1])


def _rope(config: Mapping[str, Any], family: Family) -> tuple[float, RopeScaling | None]:
    """`rope_theta` and the scaling, from whichever spelling the file uses."""
    parameters = _rope_parameters(config)
    given = (config.get("rope_theta"), parameters.get("rope_theta"))
    thetas = {_positive({"rope_theta": x}, "rope_theta") for x in given if x is not None}
    if len(thetas) > 1:
        raise ConfigError(f"expected one rope_theta, got {sorted(thetas)}")
    theta = thetas.pop() if thetas else family.rope_theta
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        fraction = parameters["partial_rotary_factor"]
        raise ConfigError(
            f"expected partial_rotary_factor 1.0, got {short(fraction)}: not supported"
        )
    rope_type = _either(parameters, "rope_type", "type") or "default"
    # "dynamic" changes frequencies beyond `max_position_embeddings`, which is where we end.
    if rope_type in ("default", "dynamic"):
        return theta, None
    if rope_type == "linear":
        return theta, RopeScaling("linear", _positive(parameters, "factor"))
    if rope_type == "llama3":
        scaling = RopeScaling(
            "llama3",
            _positive(parameters, "factor"),
            _positive(parameters, "low_freq_factor"),
            _positive(parameters, "high_freq_factor"),
            _original_context(config, parameters),
        )
        if scaling.low_freq_factor >= scaling.high_freq_factor:
            raise ConfigError(
                "expected low_freq_factor below high_freq_factor, "
                f"got {scaling.low_freq_factor} and {scaling.high_freq_factor}"
            )
        return theta, scaling
    if rope_type == "yarn":
        return theta, _yarn(config, parameters)
    raise ConfigError(
        "expected rope_type default, dynamic, linear, llama3 or yarn, "
        f"got {short(rope_type)}: not supported"
    )


def _original_context(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> int:
    """The context before scaling; beside the RoPE parameters it counts for more than in them."""
    name = "original_max_position_embeddings"
    given = config if config.get(name) is not None else parameters
    return _size(given, name, default=_size(config, "max_position_embeddings"))


def _yarn(config: Mapping[str, Any], parameters: Mapping[str, Any]) -> RopeScaling:
    original = _original_context(config, parameters)
    stretch = _size(config, "max_position_embeddings") / original
    factor = _positive(parameters, "factor", default=stretch)
    scales = [parameters.get(name) for name in ("mscale", "mscale_all_dim")]
    if all(scales):
        above, below = (_positive({"mscale": scale}, "mscale") for scale in scales)
        derived = _yarn_attention(factor, above) / _yarn_attention(factor, below)
    else:
        derived = _yarn_attention(factor, 1.0)
    scaling = RopeScaling(
        "yarn",
        factor,
        original_max_position_embeddings=original,
        beta_fast=_positive(parameters, "beta_fast", default=32.0),
        beta_slow=_positive(parameters, "beta_slow", default=1.0),
        truncate=_flag(parameters, "truncate", default=True),
        attention_factor=_positive(parameters, "attention_factor", default=derived),
    )
    if scaling.beta_slow >= scaling.beta_fast:
        raise ConfigError(
            f"expected beta_slow below beta_fast, got {scaling.beta_slow} and {scaling.beta_fast}"
        )
    return scaling


def _yarn_attention(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


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


def _flag(config: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = config.get(name)
    value = default if value is None else value
    if value not in (None, True, False):
        raise ConfigError(f"expected {name} to be true or false, got {short(value)}")
    return bool(value)


def _token_ids(value: Any, name: str) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    ids = [i for i in ids if type(i) is not int or i != NO_TOKEN]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise ConfigError(f"expected {name} to be an id or a list of ids, got {short(value)}")
    return tuple(ids)


def _first(ids: tuple[int, ...]) -> int | None:
    return ids[0] if ids else None
