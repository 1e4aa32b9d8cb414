"""One chooser: a function, a conversation and the server write the same ids, whatever is asked.

Models of random weights, vocabularies padded at the end or with holes in the middle, ends named by
any of the files or by nobody, prompts fed in pieces of any size, several choices, every way to
sample, and a second turn that goes on from the cache of the first.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from helpers import tiny_config, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tiny_files import byte_level, write_json
from tiny_served import CHATML, SIZES

from llama_edu import ChatSession, Llama, Sampling, Tokenizer, generate
from llama_edu.chat.session import Turn
from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.engine.choose import random_generator
from llama_edu.engine.prefix_cache import common_length
from llama_edu.engine.sampling import Order
from llama_edu.serve.http.served import ServedModel, Serving
from llama_edu.serve.http.server import running
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
        "repetition_penalty": st.sampled_from([1.0, 1.5, 0.7]),
        "presence_penalty": st.sampled_from([0.0, 1.5]),
        "frequency_penalty": st.sampled_from([0.0, -0.5]),
        "logit_bias": st.sampled_from([(), ((70, 3.0), (2, -100.0))]),
        "order": st.sampled_from(get_args(Order)),
    }
)
SAID = st.text(st.sampled_from("abc the🐈\n"), min_size=1, max_size=12)
SEEDS = st.integers(-3, 3) | st.just(2**63 - 1)
ASKED = st.fixed_dictionaries(
    {
        "text": SAID,
        "then": SAID,
        "max_new_tokens": st.integers(1, 20),
        "sampling": SAMPLINGS.map(lambda fields: Sampling(**fields)),
        "seed": SEEDS,
        "second_seed": SEEDS,
        "n": st.integers(1, 3),
        "ignore_eos": st.booleans(),
        "chunk": st.integers(1, 30),
    }
)


def options(one: dict[str, Any]) -> dict[str, Any]:
    """What a function, a conversation and a request know by the same names."""
    return {"max_new_tokens": one["max_new_tokens"], "sampling": one["sampling"]}


def by_function(
    model: Llama, tokenizer: Tokenizer, prompt: list[int], one: dict[str, Any], **more: Any
) -> list[list[int]]:
    """The ids of each choice."""
    seeds = [one["seed"], *(random_generator(one["seed"], i) for i in range(1, one["n"]))]
    shared = {"tokenizer": tokenizer, "chunk": one["chunk"]} | options(one) | more
    return [list(generate(model, prompt, seed=seed, **shared)) for seed in seeds]


def is_reply(turn: Turn, ids: list[int], most: int) -> bool:
    """Whether a turn holds these ids, and knows how their text came to its end."""
    if turn.end == "done":
        return turn.usage.generated == len(ids) and list(turn.token_ids) == ids[:-1]
    return turn.end == "length" and len(ids) == most and list(turn.token_ids) == ids


@settings(max_examples=20)
@given(
    files=MODELS,
    asked=st.lists(ASKED, min_size=1, max_size=3),
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

    def submit(prompt: list[int], expected: list[list[int]], seed: int, **more: Any) -> None:
        request = Request(prompt, seed=seed, n=len(expected), **options(one), **more)
        jobs.append(scheduler.submit(request))
        written.append(expected)
        for token_id in {i for new_ids in expected for i in new_ids}:
            tokenizer.token_bytes(token_id)  # raises where there is no token

    for one in asked:
        chat = ChatSession(model, tokenizer, seed=one["seed"], **options(one))
        first = chat.template.encode([Message("user", one["text"])])
        cache = model.new_cache()
        (ids,) = by_function(model, tokenizer, first, one | {"n": 1}, cache=cache)
        "".join(chat.send(one["text"]))
        assert is_reply(chat.turns[0], ids, one["max_new_tokens"])

        endless = {"stop_ids": ()} if one["ignore_eos"] else {}
        choices = by_function(model, tokenizer, first, one, **endless)
        assert choices[0][: len(ids)] == ids
        submit(first, choices, one["seed"], ignore_eos=one["ignore_eos"])

        reply = Message("assistant", chat.turns[0].reply, chat.turns[0].token_ids)
        second = chat.template.encode(
            [Message("user", one["text"]), reply, Message("user", one["then"])]
        )
        past = common_length([*first, *ids[:-1]], second)
        assert past >= len(first)
        cache.truncate(past)
        more = {"cache": cache, "past_ids": second[:past]}
        then = one | {"seed": one["second_seed"], "n": 1}
        (ids,) = by_function(model, tokenizer, second[past:], then, **more)
        chat.reseed(one["second_seed"])
        "".join(chat.send(one["then"]))
        assert is_reply(chat.turns[1], ids, one["max_new_tokens"])
        submit(second, [ids], one["second_seed"])
    while not scheduler.is_idle:
        scheduler.step()
    for job, expected in zip(jobs, written, strict=True):
        assert [choice.new_ids for choice in job.choices] == expected


@pytest.fixture(scope="module")
def over_http() -> Iterator[tuple[ServedModel, httpx.Client]]:
    """A server of a model with a hole in its vocabulary, a padded end and four ids that end."""
    files = loaded(1, BEYOND + 10, True, (300, 0), (300, 301), "<|im_end|>")
    served = ServedModel("padded", *files, Limits(prefill_tokens=16))
    with (
        running(Serving([served])) as url,
        httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client,
    ):
        yield served, client


def without_end(ids: list[int], reason: str, most: int) -> list[int]:
    """The ids that are shown, of those that ended for a reason."""
    assert reason == "stop" or (reason == "length" and len(ids) == most)
    return ids[:-1] if reason == "stop" else ids


@settings(max_examples=12)
@given(one=ASKED)
def test_so_does_the_server_over_http(
    over_http: tuple[ServedModel, httpx.Client], one: dict[str, Any]
) -> None:
    """A body has no `order`; a prompt that is a conversation so far is sent as its ids."""
    served, client = over_http
    model, tokenizer = served.model, served.tokenizer
    one = one | {"sampling": replace(one["sampling"], order="transformers")}
    fields = asdict(one["sampling"])
    del fields["order"]
    fields["logit_bias"] = {str(token_id): number for token_id, number in fields["logit_bias"]}
    fields |= {"max_tokens": one["max_new_tokens"], "ignore_eos": one["ignore_eos"]}
    endless = {"stop_ids": ()} if one["ignore_eos"] else {}

    def posted(kind: str, expected: list[list[int]], **body: Any) -> list[dict[str, Any]]:
        body |= fields | {"n": len(expected)}
        answer = client.post(f"/v1/{kind}", json=body).raise_for_status().json()
        assert answer["usage"]["completion_tokens"] == sum(map(len, expected))
        return answer["choices"]

    said = [Message("user", one["text"])]
    first = ChatTemplate(tokenizer).encode(said)
    expected = by_function(model, tokenizer, first, one, **endless)
    messages = [{"role": "user", "content": one["text"]}]
    choices = posted(
        "chat/completions", expected, messages=messages, logprobs=True, seed=one["seed"]
    )
    for choice, ids in zip(choices, expected, strict=True):
        shown = without_end(ids, choice["finish_reason"], one["max_new_tokens"])
        assert choice["message"]["content"] == tokenizer.decode(shown)
        told = (choice["logprobs"] or {"content": []})["content"]
        tokens = [tokenizer.token_bytes(i) for i in shown[: len(told)]]
        assert [bytes(one["bytes"]) for one in told] == tokens
        assert tokenizer.decode(shown[len(told) :]) == "", "told are those of which text is shown"

    reply = Message("assistant", token_ids=tuple(shown))
    second = ChatTemplate(tokenizer).encode([*said, reply, Message("user", one["then"])])
    then = one | {"seed": one["second_seed"]}
    expected = by_function(model, tokenizer, second, then, **endless)
    choices = posted("completions", expected, prompt=second, seed=one["second_seed"])
    for choice, ids in zip(choices, expected, strict=True):
        shown = without_end(ids, choice["finish_reason"], one["max_new_tokens"])
        assert choice["text"] == tokenizer.decode(shown)


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
