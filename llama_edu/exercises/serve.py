"""Exercises on serving: a request, frames and their reader, text held back, who goes next."""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsIndex
from urllib.parse import urlencode

import numpy as np

from llama_edu.engine.generate import generate, prefill
from llama_edu.engine.llama import Llama
from llama_edu.exercises.framework.difference import kind_name
from llama_edu.exercises.framework.draw import pick, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.tiny import BatchCountingModel, tiny_llama
from llama_edu.serve.output import OutputText
from llama_edu.text.tokenizer import TextStream

# ★ stream_request(base_url, prompt, max_tokens) -> (url, headers, body)

Sent = tuple[str, dict[str, str], bytes]
JSON_TYPE = {"Content-Type": "application/json"}


def _asked(prompt: str, max_tokens: int) -> dict[str, Any]:
    asked = {"model": "story", "prompt": prompt, "max_tokens": max_tokens}
    return asked | {"temperature": 0, "stream": True}


def _request(base_url: str, prompt: str, max_tokens: int) -> Sent:
    body = json.dumps(_asked(prompt, max_tokens)).encode()
    return f"{base_url}/completions", JSON_TYPE, body


def _request_by_hand(base_url: str, prompt: str, max_tokens: int) -> Sent:
    said = json.dumps(prompt, ensure_ascii=False)
    fields = ['"model": "story"', f'"prompt": {said}', f'"max_tokens": {max_tokens}']
    fields += ['"temperature": 0', '"stream": true']
    body = "{" + ", ".join(fields) + "}"
    return base_url + "/completions", {"content-type": "application/json"}, body.encode("utf-8")


def _request_v1_twice(base_url: str, prompt: str, max_tokens: int) -> Sent:
    _, headers, body = _request(base_url, prompt, max_tokens)
    return f"{base_url}/v1/completions", headers, body


def _request_no_type(base_url: str, prompt: str, max_tokens: int) -> Sent:
    url, _, body = _request(base_url, prompt, max_tokens)
    return url, {}, body


def _request_form(base_url: str, prompt: str, max_tokens: int) -> Sent:
    url, headers, _ = _request(base_url, prompt, max_tokens)
    return url, headers, urlencode(_asked(prompt, max_tokens)).encode()


def _request_unescaped(base_url: str, prompt: str, max_tokens: int) -> Sent:
    url, headers, body = _request(base_url, prompt, max_tokens)
    pasted = body.decode().replace(json.dumps(prompt), f'"{prompt}"')
    return url, headers, pasted.encode()


def _request_python_words(base_url: str, prompt: str, max_tokens: int) -> Sent:
    url, headers, _ = _request(base_url, prompt, max_tokens)
    return url, headers, str(_asked(prompt, max_tokens)).encode()


def _request_whole(base_url: str, prompt: str, max_tokens: int) -> Sent:
    url, headers, _ = _request(base_url, prompt, max_tokens)
    asked = _asked(prompt, max_tokens)
    del asked["stream"]
    return url, headers, json.dumps(asked).encode()


def _read_request(answer: Callable[..., Sent], *args: object) -> list[object]:
    """What a server makes of it: where it went, whether it is said to be JSON, and what it asks."""
    url, headers, body = answer(*args)
    if not isinstance(body, bytes):
        raise TypeError(f"expected a body of bytes, got {kind_name(body)}")
    types = {name.lower(): value for name, value in headers.items()}
    kind = types.get("content-type", "no content type").partition(";")[0].strip()
    try:
        asked = json.loads(body)
    except ValueError:
        asked = f"not JSON: {body[:40]!r}"
    if isinstance(asked, dict) and isinstance(asked.get("temperature"), float):
        # JSON knows one kind of number: 0.0 asks for what 0 asks for.
        asked["temperature"] = int(asked["temperature"]) or asked["temperature"] or 0
    return [url, kind, asked]


def _stream_request_drawn(rng: np.random.Generator) -> list[Case]:
    prompt = "".join(pick(rng, ["Once", " upon", ' "a"', "\n", " é"], 5))
    url = f"http://127.0.0.1:{whole(rng, 2000, 9999)}/v1"
    return [Case("another prompt", (url, prompt, whole(rng, 61, 99)))]


def _asked_with(base_url: str, prompt: str, max_tokens: int, **changed: object) -> Sent:
    url, headers, body = _request(base_url, prompt, max_tokens)
    return url, headers, json.dumps({**json.loads(body), **changed}).encode()


STREAM_REQUEST = Exercise(
    name="stream_request",
    topic="serve",
    stars=1,
    task="Ask for a stream: the address, the headers and the body that curl would send.",
    section="Start a server",
    cases=lambda: [
        Case("a plain prompt", ("http://127.0.0.1:8000/v1", "Once upon a time", 60)),
        Case("quotes and a line break", ("http://localhost:9000/v1", 'She said: "Go!"\nHe', 5)),
        Case("another script", ("https://models.example/v1", "你好", 1)),
    ],
    drawn=_stream_request_drawn,
    correct=(_request, _request_by_hand),
    harness=_read_request,
    parts=("the address", "the content type", "the body"),
    mutants=(
        Mutant(
            "v1_twice",
            _request_v1_twice,
            "when /v1 is added to a base address that ends in it",
            "https://github.com/Taewan-P/gpt_mobile/issues/245",
        ),
        Mutant("no_type", _request_no_type, "when nothing says that the body is JSON"),
        Mutant(
            "form", _request_form, "when the fields are sent as a web form: curl -d does that alone"
        ),
        Mutant(
            "unescaped",
            _request_unescaped,
            "when the prompt is pasted between quotes: its own quotes and line breaks end the JSON",
            section="A stream is text with empty lines in it",
        ),
        Mutant(
            "python_words",
            _request_python_words,
            "when a dict is turned to text by str: single quotes and True are Python, not JSON",
        ),
        Mutant(
            "whole",
            _request_whole,
            "when no stream is asked for: the reply comes in one piece",
            section="One stream's life, as frames",
        ),
        Mutant(
            "chat_address",
            lambda base_url, prompt, max_tokens: (
                base_url + "/chat/completions",
                *_request(base_url, prompt, max_tokens)[1:],
            ),
            "when the request goes to the chat's address",
        ),
        Mutant(
            "stream_as_text",
            lambda base_url, prompt, max_tokens: (
                *_request(base_url, prompt, max_tokens)[:2],
                json.dumps(
                    {**json.loads(_request(base_url, prompt, max_tokens)[2]), "stream": "true"}
                ).encode(),
            ),
            'when stream is the text "true" and not true',
        ),
        Mutant(
            "warm",
            lambda base_url, prompt, max_tokens: _asked_with(
                base_url, prompt, max_tokens, temperature=1
            ),
            "when the temperature is 1: then tokens are drawn",
        ),
        Mutant(
            "sixty",
            lambda base_url, prompt, max_tokens: _request(base_url, prompt, 60),
            "when max_tokens is always 60",
        ),
        Mutant(
            "other_model",
            lambda base_url, prompt, max_tokens: _asked_with(
                base_url, prompt, max_tokens, model="chat"
            ),
            "when another model is asked for",
        ),
        Mutant(
            "form_type",
            lambda base_url, prompt, max_tokens: (
                base_url + "/completions",
                {"Content-Type": "application/x-www-form-urlencoded"},
                _request(base_url, prompt, max_tokens)[2],
            ),
            "when the header says that a web form comes",
        ),
    ),
)


# ★ frames(pieces) -> bytes of an event stream


def _frames(pieces: Sequence[str]) -> bytes:
    lines = [*(json.dumps({"text": piece}) for piece in pieces), "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def _frames_loop(pieces: Sequence[str]) -> bytes:
    out = b""
    for piece in pieces:
        out += b"data: " + json.dumps({"text": piece}).encode() + b"\n\n"
    return out + b"data: [DONE]\n\n"


def _frames_raw(pieces: Sequence[str]) -> bytes:
    return b"".join(f"data: {p}\n\n".encode() for p in [*pieces, "[DONE]"])


def _frames_one_line_end(pieces: Sequence[str]) -> bytes:
    return _frames(pieces).replace(b"\n\n", b"\n")


def _frames_never_done(pieces: Sequence[str]) -> bytes:
    return _frames(pieces).removesuffix(b"data: [DONE]\n\n")


def _frames_all_at_once(pieces: Sequence[str]) -> bytes:
    return _frames(["".join(pieces)])


def _read_frames(answer: Callable[[Sequence[str]], bytes], pieces: list[str]) -> list[object]:
    """What a client makes of it: the events between empty lines, each JSON or the end."""
    sent = answer(pieces)
    if not isinstance(sent, bytes):
        raise TypeError(f"expected bytes, got {kind_name(sent)}")
    *events, rest = re.sub("\r\n|\r", "\n", sent.decode()).split("\n\n")  # any line end is legal
    return [[_read_event(event.split("\n")) for event in events], rest]


def _read_event(lines: list[str]) -> object:
    """One event: the end, what the JSON of its data lines says, or what is wrong with it."""
    if bare := [line for line in lines if not line.startswith("data:")]:
        return f"a line without data: {bare[0]!r}"
    data = "\n".join(line.removeprefix("data:").removeprefix(" ") for line in lines)
    if data == "[DONE]":
        return "the end"
    try:
        return json.loads(data)
    except ValueError:
        return f"not JSON: {data!r}"


def _frames_bare(pieces: Sequence[str]) -> bytes:
    return _frames(pieces).replace(b"data: ", b"")


def _frames_indented(pieces: Sequence[str]) -> bytes:
    frames = [f"data: {json.dumps({'text': piece}, indent=1)}\n\n" for piece in pieces]
    return "".join([*frames, "data: [DONE]\n\n"]).encode()


def _frames_drawn(rng: np.random.Generator) -> list[Case]:
    return [Case("other pieces", (pick(rng, [" so", "\n", '"', "[DONE]", "é", "data: "], 5),))]


FRAMES = Exercise(
    name="frames",
    topic="serve",
    books=("llama_edu.serve.http.sse.frame",),
    stars=1,
    task='Write pieces of text as server-sent events of {"text": …}, ended by [DONE], as bytes.',
    section="A stream is text with empty lines in it",
    cases=lambda: [
        Case("two pieces", (["Hello", " there"],)),
        Case("a piece with line breaks", (["one\n\ntwo", " end"],)),
        Case("quotes and another script", (['"你好"', "\\"],)),
        Case("no piece at all", ([],)),
    ],
    drawn=_frames_drawn,
    correct=(_frames, _frames_loop),
    harness=_read_frames,
    parts=("the events", "what follows the last one"),
    mutants=(
        Mutant(
            "raw",
            _frames_raw,
            "when the text is sent as it is: its own line breaks cut the frame in two",
        ),
        Mutant("bare", _frames_bare, "when no line says that it is data"),
        Mutant(
            "indented",
            _frames_indented,
            "when JSON is written over several lines: each would need its own data:",
        ),
        Mutant("one_line_end", _frames_one_line_end, "when no empty line ends a frame"),
        Mutant(
            "never_done",
            _frames_never_done,
            "when the end of the stream is not said",
            section="One stream's life, as frames",
        ),
        Mutant(
            "all_at_once", _frames_all_at_once, "when one frame is sent after everything is made"
        ),
        Mutant(
            "other_key",
            lambda pieces: _frames(pieces).replace(b'{"text": ', b'{"content": '),
            "when the text has another key",
        ),
        Mutant(
            "done_quoted",
            lambda pieces: _frames(pieces)[: -len(b"[DONE]\n\n")] + b'"[DONE]"\n\n',
            "when [DONE] is sent as JSON, in quotes",
        ),
        Mutant(
            "done_bare",
            lambda pieces: _frames(pieces)[: -len(b"data: [DONE]\n\n")] + b"[DONE]\n\n",
            "when the last line has no `data:`",
        ),
        Mutant(
            "done_open",
            lambda pieces: _frames(pieces)[:-2],
            "when no empty line ends the last frame",
        ),
        Mutant(
            "python_quotes",
            lambda pieces: (
                "".join(f"data: { {'text': piece} }\n\n" for piece in pieces) + "data: [DONE]\n\n"
            ).encode(),
            "when Python's notation of a dict is sent, which is no JSON",
        ),
    ),
)


# ★★ read_stream(chunks) -> (text, finish_reason, usage)

Read = tuple[str, str | None, dict[str, int] | None]


def _collected(events: Iterator[str]) -> Read:
    """Texts joined, and the last finish reason and usage that are there."""
    text, reason, usage = "", None, None
    for event in events:
        if event.startswith(":") or not event.strip():
            continue
        data = event.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        reply = json.loads(data)
        usage = reply.get("usage") or usage
        for choice in reply["choices"]:
            text += choice["text"]
            reason = choice["finish_reason"] or reason
    return text, reason, usage


def _read(chunks: Sequence[bytes]) -> Read:
    def events() -> Iterator[str]:
        rest = b""
        for chunk in chunks:
            # A chunk may end between the two characters of a line break.
            *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
            yield from (event.decode() for event in whole)

    return _collected(events())


def _read_by_lines(chunks: Sequence[bytes]) -> Read:
    decoder = getincrementaldecoder("utf-8")()
    text = "".join(decoder.decode(chunk) for chunk in chunks)
    return _collected(iter(re.split("\r\n|\n", text)))


def _read_line_feeds(chunks: Sequence[bytes]) -> Read:
    *events, _ = b"".join(chunks).decode().split("\n\n")
    return _collected(iter(events))


def _read_with_space(chunks: Sequence[bytes]) -> Read:
    events = b"".join(chunks).replace(b"\r\n", b"\n").decode().split("\n\n")
    return _collected(event for event in events if event.startswith("data: "))


def _read_decoding_chunks(chunks: Sequence[bytes]) -> Read:
    text, reason, usage, rest = "", None, None, ""
    for chunk in chunks:
        rest += chunk.decode(errors="replace")
        *events, rest = rest.split("\n\n")
        for event in events:
            data = event.removeprefix("data: ")
            if event.startswith(":") or data == "[DONE]":
                continue
            reply = json.loads(data)
            usage = reply.get("usage") or usage
            for choice in reply["choices"]:
                text += choice["text"]
                reason = choice["finish_reason"] or reason
    return text, reason, usage


def _read_chunk_alone(chunks: Sequence[bytes]) -> Read:
    def events() -> Iterator[str]:
        for chunk in chunks:
            for line in chunk.decode(errors="replace").split("\n"):
                if line == "data: [DONE]" or (line.startswith("data: {") and line.endswith("}")):
                    yield line

    return _collected(events())


def _read_done_as_json(chunks: Sequence[bytes]) -> Read:
    events = b"".join(chunks).decode().split("\n\n")
    for event in events:
        if event.startswith("data: "):
            json.loads(event.removeprefix("data: "))
    return _read(chunks)


def _read_done_anywhere(chunks: Sequence[bytes]) -> Read:
    events = b"".join(chunks).decode().split("\n\n")
    end = next(n for n, event in enumerate(events) if "[DONE]" in event)
    return _collected(iter(events[:end]))


def _read_no_usage(chunks: Sequence[bytes]) -> Read:
    text, reason, _ = _read(chunks)
    return text, reason, None


def _read_first_choice(chunks: Sequence[bytes]) -> Read:
    for event in b"".join(chunks).decode().split("\n\n"):
        if event.startswith("data: {"):
            json.loads(event.removeprefix("data: "))["choices"][0]
    return _read(chunks)


def _read_last_reason(chunks: Sequence[bytes]) -> Read:
    text, _, usage = _read(chunks)
    return text, None, usage


def _stream(pieces: Sequence[str], reason: str, usage: dict[str, int] | None) -> bytes:
    """A stream as this server sends it: pieces, the reason, the usage if asked for, the end."""
    frames: list[str] = []
    for number, piece in enumerate(pieces, 1):
        ends = reason if number == len(pieces) else None
        choice = {"index": 0, "text": piece, "finish_reason": ends}
        frames.append(json.dumps({"choices": [choice], "usage": None}, ensure_ascii=False))
    if usage is not None:
        frames.append(json.dumps({"choices": [], "usage": usage}))
    return "".join(f"data: {frame}\n\n" for frame in [*frames, "[DONE]"]).encode()


def _cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def _stream_cases() -> list[Case]:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    words = _stream(["Once", " upon", " a time"], "length", None)
    frames = words.split(b"\n\n")[:-1]
    return [
        Case("a frame at a time", ([frame + b"\n\n" for frame in frames],)),
        Case(
            "frames cut anywhere, with usage", (_cut(_stream(["a", "b\n\nc"], "stop", usage), 9),)
        ),
        Case("characters cut in two", (_cut(_stream(["你", "好 🌍"], "stop", None), 5),)),
        Case("everything at once, and a comment", ([b": still here\n\n" + words],)),
        Case("a text that names the end", ([_stream(["say [DONE]", " twice"], "stop", usage)],)),
        Case("line breaks of two characters", (_cut(words.replace(b"\n", b"\r\n"), 3),)),
        Case("blanks at both ends", ([_stream([" so", " ", "\n"], "stop", None)],)),
        Case("no space after the colon", ([words.replace(b"data: ", b"data:")],)),
    ]


def _read_stream_drawn(rng: np.random.Generator) -> list[Case]:
    def case(label: str, size: int) -> Case:
        pieces = [" ", *pick(rng, ["so", " it", "é", "🌍", "[DONE]", "\n"], 4), "\n "]
        usage = {"prompt_tokens": whole(rng, 2, 9), "completion_tokens": 6, "total_tokens": 15}
        return Case(
            label, (_cut(_stream(pieces, pick(rng, ["stop", "length"], 1)[0], usage), size),)
        )

    return [case("another text", whole(rng, 4, 20)), case("a third text", 500)]


def _read_until_done(chunks: Sequence[bytes]) -> Read:
    events = b"".join(chunks).replace(b"\r\n", b"\n").split(b"\n\n")
    stop = next((i for i, event in enumerate(events) if b"[DONE]" in event), len(events))
    return _read([b"".join(event + b"\n\n" for event in events[:stop])])


READ_STREAM = Exercise(
    name="read_stream",
    topic="serve",
    stars=2,
    task="Repair the reader of a stream: text, finish reason and usage, however it was cut.",
    section="One stream's life, as frames",
    cases=_stream_cases,
    parts=("the text", "the finish reason", "the usage"),
    drawn=_read_stream_drawn,
    correct=(_read, _read_by_lines),
    mutants=(
        Mutant(
            "decodes_chunks",
            _read_decoding_chunks,
            "when each chunk of the network is decoded by itself: a character cut in two is lost",
            "https://github.com/mpetazzoni/sseclient/issues/8",
            section="Common mistakes",
        ),
        Mutant(
            "chunk_alone",
            _read_chunk_alone,
            "when each chunk is split into lines by itself: a line cut in two is lost",
            "https://github.com/lobehub/lobehub/pull/18640",
            section="A stream is text with empty lines in it",
        ),
        Mutant("done_as_json", _read_done_as_json, "when [DONE] is read as JSON"),
        Mutant(
            "done_anywhere",
            _read_done_anywhere,
            "when [DONE] ends the stream wherever it stands, in a text as well",
            "https://github.com/BerriAI/litellm/issues/31562",
        ),
        Mutant(
            "no_usage",
            _read_no_usage,
            "when a frame without choices is skipped: the usage is in it",
            "https://github.com/nextlevelbuilder/goclaw/issues/50",
        ),
        Mutant(
            "first_choice",
            _read_first_choice,
            "when every frame is asked for its first choice: the frame of the usage has none",
            "https://github.com/XSpoonAi/spoon-core/pull/179",
        ),
        Mutant("no_reason", _read_last_reason, "when nobody keeps why the text ended"),
        Mutant(
            "line_feeds",
            _read_line_feeds,
            "when lines end in \\n and never in \\r\\n: both are allowed",
            section="A stream is text with empty lines in it",
        ),
        Mutant(
            "with_space",
            _read_with_space,
            "when a space is wanted after `data:`: it may be left out",
            section="A stream is text with empty lines in it",
        ),
        Mutant(
            "stripped",
            lambda chunks: (_read(chunks)[0].strip(), *_read(chunks)[1:]),
            "when blanks at the ends of the text are lost",
        ),
        Mutant("text_only", lambda chunks: _read(chunks)[0], "when only the text comes back"),
        Mutant(
            "ends_at_any_done",
            lambda chunks: _read_until_done(chunks),
            "when reading ends at a text that says [DONE]",
        ),
        Mutant(
            "as_a_dict",
            lambda chunks: dict(zip(("text", "reason", "usage"), _read(chunks), strict=True)),
            "when a dict comes back, and a tuple is due",
        ),
        Mutant(
            "whole_chunks",
            lambda chunks: _read([chunk.decode("utf-8", "replace").encode() for chunk in chunks]),
            "when every chunk is decoded alone",
        ),
    ),
)


# ★★ settled(pieces, stop) -> what may be sent after each piece, up to the stop text


class _Pieces(TextStream):
    """A stream that is given its pieces, instead of making them from ids."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def push(self, token_id: SupportsIndex) -> str:
        """The piece of that number."""
        return self.pieces[int(token_id)]

    def finish(self) -> str:
        """Nothing is ever left over."""
        return ""


def _settled(pieces: Sequence[str], stop: str) -> list[str]:
    output = OutputText(_Pieces(pieces), [stop])
    sent = []
    for number in range(len(pieces)):
        sent.append(output.push(number))
        if output.stopped:
            return sent
    return [*sent, output.finish()]


def _settled_by_hand(pieces: Sequence[str], stop: str) -> list[str]:
    held = ""
    sent: list[str] = []
    for piece in pieces:
        held += piece
        if stop in held:
            return [*sent, held[: held.index(stop)]]
        open_end = max(
            (n for n in range(min(len(stop) - 1, len(held)) + 1) if held.endswith(stop[:n])),
            default=0,
        )
        sent.append(held[: len(held) - open_end])
        held = held[len(held) - open_end :]
    return [*sent, held]


def _settled_last_stop(pieces: Sequence[str], stop: str) -> list[str]:
    sent = _settled_by_hand(pieces, stop)
    count, whole = len(sent), "".join(pieces)
    if stop not in whole:
        return sent
    whole = "".join(pieces[:count])
    return [*sent[:-1], whole[len("".join(sent[:-1])) : whole.rindex(stop)]]


def _settled_by_piece(pieces: Sequence[str], stop: str) -> list[str]:
    sent: list[str] = []
    for piece in pieces:
        if stop in piece:
            return [*sent, piece[: piece.index(stop)]]
        sent.append(piece)
    return [*sent, ""]


def _settled_stop_sent(pieces: Sequence[str], stop: str) -> list[str]:
    sent = _settled_by_hand(pieces, stop)
    return [*sent[:-1], sent[-1] + stop] if stop in "".join(pieces) else sent


def _settled_lost(pieces: Sequence[str], stop: str) -> list[str]:
    sent = _settled_by_hand(pieces, stop)
    return sent if stop in "".join(pieces) else [*sent[:-1], ""]


def _settled_all_held(pieces: Sequence[str], stop: str) -> list[str]:
    whole = "".join(pieces)
    if stop not in whole:
        return [*([""] * len(pieces)), whole]
    count = next(n for n in range(1, len(pieces) + 1) if stop in "".join(pieces[:n]))
    return [*([""] * (count - 1)), whole[: whole.index(stop)]]


def _settled_drawn(rng: np.random.Generator) -> list[Case]:
    def case(label: str, stop: str) -> Case:
        texts = ("".join(pick(rng, "ab", whole(rng, 1, 3))) for _ in range(7))
        return Case(label, (list(texts), stop))

    return [case("letters, one", "aab"), case("letters, two", "abab"), case("letters, three", "bb")]


def _settled_by(pieces: Sequence[str], stop: str, lengths: range) -> list[str]:
    """What is held back is the first of these lengths that begins a stop."""
    sent: list[str] = []
    held = ""
    for piece in pieces:
        held += piece
        if stop in held:
            return [*sent, held[: held.index(stop)]]
        keep = next((n for n in lengths if held.endswith(stop[:n])), 0)
        sent.append(held[: len(held) - keep])
        held = held[len(held) - keep :]
    return [*sent, held]


def _always_held(pieces: Sequence[str], stop: str) -> list[str]:
    sent: list[str] = []
    held = ""
    for piece in pieces:
        held += piece
        if stop in held:
            return [*sent, held[: held.index(stop)]]
        cut = max(len(held) - len(stop) + 1, 0)
        sent.append(held[:cut])
        held = held[cut:]
    return [*sent, held]


SETTLED = Exercise(
    name="settled",
    topic="serve",
    books=("llama_edu.serve.output.OutputText.push",),
    stars=2,
    task="Repair the stop text: send what is settled, hold back what may be its beginning.",
    section="The ends of a text that may not be sent yet",
    cases=lambda: [
        Case("a stop in pieces", (["The en", "d. E", "N", "D and more"], "END")),
        Case("a beginning that comes to nothing", (["a E", "N", "ough b"], "END")),
        Case("a text that ends in a beginning", (["so it E", "N"], "END")),
        Case("a stop that repeats itself", (["aa", "ab", "c"], "aab")),
        Case("no stop at all", (["one ", "two"], "\n\n")),
        Case("a stop twice in one piece", (["a", "b END c END d"], "END")),
    ],
    drawn=_settled_drawn,
    correct=(_settled, _settled_by_hand),
    mutants=(
        Mutant(
            "by_piece", _settled_by_piece, "when each piece is searched by itself, and sent at once"
        ),
        Mutant(
            "last_stop", _settled_last_stop, "when the last stop text of a piece ends the reply"
        ),
        Mutant("stop_sent", _settled_stop_sent, "when the stop text itself is sent"),
        Mutant("lost", _settled_lost, "when what was held back is never sent"),
        Mutant("all_held", _settled_all_held, "when everything is held until the end"),
        Mutant(
            "shortest_held",
            lambda pieces, stop: _settled_by(pieces, stop, range(1, len(stop))),
            "when the shortest beginning is held back where a longer one may be meant",
        ),
        Mutant(
            "as_it_came",
            lambda pieces, stop: [*pieces, ""],
            "when nothing is held back, and no stop ends the text",
        ),
        Mutant(
            "all_at_end",
            lambda pieces, stop: [*("" for _ in pieces), "".join(pieces).split(stop)[0]],
            "when all of the text waits for the end",
        ),
        Mutant(
            "goes_on",
            lambda pieces, stop: _settled("".join(pieces).split(stop), "\0"),
            "when the text goes on after the stop",
        ),
        Mutant(
            "one_text",
            lambda pieces, stop: "".join(_settled(pieces, stop)),
            "when one text comes back, and one for each piece is due",
        ),
        Mutant(
            "always_held",
            lambda pieces, stop: _always_held(pieces, stop),
            "when as much is held back as a stop is long, whatever it says",
        ),
    ),
)


# ★★ next_step(prompts, sequences, budget) -> (tokens of each prompt, sequences that get a token)


def _next_step(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    fed = []
    for left in prompts:
        fed.append(min(left, budget))
        budget -= fed[-1]
    return fed, sequences


def _next_step_sums(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    ends = np.minimum(np.cumsum([0, *prompts]), budget)
    return [int(n) for n in np.diff(ends)], sequences


def _step_whole_prompts(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    return list(prompts), sequences


def _step_prompts_first(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    return _next_step(prompts, 0 if prompts else sequences, budget)


def _step_budget_each(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    return [min(left, budget) for left in prompts], sequences


def _step_last_first(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    fed, sequences = _next_step(prompts[::-1], sequences, budget)
    return fed[::-1], sequences


def _next_step_drawn(rng: np.random.Generator) -> list[Case]:
    def case(label: str) -> Case:
        prompts = rng.integers(1, 30, size=4).tolist()
        return Case(label, (prompts, whole(rng, 1, 5), whole(rng, 20, 60)))

    return [case("four prompts"), case("four others")]


def _whole_ones(prompts: list[int], sequences: int, budget: int) -> tuple[list[int], int]:
    fed = []
    for left in prompts:
        fed.append(left if left <= budget else 0)
        budget -= fed[-1]
    return fed, sequences


NEXT_STEP = Exercise(
    name="next_step",
    topic="serve",
    books=("llama_edu.serve.scheduler.Scheduler.step",),
    stars=2,
    task="Repair the plan of a step: every sequence a token, and prompts in turn within a budget.",
    section="Who goes next?",
    cases=lambda: [
        Case("a long prompt beside two sequences", ([100, 7], 2, 16)),
        Case("short prompts that fit together", ([5, 6, 9], 1, 16)),
        Case("nobody has a prompt", ([], 3, 16)),
        Case("nobody writes yet", ([40], 0, 32)),
    ],
    parts=("the prompt tokens", "the sequences that get one"),
    drawn=_next_step_drawn,
    correct=(_next_step, _next_step_sums),
    mutants=(
        Mutant(
            "whole_prompts",
            _step_whole_prompts,
            "when a prompt is fed at once, however long: all others wait for it",
        ),
        Mutant("prompts_first", _step_prompts_first, "when sequences wait while there is a prompt"),
        Mutant("budget_each", _step_budget_each, "when each prompt gets the whole budget"),
        Mutant("last_first", _step_last_first, "when the last in line goes first"),
        Mutant(
            "sequences_first",
            lambda prompts, sequences, budget: _next_step(
                prompts, sequences, max(budget - sequences, 0)
            ),
            "when the sequences' tokens are taken from the budget, which is for prompts",
        ),
        Mutant(
            "equal_shares",
            lambda prompts, sequences, budget: (
                [min(left, budget // len(prompts)) for left in prompts],
                sequences,
            ),
            "when the budget is shared out equally",
        ),
        Mutant(
            "whole_ones",
            lambda prompts, sequences, budget: _whole_ones(prompts, sequences, budget),
            "when a prompt is fed whole or not at all",
        ),
        Mutant(
            "one_prompt",
            lambda prompts, sequences, budget: (
                [min(left, budget) if i == 0 else 0 for i, left in enumerate(prompts)],
                sequences,
            ),
            "when only the first prompt is fed",
        ),
        Mutant(
            "what_is_left",
            lambda prompts, sequences, budget: (
                [
                    left - fed
                    for left, fed in zip(
                        prompts, _next_step(prompts, sequences, budget)[0], strict=True
                    )
                ],
                sequences,
            ),
            "when what is left of each prompt comes back and not what is fed",
        ),
        Mutant(
            "fed_only",
            lambda prompts, sequences, budget: (
                [fed for fed in _next_step(prompts, sequences, budget)[0] if fed],
                sequences,
            ),
            "when prompts that get nothing are left out of the list",
        ),
    ),
)


# ★★★ serve_all(model, prompts, counts) -> replies, through forward_batch


def _alone(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    pairs = zip(prompts, counts, strict=True)
    return [list(generate(model, p, max_new_tokens=n, stop_ids=())) for p, n in pairs]


def _batched(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    caches = [model.new_cache() for _ in prompts]
    pairs = zip(prompts, caches, strict=True)
    replies = [[int(prefill(model, p, c)[-1].argmax())] for p, c in pairs]
    while live := [i for i, reply in enumerate(replies) if len(reply) < counts[i]]:
        logits = model.forward_batch([replies[i][-1] for i in live], [caches[i] for i in live])
        for i, row in zip(live, logits, strict=True):
            replies[i].append(int(row.argmax()))
    return replies


def _batched_queue(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    replies: list[list[int]] = [[] for _ in prompts]
    growing = []
    for i, prompt in enumerate(prompts):
        cache = model.new_cache()
        replies[i].append(int(prefill(model, prompt, cache)[-1].argmax()))
        growing.append((i, cache))
    for _ in range(max(counts)):
        growing = [(i, cache) for i, cache in growing if len(replies[i]) < counts[i]]
        if not growing:
            break
        newest = [replies[i][-1] for i, _ in growing]
        logits = model.forward_batch(newest, [cache for _, cache in growing])
        for (i, _), row in zip(growing, logits, strict=True):
            replies[i].append(int(row.argmax()))
    return replies


def _batched_one_by_one(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return _alone(model, prompts, counts)


def _batched_wrong_rows(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    caches = [model.new_cache() for _ in prompts]
    pairs = zip(prompts, caches, strict=True)
    replies = [[int(prefill(model, p, c)[-1].argmax())] for p, c in pairs]
    while live := [i for i, reply in enumerate(replies) if len(reply) < counts[i]]:
        logits = model.forward_batch([replies[i][-1] for i in live], [caches[i] for i in live])
        for reply, row in zip(replies, logits, strict=False):  # rows are those of `live`
            reply.append(int(row.argmax()))
    return [reply[:n] for reply, n in zip(replies, counts, strict=True)]


def _batched_until_shortest(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return [reply[: min(counts)] for reply in _batched(model, prompts, counts)]


def _batched_until_longest(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return _batched(model, prompts, [max(counts)] * len(counts))


def _batched_cut(model: Llama, prompts: list[list[int]], counts: list[int]) -> list[list[int]]:
    replies = _batched_until_longest(model, prompts, counts)
    return [reply[:n] for reply, n in zip(replies, counts, strict=True)]


def _batched_at_least_two(
    model: Llama, prompts: list[list[int]], counts: list[int]
) -> list[list[int]]:
    return _batched(model, prompts, [max(n, 2) for n in counts])


def _watched(
    answer: Callable[..., list[list[int]]], prompts: list[list[int]], counts: list[int]
) -> list[object]:
    """The replies, and how many sequences each shared step had."""
    model = BatchCountingModel(tiny_llama(3))
    replies = [list(map(int, reply)) for reply in answer(model, prompts, counts)]
    return [replies, model.sequences]


def _serve_all_drawn(rng: np.random.Generator) -> list[Case]:
    prompts = [rng.integers(31, size=whole(rng, 2, 4)).tolist() for _ in range(4)]
    return [Case("four sequences", (prompts, [1, *wholes(rng, 3, 2, 6)]))]


SERVE_ALL = Exercise(
    name="serve_all",
    topic="serve",
    books=("llama_edu.serve.scheduler.Scheduler.step",),
    stars=3,
    task="Let several sequences grow in shared steps; each leaves with its number of tokens.",
    section="Two texts in one step",
    cases=lambda: [
        Case(
            "three sequences of different lengths", ([[3, 1, 4], [1, 5], [9, 2, 6, 5]], [6, 2, 9])
        ),
        Case("the first ends first", ([[2, 7], [1, 8, 2]], [2, 7])),
        Case("one token is all", ([[4, 4], [2, 6, 1], [5]], [1, 4, 1])),
    ],
    drawn=_serve_all_drawn,
    correct=(_batched, _batched_queue),
    harness=_watched,
    parts=("the replies", "the sequences in each step"),
    mutants=(
        Mutant(
            "one_by_one",
            _batched_one_by_one,
            "when each sequence is finished before the next begins",
            section="Who goes next?",
        ),
        Mutant(
            "wrong_rows",
            _batched_wrong_rows,
            "when rows are given to the first sequences, not to those still growing: somebody gets "
            "another's tokens",
            section="Common mistakes",
        ),
        Mutant(
            "until_shortest",
            _batched_until_shortest,
            "when the first to end stops them all",
            section="Who goes next?",
        ),
        Mutant(
            "cut",
            _batched_cut,
            "when all go on until the longest is done, and what is too much is cut off",
            section="Who goes next?",
        ),
        Mutant(
            "at_least_two",
            _batched_at_least_two,
            "when a step comes before the first count is looked at: one token becomes two",
        ),
        Mutant(
            "until_longest",
            _batched_until_longest,
            "when all go on until the longest is done",
            section="Who goes next?",
        ),
        Mutant(
            "one_more",
            lambda model, prompts, counts: _batched(model, prompts, [n + 1 for n in counts]),
            "when each reply has one token too many",
        ),
        Mutant(
            "reversed",
            lambda model, prompts, counts: _batched(model, prompts, counts)[::-1],
            "when the replies come in reverse",
        ),
        Mutant(
            "with_prompts",
            lambda model, prompts, counts: [
                [*prompt, *reply]
                for prompt, reply in zip(prompts, _batched(model, prompts, counts), strict=True)
            ],
            "when the prompts come back as well",
        ),
        Mutant(
            "first_count",
            lambda model, prompts, counts: _batched(model, prompts, [counts[0]] * len(counts)),
            "when all replies are as long as the first",
        ),
    ),
)

EXERCISES = (STREAM_REQUEST, FRAMES, READ_STREAM, SETTLED, NEXT_STEP, SERVE_ALL)
