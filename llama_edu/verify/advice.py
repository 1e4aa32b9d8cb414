"""From verdicts in numbers to words: what is named, how certain it is, where to look."""

from collections.abc import Sequence

from llama_edu.verify.checkpoints import TINY
from llama_edu.verify.evidence import Nothing, Session
from llama_edu.verify.mistakes import Mistake
from llama_edu.verify.naming import Finding, Nearest
from llama_edu.verify.report import Named, Verdict

__all__ = ["named", "verdict_of"]

NUMBERS = ("bytes", "forward", "cache")


def verdict_of(finding: Finding, sessions: Sequence[Session]) -> Verdict:
    """The verdict on a model's numbers."""
    told = [named(group) for group in finding.named]
    return Verdict(
        NUMBERS,
        told,
        _certainty(finding),
        [] if told else [*_nearest(finding), *_where(sessions)],
        [(near.mistake.key, near.gap) for near in finding.nearest],
    )


def named(group: Sequence[Mistake]) -> Named:
    """Mistakes found together, with what the report says of them."""
    return Named(
        tuple(m.key for m in group),
        tuple(m.says for m in group),
        tuple((m.right, m.wrong) for m in group),
        tuple(m.topic for m in group),
        tuple(_exhibit(m.exhibit) for m in group),
    )


def _exhibit(name: str) -> str:
    """The number and title of a card of the bug museum."""
    if not name:
        return ""
    from llama_edu.exercises.museum.exhibits import EXHIBITS  # and with it every figure

    number = 1 + list(EXHIBITS).index(name)
    return f"exhibit {number}: {EXHIBITS[name].title}, seen in {EXHIBITS[name].link}"


def _certainty(finding: Finding) -> str:
    if not finding.named:
        return ""
    how = "to within" if finding.gap > 0 else "exactly, to within"
    # In the first call that is off; one that is as near there is further away in another.
    apart = finding.gap < finding.next_gap < 1e30
    others = f"; the nearest other entry is {finding.next_gap:.2g} away" if apart else ""
    several = "They explain" if len(finding.named[0]) > 1 else "It explains"
    if len(finding.named) > 1:
        several = "Each of them explains"
    return (
        f"{several} all {finding.calls} calls, those that are right and those that are off, "
        f"{how} {finding.gap:.1e}{others}."
    )


def _nearest(finding: Finding) -> list[str]:
    tried = f"{finding.tried} mistakes"
    if finding.pairs:
        tried += f" and {finding.pairs} combinations"
    late = " before time ran out (--naming-seconds)" if finding.out_of_time else ""
    same = [n.mistake.says for n in finding.nearest if n.gap == 0]
    if same:  # NaN is all that either gives
        return [
            f"Such answers have no numbers to compare. They also come when {'; or '.join(same)}."
        ]
    lines = [f"Nothing in the catalogue gives these numbers ({tried} tried{late})."]
    if finding.nearest:
        near = "; ".join(f"{n.mistake.says} ({_away(n)})" for n in finding.nearest)
        lines.append(f"Nearest, and only near: {near}.")
    return lines


def _away(near: Nearest) -> str:
    return (
        "right for the first case that is off, not for others"
        if near.fits
        else f"{near.gap:.2g} away"
    )


def _where(sessions: Sequence[Session]) -> list[str]:
    """What the pattern of right and wrong calls leaves as a place to look."""
    lines = []
    wrong = [s for s in sessions if s.first_wrong() is not None]
    right = [s for s in sessions if s.first_wrong() is None and s.observed]
    first = [s.observed[s.first_wrong() or 0].answer for s in wrong]
    if any(isinstance(seen.answer, Nothing) for s in wrong for seen in s.observed):
        lines.append("Some answers are not finite: look for a division by 0 or a row of -inf.")
    elif all(answer.spread == 0 for answer in first):
        lines.append(
            "All the numbers of an answer are the same: is the buffer that holds them ever "
            "written, and is it the one that is printed?"
        )
    if all(answer.spread > 0 for answer in first):  # else there is nothing to tell places apart by
        flags = _flags_of_first(sessions)
        lines += [text for flag, text in PLACES.items() if flag in flags][:1]
    if wrong and right:
        shared = set.intersection(*(features(s) for s in wrong))
        never = set.union(*(features(s) for s in right))
        if only := sorted(shared - never):
            lines.append(f"Only models with {' and '.join(only)} are off.")
    return lines


PLACES = {
    "ends": "One token alone is off, so it is nothing about other tokens: look at what is read "
    "from the file, the embedding, norms, v and o_proj, the MLP and the head.",
    "attention": "One token alone is right and several are not: look at RoPE, heads, scores, "
    "mask, softmax and values.",
    "long": "Short texts are right and long ones are not: look at whatever counts positions, and "
    "at buffers of a fixed size.",
    "cut": "All is right until the cache is cut: look at truncation.",
    "reset": "All is right until a text begins anew: look at what a past of 0 has to remove.",
    "past": "Prompts are right and chunks with a past are not: look at positions, at the mask's "
    "shift, and at where new rows are written.",
    "decode": "Prompts are right and single tokens with a past are not: look at positions, and at "
    "where the new row is written.",
}
"""Where to look, by the kind of the first call that is off; the earliest that fits counts."""


def _flags_of_first(sessions: Sequence[Session]) -> set[str]:
    """Flags that the first wrong call of some session has, and that no right call before it had."""
    found: set[str] = set()
    for session in sessions:
        index = session.first_wrong()
        if index is None:
            continue
        call = session.observed[index].call
        before = {f for seen in session.observed[:index] for f in seen.call.flags}
        new = set(call.flags) - before
        if call.past == 0 and "attention" in before:
            new.add("reset")
        found |= new or set(call.flags)
    return found


def features(session: Session) -> set[str]:
    """What is special about a model, in words."""
    config, found = session.model.config, set()
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    found.add("tied ends" if config.tie_word_embeddings else "a head of its own")
    found.add(f"weights in {config.dtype}")
    kinds = {1: "one key/value head", heads: "a key/value head for every query head"}
    found.add(kinds.get(kv, "grouped key/value heads"))
    if config.head_dim * heads != config.hidden_size:
        found.add("a head_dim other than hidden_size / n_heads")
    if config.num_hidden_layers > 10:
        found.add("more than ten layers")
    if config.attention_bias or config.mlp_bias:
        found.add("biases")
    found.add(f"rope_scaling {config.rope_scaling.rope_type if config.rope_scaling else 'default'}")
    tiny = {t.name: t for t in TINY}.get(session.name)
    if tiny is not None and tiny.absent:
        found.add("fields left out of the config")
    return found
