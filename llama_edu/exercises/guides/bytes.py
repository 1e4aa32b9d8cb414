"""Hints for the exercises on bytes, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "header_length": Guide(
        5,
        ESSENTIAL,
        question="The length is the first thing in a file, and it takes the same number of bytes "
        "in every file. How many, and which slice of `data` is that?",
        idea="`int.from_bytes` makes a number of such a slice. It has to be told which end comes "
        "first, the small one or the large one. If your answer is right for the first input and "
        "wrong for a later one, the slice is too short.",
        code="""
            def header_length_mine(data):
                return int.from_bytes(data[...], "little")
            """,
    ),
    "bf16_to_float32": Guide(
        10,
        ESSENTIAL,
        question="A float32 has 32 bits, and a bfloat16 is 16 of them. Which half, and what do "
        "the other bits become?",
        idea="See each two bytes as one whole number first. Make it wide enough for 32 bits, "
        "move its bits to the upper half, and look at the same bits as float32. `.view` looks "
        "again without changing a bit; `.astype` would convert the value.",
        code="""
            def bf16_to_float32_mine(data):
                upper = np.frombuffer(data, "<u2").astype(...)
                return (upper << ...).view(np.float32)
            """,
    ),
    "read_tensor": Guide(
        10,
        ESSENTIAL,
        question="The offsets count from the end of the header. How many bytes come before that "
        "end, all in all?",
        idea="Two things come before it: the eight bytes of the length, and the header's text, "
        "as long as the length says. Both have to be added to both offsets.",
        code="""
            def read_tensor_mine(data, name):
                length = int.from_bytes(data[:8], "little")
                entry = json.loads(data[8 : 8 + length])[name]
                start, end = (... + at for at in entry["data_offsets"])
                return np.frombuffer(data[start:end], "<f4").reshape(...)
            """,
    ),
    "check_file": Guide(
        35,
        EXTRA,
        question="If you were given the tensors one after another as they lie in the file, how "
        "would you notice a gap, an overlap, or a tensor that is longer than its shape allows?",
        idea="Sort the entries by where they start and walk along them with one number, the "
        "place that has been reached. Each must start exactly there and end where its shape and "
        "dtype say, and the last must end with the file. Whatever else Python raises on the way, "
        "a `KeyError` or a `TypeError`, is damage too.",
        code="""
            def check_file_mine(data):
                length = int.from_bytes(data[:8], "little")
                entries = json.loads(data[8 : 8 + length].decode("utf-8"))
                entries.pop("__metadata__", None)
                at = 0
                try:
                    for e in sorted(entries.values(), key=lambda e: e["data_offsets"]):
                        start, end = e["data_offsets"]
                        if e["dtype"] not in DTYPES or start != at or ...:
                            raise ValueError("...")
                        at = start + DTYPES[e["dtype"]].itemsize * math.prod(...)
                        if at != end:
                            raise ValueError("...")
                except (KeyError, TypeError) as error:
                    raise ValueError("...") from error
                if ... != len(data):
                    raise ValueError("...")
            """,
    ),
}
