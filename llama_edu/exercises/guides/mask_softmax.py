"""Hints for the exercises on mask and softmax, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "staircase": Guide(
        10,
        ESSENTIAL,
        question="At which positions do the new tokens stand, and at which the keys? When may "
        "one look at the other?",
        idea="Write down both as arrays of whole numbers: the queries begin at `past`, the keys "
        "at 0. Give one of them a new axis and compare; NumPy makes a table of every pair.",
        code="""
            def staircase_mine(seq, past):
                queries = ... + np.arange(seq)
                keys = np.arange(...)
                return keys <= queries[:, None]
            """,
    ),
    "mask_scores": Guide(
        10,
        ESSENTIAL,
        question="The scores are all you are given. How long is the past?",
        idea="The last two axes are `seq` and `total_seq`, and the past is what the second has "
        "more than the first. With it, `staircase_mine` makes the mask, and `np.where` chooses "
        "entry by entry. No case needs to be told apart from the others. The −∞ has to be a "
        "float32.",
        code="""
            def mask_scores_mine(scores):
                seq, total_seq = scores.shape[-2:]
                mask = staircase_mine(seq, ...)
                return np.where(mask, ..., np.float32(-np.inf))
            """,
    ),
    "row_softmax": Guide(
        15,
        ESSENTIAL,
        question="Whose shares must add up to 1, those of a query or those of a key? And if the "
        "rows lie hundreds apart, whose largest score may be subtracted?",
        idea="Every row needs a largest score and a sum of its own, along the last axis. "
        "`keepdims=True` keeps that axis, so that both still fit the scores. Nothing has to be "
        "guarded, since a query sees at least itself.",
        code="""
            def row_softmax_mine(scores):
                largest = scores.max(axis=..., keepdims=True)
                powers = np.exp(...)
                return powers / powers.sum(...)
            """,
    ),
    "fold_block": Guide(
        30,
        EXTRA,
        question="What has been summed so far was measured from the old largest score. By what "
        "factor does it change when the largest grows? And what is −∞ minus −∞?",
        idea="The old total shrinks by `exp(old_largest - new_largest)`, which is never more "
        "than 1. There is one case to take care of: if the largest is still −∞ after this block, "
        "nothing has been seen yet, and nothing changes.",
        code="""
            def fold_block_mine(largest, total, block):
                new = max(largest, float(block.max()))
                if new == -np.inf:
                    return ...
                shrink = float(np.exp(...))
                return new, total * shrink + float(np.exp(...).sum())
            """,
    ),
}
