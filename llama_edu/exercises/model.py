"""Exercises on the model: read a config, settle both ends, find the first gap, finish a pass."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from llama_edu.engine.llama import Llama
from llama_edu.engine.trace import Trace
from llama_edu.engine.weights import LayerWeights
from llama_edu.errors import CheckpointError
from llama_edu.exercises.framework.compare import relative_gap
from llama_edu.exercises.framework.draw import noise, pick, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.tiny import CountingModel, tiny_llama
from llama_edu.ops import attention
from llama_edu.ops.rope import rope_cos_sin

Fields = Mapping[str, Any]
Shapes = dict[str, tuple[int, int]]
Tensors = Mapping[str, np.ndarray]


# ★ projection_shapes(config) -> name to (out_features, in_features), of one layer


def _shapes(config: Fields) -> Shapes:
    hidden, inter = config["hidden_size"], config["intermediate_size"]
    n_heads = config["num_attention_heads"]
    n_kv_heads = config.get("num_key_value_heads") or n_heads
    head_dim = config.get("head_dim") or hidden // n_heads
    return _shapes_of(hidden, inter, n_heads * head_dim, n_kv_heads * head_dim)


def _shapes_of(hidden: int, inter: int, q_width: int, kv_width: int) -> Shapes:
    return {
        "q_proj": (q_width, hidden),
        "k_proj": (kv_width, hidden),
        "v_proj": (kv_width, hidden),
        "o_proj": (hidden, q_width),
        "gate_proj": (inter, hidden),
        "up_proj": (inter, hidden),
        "down_proj": (hidden, inter),
    }


def _shapes_from_the_widths(config: Fields) -> Shapes:
    hidden = config["hidden_size"]
    n_heads = config["num_attention_heads"]
    head_dim = config.get("head_dim")
    if head_dim is None:
        head_dim = hidden // n_heads
    n_kv_heads = config.get("num_key_value_heads")
    kv_width = head_dim * (n_heads if n_kv_heads is None else n_kv_heads)
    into = {"q": n_heads * head_dim, "k": kv_width, "v": kv_width}
    into |= {"gate": config["intermediate_size"], "up": config["intermediate_size"]}
    back = {"o": into["q"], "down": into["up"]}
    shapes = {f"{name}_proj": (width, hidden) for name, width in into.items()}
    return shapes | {f"{name}_proj": (hidden, width) for name, width in back.items()}


def _shapes_head_dim_guessed(config: Fields) -> Shapes:
    return _shapes({**config, "head_dim": None})


def _shapes_all_heads_have_keys(config: Fields) -> Shapes:
    return _shapes({**config, "num_key_value_heads": None})


def _shapes_turned(config: Fields) -> Shapes:
    return {name: (inside, out) for name, (out, inside) in _shapes(config).items()}


def _shapes_o_like_q(config: Fields) -> Shapes:
    shapes = _shapes(config)
    return shapes | {"o_proj": shapes["q_proj"]}


def _shapes_kv_heads_required(config: Fields) -> Shapes:
    return _shapes({**config, "num_key_value_heads": config["num_key_value_heads"]})


def _listed_shapes(answer: Callable[..., Any], config: Fields) -> Any:
    shapes = answer(config)
    return [f"{name} {tuple(shapes[name])}" for name in _shapes_of(0, 0, 0, 0)]


def _shapes_cases() -> list[Case]:
    grouped = {"hidden_size": 20, "intermediate_size": 27, "num_attention_heads": 6}
    return [
        Case(
            "2 KV heads, head_dim given",
            ({**grouped, "num_key_value_heads": 2, "head_dim": 8},),
        ),
        Case(
            "no head_dim, 1 KV head",
            (
                {
                    "hidden_size": 24,
                    "intermediate_size": 31,
                    "num_attention_heads": 4,
                    "num_key_value_heads": 1,
                },
            ),
        ),
        Case("no num_key_value_heads, head_dim null", ({**grouped, "head_dim": None},)),
    ]


def _projection_shapes_drawn(rng: np.random.Generator) -> list[Case]:
    kv, groups, dim, hidden, inner = (n * 4 for n in wholes(rng, 5, 2, 12))
    config = {"hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": kv * groups}
    return [
        Case("other sizes", ({**config, "num_key_value_heads": kv, "head_dim": dim},)),
        Case("other sizes, every head its own keys", ({**config, "head_dim": dim},)),
    ]


PROJECTION_SHAPES = Exercise(
    name="projection_shapes",
    topic="model",
    books=("llama_edu.formats.tensor_shapes.expected_shapes",),
    stars=1,
    task="From a config, say the shapes of a layer's seven matrices.",
    section="Where the numbers are",
    cases=_shapes_cases,
    harness=_listed_shapes,
    drawn=_projection_shapes_drawn,
    correct=(_shapes, _shapes_from_the_widths),
    mutants=(
        Mutant(
            "head_dim_guessed",
            _shapes_head_dim_guessed,
            "when head_dim is taken for hidden_size / num_attention_heads though the config has it",
            "https://github.com/paiml/entrenar/issues/262",
            section="Common mistakes",
        ),
        Mutant(
            "keys_for_all_heads",
            _shapes_all_heads_have_keys,
            "when every query head is given keys and values of its own",
            "https://github.com/facebookresearch/lingua/issues/44",
            section="The parts in order",
        ),
        Mutant(
            "turned",
            _shapes_turned,
            "when the shapes are (in, out): a checkpoint stores one row per output",
            "https://github.com/skyzh/tiny-llm/issues/41",
        ),
        Mutant(
            "o_like_q",
            _shapes_o_like_q,
            "when o_proj has the shape of q_proj: it leads back",
            section="The parts in order",
        ),
        Mutant(
            "kv_heads_required",
            _shapes_kv_heads_required,
            "when a config without num_key_value_heads cannot be read: it means one per query head",
        ),
        Mutant(
            "o_square",
            lambda config: {**_shapes(config), "o_proj": (config["hidden_size"],) * 2},
            "when o_proj is taken to be square",
        ),
        Mutant(
            "q_square",
            lambda config: {**_shapes(config), "q_proj": (config["hidden_size"],) * 2},
            "when q_proj is taken to be square",
        ),
        Mutant(
            "down_like_up",
            lambda config: {**_shapes(config), "down_proj": _shapes(config)["up_proj"]},
            "when down_proj has the shape of up_proj",
        ),
        Mutant(
            "four_times",
            lambda config: _shapes({**config, "intermediate_size": 4 * config["hidden_size"]}),
            "when the MLP is taken to be four times as wide",
        ),
    ),
)


# ★★ both_ends(tensors, tied) -> (embed_tokens, lm_head)

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def _ends(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    if tied:
        both = {EMBED, HEAD} <= set(tensors)
        if both and not np.array_equal(tensors[EMBED], tensors[HEAD]):
            raise CheckpointError(f"expected {EMBED} and {HEAD} to be equal, got two tables")
        return _ends_unequal_taken(tensors, tied)
    if HEAD not in tensors or EMBED not in tensors:
        raise CheckpointError(f"expected {EMBED} and {HEAD}, got {', '.join(tensors)}")
    return tensors[EMBED], tensors[HEAD]


def _ends_unequal_taken(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    if tied:
        table = tensors[EMBED] if EMBED in tensors else tensors[HEAD]
        return table, table
    return tensors[EMBED], tensors[HEAD]


def _ends_by_lookup(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    if not tied:
        return tensors[EMBED], tensors[HEAD]  # a missing one is a KeyError
    table, *others = (tensors[name] for name in (EMBED, HEAD) if name in tensors)
    if any(table.shape != other.shape or (table != other).any() for other in others):
        raise ValueError("expected one table, got two that differ")
    return table, table


def _ends_rows_repeated(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    if tied and len(tensors) == 2 and (tensors[EMBED] != tensors[HEAD]).any():
        raise ValueError("expected one table, got two that differ")
    return _ends_unequal_taken(tensors, tied)


def _ends_made_up(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    embed_tokens = tensors["model.embed_tokens.weight"]
    lm_head = np.random.default_rng(0).standard_normal(embed_tokens.shape, np.float32)
    if "lm_head.weight" in tensors:
        lm_head = tensors["lm_head.weight"]
    return embed_tokens, lm_head


def _ends_always_tied(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    return _ends_unequal_taken(tensors, True)


def _ends_one_name_only(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    return tensors[EMBED], tensors[EMBED] if tied else tensors[HEAD]


def _ends_copied(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    embed_tokens, lm_head = _ends(tensors, tied)
    return embed_tokens, lm_head.copy() if tied else lm_head


def _ends_kept_twice(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    embed_tokens, lm_head = _ends(tensors, tied)
    return embed_tokens, tensors.get(HEAD, lm_head)


def _ends_filled_in(tensors: Tensors, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    return _ends(tensors, tied or HEAD not in tensors)


def _ends_judged(answer: Callable[..., Any], tensors: Tensors, tied: bool) -> Any:
    embed_tokens, lm_head = answer(tensors, tied)
    shared = np.shares_memory(embed_tokens, lm_head)
    return [embed_tokens, lm_head, "one table" if shared else "two tables"]


def _ends_cases() -> list[Case]:
    rng = np.random.default_rng(9)
    table, other = (rng.standard_normal((5, 3), dtype=np.float32) for _ in range(2))
    alike = np.repeat(table[:1], 5, axis=0)
    return [
        Case("tied, stored as the embedding", ({EMBED: table}, True)),
        Case("tied, stored as the head", ({HEAD: table}, True)),
        Case("tied, stored under both names", ({EMBED: table, HEAD: table.copy()}, True)),
        Case("tied, with two tables that differ", ({EMBED: table, HEAD: other}, True)),
        Case("untied", ({EMBED: table, HEAD: other}, False)),
        Case("untied, with no head stored", ({EMBED: table}, False)),
        # Compared with `!=`, a single row stands for as many as there are.
        Case("tied, the head one row of the table", ({EMBED: alike, HEAD: alike[:1]}, True)),
        Case("tied, with no table stored", ({}, True)),
    ]


def _both_ends_drawn(rng: np.random.Generator) -> list[Case]:
    rows, columns = wholes(rng, 2, 3, 9)
    table, other = noise(rng, rows, columns), noise(rng, rows, columns)
    return [
        Case("other tables, untied", ({HEAD: other, EMBED: table}, False)),
        Case("another table, tied", ({HEAD: table}, True)),
        Case("a head alone, untied", ({HEAD: table}, False)),
    ]


BOTH_ENDS = Exercise(
    name="both_ends",
    topic="model",
    stars=2,
    task="Settle which table embeds and which one scores, tied or not, under either name.",
    section="Tied, untied, and under either name",
    cases=_ends_cases,
    harness=_ends_judged,
    parts=("the embedding", "the head", "what is stored"),
    drawn=_both_ends_drawn,
    correct=(_ends, _ends_by_lookup),
    refuses=(CheckpointError, KeyError, ValueError),
    mutants=(
        Mutant(
            "made_up",
            _ends_made_up,
            "when a head that is not stored is left at random numbers",
            "https://github.com/tinygrad/tinygrad/pull/13796",
        ),
        Mutant(
            "always_tied",
            _ends_always_tied,
            "when the head is always tied, and one that was trained apart is dropped",
            "https://github.com/NVIDIA-NeMo/Automodel/issues/2941",
            section="Common mistakes",
        ),
        Mutant(
            "one_name_only",
            _ends_one_name_only,
            "when a tied table is looked for under one name: it may be stored as the head",
        ),
        Mutant("copied", _ends_copied, "when a tied table is copied: the same numbers, twice"),
        Mutant(
            "kept_twice",
            _ends_kept_twice,
            "when a tied table that is stored twice is kept twice",
            "https://github.com/vllm-project/vllm/pull/51665",
        ),
        Mutant(
            "filled_in",
            _ends_filled_in,
            "when an untied model whose head is missing is given the embedding instead of an error",
            "https://github.com/NVIDIA/TensorRT-LLM/issues/3324",
        ),
        Mutant(
            "unequal_taken",
            _ends_unequal_taken,
            "when a tied model is loaded from two tables that differ",
        ),
        Mutant(
            "rows_repeated",
            _ends_rows_repeated,
            "when two tables are compared with `!=`, which lets one row stand for many",
        ),
        Mutant(
            "exchanged",
            lambda tensors, tied: _ends(tensors, tied)[::-1],
            "when the two tables change places",
        ),
        Mutant(
            "head_turned",
            lambda tensors, tied: (_ends(tensors, tied)[0], _ends(tensors, tied)[1].T),
            "when the head is turned",
        ),
        Mutant(
            "zeros",
            lambda tensors, tied: (
                _ends(tensors, tied)
                if tied or HEAD in tensors
                else (tensors[EMBED], np.zeros_like(tensors[EMBED]))
            ),
            "when a missing head is filled with zeros",
        ),
        Mutant(
            "tied_anyway",
            lambda tensors, tied: (
                (tensors[EMBED], tensors[EMBED])
                if tied
                else (tensors[EMBED], tensors.get(HEAD, tensors[EMBED]))
            ),
            "when a missing head is taken from the embedding, tied or not",
        ),
    ),
)


# ★★ first_gap(want, got, bound) -> name of the first array that differs, or None


def _first(want: Tensors, got: Tensors, bound: float) -> str | None:
    return next((name for name in want if not _gap_of(name, want, got) <= bound), None)


def _gap_of(name: str, want: Tensors, got: Tensors) -> float:
    return relative_gap(want[name], got[name]) if name in got else np.inf


def _first_by_allclose(want: Tensors, got: Tensors, bound: float) -> str | None:
    for name, array in want.items():
        scale = np.abs(array[np.isfinite(array)]).max(initial=0)
        if name not in got or got[name].shape != array.shape:
            return name
        if not np.allclose(got[name], array, rtol=0, atol=bound * scale):
            return name
    return None


def _first_blind_to_nan(want: Tensors, got: Tensors, bound: float) -> str | None:
    for name in want:
        if got[name].shape != want[name].shape:
            return name
        finite = np.isfinite(want[name])  # a masked score is -inf on both sides
        scale = np.abs(want[name][finite]).max()
        if np.abs(got[name][finite] - want[name][finite]).max() > bound * scale:
            return name
    return None


def _first_signed(want: Tensors, got: Tensors, bound: float) -> str | None:
    def gap(name: str) -> float:
        finite = np.isfinite(want[name])
        difference = got[name][finite] - want[name][finite]
        return float(difference.max() / np.abs(want[name][finite]).max())

    return _first_by(want, got, bound, gap)


def _first_absolute(want: Tensors, got: Tensors, bound: float) -> str | None:
    def gap(name: str) -> float:
        finite = np.isfinite(want[name])
        return float(np.abs(got[name][finite] - want[name][finite]).max())

    return _first_by(want, got, bound, gap)


def _first_of_means(want: Tensors, got: Tensors, bound: float) -> str | None:
    def gap(name: str) -> float:
        finite = np.isfinite(want[name])
        off = np.abs(got[name][finite] - want[name][finite]).mean()
        return float(off / np.abs(want[name][finite]).max())

    return _first_by(want, got, bound, gap)


def _first_by(want: Tensors, got: Tensors, bound: float, gap: Callable[[str], float]) -> str | None:
    """As it should be but for the measure of what is a finite number on both sides."""
    for name in want:
        off = _gap_of(name, want, got)
        if off == np.inf or (off > 0 and gap(name) > bound):
            return name
    return None


def _first_is_the_worst(want: Tensors, got: Tensors, bound: float) -> str | None:
    worst = max(want, key=lambda name: _gap_of(name, want, got))
    return worst if _gap_of(worst, want, got) > bound else None


def _first_in_the_alphabet(want: Tensors, got: Tensors, bound: float) -> str | None:
    return _first({name: want[name] for name in sorted(want)}, got, bound)


def _first_where_masked(want: Tensors, got: Tensors, bound: float) -> str | None:
    for name, array in want.items():
        if got[name].shape != array.shape:
            return name
        with np.errstate(invalid="ignore"):
            gap = np.abs(got[name] - array).max() / np.abs(array[np.isfinite(array)]).max()
        if not gap <= bound:
            return name
    return None


def _arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Four layers, and scores of which a mask hides some."""
    names = [*(f"layers.{i}" for i in (0, 1, 2, 10)), "scores"]
    made = {name: rng.standard_normal((3, 4), dtype=np.float32) for name in names}
    made["scores"] = np.where(np.tri(3, 4, 1, dtype=bool), made["scores"], -np.inf)
    return made


def _first_cases() -> list[Case]:
    rng = np.random.default_rng(10)
    one = np.zeros((3, 4), dtype=np.float32)
    one[1, 2] = 1.0

    def off_by(bounds: float, bound: float = 1e-5) -> Case:
        """One number of layers.1 off by so many times what is allowed there."""
        want = _arrays(rng)
        gap = bounds * bound * float(np.abs(want["layers.1"]).max()) * one
        label = f"one number is off by {bounds:g} of what is allowed, {bound:g}"
        return _scaled_case(label, want, {"layers.1": gap}, bound)

    def gaps_in(label: str, gaps: dict[str, np.ndarray]) -> Case:
        return _scaled_case(label, _arrays(rng), gaps)

    return [
        gaps_in("only rounding, a mask on both sides", {}),
        gaps_in("one number is too small", {"layers.1": -one}),
        gaps_in("a small gap, then a large one", {"layers.2": 0.01 * one, "layers.10": 5 * one}),
        gaps_in("a large gap, then a small one", {"layers.2": 5 * one, "layers.10": 0.01 * one}),
        gaps_in("one number is NaN", {"layers.1": np.nan * one}),
        _scaled_case("arrays a thousand times larger", _times(_arrays(rng), 1000.0), {}),
        _scaled_case(
            "arrays a thousand times smaller",
            _times(_arrays(rng), 0.001),
            {"layers.2": 5e-6 * one},
        ),
        gaps_in("one number of twelve is barely off", {"layers.0": 5e-5 * one}),
        off_by(1.3),
        off_by(0.7),
        off_by(0.5, bound=1e-3),
        off_by(2.0, bound=1e-3),
        _small_beside_large(rng, one),
        _one_large(rng, one),
        gaps_in("two large gaps", {"layers.0": 5 * one, "layers.2": 5 * one}),
        _one_missing(rng),
        _all_masked(rng, one),
    ]


def _small_beside_large(rng: np.random.Generator, one: np.ndarray) -> Case:
    """A number near 0 that is off by less than the largest one allows."""
    want = _arrays(rng)
    want["layers.0"][1, 2] = 1e-4
    return _scaled_case("a small number beside large ones", want, {"layers.0": 5e-6 * one})


def _one_large(rng: np.random.Generator, one: np.ndarray) -> Case:
    """A gap of almost two bounds, beside one number that is as large as all of them."""
    want = _arrays(rng)
    want["layers.2"] = (want["layers.2"] / 1000 + 4 * one).astype(np.float32)
    return _scaled_case("a gap beside one large number", want, {"layers.2": 1.9 * 4e-5 * one})


def _one_missing(rng: np.random.Generator) -> Case:
    whole = _scaled_case("an array is missing", _arrays(rng), {})
    want, got, bound = whole.args
    return replace(whole, args=(want, {n: got[n] for n in got if n != "layers.2"}, bound))


def _all_masked(rng: np.random.Generator, one: np.ndarray) -> Case:
    """Nothing to measure, and no gap: the one that is comes later."""
    masked = {"nothing but −∞": np.full((2, 3), -np.inf, dtype=np.float32)}
    gap = {"layers.1": 0.01 * one}
    return _scaled_case("an array with no finite number", masked | _arrays(rng), gap)


def _times(arrays: dict[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    return {name: (array * np.float32(factor)) for name, array in arrays.items()}


def _scaled_case(
    label: str,
    want: dict[str, np.ndarray],
    changes: dict[str, np.ndarray],
    bound: float = 1e-5,
) -> Case:
    """`want`, and the same with a rounding's worth of noise and some changes."""
    got = {name: array * np.float32(1 + 2e-7) for name, array in want.items()}
    for name, change in changes.items():
        got[name] = got[name] + change
    return Case(label, (want, got, bound))


def _first_gap_drawn(rng: np.random.Generator) -> list[Case]:
    names = pick(rng, ["q", "k", "v", "scores", "mlp"], 9)
    want = {f"{name}.{i}": noise(rng, 3, 4) for i, name in enumerate(names)}
    for array in want.values():
        array[0, 3] = -np.inf
    wrong, bound = names[5] + ".5", whole(rng, 1, 9) * 1e-4
    one = np.zeros((3, 4), dtype=np.float32)
    one[1, 2] = bound * np.abs(want[wrong][1:]).max()
    unmasked = np.zeros((3, 4), dtype=np.float32)
    unmasked[0, 3] = np.inf  # −∞ + ∞ is NaN; see below
    cases = [
        _scaled_case("a gap of three bounds", want, {wrong: 3 * one}, bound),
        _scaled_case("a gap of a third of the bound", want, {wrong: one / 3}, bound),
    ]
    lost = {name: np.where(np.isneginf(a) & (name == wrong), 0, a) for name, a in want.items()}
    lost = {name: a.astype(np.float32) for name, a in lost.items()}
    return [*cases, Case("a masked score that is not masked", (want, lost, bound))]


def _first_by_norm(want: Tensors, got: Tensors, bound: float) -> str | None:
    for name, array in want.items():
        finite = np.isfinite(array)
        if not np.array_equal(array[~finite], got[name][~finite]):
            return name
        gap = np.linalg.norm(got[name][finite] - array[finite])
        if not gap <= bound * np.linalg.norm(array[finite]):
            return name
    return None


def _first_by_mean_scale(want: Tensors, got: Tensors, bound: float) -> str | None:
    for name, array in want.items():
        finite = np.isfinite(array)
        if not np.array_equal(array[~finite], got[name][~finite]):
            return name
        gap = np.abs(got[name][finite] - array[finite]).max()
        if not gap <= bound * np.abs(array[finite]).mean():
            return name
    return None


FIRST_GAP = Exercise(
    name="first_gap",
    topic="model",
    stars=2,
    task="Name the first array that differs from the reference by more than rounding.",
    section="Find the broken layer",
    cases=_first_cases,
    drawn=_first_gap_drawn,
    correct=(_first, _first_by_allclose),
    mutants=(
        Mutant(
            "blind_to_nan",
            _first_blind_to_nan,
            "when NaN passes: every comparison with it is False, `>` as well",
        ),
        Mutant(
            "signed",
            _first_signed,
            "when the difference keeps its sign, and too small passes",
            section="Same numbers?",
        ),
        Mutant(
            "absolute",
            _first_absolute,
            "when one absolute bound serves arrays of every size",
            section="Same numbers?",
        ),
        Mutant(
            "means",
            _first_of_means,
            "when the mean is taken, in which one wrong number drowns",
            section="Same numbers?",
        ),
        Mutant(
            "the_worst",
            _first_is_the_worst,
            "when the largest gap is named: the cause is the first one",
        ),
        Mutant(
            "alphabet",
            _first_in_the_alphabet,
            "when the names are sorted as text: layers.10 comes before layers.2",
        ),
        Mutant(
            "masked",
            _first_where_masked,
            "when −∞ is subtracted from −∞: a masked score then differs from itself",
        ),
        Mutant(
            "missing_passes",
            lambda want, got, bound: _first({n: want[n] for n in want if n in got}, got, bound),
            "when an array that is missing passes",
        ),
        Mutant(
            "fixed_bound",
            lambda want, got, bound: _first(want, got, 1e-4),
            "when the bound is 1e-4, whatever is asked",
        ),
        Mutant(
            "twice",
            lambda want, got, bound: _first(want, got, 2 * bound),
            "when twice the bound is allowed",
        ),
        Mutant(
            "no_bound",
            lambda want, got, bound: _first(want, got, 0.0),
            "when nothing is allowed: rounding is no gap",
        ),
        Mutant(
            "last",
            lambda want, got, bound: _first(dict(reversed(list(want.items()))), got, bound),
            "when the last one is named and not the first",
        ),
        Mutant(
            "each_number",
            lambda want, got, bound: next(
                (
                    name
                    for name, a in want.items()
                    if not np.allclose(got[name], a, rtol=bound, atol=0, equal_nan=True)
                ),
                None,
            ),
            "when each number is measured by its own size",
        ),
        Mutant(
            "norms",
            lambda want, got, bound: _first_by_norm(want, got, bound),
            "when lengths of whole arrays are compared: one number drowns among many",
        ),
        Mutant(
            "mean_scale",
            lambda want, got, bound: _first_by_mean_scale(want, got, bound),
            "when the mean of an array is the scale and not its largest number",
        ),
        Mutant(
            "as_a_list",
            lambda want, got, bound: [
                name for name in want if _first({name: want[name]}, got, bound)
            ],
            "when all names come back",
        ),
        Mutant(
            "as_a_bool",
            lambda want, got, bound: _first(want, got, bound) is not None,
            "when the answer is yes or no",
        ),
        Mutant(
            "empty_text",
            lambda want, got, bound: _first(want, got, bound) or "",
            "when no gap is an empty text and not None",
        ),
    ),
)


# ★★★ finish_forward(model, x, first_layer) -> logits


def _finish(  # noqa: PLR0913, options by keyword
    model: Llama,
    x: np.ndarray,
    first_layer: int,
    *,
    skip: int = 0,
    final_norm: bool = True,
    masked: bool = True,
    norms_in_order: bool = True,
    normed_residual: bool = False,
    head: str = "lm_head",
) -> np.ndarray:
    """The right answer, and with each switch one that is wrong."""
    weights, eps = model.weights, model.config.rms_norm_eps
    norm = model.operators.rms_norm
    for layer in weights.layers[first_layer + skip :]:
        gains = [layer.input_layernorm, layer.post_attention_layernorm]
        before, between = gains if norms_in_order else gains[::-1]
        normed = norm(x, before, eps)
        stream = normed if normed_residual else x
        x = stream + _attended(model, normed, layer, masked=masked)
        x = x + _gated(model, norm(x, between, eps), layer)
    if final_norm:
        x = norm(x, weights.norm, eps)
    return model.operators.linear(x, getattr(weights, head))


def _attended(model: Llama, x: np.ndarray, layer: LayerWeights, *, masked: bool) -> np.ndarray:
    ops, config = model.operators, model.config
    heads = config.num_key_value_heads, config.head_dim
    cos, sin = rope_cos_sin(model.inv_freq, 0, len(x))
    q = attention.split_query_heads(ops.linear(x, layer.q_proj.weight, layer.q_proj.bias), *heads)
    k = attention.split_kv_heads(ops.linear(x, layer.k_proj.weight, layer.k_proj.bias), *heads)
    v = attention.split_kv_heads(ops.linear(x, layer.v_proj.weight, layer.v_proj.bias), *heads)
    scores = ops.qk_scores(ops.apply_rope(q, cos, sin), ops.apply_rope(k, cos, sin))
    if masked:
        scores = ops.apply_mask(scores, attention.causal_mask(len(x), 0))
    mixed = ops.score_v(ops.softmax(scores), v)
    return ops.linear(attention.merge_heads(mixed), layer.o_proj.weight, layer.o_proj.bias)


def _gated(model: Llama, x: np.ndarray, layer: LayerWeights) -> np.ndarray:
    ops = model.operators
    gate = ops.linear(x, layer.gate_proj.weight, layer.gate_proj.bias)
    up = ops.linear(x, layer.up_proj.weight, layer.up_proj.bias)
    return ops.linear(ops.swiglu(gate, up), layer.down_proj.weight, layer.down_proj.bias)


def _finish_by_resuming(model: Llama, x: np.ndarray, first_layer: int) -> np.ndarray:
    """The engine itself, on the last layers, with the residual stream in place of an embedding."""
    table = np.zeros(model.weights.embed_tokens.shape, dtype=x.dtype)
    table[: len(x)] = x
    left = model.weights.layers[first_layer:]
    rest = copy.copy(model)
    rest.weights = replace(model.weights, embed_tokens=table, layers=left)
    return rest.forward(range(len(x)))


def _finish_from_the_start(model: Llama, x: np.ndarray, first_layer: int) -> np.ndarray:
    return _finish(model, x, 0)


def _finish_cases() -> list[Case]:
    model = CountingModel(tiny_llama(12))
    with Trace() as trace:
        model.forward([3, 14, 15, 9, 26], trace=trace)
    streams = ["embed_tokens", "layers.0.mlp_residual", "layers.1.mlp_residual"]
    labels = ["all layers left", "one layer left", "no layer left: only the norm and the head"]
    cases = [
        Case(label, (model, trace[name].array.copy(), first_layer))
        for first_layer, (label, name) in enumerate(zip(labels, streams, strict=True))
    ]
    blurred = CountingModel(tiny_llama(12))
    blurred.config = replace(blurred.config, rms_norm_eps=0.5)
    stream = trace[streams[1]].array.copy()
    return [
        *cases,
        Case("a config with a large eps", (blurred, stream, 1)),
        Case("projections with a bias", (_biased(model), trace["embed_tokens"].array.copy(), 0)),
    ]


def _biased(model: Llama) -> Llama:
    """The same model with a bias at every projection, as some checkpoints have."""
    rng = np.random.default_rng(5)
    layers = []
    for layer in model.weights.layers:
        names = [f.name for f in fields(layer) if f.name.endswith("_proj")]
        changed = {}
        for name in names:
            weight = getattr(layer, name).weight
            changed[name] = replace(getattr(layer, name), bias=noise(rng, len(weight)))
        layers.append(replace(layer, **changed))
    other = copy.copy(model)
    other.weights = replace(model.weights, layers=tuple(layers))
    return other


def _finish_without_bias(model: Llama, x: np.ndarray, first_layer: int) -> np.ndarray:
    plain = copy.copy(model)
    layers = []
    for layer in model.weights.layers:
        names = [f.name for f in fields(layer) if f.name.endswith("_proj")]
        changed = {name: replace(getattr(layer, name), bias=None) for name in names}
        layers.append(replace(layer, **changed))
    plain.weights = replace(model.weights, layers=tuple(layers))
    return _finish(plain, x, first_layer)


def _finish_eps_fixed(model: Llama, x: np.ndarray, first_layer: int) -> np.ndarray:
    usual = CountingModel(model)
    usual.config = replace(model.config, rms_norm_eps=1e-5)
    return _finish(usual, x, first_layer)


def _finish_forward_drawn(rng: np.random.Generator) -> list[Case]:
    model = CountingModel(tiny_llama(whole(rng, 20, 40)))
    model.config = replace(model.config, rms_norm_eps=whole(rng, 1, 9) / 10)
    x = noise(rng, whole(rng, 3, 7), model.config.hidden_size)
    return [Case("another stream", (model, x, whole(rng, 0, 1)))]


def _finish_parts(  # noqa: PLR0913, options by keyword
    model: Llama,
    x: np.ndarray,
    first: int,
    *,
    last: int | None = None,
    mlp: bool = True,
    turned: bool = True,
    residual: bool = True,
    second_norm: bool = True,
) -> np.ndarray:
    """With each switch another part is left out."""
    weights, eps = model.weights, model.config.rms_norm_eps
    norm = model.operators.rms_norm
    flat = copy.copy(model)
    if not turned:
        flat.inv_freq = np.zeros_like(model.inv_freq)
    for layer in weights.layers[first:last]:
        mixed = _attended(flat, norm(x, layer.input_layernorm, eps), layer, masked=True)
        x = x + mixed if residual else mixed
        if mlp:
            inner = norm(x, layer.post_attention_layernorm, eps) if second_norm else x
            x = x + _gated(model, inner, layer)
    return _finish(model, x, len(weights.layers))


FINISH_FORWARD = Exercise(
    name="finish_forward",
    topic="model",
    stars=3,
    task="Take the residual stream in front of a layer, and finish the pass: logits.",
    section="The parts in order",
    cases=_finish_cases,
    axes="seq vocab_size",
    drawn=_finish_forward_drawn,
    correct=(_finish, _finish_by_resuming),
    tolerance=1e-4,
    mutants=(
        Mutant(
            "no_final_norm",
            partial(_finish, final_norm=False),
            "without the norm in front of the head",
            "https://github.com/TransformerLensOrg/TransformerLens/issues/179",
        ),
        Mutant("no_bias", _finish_without_bias, "when the biases of the projections are left out"),
        Mutant("one_late", partial(_finish, skip=1), "when the layer named is left out"),
        Mutant("from_the_start", _finish_from_the_start, "when all layers are run again"),
        Mutant(
            "norms_swapped",
            partial(_finish, norms_in_order=False),
            "when the two norms of a layer change places",
        ),
        Mutant(
            "normed_residual",
            partial(_finish, normed_residual=True),
            "when the normed vector is added to, not the stream it was made from",
            "https://github.com/tracel-ai/burn/issues/1056",
        ),
        Mutant("no_mask", partial(_finish, masked=False), "without a mask: tokens see the future"),
        Mutant("eps_fixed", _finish_eps_fixed, "when eps is 1e-5 whatever the config says"),
        Mutant(
            "embedding_as_head",
            partial(_finish, head="embed_tokens"),
            "when an untied model is scored with its embedding",
            "https://github.com/NVIDIA-NeMo/Automodel/issues/2941",
            section="Tied, untied, and under either name",
        ),
        Mutant(
            "no_mlp",
            lambda model, x, first_layer: _finish_parts(model, x, first_layer, mlp=False),
            "when the MLP is left out",
        ),
        Mutant(
            "no_rope",
            lambda model, x, first_layer: _finish_parts(model, x, first_layer, turned=False),
            "when nothing is turned",
        ),
        Mutant(
            "no_residual",
            lambda model, x, first_layer: _finish_parts(model, x, first_layer, residual=False),
            "when attention replaces the stream and is not added",
        ),
        Mutant(
            "no_second_norm",
            lambda model, x, first_layer: _finish_parts(model, x, first_layer, second_norm=False),
            "when the norm in front of the MLP is left out",
        ),
        Mutant(
            "up_to",
            lambda model, x, first_layer: _finish_parts(model, x, 0, last=first_layer),
            "when the layers in front of it are run and not those behind",
        ),
        Mutant(
            "last_row",
            lambda model, x, first_layer: _finish(model, x, first_layer)[-1],
            "when only the last row of logits comes back",
        ),
    ),
)

EXERCISES = (PROJECTION_SHAPES, BOTH_ENDS, FIRST_GAP, FINISH_FORWARD)
