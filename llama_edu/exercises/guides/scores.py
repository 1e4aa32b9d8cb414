"""Hints for the exercises on scores, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "group_scores": Guide(
        15,
        ESSENTIAL,
        question="The queries have axes `kgsd`: KV head, query head, token, number of the arrow. "
        "The keys have `ktd`. Which axes should the scores have, and which letter has "
        "disappeared on the way?",
        idea="`np.einsum` multiplies where letters agree and adds up over a letter that is "
        'missing on the right, so `np.einsum("sd,td->st", q, k)` is `q @ k.T`. Write the letters '
        "of the queries, of the keys and of the scores. With `@` instead, give the keys an axis "
        "for the query heads: `k[:, None]`. Divide by √`head_dim` at the end, with a Python "
        "float.",
        code="""
            def group_scores_mine(q, k):
                return np.einsum("kgsd,ktd->...", q, k) * q.shape[-1] ** ...
            """,
    ),
    "key_head_of": Guide(
        10,
        ESSENTIAL,
        question="With 8 query heads and 4 KV heads, those read are 0 0 1 1 2 2 3 3. What is the "
        "same row for 6 query heads and 2 KV heads?",
        idea="Neighbours share. How long is a run of heads that share one? Divide the head's "
        "number by that length, and drop the remainder.",
        code="""
            def key_head_of_mine(head, n_heads, n_kv_heads):
                n_groups = n_heads // ...
                return head // ...
            """,
    ),
    "split_queries": Guide(
        15,
        USEFUL,
        question="A row of the projection holds all heads of one token side by side. Which axis "
        "does the result want in the third place, and can a reshape move it there?",
        idea="A reshape can only cut an axis into neighbours or join neighbours. So leave the "
        "tokens where they are, cut each row into KV heads, each of those into query heads and "
        "each of those into numbers. Moving the tokens is the work of a transpose.",
        code="""
            def split_queries_mine(q, n_kv_heads, head_dim):
                blocks = q.reshape(len(q), n_kv_heads, -1, ...)
                return blocks.transpose(...)
            """,
    ),
    "attend_in_blocks": Guide(
        45,
        EXTRA,
        question="You have summed the exponentials of some blocks, each minus the largest score "
        "so far. Now a block brings a larger score. What is wrong with your sums, and by which "
        "factor?",
        idea="Keep three things: the largest score so far, the sum of the exponentials, and the "
        "sum of the value rows times their exponentials. When a larger score comes, both sums "
        "shrink by `exp(old_largest - new_largest)`. At the end, divide the second by the first.",
        code="""
            def attend_in_blocks_mine(q_row, k, v, block):
                largest, total, mixed = -np.inf, 0.0, np.zeros_like(v[0])
                for start in range(0, len(k), block):
                    here = slice(start, start + block)
                    scores = k[here] @ q_row * len(q_row) ** -0.5
                    new = max(largest, float(scores.max()))
                    weights = np.exp(scores - ...)
                    shrink = float(np.exp(...))
                    total = total * shrink + ...
                    mixed = mixed * shrink + ...
                    largest = new
                return mixed / total
            """,
    ),
}
