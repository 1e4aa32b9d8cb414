"""The two models that come with the package against `transformers` in float32.

Bounds as in `test_parity.py`: few layers, the same arithmetic, another order of additions.
"""

import hashlib

import pytest
from model_goldens import check_best_logits, check_greedy, check_intermediates, load_golden

from llama_edu import Llama, hub
from llama_edu.hub import registry

TOLERANCE = 2e-5
models = pytest.mark.parametrize("name", registry.EMBEDDED)


@models
def test_the_goldens_were_made_from_these_weights(name):
    weights = (hub.locate(name) / "model.safetensors").read_bytes()
    made_from = str(load_golden(name)["weights_sha256"])
    assert hashlib.sha256(weights).hexdigest() == made_from, (
        f"{name} was trained anew; make its goldens again: python -m tools.goldens.make models"
    )


@models
def test_every_intermediate_of_every_layer_agrees(name):
    print(check_intermediates(Llama.from_pretrained(name), load_golden(name), TOLERANCE))


@models
def test_the_best_next_tokens_agree(name):
    print(check_best_logits(Llama.from_pretrained(name), load_golden(name), TOLERANCE))


@models
def test_64_greedy_tokens_of_3_prompts_are_identical(name):
    print(check_greedy(Llama.from_pretrained(name), load_golden(name)))
