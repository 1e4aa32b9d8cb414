"""A real pretrained model, SmolLM2-135M-Instruct, against `transformers` in float32.

30 layers chain what the tiny models of `test_parity.py` do in two, so rounding
has more room to grow: the bound is 1e-4 of an array's largest value.
"""

import hashlib
import os

import pytest
from model_goldens import check_best_logits, check_greedy, check_intermediates, load_golden

from llama_edu import Llama
from llama_edu.errors import HubError
from llama_edu.formats.four_bits import quantize_four

pytestmark = pytest.mark.smollm2

NAME = "smollm2-135m-instruct"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model():
    try:
        return Llama.from_pretrained(NAME)
    except HubError as problem:
        # `make test` fetches the model first, so its absence is a failure and not a quiet skip.
        if os.environ.get("LLAMA_EDU_OFFLINE_TESTS") == "1":
            pytest.skip(f"{problem} (LLAMA_EDU_OFFLINE_TESTS=1)")
        pytest.fail(f"{problem}\nor leave these tests out: LLAMA_EDU_OFFLINE_TESTS=1")


@pytest.fixture(scope="module")
def golden():
    return load_golden(NAME)


def test_every_intermediate_of_every_layer_agrees(model, golden):
    print(check_intermediates(model, golden, TOLERANCE))


def test_the_best_next_tokens_agree(model, golden):
    print(check_best_logits(model, golden, TOLERANCE))


def test_64_greedy_tokens_of_3_prompts_are_identical(model, golden):
    print(check_greedy(model, golden))


def test_it_is_the_model_the_book_describes(model):
    config = model.config
    shape = (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads)
    assert shape == (30, 9, 3)
    assert (config.hidden_size, config.head_dim, config.vocab_size) == (576, 64, 49152)
    assert config.rope_theta == 100000.0
    assert model.weights.lm_head is model.weights.embed_tokens


# Of the seven matrices of the first layer and of the last, in the order of their names in a
# checkpoint: the blocks of the Q4_1 file that the fetched model was converted from.
BLOCKS_SHA256 = "3929a36a2bf733167cd2dc0d5d748152f7d6364ea7c43dae4be9cf13ece7e576"


def test_four_bits_of_the_fetched_model_are_its_original_blocks_bit_for_bit(model):
    """It was published in four bits, and converting to bfloat16 lost nothing of them."""
    hashed = hashlib.sha256()
    layers = model.weights.layers
    for layer in (layers[0], layers[-1]):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
            hashed.update(quantize_four(getattr(layer, name).weight).blocks.tobytes())
    assert hashed.hexdigest() == BLOCKS_SHA256
