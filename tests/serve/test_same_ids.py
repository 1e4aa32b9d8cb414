"""One chooser: a function, a conversation and the server write the same ids, whatever is asked.

Models of random weights, vocabularies padded at the end or with holes in the middle, ends named by
any of the files, prompts fed in pieces of any size, several choices, every way to sample.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from helpers import tiny_config, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tiny_files import byte_level, write_json
from tiny_served import CHATML, SIZES

from llama_edu import ChatSession, Llama, Sampling, Tokenizer, generate
from llama_edu.chat.template import Message
from llama_edu.engine.choose import random_generator
from llama_edu.serve.job import Limits, Request
from llama_edu.serve.scheduler import Scheduler

N_TOKENS = 400
BEYOND = 430  # the id of one more token, with a hole before it
ENDS = ("<|endoftext|>", "<|im_end|>")  # 0 and 2
LOUD = 3.0  # how much larger the logits of ids that must not be chosen, or that end a text, are

Eos = int | tuple[int, ...] | None


@cache
def loaded(
    seed: int, vocab_size: int, hole: bool, config_eos: Eos, generation_eos: Eos, named_eos: str
) -> tuple[Llama, Tokenizer]:
    """A model directory, read as anybody would. Ends, and ids without a token, are likely."""
    rules = json.loads(byte_level().to_str())
    if hole:
        rules["model"]["vocab"]["zzz"] = BEYOND
    sizes = SIZES | {"vocab_size": vocab_size}
    tensors = tiny_tensors(tiny_config(**sizes), seed)
    loud = [0, 2, 300, 301, *range(N_TOKENS, vocab_size)]
    tensors["lm_head.weight"][loud] *= LOUD
    config: dict[str, Any] = sizes | {"model_type": "llama", "hidden_act": "silu"}
    named: dict[str, Any] = {"chat_template": CHATML}
    if named_eos:
        named["eos_token"] = named_eos
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_json(directory / "tokenizer.json", rules)
        write_json(directory / "tokenizer_config.json", named)
        write_json(directory / "config.json", config | {"eos_token_id": config_eos})
        if generation_eos is not None:
            write_json(directory / "generation_config.json", {"eos_token_id": generation_eos})
        save_file(tensors, directory / "model.safetensors")
        return Llama.from_pretrained(directory), Tokenizer.from_pretrained(directory)


MODELS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 3),
        "vocab_size": st.sampled_from([N_TOKENS, N_TOKENS + 7, BEYOND + 1, BEYOND + 10]),
        "hole": st.booleans(),
        "config_eos": st.sampled_from([None, 2, (300, 0)]),
        "generation_eos": st.sampled_from([None, (300, 301), 2]),
        "named_eos": st.sampled_from(["", *ENDS]),
    }
)
SAMPLINGS = st.fixed_dictionaries(
    {
        "temperature": st.just(0.0) | st.floats(0.2, 2.0),
        "top_k": st.sampled_from([0, 3, 40]),
        "top_p": st.sampled_from([1.0, 0.9, 0.5]),
        "min_p": st.sampled_from([0.0, 0.1]),
        "presence_penalty": st.sampled_from([0.0, 1.5]),
        "frequency_penalty": st.sampled_from([0.0, -0.5]),
        "logit_bias": st.sampled_from([(), ((70, 3.0), (2, -100.0))]),
    }
)
ASKED = st.fixed_dictionaries(
    {
        "text": st.text(st.sampled_from("abc the🐈\n"), min_size=1, max_size=25),
        "max_new_tokens": st.integers(1, 20),
        "sampled": SAMPLINGS,
        "seed": st.integers(-3, 3) | st.just(2**63 - 1),
        "n": st.integers(1, 3),
        "chunk": st.integers(1, 30),
    }
)


@settings(max_examples=20)
@given(
    files=MODELS,
    asked=st.lists(ASKED, min_size=1, max_size=4),
    prefill_tokens=st.integers(1, 50),
    most_guesses=st.sampled_from([0, 1, 5]),
)
def test_a_function_a_chat_and_the_server_write_the_same_ids(
    files: dict[str, Any], asked: list[dict[str, Any]], prefill_tokens: int, most_guesses: int
) -> None:
    model, tokenizer = loaded(**files)
    scheduler = Scheduler(
        model, tokenizer, Limits(prefill_tokens=prefill_tokens, most_guesses=most_guesses)
    )
    jobs, written = [], []
    for one in asked:
        settings = {
            "max_new_tokens": one["max_new_tokens"],
            "sampling": Sampling(**one["sampled"]),
        }
        chat = ChatSession(model, tokenizer, seed=one["seed"], **settings)
        prompt = chat.template.encode([Message("user", one["text"])])
        jobs.append(scheduler.submit(Request(prompt, seed=one["seed"], n=one["n"], **settings)))
        by_function = [
            list(
                generate(
                    model,
                    prompt,
                    tokenizer=tokenizer,
                    seed=one["seed"] if i == 0 else random_generator(one["seed"], i),
                    chunk=one["chunk"],
                    **settings,
                )
            )
            for i in range(one["n"])
        ]
        written.append(by_function)
        ids = by_function[0]
        "".join(chat.send(one["text"]))
        (turn,) = chat.turns
        ended = turn.end == "done"
        assert list(turn.token_ids) == (ids[:-1] if ended else ids)
        assert turn.ledger.generated == len(ids)
        assert ended or len(ids) == one["max_new_tokens"]
        for token_id in {i for new_ids in by_function for i in new_ids}:
            tokenizer.token_bytes(token_id)  # raises where there is no token
    while not scheduler.is_idle:
        scheduler.step()
    for job, by_function in zip(jobs, written, strict=True):
        assert [choice.new_ids for choice in job.choices] == by_function


def test_such_models_would_choose_ids_without_a_token_and_do_end_their_texts() -> None:
    """So that the test above has something to find."""
    beyond = ends = 0
    for seed in range(4):
        model, tokenizer = loaded(seed, BEYOND + 10, True, None, None, "<|im_end|>")
        for prompt in ([5, 6, 7], [9, 300, 30], [40, 3]):
            options: dict[str, Any] = {
                "max_new_tokens": 40,
                "sampling": Sampling(1.0),
                "seed": seed,
            }
            free = list(generate(model, prompt, **options))
            beyond += any(i >= N_TOKENS and i != BEYOND for i in free)
            ends += list(generate(model, prompt, tokenizer=tokenizer, **options))[-1] == 2
    assert beyond > 5
    assert ends > 5
