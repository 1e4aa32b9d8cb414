"""Hints for the exercises on norm and MLP, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "norm_rows": Guide(
        10,
        ESSENTIAL,
        question="Each row is divided by one number, and then each feature is multiplied by its "
        "weight. Along which axis is that one number made, and where does `eps` come in?",
        idea="The number is the root of the row's mean square plus `eps`. `np.mean(..., axis=-1, "
        "keepdims=True)` gives a column, which divides every row by its own number. Without "
        "`keepdims` the shapes would not fit, or would fit along the wrong axis.",
        code="""
            def norm_rows_mine(x, weight, eps):
                mean_square = np.mean(..., axis=-1, keepdims=True)
                return x / np.sqrt(...) * weight
            """,
    ),
    "row_size": Guide(
        10,
        USEFUL,
        question="Is `eps` a size or a squared size? And in which format are the squares made, "
        "if `x` has 16 bits?",
        idea="`eps` is added where mean squares are, so inside the root. Squares of 16-bit "
        "numbers can overflow or lose their digits: make `x` float32 first.",
        code="""
            def row_size_mine(x, eps):
                x = x.astype(...)
                return np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + ...)
            """,
    ),
    "gated": Guide(
        15,
        ESSENTIAL,
        question="One of the two arguments decides, the other is what is offered. Which of them "
        "goes through SiLU?",
        idea="The gate does. SiLU is `x` times `1 / (1 + e^-x)`. `np.exp(200)` is infinite in "
        "float32, so choose the form that meets infinity where the answer is 0: a number divided "
        "by infinity is 0, while infinity divided by infinity is not a number.",
        code="""
            def gated_mine(gate, up):
                return gate / (1 + np.exp(...)) * ...
            """,
    ),
    "add_mlp": Guide(
        40,
        EXTRA,
        question="Which of the four buffers are free again after each step, and at which step "
        "does `x` change for the first time?",
        idea="The norm goes into the first buffer (its squares as well), gate and up into the "
        "next two, and the last product into the fourth. `out=` makes `np.matmul`, `np.divide` "
        "and the others write there. Multiply the gate into up first; then its own buffer is "
        "free for 1 + e^−gate, by which that is divided. Only the last step touches `x`.",
        code="""
            def add_mlp_mine(x, norm, gate, up, down, eps, work):
                normed, gated, lifted, out = work
                np.multiply(x, x, out=normed)
                size = np.sqrt(normed.mean(axis=-1, keepdims=True) + eps)
                np.divide(x, size, out=...)
                normed *= norm
                np.matmul(normed, gate.T, out=gated)
                np.matmul(normed, up.T, out=lifted)
                lifted *= gated
                np.negative(gated, out=gated)
                np.exp(gated, out=gated)
                gated += ...
                np.divide(lifted, ..., out=gated)
                x += np.matmul(gated, ..., out=out)
            """,
    ),
}
