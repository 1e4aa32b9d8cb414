"""The tiny random checkpoints that stand for every Llama we claim to read.

A full product of the nine choices below would be 864 models.  Twelve are enough
for every *pair* of choices to meet in one of them at least, which is where two
features get in each other's way; ``tests/engine/test_parity.py`` counts the pairs from
the files themselves.  Families of the same structure follow, each with what it has
of its own: windows, biases on q, k and v, norms of heads, layers without RoPE.

No two axes of a case have the same size unless the structure forces it, so that
a swapped axis cannot go unseen.  This module holds data only; it imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One tiny model: its shape, and how it is stored."""

    name: str
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_size: int  # a multiple of n_heads: transformers insists on it
    intermediate_size: int
    vocab_size: int
    n_layers: int
    seq: int  # tokens in the first pass
    more: int  # tokens in the second pass, read on top of the cache
    tied: bool
    rope: str  # "default", "linear", "llama3" or "yarn"
    rope_theta: float
    storage: str  # "f32", "f16" or "bf16"
    attention_bias: bool
    mlp_bias: bool
    sharded: bool
    old_spelling: bool  # rope_theta / rope_scaling / torch_dtype
    rms_norm_eps: float = 1e-5
    family: str = "llama"  # the model_type
    extra: tuple[tuple[str, object], ...] = ()  # further fields of its config


def _case(name: str, heads: str, widths: str, lengths: str, choices: str, **other: object) -> Case:
    """Spell a case in four short strings, in the order of the table's columns."""
    n_heads, n_kv_heads, head_dim = map(int, heads.split())
    hidden_size, intermediate_size, vocab_size = map(int, widths.split())
    n_layers, seq, more = map(int, lengths.split())
    tied, rope, theta, storage, attention, mlp, files, spelling = choices.split()
    return Case(
        name=name,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
        n_layers=n_layers,
        seq=seq,
        more=more,
        tied=tied == "tied",
        rope=rope,
        rope_theta=float(theta),
        storage=storage,
        attention_bias=attention == "ab",
        mlp_bias=mlp == "mb",
        sharded=files == "shards",
        old_spelling=spelling == "old",
        **other,  # type: ignore[arg-type]
    )


# heads: n_heads n_kv_heads head_dim · widths: hidden intermediate vocab · lengths: layers seq more
# choices: tying, RoPE type, theta, storage, attention bias, MLP bias, files, spelling
CASES = (
    _case("mqa-llama3-bf16", "4 1 6", "24 37 41", "2 11 3", "tied llama3 100 bf16 ab mb one old"),
    _case("gqa-linear-f16", "6 2 10", "24 35 43", "3 12 5", "own linear 1e4 f16 - - shards new"),
    _case("mha-default-f32", "5 5 4", "30 37 43", "2 11 3", "own default 1e4 f32 ab mb one new"),
    _case("mha-tied-shards", "3 3 8", "24 31 37", "2 10 4", "tied default 5e5 f32 - - shards old"),
    _case("mqa-narrow-bf16", "3 1 8", "30 37 43", "2 12 5", "own llama3 50 bf16 - - shards new"),
    _case("gqa-narrow-f16", "6 3 4", "30 41 47", "2 10 5", "tied linear 1e3 f16 ab mb one old"),
    _case("mha-wide-f16", "3 3 10", "21 29 37", "2 11 4", "tied llama3 200 f16 ab mb shards old"),
    _case("mqa-wide-f32", "5 1 12", "30 37 41", "2 9 4", "tied linear 1e4 f32 ab - one new"),
    _case("mha-linear-bf16", "7 7 4", "28 39 45", "2 10 3", "own linear 1e5 bf16 - mb one new"),
    _case("gqa-wide-bf16", "8 2 10", "24 33 37", "2 11 6", "own default 1e4 bf16 - - shards old"),
    _case("gqa-llama3-f32", "8 2 6", "48 51 59", "2 11 5", "own llama3 100 f32 - mb one new"),
    _case("mqa-shards-f16", "4 1 8", "32 43 51", "2 13 5", "own default 500 f16 ab - shards new"),
    _case(
        *("mistral-gqa-bf16", "6 2 10", "36 45 49", "2 11 4", "own default 1e6 bf16 - - one new"),
        family="mistral",
        extra=(("sliding_window", None),),
    ),
    _case(
        *("mistral-tied-f16", "8 4 6", "40 47 55", "2 12 5", "tied linear 1e4 f16 - - one old"),
        family="mistral",
        extra=(("sliding_window", None),),
        rms_norm_eps=1e-2,
    ),
    _case(
        *("mistral-window-f32", "6 2 8", "36 45 53", "3 11 7", "own default 1e4 f32 - - one new"),
        family="mistral",
        extra=(("sliding_window", 4),),
    ),
    _case(
        *("qwen2-tied-f16", "8 2 6", "40 51 57", "2 11 7", "tied default 1e4 f16 ab - one old"),
        family="qwen2",
    ),
    _case(
        *(
            "qwen2-window-bf16",
            "6 3 10",
            "42 45 51",
            "3 11 4",
            "own default 1e6 bf16 ab - shards new",
        ),
        family="qwen2",
        extra=(("use_sliding_window", True), ("sliding_window", 5), ("max_window_layers", 1)),
    ),
    _case(
        *("qwen3-bf16", "6 2 10", "36 45 53", "2 11 4", "own default 1e4 bf16 - - one new"),
        family="qwen3",
    ),
    _case(
        *("qwen3-yarn-f32", "6 2 14", "36 51 59", "2 13 5", "tied yarn 100 f32 ab - one new"),
        family="qwen3",
    ),
    _case(
        *("smollm3-f16", "6 2 8", "36 45 53", "5 11 4", "tied default 500 f16 - - one new"),
        family="smollm3",
        extra=(("pad_token_id", 0),),  # its default lies outside so small a vocabulary
    ),
    _case(
        *("smollm3-window-f32", "8 4 6", "40 51 57", "3 13 5", "own default 1e4 f32 ab mb one new"),
        family="smollm3",
        extra=(
            ("pad_token_id", 0),
            ("use_sliding_window", True),
            ("sliding_window", 6),
            ("no_rope_layers", (0, 1, 0)),
        ),
    ),
    _case("yarn-old-bf16", "6 3 14", "30 35 41", "2 11 5", "own yarn 50 bf16 - - one old"),
)

# Wavelengths of the tiny head_dims straddle both borders of these bands, so
# kept, blended and stretched frequencies all occur.
LLAMA3_SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_SCALING = {
    "factor": 4.0,
    "original_max_position_embeddings": 24,
    "beta_fast": 2.0,
    "beta_slow": 0.5,
}
LINEAR_SCALING = {"factor": 4.0}
MAX_POSITION_EMBEDDINGS = 96
