"""The whole model."""

import numpy as np
from fresh_answers import right, wrong

from llama_edu.ops import attention
from llama_edu.ops.mlp import silu
from llama_edu.ops.norm import rms_norm
from llama_edu.ops.rope import apply_rope, rope_cos_sin

PS, BE, FG, FF = "projection_shapes", "both_ends", "first_gap", "finish_forward"
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def shapes(config, *, head_dim=None, kv=None, turned=False, o_turned=True, gate=None):
    h, n = config["hidden_size"], config["num_attention_heads"]
    kv = config.get("num_key_value_heads", n) if kv is None else kv
    d = (config.get("head_dim") or h // n) if head_dim is None else head_dim
    i = config["intermediate_size"]
    out = {
        "q_proj": (n * d, h),
        "k_proj": (kv * d, h),
        "v_proj": (kv * d, h),
        "o_proj": (h, n * d) if o_turned else (n * d, h),
        "gate_proj": (i, h),
        "up_proj": (i, h),
        "down_proj": (h, i),
    }
    return {name: shape[::-1] for name, shape in out.items()} if turned else out


def shapes_table(config):
    heads = config["num_attention_heads"]
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    size = config["head_dim"] if config.get("head_dim") else hidden // heads
    widths = {"q": heads, "k": config.get("num_key_value_heads", heads)}
    widths["v"] = widths["k"]
    out = {f"{letter}_proj": (size * width, hidden) for letter, width in widths.items()}
    out["o_proj"] = out["q_proj"][::-1]
    out |= dict.fromkeys(("gate_proj", "up_proj"), (inner, hidden))
    out["down_proj"] = (hidden, inner)
    return out


def per_head(config):
    return shapes(config, head_dim=config["hidden_size"] // config["num_attention_heads"])


def ends(tensors, tied):
    if tied and len(tensors) > 1 and not np.array_equal(tensors[EMBED], tensors[HEAD]):
        raise ValueError("two tables that differ")
    return ends_unequal(tensors, tied)


def ends_unequal(tensors, tied):
    if tied:
        name = EMBED if EMBED in tensors else HEAD
        return tensors[name], tensors[name]
    return tensors[EMBED], tensors[HEAD]


def ends_in_turn(tensors, tied):
    one, other = tensors.get(EMBED), tensors.get(HEAD)
    if tied:
        both = one is not None and other is not None
        if both and (one.shape != other.shape or (one != other).any()):
            raise KeyError("two tables that differ")
        one = other if one is None else one
        other = one
    if one is None or other is None:
        raise ValueError("a table is missing")
    return one, other


def ends_broadcast(tensors, tied):
    if tied and EMBED in tensors and HEAD in tensors and (tensors[EMBED] != tensors[HEAD]).any():
        raise ValueError("two tables that differ")
    return ends_unequal(tensors, tied)


def ends_head_if_there(tensors, tied):
    embed = tensors[EMBED]
    return embed, tensors.get(HEAD, embed)


def ends_always_tied(tensors, tied):
    return tensors[EMBED], tensors[EMBED]


def ends_embed_only(tensors, tied):
    return (tensors[EMBED], tensors[EMBED]) if tied else (tensors[EMBED], tensors[HEAD])


def ends_copied(tensors, tied):
    one, other = ends(tensors, tied)
    return one.copy(), other.copy()


def ends_copied_if_tied(tensors, tied):
    one, other = ends(tensors, tied)
    return (one, one.copy()) if tied else (one, other)


def ends_zeros(tensors, tied):
    if tied:
        return ends(tensors, tied)
    return tensors[EMBED], tensors.get(HEAD, np.zeros_like(tensors[EMBED]))


def ends_turned(tensors, tied):
    one, other = ends(tensors, tied)
    return one, other.T


def ends_tied_head_kept(tensors, tied):
    one, other = ends(tensors, tied)
    return one, tensors.get(HEAD, other)


def gap(want, got, bound, *, sort=False, shapes_too=True, nan=True, scale="max", equal=False):
    names = sorted(want) if sort else list(want)
    for name in names:
        a, b = want[name], got.get(name)
        if b is None or (shapes_too and a.shape != b.shape):
            return name
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(a)
        if nan and not np.array_equal(
            np.where(finite, 0.0, a),
            np.where(finite, 0.0, np.where(finite, 0.0, b)),
            equal_nan=True,
        ):
            return name
        if not finite.any():
            continue
        largest = {
            "max": np.abs(a[finite]).max(),
            "mean": np.abs(a[finite]).mean(),
            "one": 1.0,
            "got": np.abs(b[finite]).max(),
        }[scale]
        worst = np.abs(a[finite] - b[finite]).max()
        if not worst <= bound * largest:
            return name
    return None


def gap_allclose(want, got, bound):
    for name, a in want.items():
        if name not in got or got[name].shape != a.shape:
            return name
        finite = a[np.isfinite(a)]
        atol = bound * float(np.abs(finite).max()) if finite.size else 0.0
        if not np.allclose(got[name], a, rtol=0, atol=atol, equal_nan=True):
            return name
    return None


def gap_relative(want, got, bound):
    for name, a in want.items():
        if got[name].shape != a.shape or not np.allclose(
            got[name], a, rtol=bound, atol=0, equal_nan=True
        ):
            return name
    return None


def gap_norm(want, got, bound):
    for name, a in want.items():
        b = got[name]
        if a.shape != b.shape:
            return name
        f = np.isfinite(a)
        if not np.array_equal(a[~f], b[~f], equal_nan=True):
            return name
        if not np.linalg.norm((a - b)[f]) <= bound * np.linalg.norm(a[f]):
            return name
    return None


def gap_mean(want, got, bound):
    for name, a in want.items():
        b = got[name]
        if a.shape != b.shape:
            return name
        f = np.isfinite(a)
        if not np.array_equal(a[~f], b[~f], equal_nan=True):
            return name
        if f.any() and not np.abs((a - b)[f]).mean() <= bound * np.abs(a[f]).max():
            return name
    return None


def gap_of_common(want, got, bound):
    return gap({name: a for name, a in want.items() if name in got}, got, bound)


def gap_last(want, got, bound):
    names = [n for n in want if gap({n: want[n]}, got, bound)]
    return names[-1] if names else None


def projected(x, projection):
    y = x @ projection.weight.T
    return y if projection.bias is None else y + projection.bias


def attend(model, x, layer, *, masked=True, turn=True, scaled=True):
    sizes = model.config.num_key_value_heads, model.config.head_dim
    q, k, v = (projected(x, p) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
    q, k = attention.split_query_heads(q, *sizes), attention.split_kv_heads(k, *sizes)
    if turn:
        cos, sin = rope_cos_sin(model.inv_freq, 0, len(x))
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
    scores = attention.qk_scores(q, k)
    if masked:
        scores = attention.apply_mask(scores, attention.causal_mask(len(x), 0))
    mixed = attention.score_v(attention.softmax(scores), attention.split_kv_heads(v, *sizes))
    return projected(attention.merge_heads(mixed), layer.o_proj)


def finish(
    model,
    x,
    first,
    *,
    last=None,
    norm=True,
    masked=True,
    turn=True,
    swap=False,
    post=False,
    resid=True,
    eps=None,
    embed=False,
    gate=silu,
    skip_mlp=False,
    row=None,
):
    w, eps = model.weights, model.config.rms_norm_eps if eps is None else eps
    for layer in w.layers[first:last]:
        norms = layer.input_layernorm, layer.post_attention_layernorm
        first_norm, second_norm = norms[::-1] if swap else norms
        mixed = attend(model, rms_norm(x, first_norm, eps), layer, masked=masked, turn=turn)
        x = x + mixed if resid else mixed
        if skip_mlp:
            continue
        n = x if post else rms_norm(x, second_norm, eps)
        inside = gate(projected(n, layer.gate_proj)) * projected(n, layer.up_proj)
        x = x + projected(inside, layer.down_proj)
    x = rms_norm(x, w.norm, eps) if norm else x
    out = x @ (w.embed_tokens if embed else w.lm_head).T
    return out if row is None else out[row]


def finish_in_steps(model, x, first):
    hidden = np.array(x)
    for index in range(first, model.config.num_hidden_layers):
        layer = model.weights.layers[index]
        hidden += attend(
            model, rms_norm(hidden, layer.input_layernorm, model.config.rms_norm_eps), layer
        )
        n = rms_norm(hidden, layer.post_attention_layernorm, model.config.rms_norm_eps)
        a, b = projected(n, layer.gate_proj), projected(n, layer.up_proj)
        hidden += projected(a / (1 + np.exp(-a)) * b, layer.down_proj)
    return rms_norm(hidden, model.weights.norm, model.config.rms_norm_eps) @ model.weights.lm_head.T


def finish_in_place(model, x, first):
    for layer in model.weights.layers[first:]:
        x += attend(model, rms_norm(x, layer.input_layernorm, model.config.rms_norm_eps), layer)
        n = rms_norm(x, layer.post_attention_layernorm, model.config.rms_norm_eps)
        inside = silu(projected(n, layer.gate_proj)) * projected(n, layer.up_proj)
        x += projected(inside, layer.down_proj)
    return rms_norm(x, model.weights.norm, model.config.rms_norm_eps) @ model.weights.lm_head.T


def finish_and_damage(model, x, first):
    out = finish(model, x, first)
    model.weights.norm[...] *= 2
    return out


ANSWERS = (
    right(PS, "from the config", shapes),
    right(PS, "a table", shapes_table),
    wrong(PS, "hidden divided by heads", per_head, "head_dim_guessed"),
    wrong(
        PS,
        "as many kv heads",
        lambda c: shapes(c, kv=c["num_attention_heads"]),
        "keys_for_all_heads",
    ),
    wrong(PS, "turned", lambda c: shapes(c, turned=True), "turned"),
    wrong(PS, "o_proj not turned", lambda c: shapes(c, o_turned=False), "o_like_q"),
    wrong(
        PS, "o_proj square", lambda c: shapes(c) | {"o_proj": (c["hidden_size"],) * 2}, "o_square"
    ),
    wrong(
        PS, "q_proj square", lambda c: shapes(c) | {"q_proj": (c["hidden_size"],) * 2}, "q_square"
    ),
    wrong(
        PS,
        "down_proj as up_proj",
        lambda c: shapes(c) | {"down_proj": shapes(c)["up_proj"]},
        "down_like_up",
    ),
    wrong(
        PS,
        "four times hidden",
        lambda c: shapes(c | {"intermediate_size": 4 * c["hidden_size"]}),
        "four_times",
    ),
    wrong(PS, "other names", lambda c: {f"{n}.weight": s for n, s in shapes(c).items()}),
    wrong(PS, "six of seven", lambda c: {n: s for n, s in shapes(c).items() if n != "o_proj"}),
    wrong(PS, "sizes", lambda c: {n: a * b for n, (a, b) in shapes(c).items()}),
    wrong(PS, "a list", lambda c: list(shapes(c).values())),
    right(BE, "by name", ends),
    right(BE, "in turn", ends_in_turn),
    wrong(BE, "differing tables", ends_unequal, "unequal_taken"),
    wrong(BE, "head where there is one", ends_head_if_there),
    wrong(BE, "one row for many", ends_broadcast, "rows_repeated"),
    wrong(BE, "always tied", ends_always_tied),
    wrong(BE, "tied under one name", ends_embed_only, "one_name_only"),
    wrong(BE, "copies", ends_copied, "copied"),
    wrong(BE, "kept twice", ends_copied_if_tied, "copied"),
    wrong(BE, "zeros for the head", ends_zeros),
    wrong(BE, "head turned", ends_turned, "head_turned"),
    wrong(BE, "tied head kept", ends_tied_head_kept),
    wrong(BE, "exchanged", lambda t, tied: ends(t, tied)[::-1]),
    wrong(BE, "one table", lambda t, tied: ends(t, tied)[0]),
    wrong(BE, "None if missing", lambda t, tied: (t.get(EMBED), t.get(HEAD))),
    right(FG, "by hand", gap),
    right(FG, "allclose", gap_allclose),
    wrong(FG, "sorted", lambda w, g, b: gap(w, g, b, sort=True), "alphabet"),
    wrong(FG, "blind to NaN", lambda w, g, b: gap(w, g, b, nan=False)),
    wrong(FG, "absolute", lambda w, g, b: gap(w, g, b, scale="one"), "absolute"),
    wrong(FG, "mean as scale", lambda w, g, b: gap(w, g, b, scale="mean"), "mean_scale"),
    wrong(FG, "bound fixed", lambda w, g, b: gap(w, g, 1e-4), "fixed_bound"),
    wrong(FG, "twice the bound", lambda w, g, b: gap(w, g, 2 * b), "twice"),
    wrong(FG, "number by number", gap_relative, "each_number"),
    wrong(FG, "norms", gap_norm, "norms"),
    wrong(FG, "mean difference", gap_mean, "means"),
    wrong(FG, "missing passes", gap_of_common, "missing_passes"),
    wrong(FG, "the last", gap_last, "last"),
    wrong(FG, "all names", lambda w, g, b: [n for n in w if gap({n: w[n]}, g, b)], "as_a_list"),
    wrong(FG, "a bool", lambda w, g, b: gap(w, g, b) is not None, "as_a_bool"),
    wrong(FG, "bound 0", lambda w, g, b: gap(w, g, 0.0), "no_bound"),
    wrong(FG, "empty text for None", lambda w, g, b: gap(w, g, b) or "", "empty_text"),
    right(FF, "in a loop", finish),
    right(FF, "in steps", finish_in_steps),
    wrong(FF, "all layers", lambda m, x, f: finish(m, x, 0), "from_the_start"),
    wrong(FF, "one layer too few", lambda m, x, f: finish(m, x, f + 1), "one_late"),
    wrong(FF, "up to that layer", lambda m, x, f: finish(m, x, 0, last=f), "up_to"),
    wrong(FF, "no final norm", lambda m, x, f: finish(m, x, f, norm=False), "no_final_norm"),
    wrong(FF, "no mask", lambda m, x, f: finish(m, x, f, masked=False), "no_mask"),
    wrong(FF, "no rope", lambda m, x, f: finish(m, x, f, turn=False), "no_rope"),
    wrong(FF, "norms exchanged", lambda m, x, f: finish(m, x, f, swap=True), "norms_swapped"),
    wrong(FF, "second norm left out", lambda m, x, f: finish(m, x, f, post=True), "no_second_norm"),
    wrong(FF, "no residual", lambda m, x, f: finish(m, x, f, resid=False), "no_residual"),
    wrong(FF, "eps fixed", lambda m, x, f: finish(m, x, f, eps=1e-5), "eps_fixed"),
    wrong(
        FF, "embedding as head", lambda m, x, f: finish(m, x, f, embed=True), "embedding_as_head"
    ),
    wrong(FF, "no MLP", lambda m, x, f: finish(m, x, f, skip_mlp=True), "no_mlp"),
    wrong(FF, "last row only", lambda m, x, f: finish(m, x, f, row=-1), "last_row"),
    wrong(FF, "in place", finish_in_place),
    wrong(FF, "weights damaged", finish_and_damage),
    wrong(FF, "ReLU", lambda m, x, f: finish(m, x, f, gate=lambda g: np.maximum(g, 0))),
)
