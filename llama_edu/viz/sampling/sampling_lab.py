"""Four sliders over real logits: what temperature and three cuts leave of a distribution."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.errors import InputError
from llama_edu.viz.parts.embed import interactive
from llama_edu.viz.parts.html import Html, aligned, escape
from llama_edu.viz.parts.labels import TokenBytes, shortened
from llama_edu.viz.sampling.step_sampling import ranked_labels

__all__ = ["sampling_lab"]

# The reach and the steps of the sliders; the script has the same.
HOTTEST, HEAT_STEP = 2.0, 0.05
LEAST_TOP_P, MOST_MIN_P, P_STEP = 0.05, 0.5, 0.01

SPARED = 8  # of a logit's 24 significant bits: two thirds of what they weigh; the script knows it

USUAL = Sampling(temperature=0.8, top_k=40, top_p=0.95)
# What the table without sliders shows besides the settings one starts from.
PRINTED = (Sampling(temperature=0.5), Sampling(), Sampling(temperature=2.0))


def sampling_lab(
    logits: np.ndarray,
    tokenizer: TokenBytes | Sequence[str | bytes],
    *,
    start: Sampling = USUAL,
    top: int = 14,
) -> Html:
    """Sliders for temperature and three cuts on one row of logits, `(vocab_size,)`, float32.

    `tokenizer` gives the labels, or is one label per id; the `top` likeliest tokens get a bar.
    The page carries every logit, cut to 16 significant bits, and computes from them the
    distribution that `llama_edu.engine.sampling.probabilities` computes, over the whole
    vocabulary: 67 kB for 49,152 tokens. At temperature 1 the cut moves no probability of a usual
    row by more than a thousandth of itself. Without scripts a table of four settings remains.
    Raises `InputError` for logits of another shape or dtype, for labels that do not fit, and for a
    `start` between the steps of the sliders or of another order; `NumericsError` as
    `probabilities` does.
    """
    _check_reach(start)
    logits = _cut(logits)
    _, labels = ranked_labels(logits, tokenizer, top)
    others = [sampling for sampling in PRINTED if sampling != start]
    table = _table(logits, labels, [start, *others])
    data = {
        "title": "Choose the settings, see the chances of the next token",
        "logits": _largest_first(logits),
        "labels": [shortened(label, 14) for label in labels],
        "start": _settings(start),
        "presets": [
            ["greedy", _settings(Sampling(temperature=0.0))],
            ["no filter", _settings(Sampling())],
            ["start again", _settings(start)],
        ],
    }
    text = f"{data['title']}\n{aligned(table, right=set(table[0][1:]))}"
    return interactive("lab", str(data["title"]), data, _plain(table, str(data["title"])), text)


def _check_reach(start: Sampling) -> None:
    steps = start.temperature / HEAT_STEP, start.top_p / P_STEP, start.min_p / P_STEP
    is_on_step = all(abs(step - round(step)) < 1e-6 for step in steps)
    is_out = start.temperature > HOTTEST or start.top_p < LEAST_TOP_P or start.min_p > MOST_MIN_P
    if start.order != "transformers":
        raise InputError(f"expected the order 'transformers', as the sliders', got {start.order!r}")
    if is_out or not is_on_step:
        raise InputError(
            f"expected a start that the sliders reach: temperature 0 to {HOTTEST:g} by "
            f"{HEAT_STEP:g}, top_p {LEAST_TOP_P:g} to 1 and min_p 0 to {MOST_MIN_P:g} by "
            f"{P_STEP:g}, got {start}"
        )


def _cut(logits: np.ndarray) -> np.ndarray:
    """Float32 logits without the last bits of their significands, as the page will have them."""
    if logits.dtype != np.float32:
        return logits  # which is refused
    bits = (logits + np.float32(0)).view(np.uint32)  # -0 becomes 0: they are equal
    return (bits >> SPARED << SPARED).view(np.float32)


def _largest_first(logits: np.ndarray) -> str:
    """The cut logits in descending order, as base64.

    The figure asks for ranks and never for ids, and sorted numbers lie close together. So each is
    written as a whole number that grows with the float (its bits, below 0 turned around, without
    the spared ones): first the largest, then how far every other lies below the one before, seven
    bits to a byte, the lowest first, and the eighth says that more follow.
    """
    bits = np.sort(logits)[::-1].view(np.uint32)
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.int64) >> SPARED
    written = bytearray()
    for step in [int(keys[0]), *(keys[:-1] - keys[1:]).tolist()]:
        rest = step
        while rest > 127:
            written.append(rest & 127 | 128)
            rest >>= 7
        written.append(rest)
    return base64.b64encode(written).decode("ascii")


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Under the names the script has for them."""
    return {
        "temperature": sampling.temperature,
        "topK": sampling.top_k,
        "topP": sampling.top_p,
        "minP": sampling.min_p,
    }


def _table(logits: np.ndarray, labels: list[str], settings: list[Sampling]) -> list[list[str]]:
    """A column of probabilities for each of some settings, and how many tokens each keeps."""
    ranks = np.argsort(-logits, kind="stable")[: len(labels)]
    columns = [probabilities(logits, sampling) for sampling in settings]
    head = ["token", *map(_named, settings)]
    rows = [
        [label, *(f"{100 * p[rank]:.1f}%" if p[rank] > 0 else "cut" for p in columns)]
        for label, rank in zip(labels, ranks.tolist(), strict=True)
    ]
    counts = ["tokens kept", *(f"{np.count_nonzero(p):,}" for p in columns)]
    return [head, *rows, counts]


def _named(sampling: Sampling) -> str:
    least = f", m {sampling.min_p:g}" if sampling.min_p else ""
    return f"T {sampling.temperature:g}, k {sampling.top_k}, p {sampling.top_p:g}{least}"


def _plain(table: list[list[str]], title: str) -> str:
    """The same as an HTML table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in table[0])
    body = []
    for label, *cells in table[1:]:
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f"<tr><th>{escape(label)}</th>{shown}</tr>")
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )
