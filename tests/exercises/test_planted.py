"""Planted bugs: each is felt, none stays, and its first wrong array tells it."""

import numpy as np
import pytest

from llama_edu import Llama
from llama_edu.exercises.framework.compare import compare
from llama_edu.exercises.museum.planted import PLANTED, planted
from llama_edu.hub import BOOK_MODEL

IDS = [3, 14, 15, 9, 26, 5]
FIRST = {
    "A": "layers.{last}.mlp.gate_proj",
    "B": "layers.0.self_attn.o_proj",
    "C": "layers.{last}.input_layernorm",
    "D": "layers.{last}.self_attn.k_proj",
    "E": "norm",
}


@pytest.fixture(scope="module")
def model():
    return Llama.from_pretrained(BOOK_MODEL)


@pytest.mark.parametrize("letter", PLANTED)
def test_the_first_wrong_array_tells_the_bug(model, letter):
    found = compare(model, IDS, planted(model, letter), max_new_tokens=2)
    last = model.config.num_hidden_layers - 1
    assert found.array is not None
    assert found.array.name == FIRST[letter].format(last=last)
    assert found.array.largest_gap > 0.01
    assert found.position == 0 or letter == "D"  # a first token has one key, whatever it is


def test_the_weights_come_back(model):
    before = model.weights
    right = model.forward(IDS)
    with planted(model, "A"):
        assert model.weights is not before
    assert model.weights is before
    assert np.array_equal(model.forward(IDS), right)


def test_an_unknown_letter_is_refused(model):
    with pytest.raises(KeyError, match="F"):
        planted(model, "F")
