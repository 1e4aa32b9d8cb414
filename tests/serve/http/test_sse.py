"""One event of a stream: whoever takes it apart gets what was put in."""

import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from llama_edu.serve.http.sse import frame

# What UTF-8 can say: all but the surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS | st.text(st.sampled_from("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029a")))
def test_it_is_one_line_for_every_way_of_splitting(text):
    whole = frame({"content": text}).decode()
    assert whole.splitlines() == [whole[:-2], ""]
    assert json.loads(whole.removeprefix("data: ")) == {"content": text}


def test_only_ends_of_lines_are_written_otherwise():
    every = "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, sys.maxunicode + 1)]))
    plain = json.dumps(every, ensure_ascii=False)
    for char in "\x85\u2028\u2029":
        plain = plain.replace(char, f"\\u{ord(char):04x}")
    assert frame(every).decode() == f"data: {plain}\n\n"
