"""Hints for the exercises on RoPE, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "angles": Guide(
        15,
        ESSENTIAL,
        question="Each number of the result is one position times one speed. Which positions are "
        "these, if `past` tokens came before?",
        idea="A column of positions times a row of speeds makes the whole table. There are "
        "`head_dim // 2` speeds, and the exponents count in steps of `2 / head_dim`: 0, then "
        "−2 / `head_dim`, then −4 / `head_dim`, and so on.",
        code="""
            def angles_mine(head_dim, theta, past, seq):
                speeds = theta ** (-2 * np.arange(...) / head_dim)
                positions = np.arange(past, ...)
                return (positions[:, None] * ...).astype(np.float32)
            """,
    ),
    "rotate": Guide(
        15,
        ESSENTIAL,
        question="The formula is right; the pairs are not. With which number does number `j` of "
        "a head belong?",
        idea="Number `j` belongs with number `j + head_dim / 2`, so the first numbers of all "
        "pairs are the first half of the head. `np.split(x, 2, axis=-1)` gives both halves. "
        "Compute both new halves before you put them together, because each needs both old ones.",
        code="""
            def rotate_mine(x, cos, sin):
                first, second = np.split(x, 2, axis=-1)
                return np.concatenate([first * cos - ..., second * cos + ...], axis=-1)
            """,
    ),
    "rows_to_neighbours": Guide(
        20,
        USEFUL,
        question="One head has 6 rows. In which order do they have to come out, so that 0 and 3 "
        "become neighbours, and 1 and 4, and 2 and 5?",
        idea="The wanted order is 0, 3, 1, 4, 2, 5; the broken version gives 0, 2, 4, 1, 3, 5, "
        "which is the way back. Reshape each head's rows to (2, half): which half a row is in, "
        "and its number there. Then read those two axes in the other order. `*weight.shape[1:]` "
        "carries along whatever other axes there are.",
        code="""
            def rows_to_neighbours_mine(weight, n_heads):
                halves = weight.reshape(n_heads, 2, -1, *weight.shape[1:])
                return halves.swapaxes(...).reshape(weight.shape)
            """,
    ),
    "scaled_turns": Guide(
        30,
        EXTRA,
        question="`turns` are radians for each position. How many *full* turns does a pair make "
        "within `context` positions?",
        idea="`context * turns / (2 * np.pi)`. Let a number `keep` run from 0 at `low` full "
        "turns to 1 at `high`, and clip it to that range. Then every pair is a blend of its "
        "speed and its speed divided by `factor`, and there are no cases left.",
        code="""
            def scaled_turns_mine(turns, factor, low, high, context):
                count = context * turns / (2 * np.pi)
                keep = np.clip((count - ...) / (...), 0, 1)
                blended = keep * turns + (1 - keep) * ...
                return blended.astype(np.float32)
            """,
    ),
    "layout_of": Guide(
        40,
        EXTRA,
        question="You have a model and a text it should know. If it turned its heads the wrong "
        "way, what would it think of the text?",
        idea="It would find it less likely. Run it both ways and add up the logarithms of the "
        "probabilities of the tokens that came; the way that fits is the likelier one. Use the "
        "whole text, since at position 0 nothing is turned. "
        "`model.operators.replaced(apply_rope=…)` makes it turn the other way.",
        code="""
            def layout_of_mine(config, tensors, token_ids):
                rotations = {"half-split": apply_rope, "interleaved": apply_rope_interleaved}
                likely = {}
                for name, rotate in rotations.items():
                    model = Llama(config, tensors)
                    model.operators = model.operators.replaced(apply_rope=rotate)
                    p = softmax(model.forward(token_ids)[:-1])
                    chosen = p[np.arange(len(p)), ...]
                    likely[name] = float(np.log(chosen).sum())
                return max(...)
            """,
    ),
}
