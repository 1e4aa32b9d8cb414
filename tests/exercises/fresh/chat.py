"""Conversations."""

from fresh_answers import right, wrong

from llama_edu.exercises.chat import decode_toy, encode_toy

CH, NP, TD = "chatml", "next_prompt", "turns_to_drop"
S, E = "<|im_start|>", "<|im_end|>"


def chat(messages, *, after_role="\n", after_end="\n", last=True, strip="", first="", sep=""):
    text = first
    for role, content in messages:
        content = getattr(content, strip)() if strip else content
        text += f"{S}{role}{after_role}{content}{E}{after_end}{sep}"
    return text + (f"{S}assistant\n" if last else "")


def chat_list(messages):
    lines = [f"{S}{role}\n{said}{E}" for role, said in messages]
    return "\n".join([*lines, f"{S}assistant\n"])


def next_ids(history, reply, question, *, end=(2,), bos=False):
    return list(history) + list(reply) + list(end) + encode_toy(question, add_special=bos)


def next_loop(history, reply, question):
    ids = []
    for some in (history, reply, [2], encode_toy(question, False)):
        ids.extend(some)
    return ids


def next_in_place(history, reply, question):
    history += [*reply, 2, *encode_toy(question, add_special=False)]
    return history


def next_text(history, reply, question):
    text = decode_toy(history) + decode_toy(reply) + question
    return encode_toy(text)


def next_reply_again(history, reply, question):
    return [*history, *encode_toy(decode_toy(reply), False), 2, *encode_toy(question, False)]


def next_joined(history, reply, question):
    return [*history, *encode_toy(decode_toy(reply) + question, False)]


def next_end_once(history, reply, question):
    reply = [i for i in reply if i != 2]
    return next_ids(history, list(dict.fromkeys(reply)), question)


def drop(
    system,
    turns,
    question,
    room,
    context,
    *,
    strict=False,
    use_room=True,
    use_system=True,
    use_question=True,
    error=ValueError,
    newest=False,
    at_least=0,
):
    fixed = (
        (system if use_system else 0)
        + (question if use_question else 0)
        + (room if use_room else 0)
    )
    for n in range(at_least, len(turns) + 1):
        left = turns[: len(turns) - n] if newest else turns[n:]
        total = fixed + sum(left)
        if total < context or (not strict and total == context):
            return n
    if error is None:
        return len(turns)
    raise error("never")


def drop_while(system, turns, question, room, context):
    left, n = context - system - question - room, 0
    if left < 0:
        raise ValueError("too long")
    total = sum(turns)
    while total > left:
        total -= turns[n]
        n += 1
    return n


def drop_one_more(system, turns, question, room, context):
    n = drop_while(system, turns, question, room, context)
    return min(n + 1, len(turns)) if n else 0


def drop_largest(system, turns, question, room, context):
    left = context - system - question - room
    if left < 0:
        raise ValueError("too long")
    kept, n = sorted(turns), 0
    while sum(kept) > left:
        kept.pop()
        n += 1
    return n


def drop_pairs(system, turns, question, room, context):
    n = drop_while(system, turns, question, room, context)
    return n + n % 2


def drop_keeps_newest_that_fit(system, turns, question, room, context):
    left = context - system - question - room
    if left < 0:
        raise ValueError("too long")
    kept = 0
    for turn in turns:
        if turn <= left:
            left -= turn
            kept += 1
    return len(turns) - kept


def drop_list(system, turns, question, room, context):
    return turns[drop_while(system, turns, question, room, context) :]


def drop_no_room_checked(system, turns, question, room, context):
    turns = list(turns)
    n = 0
    while turns and system + sum(turns) + question + room > context:
        turns.pop(0)
        n += 1
    return n


def drop_pops(system, turns, question, room, context):
    n = 0
    while system + sum(turns) + question + room > context:
        if not turns:
            raise ValueError("never")
        turns.pop(0)
        n += 1
    return n


ANSWERS = (
    right(CH, "loop", chat),
    right(CH, "list", chat_list),
    wrong(CH, "no generation prompt", lambda m: chat(m, last=False), "no_generation_prompt"),
    wrong(CH, "no line break after the end", lambda m: chat(m, after_end=""), "no_line_break"),
    wrong(CH, "a space after the role", lambda m: chat(m, after_role=" "), "space"),
    wrong(CH, "colon", lambda m: chat(m, after_role=": "), "colon"),
    wrong(CH, "stripped", lambda m: chat(m, strip="strip"), "trimmed"),
    wrong(CH, "rstrip", lambda m: chat(m, strip="rstrip"), "right_trimmed"),
    wrong(CH, "an empty line between", lambda m: chat(m, sep="\n"), "blank_line"),
    wrong(CH, "a bos", lambda m: chat(m, first="<s>"), "bos"),
    wrong(CH, "last message", lambda m: chat(m[-1:]), "last_message"),
    wrong(CH, "trailing break missing", lambda m: chat(m)[:-1], "no_last_break"),
    wrong(CH, "a list", lambda m: [chat([x], last=False) for x in m]),
    wrong(CH, "closed reply", lambda m: chat(m) + E + "\n", "closed"),
    wrong(CH, "reversed", lambda m: chat(m[::-1]), "reversed"),
    wrong(CH, "asks for the user", lambda m: chat(m, last=False) + f"{S}user\n", "as_user"),
    right(NP, "ids", next_ids),
    right(NP, "loop", next_loop),
    wrong(NP, "reply encoded again", next_reply_again, "reply_from_text"),
    wrong(NP, "no end token", lambda h, r, q: next_ids(h, r, q, end=()), "no_end"),
    wrong(NP, "bos before the question", lambda h, r, q: next_ids(h, r, q, bos=True), "two_bos"),
    wrong(NP, "in place", next_in_place, "in_place"),
    wrong(NP, "all as text", next_text, "all_one_text"),
    wrong(NP, "reply and question together", next_joined, "one_text"),
    wrong(NP, "end twice", lambda h, r, q: next_ids(h, r, q, end=(2, 2)), "two_ends"),
    wrong(
        NP,
        "end after the question",
        lambda h, r, q: [*h, *r, *encode_toy(q, False), 2],
        "end_behind",
    ),
    wrong(NP, "without the history", lambda h, r, q: next_ids([], r, q), "history_left_out"),
    wrong(NP, "repeated ids dropped", next_end_once, "each_once"),
    wrong(NP, "reply left out", lambda h, r, q: next_ids(h, [], q), "reply_left_out"),
    wrong(NP, "bos instead of the end", lambda h, r, q: next_ids(h, r, q, end=(1,)), "bos_as_end"),
    right(TD, "range", drop),
    right(TD, "while", drop_while),
    wrong(TD, "largest first", drop_largest, "largest"),
    wrong(TD, "strict", lambda *a: drop(*a, strict=True), "strictly"),
    wrong(TD, "room forgotten", lambda *a: drop(*a, use_room=False), "no_reply"),
    wrong(TD, "system forgotten", lambda *a: drop(*a, use_system=False), "no_system"),
    wrong(TD, "question forgotten", lambda *a: drop(*a, use_question=False), "no_question"),
    wrong(TD, "no error", lambda *a: drop(*a, error=None), "silently"),
    wrong(TD, "another error", lambda *a: drop(*a, error=RuntimeError)),
    wrong(TD, "newest", lambda *a: drop(*a, newest=True), "newest"),
    wrong(TD, "one more", drop_one_more, "one_more"),
    wrong(
        TD, "at least one", lambda *a: drop(*a, at_least=1) if a[1] else drop(*a), "at_least_one"
    ),
    wrong(TD, "pairs", drop_pairs, "in_pairs"),
    wrong(TD, "whatever fits", drop_keeps_newest_that_fit, "whatever_fits"),
    wrong(TD, "the list", drop_list, "a_list"),
    wrong(TD, "never refuses", drop_no_room_checked, "silently"),
    wrong(TD, "takes them out of the list", drop_pops),
)
