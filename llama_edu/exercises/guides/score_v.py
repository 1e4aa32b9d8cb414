"""Hints for the exercises on values, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "mix_values": Guide(
        10,
        ESSENTIAL,
        question="The buffer has more rows than have been read. How many of them count, and who "
        "knows?",
        idea="The last axis of the weights says how many: cut the buffer to that. Then write the "
        "letters: the weights are `kgst`, the values `ktd`. The letter that is summed over is "
        "the one that is missing in the result.",
        code="""
            def mix_values_mine(weights, buffer):
                values = buffer[:, : weights.shape[...]]
                return np.einsum("kgst,ktd->...", weights, values)
            """,
    ),
    "merge": Guide(
        10,
        ESSENTIAL,
        question="In `(n_kv_heads, n_groups, seq, head_dim)`, which axis should become the rows, "
        "and what should stand side by side in each?",
        idea="The tokens go from the third place to the first, and the other three keep their "
        "order. `transpose` wants the old places in their new order. After it, one `reshape` "
        "joins those three; let `-1` find the width.",
        code="""
            def merge_mine(attn_v):
                by_token = attn_v.transpose(2, ...)
                return by_token.reshape(len(by_token), ...)
            """,
    ),
    "attention_rows": Guide(
        20,
        ESSENTIAL,
        question="Which of queries, keys and values are turned? And at which positions do the "
        "queries stand, if there are more keys than queries?",
        idea="Queries and keys are turned, values never. The queries are the *last* `seq` "
        "positions, so they take the last rows of `cos` and `sin`. Then come `qk_scores`, "
        "`causal_mask`, `apply_mask`, `softmax`, `score_v` and `merge_heads`, in this order.",
        code="""
            def attention_rows_mine(q, k, v, cos, sin):
                seq, past = q.shape[2], k.shape[1] - q.shape[2]
                q = apply_rope(q, cos[...], sin[...])
                scores = attention.qk_scores(q, apply_rope(k, cos, sin))
                mask = attention.causal_mask(seq, past)
                weights = attention.softmax(...)
                return attention.merge_heads(attention.score_v(weights, ...))
            """,
    ),
    "without_head": Guide(
        20,
        EXTRA,
        question="`o_proj` adds up what the heads say. If you know what one head says, how do "
        "you get what the others say?",
        idea="A head owns neighbouring columns of `merged` and the same columns of `weight`. "
        "Their product is what it says, as in `part_by_hand` above. Take that off the whole.",
        code="""
            def without_head_mine(merged, weight, head, head_dim):
                said = part_by_hand(merged, weight, head, head_dim)
                return merged @ ... - said
            """,
    ),
}
