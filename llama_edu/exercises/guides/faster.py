"""Hints for the exercises on guessing ahead, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "look_up": Guide(
        15,
        USEFUL,
        question="Where in the text do the last `length` tokens stand once more, and which of "
        "several such places is nearest?",
        idea="Go backwards through all places where a run of `length` could begin, but for the "
        "very end, which would find itself. At the first that is equal, return what follows it, "
        "at most `most` tokens. If there is none, return nothing.",
        code="""
            def look_up_mine(token_ids, length, most):
                end = token_ids[-length:]
                for start in range(len(token_ids) - length - 1, -1, -1):
                    if token_ids[start:start + length] == ...:
                        return ...
                return []
            """,
    ),
    "verified": Guide(
        20,
        ESSENTIAL,
        question="Row i says what follows the first i guesses. Until which row is that true?",
        idea="Take the largest number of each row in turn. As long as it is the guess that stands "
        "there, go on; at the first that differs, keep the model's own token and stop. Behind the "
        "last guess there is one row more, and its token is free. The cache has gained the token "
        "that was fed first and all guesses; of those it may keep the right ones.",
        code="""
            def verified_mine(rows, guesses, past):
                new = []
                for row, guess in zip(rows, [*guesses, None]):
                    new.append(int(row.argmax()))
                    if ...:
                        break
                return [new, past + ...]
            """,
    ),
    "replaced_from": Guide(
        15,
        ESSENTIAL,
        question="Kept guesses have given each token some of its probability already. How much?",
        idea="A kept guess gives every token min(p, q). What is missing to p is p - q where p is "
        "the larger, and nothing elsewhere. Made to add up to 1, that is what to draw from.",
        code="""
            def replaced_from_mine(p, q):
                rest = np.maximum(..., np.float32(0))
                return rest / ...
            """,
    ),
    "unpack_q4": Guide(
        30,
        EXTRA,
        question="Which byte holds the code of weight 20, and in which half?",
        idea="Bytes 0 and 1 are the scale, 2 and 3 the offset, each a float16. Sixteen bytes of "
        "codes follow: `& 15` gives those of weights 0 to 15, `>> 4` those of 16 to 31. A weight "
        "is its code times the scale, plus the offset, in float32.",
        code="""
            def unpack_q4_mine(blocks):
                heads = blocks[:, :4].copy().view(...)
                codes = np.concatenate([..., ...], axis=1)
                return ...
            """,
    ),
    "go_on_from": Guide(
        20,
        USEFUL,
        question="Which lines of the version to repair write into an array that somebody else "
        "reads?",
        idea="A slice of a run looks at the same memory: it takes none of its own, and cuts "
        "nothing from the run. Take of each run the positions below `length`, put these slices "
        "into a list of your own, and the new rows behind them. Nothing has to be written at all.",
        code="""
            def go_on_from_mine(runs, length, new):
                mine, start = [], 0
                for run in runs:
                    mine.append(run[:max(..., 0)])
                    start += ...
                return [*mine, ...]
            """,
    ),
}
