"""Text that may be shown: never half a character, never part of a stop sequence."""

from hypothesis import given
from hypothesis import strategies as st
from tiny_served import tiny

from llama_edu.serve.output import OutputText, open_end

_, TOKENIZER = tiny()


def shown(ids, stop=()):
    """Every piece as it comes, then the last."""
    output = OutputText(TOKENIZER.stream(continues=True), stop)
    pieces = []
    for token_id in ids:
        pieces.append(output.push(token_id))
        if output.stopped:
            break
    return [*pieces, output.finish()], output


def cut(text, stop):
    """The text before the stop sequence that ends first; of those, before the longest."""
    ends = [(at + len(one), at) for one in stop if (at := text.find(one)) >= 0]
    return text[: min(ends)[1]] if ends else text


def test_the_stop_sequence_that_is_complete_first_counts_however_the_text_is_cut():
    for ids in (TOKENIZER.encode("abc"), [TOKENIZER.encode(c)[-1] for c in "abc"]):
        assert "".join(shown(ids, ("abc", "b"))[0]) == "a"


@given(
    text=st.text("abc 🐈é", max_size=30),
    stop=st.lists(st.text("abc 🐈é", min_size=1, max_size=4), max_size=4),
)
def test_the_pieces_are_the_text_before_the_first_stop_sequence(text, stop):
    pieces, output = shown(TOKENIZER.encode(text), tuple(stop))
    assert "".join(pieces) == cut(text, stop)
    assert output.stopped == any(one in text for one in stop)
    assert output.shown == output.length == len(cut(text, stop))


@given(st.lists(st.integers(0, 399), max_size=30))
def test_without_stop_sequences_nothing_is_held_back_longer_than_a_character_takes(ids):
    stream = TOKENIZER.stream(continues=True)
    pieces, _ = shown(ids)
    assert pieces == [*(stream.push(i) for i in ids), stream.finish()]


@given(
    text=st.text("ab", max_size=12),
    marks=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
)
def test_what_is_held_back_is_the_longest_end_that_a_mark_begins_with(text, marks):
    ends = (
        len(text) - at for at in range(len(text)) if any(m.startswith(text[at:]) for m in marks)
    )
    assert open_end(text, marks) == max(ends, default=0)


@given(
    text=st.text("ab", max_size=20),
    stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_nothing_is_held_back_longer_than_needed(text, stop):
    """After each letter, all is shown but what a stop sequence may still begin with."""
    output, sent = OutputText(TOKENIZER.stream(continues=True), stop), ""
    for number, letter in enumerate(text, 1):
        sent += output.push(TOKENIZER.encode(letter)[-1])
        if output.stopped:
            assert sent == cut(text, stop)
            assert output.finish() == ""
            return
        assert sent == text[: number - open_end(text[:number], stop)]
        assert (output.shown, output.length) == (len(sent), number)
    assert sent + output.finish() == text


def test_what_could_become_a_stop_sequence_waits_until_it_cannot():
    output = OutputText(TOKENIZER.stream(), ("END!",))
    spelled = [TOKENIZER.encode(letter)[0] for letter in "xENDyE"]
    assert [output.push(i) for i in spelled] == ["x", "", "", "", "ENDy", ""]
    assert (output.shown, output.length) == (5, 6)
    assert output.finish() == "E"
