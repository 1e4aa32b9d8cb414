"""Texts that begin with their prompt, that are many, constrained, cut, or at the context's end."""

import asyncio
import functools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_files import byte_level, write_tokenizer
from tiny_served import CONTEXT, tiny, write_tiny

from llama_edu import Sampling, generate
from llama_edu.chat.template import Message
from llama_edu.serve.http.requests import ChatRequest
from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.http.server import running
from llama_edu.serve.logprobs import log_probabilities

MODEL, TOKENIZER = tiny()
TEXT = {"model": "tiny", "prompt": "The cat", "temperature": 0}


def post(site, **changes):
    return site.http.post("/v1/completions", json=TEXT | changes).json()


# The prompt, scored


@pytest.mark.parametrize("prompt", ["The cat", "naïve 🐈 你好", "x" * 150])
def test_an_echoed_prompt_is_scored_as_the_model_does(site, prompt):
    ids = TOKENIZER.encode(prompt)
    got = post(site, prompt=prompt, echo=True, logprobs=2, max_tokens=1)["choices"][0]
    rows = [log_probabilities(row) for row in MODEL.forward(ids)]
    want = [float(row[i]) for row, i in zip(rows, ids[1:], strict=False)]
    scores = got["logprobs"]["token_logprobs"]
    assert scores[0] is None
    np.testing.assert_allclose(scores[1 : len(ids)], want, rtol=1e-4, atol=1e-5)
    assert got["text"].startswith(prompt)
    first = max(got["logprobs"]["top_logprobs"][1].values())
    assert first == pytest.approx(float(rows[0].max()), rel=1e-4)


def test_an_echo_changes_nothing_of_the_text(site):
    plain = post(site, max_tokens=9, logprobs=1)["choices"][0]
    echoed = post(site, max_tokens=9, logprobs=1, echo=True)["choices"][0]
    assert echoed["text"] == "The cat" + plain["text"]
    n = len(TOKENIZER.encode("The cat"))
    assert echoed["logprobs"]["tokens"][n:] == plain["logprobs"]["tokens"]
    starts = [start + 7 for start in plain["logprobs"]["text_offset"]]
    assert echoed["logprobs"]["text_offset"][n:] == starts


def test_a_choice_among_continuations_is_scored_as_by_hand(site):
    """What EleutherAI's harness does with a multiple-choice task."""
    context, endings = TOKENIZER.encode("The cat is"), [" red", " gone", " a frog"]
    likelihoods = []
    for ending in endings:
        ids = context + TOKENIZER.encode(ending)
        answer = post(site, prompt=ids, echo=True, logprobs=1, max_tokens=1, seed=1)
        scores = answer["choices"][0]["logprobs"]["token_logprobs"]
        likelihoods.append(sum(scores[len(context) : len(ids)]))
        rows = [log_probabilities(row) for row in MODEL.forward(ids)]
        by_hand = sum(float(rows[i - 1][ids[i]]) for i in range(len(context), len(ids)))
        assert likelihoods[-1] == pytest.approx(by_hand, rel=1e-4)
    assert len(set(likelihoods)) == 3


def test_prompt_logprobs_are_named_by_id(site):
    ids = TOKENIZER.encode("The cat")
    entries = post(site, prompt_logprobs=1, max_tokens=1)["choices"][0]["prompt_logprobs"]
    assert [entry is None for entry in entries] == [True] + [False] * (len(ids) - 1)
    for token_id, entry in zip(ids[1:], entries[1:], strict=True):
        assert str(token_id) in entry
        assert min(one["rank"] or 99 for one in entry.values()) == 1


# Many texts of one request


def test_a_request_of_many_texts_is_served_whatever_its_size(site):
    """Far more than grow or wait at a time; and each is what it would be alone."""
    prompts = [f"{number} cats" for number in range(20)]
    got = post(site, prompt=prompts, n=4, max_tokens=3, temperature=1.0, seed=5)
    assert [choice["index"] for choice in got["choices"]] == list(range(80))
    alone = post(site, prompt=prompts[13], n=4, max_tokens=3, temperature=1.0, seed=5)
    texts = [choice["text"] for choice in alone["choices"]]
    assert [choice["text"] for choice in got["choices"][52:56]] == texts
    assert got["usage"]["completion_tokens"] <= 240


def test_so_are_several_of_those_at_once(site):
    def ask(number):
        return site.http.post(
            "/v1/completions",
            json=TEXT | {"prompt": ["x"] * 12, "max_tokens": 2, "seed": number},
        ).status_code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(ask, range(4)))
    # The queue has an end, which is told before a request begins, and never after.
    assert set(codes) <= {200, 429}
    assert 200 in codes


def test_a_stream_of_many_texts(site):
    stream = site.client.completions.create(
        model="tiny", prompt=["x"] * 30, max_tokens=2, temperature=0, stream=True
    )
    seen = [chunk.choices[0] for chunk in stream]
    assert {choice.index for choice in seen} == set(range(30))
    assert sum(choice.finish_reason is not None for choice in seen) == 30


def test_one_that_cannot_be_is_refused_before_any_work(site):
    answer = site.http.post("/v1/completions", json=TEXT | {"prompt": ["x"] * 20 + ["x" * 400]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert site.tiny.scheduler.is_idle


# Fields that choose


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"repetition_penalty": 1.4}, Sampling(1.0, repetition_penalty=1.4)),
        ({"presence_penalty": 1.5, "min_p": 0.05}, Sampling(1.0, min_p=0.05, presence_penalty=1.5)),
        ({"frequency_penalty": -1.0}, Sampling(1.0, frequency_penalty=-1.0)),
        (
            {"logit_bias": {"70": 4.5, "71": -100}},
            Sampling(1.0, logit_bias=((70, 4.5), (71, -100.0))),
        ),
        ({"top_k": -1, "top_p": 0.8}, Sampling(1.0, top_p=0.8)),
    ],
)
def test_what_is_written_is_what_generate_writes(site, fields, sampling):
    got = post(site, max_tokens=20, temperature=1.0, seed=9, **fields)["choices"][0]
    new = list(
        generate(MODEL, TOKENIZER.encode("The cat"), max_new_tokens=20, sampling=sampling, seed=9)
    )
    shown = [i for i in new if i not in TOKENIZER.eos_token_ids]
    assert got["text"] == TOKENIZER.decode(shown, continues=True)


# Prefill, overflow


def test_a_reply_that_has_begun_goes_on(site):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The answer is"}]
    got = site.client.chat.completions.create(
        model="tiny", messages=talk, max_tokens=8, temperature=0
    )
    messages = [Message("user", "Hi"), Message("assistant", "The answer is")]
    prompt = site.tiny.template.encode(
        messages, add_generation_prompt=False, continue_final_message=True
    )
    assert got.usage.prompt_tokens == len(prompt)
    assert 2 not in prompt[-3:]  # nothing ends it


def test_who_goes_on_is_told_to_the_stream_of_tokens(site, monkeypatch):
    """A reply of its own begins without the blank that some tokenizers put before a word."""
    seen, stream = [], TOKENIZER.stream

    def watched(**options):
        seen.append(options["continues"])
        return stream(**options)

    monkeypatch.setattr(site.tiny.tokenizer, "stream", watched)
    begun = {"role": "assistant", "content": "The"}
    post(site, max_tokens=1)
    for talk in ([LAST], [LAST, begun]):
        body = {"model": "tiny", "messages": talk, "max_tokens": 1}
        site.http.post("/v1/chat/completions", json=body)
    assert seen == [True, False, True]


def turns(n):
    for number in range(n):
        yield {"role": "user", "content": f"question {number} {'word ' * 5}"}
        yield {"role": "assistant", "content": f"answer {number} {'word ' * 5}"}


LAST = {"role": "user", "content": "And now?"}


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]])
def test_the_oldest_turns_are_left_out_and_no_more_than_needed(site, system):
    talk = [*system, *turns(12), LAST]
    body = {"model": "tiny", "messages": talk, "max_tokens": 20, "context_overflow": "drop_oldest"}
    answer = site.http.post("/v1/chat/completions", json=body).json()
    omitted = answer["omitted_messages"]
    assert omitted > 0
    assert omitted % 2 == 0

    def length(kept):
        said = [Message(one["role"], one["content"]) for one in kept]
        return len(site.tiny.template.encode(said))

    rest = talk[len(system) + omitted :]
    assert answer["usage"]["prompt_tokens"] == length([*system, *rest])
    assert length([*system, *rest]) + 20 <= CONTEXT
    assert length([*system, *talk[len(system) + omitted - 2 :]]) + 20 > CONTEXT


@settings(max_examples=30)
@example(lengths=[2] * 90, system=False, most=150)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=90),
    system=st.booleans(),
    most=st.integers(0, 300),
)
def test_of_any_conversation_the_longest_end_that_fits_is_kept(site, lengths, system, most):
    """Turns of so many tokens; a count stands for a message's ids."""
    talk = [{"role": "system", "content": "5"}] if system else []
    for number, length in enumerate(lengths):
        role = "user" if number % 3 != 1 else "assistant"
        talk.append({"role": role, "content": str(length)})
    body = ChatRequest.model_validate({"messages": talk})
    asked = []

    async def counted(rest, tools=()):
        asked.append(len(rest.messages))
        return [0] * sum(int(one.text) for one in rest.messages)

    served = site.tiny
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(served, "encode_chat", counted)
        ids, omitted = asyncio.run(served.encode_latest(body, [], most))
    first = int(system)
    turns = [at for at in range(first, len(talk)) if at == first or talk[at]["role"] == "user"]
    total = {at: 5 * first + sum(int(one["content"]) for one in talk[at:]) for at in turns}
    fitting = [at for at in turns if total[at] <= most]
    kept = fitting[0] if fitting else turns[-1]
    assert (len(ids), omitted) == (total[kept], kept - first)
    # By doubling, and then by halves.
    assert len(asked) <= 2 * len(turns).bit_length() + 2


@pytest.mark.parametrize(
    ("tokens", "fields", "prompt", "new"),
    [
        (10, {}, 10, 16),
        (10, {"max_tokens": -1}, 10, 200),  # the server's limit
        (100, {"max_tokens": -1}, 100, 156),
        (255, {"max_tokens": 5}, 255, 1),
        (256, {"max_tokens": 0}, 256, 0),
        (256, {"max_tokens": 1}, None, None),
        (257, {"max_tokens": 0}, None, None),
        # What fits beside the new tokens, but at least half of the context.
        (300, {"truncate_prompt_tokens": -1, "max_tokens": 0}, 255, 0),
        (300, {"truncate_prompt_tokens": -1, "max_tokens": 1}, 255, 1),
        (300, {"truncate_prompt_tokens": -1}, 240, 16),
        (300, {"truncate_prompt_tokens": -1, "max_tokens": 100}, 156, 100),
        (300, {"truncate_prompt_tokens": -1, "max_tokens": 128}, 128, 128),
        (300, {"truncate_prompt_tokens": -1, "max_tokens": 129}, 128, 128),
        (300, {"truncate_prompt_tokens": -1, "max_tokens": -1}, 128, 128),
        (10, {"truncate_prompt_tokens": -1}, 10, 16),
        (10, {"truncate_prompt_tokens": 4}, 4, 16),
        (10, {"truncate_prompt_tokens": 1}, 1, 16),
        (10, {"truncate_prompt_tokens": 0}, 1, 16),
        (10, {"truncate_prompt_tokens": 10}, 10, 16),
        (10, {"truncate_prompt_tokens": 11}, 10, 16),
        (300, {"truncate_prompt_tokens": 256}, None, None),
        (300, {"truncate_prompt_tokens": 255}, 255, 1),
    ],
)
def test_how_much_of_a_prompt_is_read_and_how_much_written(site, tokens, fields, prompt, new):
    ids = list(range(5, 5 + tokens % 200)) + [7] * (tokens - tokens % 200)
    got = post(site, prompt=ids, ignore_eos=True, echo=True, **fields)
    if prompt is None:
        error = got["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")
        assert f"at most {CONTEXT} positions in all, got" in error["message"]
        return
    usage = got["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, new)
    assert got["choices"][0]["text"].startswith(TOKENIZER.decode(ids[-prompt:])[:20])


@pytest.mark.parametrize(
    ("fields", "least"),
    [({}, 192), ({"max_tokens": 0}, 255), ({"max_tokens": 63}, 193), ({"max_tokens": 900}, 192)],
)
def test_a_quarter_of_the_context_is_left_free_unless_one_says_how_much(site, fields, least):
    """200 is what the server writes at most."""
    seen = []
    latest = site.tiny.encode_latest

    async def watched(body, tools, most):
        seen.append(most)
        return await latest(body, tools, most)

    body = {"model": "tiny", "messages": [LAST], "context_overflow": "drop_oldest"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(site.tiny, "encode_latest", watched)
        answer = site.http.post("/v1/chat/completions", json=body | fields)
    assert answer.status_code == 200
    assert seen == [least]


def test_of_each_size_one_text_is_read_at_a_time(site, monkeypatch):
    names, inside = [], []

    def slow(*_, **__):
        inside.append(True)
        time.sleep(0.01)
        names.append((threading.current_thread().name, len(inside)))
        inside.pop()
        return [5]

    monkeypatch.setattr(site.tiny.tokenizer, "encode", slow)

    async def all_at_once():
        texts = ["x" * length for length in (1, 2, 3)]
        encode = functools.partial(site.tiny.encode, add_special=True, parse_special=False)
        await asyncio.gather(*map(encode, texts))

    asyncio.run(all_at_once())
    assert {count for _, count in names} == {1}


def test_the_work_of_leaving_out_hangs_on_what_fits_and_not_on_the_history(site, monkeypatch):
    rendered = []
    encode = site.tiny.template.encode

    def counted(messages, **options):
        rendered.append(len(messages))
        return encode(messages, **options)

    monkeypatch.setattr(site.tiny.template, "encode", counted)
    body = {"model": "tiny", "max_tokens": 20, "context_overflow": "drop_oldest"}
    kept = []
    for n in (12, 100):
        rendered.clear()
        talk = [*turns(n), LAST]
        answer = site.http.post("/v1/chat/completions", json=body | {"messages": talk}).json()
        kept.append(len(talk) - answer["omitted_messages"])
        assert max(rendered) <= 2 * kept[-1] + 1
        assert sum(rendered) <= 8 * kept[-1]
    assert kept[0] == pytest.approx(kept[1], abs=2)  # numbers of three figures take more room


def test_in_a_stream_every_chunk_says_how_many(site):
    body = {"model": "tiny", "messages": [*turns(12), LAST], "max_tokens": 3, "stream": True}
    text = site.http.post(
        "/v1/chat/completions", json=body | {"context_overflow": "drop_oldest"}
    ).text
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert {chunk["omitted_messages"] > 0 for chunk in chunks} == {True}


def test_one_message_that_does_not_fit_is_refused_all_the_same(site):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x" * 400}]}
    answer = site.http.post("/v1/chat/completions", json=body | {"context_overflow": "drop_oldest"})
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_text_ends_where_the_context_does(site):
    got = post(site, max_tokens=100_000, ignore_eos=True, prompt="x" * 100)
    assert got["usage"]["total_tokens"] == CONTEXT
    assert got["choices"][0]["finish_reason"] == "length"


# JSON and tools, by the official client


def test_a_reply_is_parsed_into_a_type(site):
    import pydantic

    class Pet(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=5)
        legs: int = pydantic.Field(ge=0, le=9)

    got = site.client.chat.completions.parse(
        model="tiny",
        messages=[{"role": "user", "content": "A pet"}],
        response_format=Pet,
        max_tokens=150,
        temperature=0.5,
        seed=1,
    )
    pet = got.choices[0].message.parsed
    assert isinstance(pet, Pet)
    assert 0 <= pet.legs <= 9


def test_a_forced_tool_is_called_and_its_answer_goes_back(site):
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"$ref": {"type": "boolean"}, "day": {"$ref": "#/$defs/Day"}},
                "required": ["day"],
                "additionalProperties": False,
                "$defs": {"Day": {"enum": ["today", "tomorrow"]}},
            },
        },
    }
    ask = {"model": "tiny", "tools": [tool], "temperature": 0}
    hi = {"role": "user", "content": "How is it?"}
    got = site.client.chat.completions.create(
        messages=[hi], tool_choice={"type": "function", "function": {"name": "weather"}}, **ask
    )
    message = got.choices[0].message
    (call,) = message.tool_calls
    assert json.loads(call.function.arguments)["day"] in ("today", "tomorrow")
    assert message.content is None
    back = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    after = site.client.chat.completions.create(
        messages=[hi, message, back], max_tokens=3, tool_choice="none", **ask
    )
    assert after.choices[0].message.content is not None


def test_json_can_be_asked_for_without_the_library(site, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.delitem(vars(site.serving.models["plain"].grammars), "_tokens", raising=False)
    body = {"model": "plain", "prompt": "x", "response_format": {"type": "json_object"}}
    answer = site.http.post("/v1/completions", json=body)
    assert answer.json()["error"]["code"] == "not_supported"
    assert "llama_edu[json]" in answer.json()["error"]["message"]


def test_the_official_clients_errors_name_the_way_out(site):
    with pytest.raises(openai.BadRequestError, match="drop_oldest"):
        site.client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "x" * 400}]
        )
    with pytest.raises(openai.BadRequestError, match="truncate_prompt_tokens"):
        site.client.completions.create(model="tiny", prompt="x" * 400)


def test_offsets_are_those_of_the_echoed_text(tmp_path):
    """A token that opens every text is none of the prompt's characters; of ids, it is shown."""
    directory = write_tiny(tmp_path / "opened")
    write_tokenizer(directory, byte_level(bos=True), eos_token="<|im_end|>")
    with (
        running(Serving(load([str(directory)]))) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
    ):
        asked = {"echo": True, "logprobs": 0, "max_tokens": 1}
        for prompt, opening in (("The cat", ""), ([1, 5, 6], "<|im_start|>")):
            answer = http.post("/v1/completions", json=asked | {"prompt": prompt}).json()
            choice = answer["choices"][0]
            *offsets, _ = choice["logprobs"]["text_offset"]
            assert offsets[:2] == [0, len(opening)]
            assert choice["text"].startswith(opening)
            assert offsets[-1] < len(choice["text"])
