"""Hints for the exercises on the whole model, in three steps."""

from llama_edu.exercises.framework.guide import USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "projection_shapes": Guide(
        15,
        USEFUL,
        question="How many numbers long is a row that `q_proj` makes, and how many are `k_proj`'s "
        "and `v_proj`'s? Which of the seven lead back into the residual stream?",
        idea="`q_proj` makes `head_dim` numbers for each query head, `k_proj` and `v_proj` for "
        "each key and value head. A field that is null is there, and `None`, so `get` with a "
        "default does not help; `or` does. A shape is `(out_features, "
        "in_features)`: `o_proj` and `down_proj` lead back into the residual stream, so their "
        "rows are `hidden_size`.",
        code="""
            def projection_shapes_mine(config):
                hidden, inter = config["hidden_size"], config["intermediate_size"]
                heads = config["num_attention_heads"]
                head_dim = config.get("head_dim") or ...
                kv_heads = config.get("num_key_value_heads") or ...
                q, kv = heads * head_dim, kv_heads * head_dim
                return {
                    "q_proj": (q, hidden), "k_proj": ..., "v_proj": ...,
                    "o_proj": ..., "gate_proj": (inter, hidden),
                    "up_proj": ..., "down_proj": ...,
                }
            """,
    ),
    "both_ends": Guide(
        20,
        USEFUL,
        question="What decides whether there is one table or two: the names that are stored, or "
        "`tied`?",
        idea="Ask `tied` first. Untied: ask for each table by its own name, and let a missing "
        "one fail. Tied: take the table under whichever of the two names is stored and return "
        "that one array in both places. If both are stored, they have to be equal, in shape as "
        "well: `!=` lets one row stand for many. If neither is, that is an error, too.",
        code="""
            def both_ends_mine(tensors, tied):
                names = "model.embed_tokens.weight", "lm_head.weight"
                if not tied:
                    return tuple(...)
                tables = [tensors[name] for name in names if ...]
                if not tables:
                    raise ...
                if len(tables) == 2 and not np.array_equal(*tables):
                    raise ValueError("...")
                return ...
            """,
    ),
    "first_gap": Guide(
        20,
        USEFUL,
        question='What does Python say to `float("nan") > 1.0`? And to `not float("nan") <= 1.0`?',
        idea="`nan > 1` and `nan <= 1` are both False, so `not nan <= 1` is True. Turn the "
        "comparison round: a difference has to *show* that it is small. And compare what is not "
        "finite as well: where `want` has −∞, `got` must have −∞. The bound is meant relative to "
        "the largest finite number of `want`. With `max(initial=0)` an array without one is "
        "compared, too.",
        code="""
            def first_gap_mine(want, got, bound):
                for name, array in want.items():
                    if ... or got[name].shape != array.shape:
                        return name
                    finite = np.isfinite(array)
                    if not np.array_equal(...):
                        return name
                    off = np.abs(got[name][finite] - array[finite])
                    largest = np.abs(...).max(initial=0)
                    if not off.max(initial=0) <= bound * largest:
                        return name
                return None
            """,
    ),
    "finish_forward": Guide(
        35,
        USEFUL,
        question="The residual stream is given in front of a layer. What is still to be done in "
        "each of the layers that are left, and what after the last one?",
        idea="`forward_by_hand` does it from layer 0: norm, attention, add; norm, MLP, add. Take "
        "the layers from `first_layer` on, and take angles, mask and `eps` from the model you "
        "are given. After the last layer come the final norm and the head, and the model of the "
        "check is untied: its head is not its embedding.",
        code="""
            def finish_forward_mine(model, x, first_layer):
                weights, eps = model.weights, model.config.rms_norm_eps
                cos, sin = rope_cos_sin(model.inv_freq, 0, len(x))
                mask = attention.causal_mask(len(x), 0)
                for layer in weights.layers[...]:
                    normed = rms_norm(x, layer.input_layernorm, eps)
                    x = x + attention_by_hand(normed, layer, cos, sin, mask)
                    normed = rms_norm(x, ..., eps)
                    x = x + mlp_by_hand(normed, layer)
                return linear(rms_norm(...), ...)
            """,
    ),
}
