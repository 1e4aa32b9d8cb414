"""Serving."""

import codecs
import json

import numpy as np
from fresh_answers import right, wrong

FR, SR, ST, RD, NS, SA = (
    "frames",
    "stream_request",
    "settled",
    "read_stream",
    "next_step",
    "serve_all",
)


def frames(
    pieces,
    *,
    prefix="data: ",
    end="\n\n",
    done="data: [DONE]\n\n",
    key="text",
    ascii_=True,
    indent=None,
    raw=False,
):
    out = ""
    for piece in pieces:
        said = piece if raw else json.dumps({key: piece}, ensure_ascii=ascii_, indent=indent)
        out += f"{prefix}{said}{end}"
    return (out + done).encode()


def frames_list(pieces):
    lines = [json.dumps({"text": piece}) for piece in pieces]
    return b"".join(b"data: " + line.encode() + b"\n\n" for line in [*lines, "[DONE]"])


def frames_one(pieces):
    return ("data: " + json.dumps({"text": "".join(pieces)}) + "\n\ndata: [DONE]\n\n").encode()


def request(
    base_url,
    prompt,
    max_tokens,
    *,
    path="/completions",
    header="application/json",
    stream=True,
    **changed,
):
    body = {"model": "story", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    if stream:
        body["stream"] = True
    body |= changed
    return base_url + path, {"Content-Type": header}, json.dumps(body).encode()


def request_compact(base_url, prompt, max_tokens):
    fields = {"stream": True, "temperature": 0.0, "model": "story"}
    fields |= {"max_tokens": max_tokens, "prompt": prompt}
    body = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    return f"{base_url}/completions", headers, body


def request_messages(base_url, prompt, max_tokens):
    body = {
        "model": "story",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
    }
    return (
        base_url + "/chat/completions",
        {"Content-Type": "application/json"},
        json.dumps(body).encode(),
    )


def request_stream_text(base_url, prompt, max_tokens):
    url, headers, body = request(base_url, prompt, max_tokens)
    return url, headers, body.replace(b"true", b'"true"')


def settle(pieces, stop):
    out, held = [], ""
    for piece in pieces:
        held += piece
        if stop in held:
            return [*out, held[: held.index(stop)]]
        keep = next(
            (n for n in range(min(len(stop) - 1, len(held)), 0, -1) if held.endswith(stop[:n])), 0
        )
        out.append(held[: len(held) - keep])
        held = held[len(held) - keep :]
    return [*out, held]


def settle_sent(pieces, stop):
    text, sent, out = "", 0, []
    for piece in pieces:
        text += piece
        at = text.find(stop)
        if at >= 0:
            return [*out, text[sent:at]]
        safe = len(text)
        for n in range(1, len(stop)):
            if text.endswith(stop[:n]):
                safe = len(text) - n
        out.append(text[sent : max(safe, sent)])
        sent = max(safe, sent)
    return [*out, text[sent:]]


def settle_by_piece(pieces, stop):
    out = []
    for piece in pieces:
        if stop in piece:
            return [*out, piece[: piece.index(stop)]]
        out.append(piece)
    return [*out, ""]


def settle_rindex(pieces, stop):
    out, held = [], ""
    for piece in pieces:
        held += piece
        if stop in held:
            return [*out, held[: held.rindex(stop)]]
        keep = next(
            (n for n in range(min(len(stop) - 1, len(held)), 0, -1) if held.endswith(stop[:n])), 0
        )
        out.append(held[: len(held) - keep])
        held = held[len(held) - keep :]
    return [*out, held]


def settle_shortest(pieces, stop):
    out, held = [], ""
    for piece in pieces:
        held += piece
        if stop in held:
            return [*out, held[: held.index(stop)]]
        keep = next((n for n in range(1, len(stop)) if held.endswith(stop[:n])), 0)
        out.append(held[: len(held) - keep])
        held = held[len(held) - keep :]
    return [*out, held]


def settle_always_holds(pieces, stop):
    out, held = [], ""
    for piece in pieces:
        held += piece
        if stop in held:
            return [*out, held[: held.index(stop)]]
        cut = max(len(held) - len(stop) + 1, 0)
        out.append(held[:cut])
        held = held[cut:]
    return [*out, held]


def settle_with_stop(pieces, stop):
    out = settle(pieces, stop)
    return [*out[:-1], out[-1] + stop] if stop in "".join(pieces) else out


def settle_rest_lost(pieces, stop):
    out = settle(pieces, stop)
    return out if stop in "".join(pieces) else [*out[:-1], ""]


def settle_no_rest(pieces, stop):
    out = settle(pieces, stop)
    return out if stop in "".join(pieces) else out[:-1]


def settle_goes_on(pieces, stop):
    return settle("".join(pieces).split(stop), "\0")


def read(
    chunks,
    *,
    done=True,
    space=True,
    comments=True,
    crlf=True,
    first=False,
    usage_too=True,
    done_anywhere=False,
    whole=True,
):
    data = (
        b"".join(chunks).decode("utf-8", "replace")
        if whole
        else "".join(c.decode("utf-8", "replace") for c in chunks)
    )
    data = data.replace("\r\n", "\n") if crlf else data
    text, reason, usage = "", None, None
    for line in data.split("\n"):
        if not line.startswith("data:"):
            continue
        said = line.removeprefix("data: ") if not space else line[5:].removeprefix(" ")
        if said == "[DONE]" or (done_anywhere and "[DONE]" in said):
            break
        reply = json.loads(said)
        if usage_too:
            usage = reply.get("usage") or usage
        choices = [reply["choices"][0]] if first else reply["choices"]
        for choice in choices:
            text += choice["text"]
            reason = choice["finish_reason"] or reason
    return text, reason, usage


def read_live(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest, text, reason, usage = "", "", None, None
    for chunk in chunks:
        rest += decoder.decode(chunk)
        while "\n" in rest:
            line, rest = rest.split("\n", 1)
            line = line.rstrip("\r")
            if line.startswith("data:") and (said := line[5:].lstrip(" ")) != "[DONE]":
                reply = json.loads(said)
                usage = reply.get("usage") or usage
                for choice in reply.get("choices", []):
                    text += choice.get("text", "")
                    reason = choice.get("finish_reason") or reason
    return text, reason, usage


def read_each_chunk(chunks):
    text, reason, usage = "", None, None
    for chunk in chunks:
        one = read([chunk])
        text, reason, usage = text + one[0], one[1] or reason, one[2] or usage
    return text, reason, usage


def read_split(chunks):
    text, reason, usage = "", None, None
    for event in b"".join(chunks).split(b"\n\n"):
        if event.startswith(b"data: ") and event != b"data: [DONE]":
            reply = json.loads(event[6:])
            usage = reply.get("usage") or usage
            for choice in reply["choices"]:
                text += choice["text"]
                reason = choice["finish_reason"] or reason
    return text, reason, usage


def plan(prompts, sequences, budget, *, take=True):
    fed, left = [], budget - (sequences if take is None else 0)
    for need in prompts:
        n = min(need, max(left, 0))
        fed.append(n)
        left -= n if take is not False else 0
    return fed, sequences


def plan_sums(prompts, sequences, budget):
    before = [sum(prompts[:i]) for i in range(len(prompts))]
    return [max(0, min(n, budget - b)) for n, b in zip(prompts, before, strict=True)], sequences


def plan_equal(prompts, sequences, budget):
    share = budget // len(prompts) if prompts else 0
    return [min(n, share) for n in prompts], sequences


def plan_whole_only(prompts, sequences, budget):
    fed = []
    for need in prompts:
        n = need if need <= budget else 0
        fed.append(n)
        budget -= n
    return fed, sequences


def plan_one_prompt(prompts, sequences, budget):
    return [min(n, budget) if i == 0 else 0 for i, n in enumerate(prompts)], sequences


def plan_in_place(prompts, sequences, budget):
    for i, need in enumerate(prompts):
        prompts[i] = min(need, budget)
        budget -= prompts[i]
    return prompts, sequences


def greedy(model, prompt, count):
    cache, out, fed = model.new_cache(), [], list(prompt)
    while len(out) < count:
        out.append(int(model.forward(fed, cache)[-1].argmax()))
        fed = out[-1:]
    return out


def serve(model, prompts, counts):
    caches = [model.new_cache() for _ in prompts]
    out = [[int(model.forward(p, c)[-1].argmax())] for p, c in zip(prompts, caches, strict=True)]
    while live := [i for i, n in enumerate(counts) if len(out[i]) < n]:
        logits = model.forward_batch([out[i][-1] for i in live], [caches[i] for i in live])
        for i, row in zip(live, logits, strict=True):
            out[i].append(int(row.argmax()))
    return out


def serve_pops(model, prompts, counts):
    jobs = []
    for number, prompt in enumerate(prompts):
        cache = model.new_cache()
        first = int(np.argmax(model.forward(prompt, cache, last_only=True)[0]))
        jobs.append((number, cache, [first]))
    done = {}
    while jobs:
        done |= {number: ids for number, _, ids in jobs if len(ids) >= counts[number]}
        jobs = [job for job in jobs if job[0] not in done]
        if jobs:
            rows = model.forward_batch(
                [ids[-1] for _, _, ids in jobs], [cache for _, cache, _ in jobs]
            )
            for (_, _, ids), row in zip(jobs, rows, strict=True):
                ids.append(int(np.argmax(row)))
    return [done[number] for number in range(len(prompts))]


def serve_longest(model, prompts, counts):
    out = serve(model, prompts, [max(counts)] * len(counts))
    return [ids[:n] for ids, n in zip(out, counts, strict=True)]


def serve_shortest(model, prompts, counts):
    return serve(model, prompts, [min(counts)] * len(counts))


def serve_two(model, prompts, counts):
    out = serve(model, prompts, [max(n, 2) for n in counts])
    return [ids[:n] for ids, n in zip(out, counts, strict=True)]


def serve_rows(model, prompts, counts):
    caches = [model.new_cache() for _ in prompts]
    out = [[int(model.forward(p, c)[-1].argmax())] for p, c in zip(prompts, caches, strict=True)]
    while live := [i for i, n in enumerate(counts) if len(out[i]) < n]:
        logits = model.forward_batch([out[i][-1] for i in live], [caches[i] for i in live])
        for row, i in enumerate(live):
            out[i].append(int(logits[min(i, len(live) - 1)].argmax() if row >= 0 else 0))
    return out


def serve_one_cache(model, prompts, counts):
    cache = model.new_cache()
    out = []
    for prompt, n in zip(prompts, counts, strict=True):
        fed, new = list(prompt), []
        while len(new) < n:
            new.append(int(model.forward(fed, cache)[-1].argmax()))
            fed = new[-1:]
        out.append(new)
    return out


def serve_again(model, prompts, counts):
    out = [[] for _ in prompts]
    for step in range(max(counts)):
        for i, prompt in enumerate(prompts):
            if step < counts[i]:
                out[i].append(int(model.forward([*prompt, *out[i]])[-1].argmax()))
    return out


def serve_one_more(model, prompts, counts):
    return serve(model, prompts, [n + 1 for n in counts])


ANSWERS = (
    right(FR, "loop", frames),
    right(FR, "list", frames_list),
    right(FR, "no escapes", lambda p: frames(p, ascii_=False)),
    right(FR, "no space after data:", lambda p: frames(p, prefix="data:", done="data:[DONE]\n\n")),
    right(FR, "CRLF", lambda p: frames(p, end="\r\n\r\n", done="data: [DONE]\r\n\r\n")),
    wrong(FR, "no data:", lambda p: frames(p, prefix="", done="[DONE]\n\n")),
    wrong(FR, "one line end", lambda p: frames(p, end="\n", done="data: [DONE]\n"), "one_line_end"),
    wrong(FR, "indented", lambda p: frames(p, indent=1), "indented"),
    wrong(FR, "never done", lambda p: frames(p, done=""), "never_done"),
    wrong(FR, "raw text", lambda p: frames(p, raw=True), "raw"),
    wrong(FR, "text, not bytes", lambda p: frames(p).decode()),
    wrong(FR, "one frame", frames_one, "all_at_once"),
    wrong(FR, "another key", lambda p: frames(p, key="content"), "other_key"),
    wrong(FR, "done as JSON", lambda p: frames(p, done='data: "[DONE]"\n\n'), "done_quoted"),
    wrong(FR, "done without data:", lambda p: frames(p, done="[DONE]\n\n"), "done_bare"),
    wrong(FR, "a list of frames", lambda p: frames(p).split(b"\n\n")),
    wrong(
        FR,
        "repr",
        lambda p: (
            "".join(f"data: {{'text': {x!r}}}\n\n" for x in p) + "data: [DONE]\n\n"
        ).encode(),
        "python_quotes",
    ),
    wrong(FR, "done not ended", lambda p: frames(p)[:-2], "done_open"),
    right(SR, "a dict", request),
    right(SR, "compact", request_compact),
    wrong(SR, "chat", request_messages),
    wrong(SR, "v1 twice", lambda u, p, n: request(u, p, n, path="/v1/completions"), "v1_twice"),
    wrong(SR, "no stream", lambda u, p, n: request(u, p, n, stream=False), "whole"),
    wrong(SR, "stream as text", request_stream_text, "stream_as_text"),
    wrong(
        SR,
        "form header",
        lambda u, p, n: request(u, p, n, header="application/x-www-form-urlencoded"),
        "form_type",
    ),
    wrong(
        SR, "no header", lambda u, p, n: (request(u, p, n)[0], {}, request(u, p, n)[2]), "no_type"
    ),
    wrong(SR, "text body", lambda u, p, n: (*request(u, p, n)[:2], request(u, p, n)[2].decode())),
    wrong(
        SR, "dict body", lambda u, p, n: (*request(u, p, n)[:2], json.loads(request(u, p, n)[2]))
    ),
    wrong(SR, "temperature 1", lambda u, p, n: request(u, p, n, temperature=1), "warm"),
    wrong(SR, "max_new_tokens", lambda u, p, n: request(u, p, n, max_new_tokens=n)),
    wrong(SR, "60 always", lambda u, p, n: request(u, p, 60), "sixty"),
    wrong(SR, "another model", lambda u, p, n: request(u, p, n, model="chat"), "other_model"),
    right(ST, "held", settle),
    right(ST, "counted", settle_sent),
    wrong(ST, "by piece", settle_by_piece, "by_piece"),
    wrong(ST, "last stop", settle_rindex, "last_stop"),
    wrong(ST, "shortest beginning", settle_shortest, "shortest_held"),
    wrong(ST, "always holds", settle_always_holds, "always_held"),
    wrong(ST, "with the stop", settle_with_stop, "stop_sent"),
    wrong(ST, "rest lost", settle_rest_lost, "lost"),
    wrong(ST, "no last entry", settle_no_rest),
    wrong(ST, "goes on after the stop", settle_goes_on, "goes_on"),
    wrong(ST, "one text", lambda p, s: "".join(settle(p, s)), "one_text"),
    wrong(
        ST, "all at the end", lambda p, s: ["" for _ in p] + ["".join(p).split(s)[0]], "all_at_end"
    ),
    wrong(ST, "as it came", lambda p, s: [*p, ""], "as_it_came"),
    right(RD, "all, then lines", read),
    right(RD, "live", read_live),
    wrong(RD, "chunks decoded alone", lambda c: read(c, whole=False), "whole_chunks"),
    wrong(RD, "each chunk alone", read_each_chunk),
    wrong(RD, "space expected", lambda c: read(c, space=False)),
    wrong(RD, "no CRLF", lambda c: read_split(c)),
    wrong(RD, "first choice", lambda c: read(c, first=True)),
    wrong(RD, "no usage", lambda c: read(c, usage_too=False), "no_usage"),
    wrong(RD, "done anywhere", lambda c: read(c, done_anywhere=True), "ends_at_any_done"),
    wrong(RD, "text only", lambda c: read(c)[0], "text_only"),
    wrong(
        RD,
        "a dict",
        lambda c: dict(zip(("text", "reason", "usage"), read(c), strict=True)),
        "as_a_dict",
    ),
    wrong(RD, "no reason", lambda c: (read(c)[0], None, read(c)[2]), "no_reason"),
    wrong(RD, "stripped", lambda c: (read(c)[0].strip(), *read(c)[1:]), "stripped"),
    right(NS, "in turn", plan),
    right(NS, "sums", plan_sums),
    wrong(NS, "whole prompts", lambda p, s, b: (list(p), s), "whole_prompts"),
    wrong(NS, "budget each", lambda p, s, b: plan(p, s, b, take=False), "budget_each"),
    wrong(
        NS, "sequences from the budget", lambda p, s, b: plan(p, s, b, take=None), "sequences_first"
    ),
    wrong(NS, "equal shares", plan_equal, "equal_shares"),
    wrong(NS, "whole ones only", plan_whole_only, "whole_ones"),
    wrong(NS, "one prompt", plan_one_prompt, "one_prompt"),
    wrong(NS, "in place", plan_in_place),
    wrong(
        NS,
        "no sequences meanwhile",
        lambda p, s, b: (plan(p, s, b)[0], 0 if p else s),
        "prompts_first",
    ),
    wrong(NS, "last first", lambda p, s, b: (plan(p[::-1], s, b)[0][::-1], s), "last_first"),
    wrong(
        NS, "only those fed", lambda p, s, b: ([n for n in plan(p, s, b)[0] if n], s), "fed_only"
    ),
    wrong(
        NS,
        "what is left",
        lambda p, s, b: ([n - f for n, f in zip(p, plan(p, s, b)[0], strict=True)], s),
        "what_is_left",
    ),
    wrong(NS, "sum", lambda p, s, b: (sum(plan(p, s, b)[0]), s)),
    right(SA, "live", serve),
    right(SA, "jobs", serve_pops),
    wrong(
        SA,
        "one by one",
        lambda m, p, n: [greedy(m, x, k) for x, k in zip(p, n, strict=True)],
        "one_by_one",
    ),
    wrong(SA, "to the longest, cut", serve_longest, "cut until_longest"),
    wrong(SA, "to the shortest", serve_shortest),
    wrong(SA, "at least two", serve_two),
    wrong(SA, "wrong rows", serve_rows),
    wrong(SA, "one cache", serve_one_cache),
    wrong(SA, "prompt again each time", serve_again, "one_by_one"),
    wrong(SA, "one more", serve_one_more, "one_more"),
    wrong(SA, "in reverse", lambda m, p, n: serve(m, p, n)[::-1], "reversed"),
    wrong(
        SA,
        "with the prompts",
        lambda m, p, n: [[*x, *y] for x, y in zip(p, serve(m, p, n), strict=True)],
        "with_prompts",
    ),
    wrong(SA, "counts of the first", lambda m, p, n: serve(m, p, [n[0]] * len(n)), "first_count"),
)
