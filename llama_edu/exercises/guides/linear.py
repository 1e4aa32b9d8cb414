"""Hints for the exercises on products, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "position": Guide(
        10,
        ESSENTIAL,
        question="To get from one row of a 3 × 4 array to the next, how many numbers do you step "
        "over? And from one matrix to the next in a 2 × 3 × 4 array?",
        idea="The stride of the last axis is 1, and that of any other is the product of the "
        "sizes *after* it. You need not compute strides, though: read the index as digits. For "
        "each axis, multiply what you have by its size and add its index.",
        code="""
            def position_mine(index, shape):
                place = 0
                for i, size in zip(index, shape, strict=True):
                    place = place * ... + ...
                return place
            """,
    ),
    "gemm": Guide(
        15,
        USEFUL,
        question="Who can see the result, if the function returns nothing? And what is in the "
        "buffer before, if nobody has cleaned it?",
        idea="`c[...] = …` writes into the array you were given, while `c = …` only makes a new "
        "name. With β = 0 the buffer must not be read at all, because it may hold NaN, and 0 "
        "times NaN is NaN.",
        code="""
            def gemm_mine(c, beta, a, b, alpha):
                product = alpha * (...)
                c[...] = product + beta * c if ... else product
            """,
    ),
    "telling_case": Guide(
        15,
        USEFUL,
        question="A wrong version transposes a matrix. On which matrices would you not notice?",
        idea="Choose everything different from everything else. Three sizes are in play: the "
        "rows of A, the rows of B, and the length of both. Let α and β be neither 0 nor 1, nor "
        "equal, nor one over the other, and leave no zeros in the buffer.",
        code="""
            def telling_case_mine():
                a = np.array([[...], [...]], dtype=np.float32)
                b = np.array([[...], [...], [...]], dtype=np.float32)
                c = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
                return c, 0.5, a, b, ...
            """,
    ),
    "in_blocks": Guide(
        35,
        EXTRA,
        question="Each tile of C is a sum over pieces of the inner axis. How many loops are "
        "that, and what stands in a tile of C before its first piece?",
        idea="Three loops, over the rows of A, the rows of B, and the pieces of the sum, each in "
        "steps of `block`. A slice that runs over the end of an array is cut off by NumPy, so a "
        "tile that does not fit needs no case of its own.",
        code="""
            def in_blocks_mine(a, b, block):
                c = np.zeros((len(a), len(b)), dtype=...)
                for i in range(0, len(a), block):
                    for j in range(0, len(b), block):
                        for p in range(0, ..., block):
                            left = a[i : i + block, p : p + block]
                            right = b[...]
                            c[i : i + block, j : j + block] += left @ ...
                return c
            """,
    ),
}
