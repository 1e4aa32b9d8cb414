"""Hints for the exercises on serving, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "frames": Guide(
        10,
        ESSENTIAL,
        question="What ends an event, and what would a line break inside a piece do?",
        idea="An empty line ends it, so a line break in a piece has to be written as something "
        "else, and `json.dumps` does that. One line `data: …` and one empty line for each piece. "
        "`[DONE]` is no JSON, but it stands in a frame like any other.",
        code="""
            def frames_mine(pieces):
                lines = [json.dumps({"text": piece}) for piece in pieces]
                lines.append(...)
                return "".join(f"data: {line}..." for line in lines).encode()
            """,
    ),
    "stream_request": Guide(
        15,
        USEFUL,
        question="The path of completions is `/completions`, after the base. Compare with "
        "`post_by_hand` and `ask` above: which field made frames of the reply?",
        idea="It is `stream`. Write the fields as a dict and let `json.dumps` spell it: it knows "
        "how to write quotes, line breaks and `True`. `.encode()` makes bytes of it, and a "
        "header has to say that the bytes are JSON.",
        code="""
            def stream_request_mine(base_url, prompt, max_tokens):
                asked = {"model": "story", "prompt": prompt, "temperature": 0, ...: ...}
                headers = {"Content-Type": ...}
                return f"{base_url}/...", headers, json.dumps(asked).encode()
            """,
    ),
    "read_stream": Guide(
        35,
        USEFUL,
        question="你 is three bytes. What does `decode` make of the first two, if the third comes "
        "with the next chunk?",
        idea="So collect bytes and not text. Make `\\r\\n` into `\\n`, and split at the empty "
        'line, `b"\\n\\n"`; what stands after the last one waits for the next chunk. A whole '
        "event is whole text, and can be decoded. Skip comments and `[DONE]`, and remember that "
        "`usage` may come in an event without choices.",
        code="""
            def read_stream_mine(chunks):
                text, reason, usage, rest = "", None, None, b""
                for chunk in chunks:
                    rest = (rest + chunk).replace(b"\\r\\n", b"\\n")
                    *events, rest = rest.split(...)
                    for event in events:
                        data = event.decode().removeprefix("data:").strip()
                        if event.startswith(b":") or ...:
                            continue
                        reply = json.loads(data)
                        usage = reply.get("usage") or usage
                        for choice in reply["choices"]:
                            text += ...
                            reason = choice["finish_reason"] or reason
                return text, reason, usage
            """,
    ),
    "settled": Guide(
        25,
        USEFUL,
        question="The stop text may come in two pieces. Where do you have to look for it, in the "
        "new piece or in something longer?",
        idea="Keep what was held, add the piece, and look in both together. If the stop text is "
        "there, the list ends with what comes before it. If it is not, `open_end_by_hand` says "
        "how many characters at the end may become it: those are held, and the others are sent.",
        code="""
            def settled_mine(pieces, stop):
                held, sent = "", []
                for piece in pieces:
                    held += piece
                    if stop in held:
                        return [*sent, held[: ...]]
                    cut = len(held) - open_end_by_hand(held, stop)
                    sent.append(...)
                    held = ...
                return [*sent, held]
            """,
    ),
    "next_step": Guide(
        15,
        USEFUL,
        question="The budget is 16, and the first prompt needs 100. What is left for the second? "
        "And what if the first needs only 5?",
        idea="Sequences always get theirs; the budget is for the prompts. What a prompt takes is "
        "the smaller of what it needs and what is left of the budget, and then less is left.",
        code="""
            def next_step_mine(prompts, sequences, budget):
                fed = []
                for left in prompts:
                    fed.append(min(...))
                    budget -= ...
                return fed, sequences
            """,
    ),
    "serve_all": Guide(
        40,
        EXTRA,
        question="After a step, one sequence has all its tokens and the others have not. What "
        "changes in the next call of `forward_batch`?",
        idea="Only those that still need tokens go into a step. `prefill(model, ids, cache)` "
        "gives the logits of each first token. The rows of `forward_batch` belong to the texts "
        "you gave it, in that order, and not to all texts, so remember which they were.",
        code="""
            def serve_all_mine(model, prompts, counts):
                caches = [model.new_cache() for _ in prompts]
                replies = [
                    [int(prefill(model, ids, cache)[-1].argmax())]
                    for ids, cache in zip(prompts, caches, strict=True)
                ]
                while live := [i for i, r in enumerate(replies) if ...]:
                    logits = model.forward_batch([replies[i][-1] for i in live], [...])
                    for i, row in zip(live, logits, strict=True):
                        replies[i].append(...)
                return replies
            """,
    ),
}
