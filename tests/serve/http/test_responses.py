"""The JSON that goes out, of texts no random model would write: calls of tools, halves of letters.

The jobs are real ones of the tiny model; the texts are put in their place.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny_served import tiny

from llama_edu.serve.http.responses import ChatReply, CompletionReply, Frame, usage
from llama_edu.serve.job import Job, Request, TextDelta, TokenLogprob
from llama_edu.serve.scheduler import Scheduler

MODEL, TOKENIZER = tiny()
IDS = tuple(TOKENIZER.encode("The cat"))
CALL = '{"name": "clock", "arguments": {"of": "noon"}}'
FRAME = Frame("id-1", 5, "tiny", "never")
HALF = next(i for i in range(400) if TOKENIZER.token_bytes(i) == b"\xc3")
A, B = (TOKENIZER.encode(letter)[-1] for letter in "ab")


def jobs(*requests: Request) -> list[Job]:
    """Requests, done."""
    one = Scheduler(MODEL, TOKENIZER)
    done = [one.submit(request) for request in requests]
    while not one.is_idle:
        one.step()
    return done


def chunks(reply: Any, deltas: list[TextDelta], reason: str, done: list[Job]) -> list[Any]:
    """A stream of one choice."""
    made = [reply.opening(0, done), *(reply.chunk(0, delta) for delta in deltas)]
    return [chunk for chunk in [*made, reply.closing(0, reason)] if chunk is not None]


def gathered(stream: list[Any]) -> tuple[str | None, list[Any], str]:
    """Content, calls without their ids, and reason of a stream, as a client puts them together."""
    choices = [chunk["choices"][0] for chunk in stream]
    content = "".join(choice["delta"].get("content", "") for choice in choices)
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert [call.pop("index") for call in calls] == list(range(len(calls)))
    assert all(choice["finish_reason"] is None for choice in choices[:-1])
    return content, [call["function"] for call in calls], choices[-1]["finish_reason"]


FUNCTION = {"name": "clock", "arguments": '{"of": "noon"}'}


@pytest.mark.parametrize(
    ("text", "reason", "forced", "seen"),
    [
        ("It is noon.", "stop", False, ("It is noon.", [], "stop")),
        (" It is ", "length", False, (" It is ", [], "length")),
        (CALL, "stop", False, (None, [FUNCTION], "tool_calls")),
        (CALL, "length", False, (None, [FUNCTION], "length")),
        (CALL, "stop", True, (None, [FUNCTION], "stop")),
        (f"So. <tool_call>{CALL}</tool_call>", "stop", False, ("So.", [FUNCTION], "tool_calls")),
        (
            f"<tool_call>{CALL}<tool_call>{CALL}",
            "stop",
            False,
            (None, [FUNCTION] * 2, "tool_calls"),
        ),
        ("{", "length", False, ("{", [], "length")),
        ("", "stop", False, ("", [], "stop")),
    ],
)
def test_a_chat_whole_and_in_pieces(text: str, reason: str, forced: bool, seen: Any) -> None:
    done = jobs(Request(IDS, 1))

    def reply() -> ChatReply:
        return ChatReply(TOKENIZER, FRAME, ["clock"], forced=forced)

    content, functions, last = seen
    whole = reply().whole([TextDelta(text)], [reason], done)
    (choice,) = whole["choices"]
    message = choice["message"]
    calls = message.pop("tool_calls", [])
    assert [call["function"] for call in calls] == functions
    assert all("index" not in call for call in calls)
    assert message == {"role": "assistant", "content": content, "refusal": None}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, last)
    pieces = [TextDelta(letter) for letter in text]
    stream = chunks(reply(), pieces, reason, done)
    assert stream[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    streamed, *rest = gathered(stream)
    assert (streamed.strip() if functions else streamed, *rest) == (content or "", functions, last)
    for chunk in stream:
        assert chunk["object"] == "chat.completion.chunk"
        assert "usage" not in chunk
        assert len(chunk["choices"][0]["delta"]) == (chunk is stream[0]) + 1 or chunk is stream[-1]
    assert whole["object"] == "chat.completion"
    json.dumps([whole, stream])


def test_scores_come_though_their_text_is_held_back() -> None:
    """And without tools every piece comes, even one of no text."""
    scored = TextDelta("", (TokenLogprob(A, -1.0, 0),))
    reply = ChatReply(TOKENIZER, FRAME, ["clock"])
    assert reply.chunk(0, TextDelta("{")) is None
    chunk = reply.chunk(0, scored)
    assert chunk is not None
    assert chunk["choices"][0]["delta"] == {"content": ""}
    assert len(chunk["choices"][0]["logprobs"]["content"]) == 1
    assert ChatReply(TOKENIZER, FRAME).chunk(0, TextDelta(""))


def test_every_choice_of_a_stream_has_its_own_calls() -> None:
    reply = ChatReply(TOKENIZER, FRAME, ["clock"])
    reply.chunk(0, TextDelta(CALL[:9]))
    reply.chunk(1, TextDelta("No"))
    reply.chunk(0, TextDelta(CALL[9:]))
    (first,), (second,) = (reply.closing(i, "stop")["choices"] for i in (0, 1))
    assert (first["index"], first["finish_reason"]) == (0, "tool_calls")
    assert (second["index"], second["finish_reason"], second["delta"]) == (1, "stop", {})
    assert reply.closing(2, "length")["choices"][0]["finish_reason"] == "length"


SCORES = (
    TokenLogprob(A, -0.5, 0, ((A, -0.5), (HALF, -1.5), (399, -2.5))),
    TokenLogprob(HALF, -1.25, 1),
)


def test_scores_of_a_chat_name_every_token_and_its_bytes() -> None:
    (choice,) = ChatReply(TOKENIZER, FRAME).whole(
        [TextDelta("a", SCORES)], ["stop"], jobs(Request(IDS, 1))
    )["choices"]
    half = {"token": "\ufffd", "bytes": [0xC3]}
    a = {"token": "a", "logprob": -0.5, "bytes": [97]}
    first, second = choice["logprobs"].pop("content")
    assert choice["logprobs"] == {"refusal": None}
    *top, last = first.pop("top_logprobs")
    assert (first, top) == (a, [a, half | {"logprob": -1.5}])
    assert bytes(last["bytes"]) == TOKENIZER.token_bytes(399)
    assert second == half | {"logprob": -1.25, "top_logprobs": []}


def test_scores_of_a_completion_and_which_of_two_alike_keeps_its_name() -> None:
    halves = [i for i in range(400) if TOKENIZER.token_bytes(i) in (b"\xc3", b"\xc2")]
    top = tuple((i, -1.0 - number) for number, i in enumerate(halves))
    scores = (TokenLogprob(A, -0.5, 0, ((A, -0.5), *top)), TokenLogprob(B, -2.0, 1))
    (choice,) = CompletionReply(TOKENIZER, FRAME).whole(
        [TextDelta("ab", scores)], ["length"], jobs(Request(IDS, 1))
    )["choices"]
    assert choice == {
        "index": 0,
        "text": "ab",
        "finish_reason": "length",
        "logprobs": {
            "tokens": ["a", "b"],
            "token_logprobs": [-0.5, -2.0],
            "top_logprobs": [{"a": -0.5, "\ufffd": -1.0}, {}],
            "text_offset": [0, 1],
        },
    }


def test_an_id_without_a_token_has_no_bytes() -> None:
    """A vocabulary may have more ids than tokens, and one of those be among the likeliest."""
    (choice,) = ChatReply(TOKENIZER, FRAME).whole(
        [TextDelta("a", (TokenLogprob(A, -1.0, 0, ((4000, -0.5),)),))],
        ["stop"],
        jobs(Request(IDS, 1)),
    )["choices"]
    (top,) = choice["logprobs"]["content"][0]["top_logprobs"]
    assert top == {"token": "", "logprob": -0.5, "bytes": []}


@pytest.mark.parametrize("counts", ["never", "last", "always"])
@pytest.mark.parametrize("kind", [ChatReply, CompletionReply])
def test_when_the_usage_is_told(kind: Any, counts: Any) -> None:
    done = jobs(Request(IDS, 3, n=2), Request((5, 6), 2))
    reply = kind(TOKENIZER, Frame("id-1", 5, "tiny", counts, 4))
    told = usage(done)
    assert told == {
        "prompt_tokens": len(IDS) + 2,
        "completion_tokens": 3 * 2 + 2,
        "total_tokens": len(IDS) + 2 + 8,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    base = {"id": "id-1", "created": 5, "model": "tiny", "omitted_messages": 4}
    stream = [reply.counted(chunk, done) for chunk in chunks(reply, [TextDelta("a")], "stop", done)]
    for chunk in stream:
        assert chunk.items() >= base.items()
        assert ("usage" in chunk) == (counts != "never")
        assert chunk.get("usage") == (told if counts == "always" else None)
    assert reply.counts is (counts != "never")
    totals = reply.totals(done)
    assert (totals["choices"], totals["usage"]) == ([], told)
    texts = [TextDelta(letter) for letter in "abc"]
    whole = reply.whole(texts, ["stop", "length", "stop"], done)
    assert whole["usage"] == told
    assert whole.items() >= base.items()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "length", "stop"]


def test_an_echo_of_several_prompts_goes_with_each_of_their_choices() -> None:
    prompts = ["The cat", "ab"]
    requests = [
        Request(ids, 1, n=2, top_logprobs=1, prompt_logprobs=1)
        for ids in (IDS, tuple(TOKENIZER.encode("ab")))
    ]
    done = jobs(*requests)
    echoes = [prompt for prompt in prompts for _ in range(2)]
    reply = CompletionReply(TOKENIZER, FRAME, echoes)
    texts = [TextDelta(f"{i}", (TokenLogprob(A, -1.0, 0),)) for i in range(4)]
    whole = reply.whole(texts, ["stop"] * 4, done)["choices"]
    for i, choice in enumerate(whole):
        job, before = done[i // 2], echoes[i]
        ids = job.request.token_ids
        assert choice["text"] == f"{before}{i}"
        scores = choice["logprobs"]
        assert len(scores["tokens"]) == len(ids) + 1
        assert "".join(scores["tokens"][:-1]) == before
        assert scores["token_logprobs"][0] is scores["top_logprobs"][0] is None
        assert scores["token_logprobs"][-1] == -1.0
        starts = [len(TOKENIZER.decode(ids[:n])) for n in range(len(ids))]
        assert scores["text_offset"] == [*starts, len(before)]
        given = choice["prompt_logprobs"]
        assert given[0] is None
        for token_id, entry in zip(ids[1:], given[1:], strict=True):
            own = entry[str(token_id)]
            assert own["decoded_token"] == TOKENIZER.token_bytes(token_id).decode()
            assert own["rank"] in (1, None)
            assert (own["rank"] == 1) == (len(entry) == 1)
            assert {one["rank"] for one in entry.values()} <= {1, None}
            assert own["logprob"] == min(one["logprob"] for one in entry.values())
    first = reply.opening(2, done)
    assert first is not None
    (choice,) = first["choices"]
    assert (choice["index"], choice["text"], choice["finish_reason"]) == (2, "ab", None)
    assert choice["logprobs"]["text_offset"] == [0, 1]
    (choice,) = reply.chunk(2, texts[2])["choices"]
    assert (choice["text"], choice["logprobs"]["text_offset"]) == ("2", [2])
    assert CompletionReply(TOKENIZER, FRAME).opening(0, done) is None
