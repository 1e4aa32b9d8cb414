"""The conversation of a notebook, without a browser: its widgets are pressed and read directly."""

from html import unescape
from unittest.mock import patch

import pytest
from helpers import tiny_config, tiny_tensors
from tiny_files import byte_level, write_tokenizer

from llama_edu import ChatSession, Llama, Tokenizer
from llama_edu.chat.template import ChatTemplate
from llama_edu.errors import NumericsError
from llama_edu.viz import turn_timeline

pytest.importorskip("ipywidgets")
from llama_edu.viz.chat.widget import chat_widget

SOURCE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
def widget(tmp_path):
    tokenizer = Tokenizer(write_tokenizer(tmp_path, byte_level()))
    config = tiny_config(vocab_size=400, max_position_embeddings=256)
    model = Llama(config, tiny_tensors(config))
    template = ChatTemplate(tokenizer, SOURCE)
    return chat_widget(ChatSession(model, tokenizer, template=template, max_new_tokens=6))


def say(widget, text):
    widget.message.value = text
    widget.send.click()
    widget.wait()


def shown(widget):
    return unescape(widget.transcript.value)


def test_a_message_and_its_reply(widget):
    assert widget.stop.disabled
    assert widget.retry.disabled
    say(widget, "the cat")
    (turn,) = widget.session.turns
    assert "the cat" in shown(widget)
    assert turn.reply in shown(widget)
    assert widget.message.value == ""
    assert turn.usage.in_words() in unescape(widget.status.value)
    assert [b.disabled for b in (widget.send, widget.stop, widget.retry, widget.undo)] == [
        *(False, True, False, False)
    ]


def test_the_usage_is_the_figure_of_the_book(widget):
    say(widget, "the")
    say(widget, "cat")
    picture = turn_timeline([turn.usage for turn in widget.session.turns])
    assert picture._repr_html_() in widget.usage.value


def test_what_is_said_is_text_and_no_html(widget):
    say(widget, "<img src=x onerror=alert(1)>&amp;")
    assert "<img src=x" not in widget.transcript.value
    assert "<img src=x onerror=alert(1)>&amp;" in shown(widget)


def test_retry_and_undo(widget):
    say(widget, "the")
    say(widget, "cat")
    widget.retry.click()
    widget.wait()
    assert len(widget.session.turns) == 2
    assert widget.session.turns[1].usage.computed == 1
    widget.undo.click()
    assert len(widget.session.turns) == 1
    assert widget.message.value == "cat"  # to be mended
    widget.undo.click()
    assert widget.session.turns == ()
    assert widget.undo.disabled
    assert widget.usage.value == ""


def test_stop_ends_a_reply_and_keeps_its_beginning(widget):
    forward = Llama.forward

    def stopped_meanwhile(self, *args, **options):
        logits = forward(self, *args, **options)
        widget.stop.click()
        return logits

    with patch.object(Llama, "forward", stopped_meanwhile):
        say(widget, "the")
    (turn,) = widget.session.turns
    assert turn.end == "stopped"
    assert unescape(widget.status.value).endswith("; stopped</div>")
    assert len(turn.token_ids) < 6
    say(widget, "cat")  # and the next one is not stopped
    assert widget.session.turns[1].end == "length"


def test_while_a_reply_is_made_only_stop_can_be_pressed(widget):
    seen = []
    forward = Llama.forward

    def watched(self, *args, **options):
        seen.append((widget.send.disabled, widget.stop.disabled, "the cat" in shown(widget)))
        return forward(self, *args, **options)

    with patch.object(Llama, "forward", watched):
        say(widget, "the cat")
    assert set(seen) == {(True, False, True)}


def test_a_refused_message_stays_to_be_mended(widget):
    say(widget, "word " * 200)
    assert "expected a conversation of at most" in unescape(widget.status.value)
    assert widget.message.value.startswith("word")
    assert widget.session.turns == ()


def test_what_is_being_written_is_not_lost_to_undo(widget):
    say(widget, "the")
    widget.message.value = "half a"
    widget.undo.click()
    assert widget.message.value == "half a"


def test_an_empty_message_is_not_sent(widget):
    say(widget, " \n")
    assert "Write a message first." in widget.status.value
    assert widget.session.turns == ()


def test_it_fits_into_a_narrow_cell(widget):
    """A box as wide as its row, with margins, would be cut off; so would buttons in one line."""
    assert widget.message.layout.width == "auto"
    assert "wrap" in widget.box.children[2].layout.flex_flow


def test_a_model_that_breaks_is_told_and_not_hidden(widget):
    def broken(self, *args, **options):
        raise NumericsError("expected numbers, <got> none")

    with patch.object(Llama, "forward", broken):
        say(widget, "the")
    assert "NumericsError: expected numbers, <got> none" in unescape(widget.status.value)
    assert not widget.send.disabled
    say(widget, "the")
    assert len(widget.session.turns) == 1


def test_a_notebook_can_show_it(widget):
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
