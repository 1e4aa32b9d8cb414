"""Hints for the exercises on precision, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "to_bf16": Guide(
        30,
        USEFUL,
        question="Cutting off the lower 16 bits rounds everything towards zero. What could you "
        "add before the cut so that whatever lies above the middle is rounded up?",
        idea="`x.view(np.uint32)` shows the bits. Adding 0x7FFF before the shift rounds up "
        "whatever lies above the middle; for an exact tie, add one more if the last bit that "
        "stays is 1. A NaN must not be rounded: `np.isnan` finds it, and `np.where` chooses. Cut "
        "off, it stays one as long as a digit of it is set, such as 0x40.",
        code="""
            def to_bf16_mine(x):
                bits = x.view(np.uint32)
                odd = bits >> 16 & 1
                rounded = (bits + ... + odd) >> 16
                nan = bits >> 16 | 0x40
                return np.where(..., nan, rounded).astype(np.uint16)
            """,
    ),
    "bf16_linear": Guide(
        10,
        ESSENTIAL,
        question="What goes in and what comes out may be bfloat16. Which array of the broken "
        "version should not be?",
        idea="The sum. Make both arguments float32 before the product, and cast to the format of "
        "`x` once, at the end.",
        code="""
            def bf16_linear_mine(x, weight):
                y = x.astype(np.float32) @ ...
                return y.astype(...)
            """,
    ),
    "int8_row": Guide(
        20,
        USEFUL,
        question="The largest weight should get the code 127 or −127. How much is one code "
        "worth, then?",
        idea="The scale is the largest absolute value divided by 127. Divide the row by it and "
        "round to the nearest whole number with `np.rint`; a cast to int8 alone would cut "
        "towards zero. A row of zeros has no scale to divide by.",
        code="""
            def int8_row_mine(row):
                scale = np.abs(row).max() / np.float32(127)
                if scale == 0:
                    return ...
                return np.rint(...).astype(np.int8), float(scale)
            """,
    ),
    "bf16_rms_norm": Guide(
        15,
        EXTRA,
        question="The mean of the squares is right as it is. How many times is a number rounded "
        "after it, and how many times should it be?",
        idea="Twice. Round the normalised vector to `x.dtype` before the gain comes in. The "
        "product with the gain, of two arrays of that format, rounds the second time.",
        code="""
            def bf16_rms_norm_mine(x, weight, eps):
                wide = x.astype(np.float32)
                mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
                normed = wide * (1.0 / np.sqrt(mean_square + eps))
                return weight * ...
            """,
    ),
}
