"""The places in a page where a lab can run: a still with the same numbers, and a name.

Where the bundle is loaded, a button under the still starts the lab on the reader's own sentence.
Everywhere else, on paper, in a notebook without scripts, for a search engine, the still remains:
a drawing and a table, computed here by the NumPy engine from the sentence the labs begin with.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from llama_edu import hub
from llama_edu.chat.session import ChatSession
from llama_edu.engine.llama import Llama
from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.ops.rope import inverse_frequencies
from llama_edu.page.drawing import PARTS, machine_svg, shape_words
from llama_edu.page.files import BUNDLE, write_page_files
from llama_edu.page.stills import (
    bits_svg,
    cache_svg,
    clocks_svg,
    maps_svg,
    ranks_svg,
    shares_svg,
    tokens_svg,
    turns_svg,
)
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.viz.parts.html import Html, aligned, escape, table, td, th

__all__ = ["EDITED", "LABS", "SENTENCE", "TALK", "Lab", "lab"]

SENTENCE = "Once upon a time, there was a little cat who wanted to"
"""What a lab begins with, until the reader types a sentence; the script has the same."""

HEAD = (1, 3)  # layer and query head of the attention lab's still
BARS, STEPS = 8, 6
ANSWERS = 10  # likeliest tokens that the machine draws
DRAWN = 32  # numbers of a row that the machine draws
NUMBER = 0.1  # whose bits are shown
FLOATS = (  # name, format, bits of the exponent
    ("float32", np.dtype(np.float32), 8),
    ("bfloat16", np.dtype(ml_dtypes.bfloat16), 8),
    ("float16", np.dtype(np.float16), 5),
    ("float8 (E4M3)", np.dtype(ml_dtypes.float8_e4m3fn), 4),
)
TALK = ("My name is Mia.", "What is my name?")  # the reader's sentence comes between
EDITED = "My name is Ada."

CLOCK_POSITIONS = (1, 8, 64)

Rows = list[list[str]]


@dataclass(frozen=True)
class _Still:
    """What a lab shows without a script: a drawing, and the same as a table."""

    caption: str
    rows: Rows  # the first row holds the titles
    drawing: str


@dataclass(frozen=True)
class _Run:
    """The book's model, and one pass over the sentence."""

    model: Llama
    tokenizer: Tokenizer
    ids: list[int]
    trace: Trace

    def piece(self, token_id: int) -> str:
        text = self.tokenizer.decode([token_id], skip_special=False)
        return text.replace(" ", "␣").replace("\n", "↵")


@cache
def _run() -> _Run:
    model = Llama.from_pretrained(hub.BOOK_MODEL)
    tokenizer = Tokenizer.from_pretrained(hub.BOOK_MODEL)
    ids = tokenizer.encode(SENTENCE)
    with Trace() as trace:
        model.forward(ids, trace=trace)
    return _Run(model, tokenizer, ids, trace)


class Lab(Html):
    """A lab's place. In JupyterLab it brings the script along, which a built page already has."""

    def _repr_html_(self) -> str:
        _put_beside_the_notebook()
        return f"{self.html}<script>{_LOADER}</script>"


# JupyterLab gives out the files under its root, which is the notebook's folder or the one above.
# Everywhere else there is no such element, and the still stays.
_FOLDER = "_labs"
_LOADER = (
    "(() => {"
    'const config = document.getElementById("jupyter-config-data");'
    "if (!config || globalThis.llamaEduAsked) return;"
    "globalThis.llamaEduAsked = true;"
    "const { baseUrl } = JSON.parse(config.textContent);"
    f'const places = ["{_FOLDER}", "book/{_FOLDER}"];'
    "const next = () => {"
    "const place = places.shift();"
    "if (!place) return;"
    'const script = document.createElement("script");'
    f"script.src = `${{baseUrl}}files/${{place}}/{BUNDLE.name}`;"
    "script.onerror = next;"
    "document.head.append(script);"
    "};"
    "next();"
    "})();"
)


def _put_beside_the_notebook() -> None:
    """Where a kernel runs: the script and the models, for JupyterLab to give out."""
    shell = sys.modules.get("IPython")
    if shell is None or getattr(shell.get_ipython(), "kernel", None) is None:
        return
    try:
        write_page_files(_FOLDER)
    except OSError:
        return  # a folder that may not be written has the still


def lab(name: str, *, chapters: str = "", running: bool = False) -> Lab:
    """One lab's place in a page, with its still, as HTML and as plain text.

    `chapters` is put before the chapters' addresses in the drawing of the machine, for a page
    that does not lie beside them. A `running` machine brings the numbers of its sentence along and
    begins with the page, before any model is loaded. Raises `InputError` for a name that is no
    lab's, and for another lab that should run.
    """
    if name not in LABS:
        raise InputError(f"expected a lab among {', '.join(LABS)}, got {name!r}")
    if running and name != "machine":
        raise InputError(f"expected the machine to run, got {name!r}")
    made = _machine(chapters) if name == "machine" else LABS[name]()
    head, *body = made.rows
    still = table(
        "<tr>" + "".join(th(escape(cell)) for cell in head) + "</tr>",
        ("<tr>" + "".join(td(escape(cell)) for cell in row) + "</tr>" for row in body),
    )
    settings = f' data-layer="{HEAD[0]}" data-head="{HEAD[1]}"' if name == "attention" else ""
    if running:
        packed = json.dumps(_recorded(), ensure_ascii=False, separators=(",", ":"))
        settings = f' data-recorded="{escape(packed)}"'
    # The drawing says what the table says. The script folds the table: where scripts are taken out,
    # as JupyterLab does with a notebook that it did not run, it stays open, and drawings may be
    # taken out as well. What then is left of one, its words, would be in no order: it has no size.
    fold = f"<details open><summary>The same as a table</summary>{still}</details>"
    caption = f'<figcaption style="text-align:left">{escape(made.caption)}.</figcaption>'
    figure = (
        f'<figure style="margin:0"><div style="font-size:0">{made.drawing}</div>{caption}</figure>'
    )
    html = f'<div class="page-lab" data-page-lab="{name}"{settings}>{figure}{fold}</div>'
    return Lab(html, f"{made.caption}\n{aligned(made.rows, set())}")


def _drawing(chapters: str) -> str:
    run = _run()
    records = {part.name: run.trace[part.array.format(layer=0)] for part in PARTS}
    shapes = {name: shape_words(one.axes, one.shape) for name, one in records.items()}
    return machine_svg(run.model.config.num_hidden_layers, shapes, chapters)


def _recorded() -> dict[str, Any]:
    """A pass over the sentence as the machine shows it: each array's shape and its last rows.

    Only the numbers that are drawn travel, with four digits: of an array that has heads, a row of
    every query head; of the logits, the chances of the likeliest tokens.
    """
    run = _run()
    arrays = {}
    for record in run.trace:
        width, seq = record.shape[-1], record.shape[-2]
        rows = record.array.reshape(-1, seq, width)[:, -1, :DRAWN]
        arrays[record.name] = {
            "axes": record.axes,
            "shape": record.shape,
            "rows": [[float(f"{x:.4g}") for x in row] for row in rows],
        }
    arrays["logits"]["rows"] = []
    shares = probabilities(run.trace["logits"].array[-1], Sampling())
    best = np.argsort(-shares, kind="stable")[:ANSWERS].tolist()

    def text(token_id: int) -> str:
        return run.tokenizer.decode([token_id], skip_special=False)

    return {
        "arrays": {name: arrays[name] for name in _walked(run.model.config.num_hidden_layers)},
        "layers": run.model.config.num_hidden_layers,
        "groups": run.model.config.num_attention_heads // run.model.config.num_key_value_heads,
        "tokens": [text(i) for i in run.ids],
        "hasStart": run.ids[0] == run.model.config.bos_token_id,
        "top": [[text(i), float(f"{shares[i]:.4g}")] for i in best],
    }


def _walked(layers: int) -> list[str]:
    """The arrays the machine stops at."""
    inside = [part.array for part in PARTS if "{layer}" in part.array]
    outside = [part.array for part in PARTS if "{layer}" not in part.array]
    return outside + [name.format(layer=i) for i in range(layers) for name in inside]


def _machine(chapters: str = "") -> _Still:
    run = _run()
    rows = [["part", "array", "axes", "shape", "chapter"]]
    for part in PARTS:
        record = run.trace[part.array.format(layer=0)]
        shape = " × ".join(map(str, record.shape))
        rows.append(
            [part.label, part.array, " × ".join(record.axes), shape, str(int(part.chapter[:2]))]
        )
    caption = f"The parts of a Llama, in the order in which “{SENTENCE}” runs through them"
    return _Still(caption, rows, _drawing(chapters))


def _tokens() -> _Still:
    run = _run()
    rows = [["token", "id", "bytes"]]
    rows += [
        [run.piece(i), str(i), run.tokenizer.token_bytes(i).hex(" ")]
        for i in run.ids[len(run.ids) - 12 :]
    ]
    caption = f"The last tokens of “{SENTENCE}”"
    return _Still(caption, rows, tokens_svg(caption, rows[1:]))


def _attention() -> _Still:
    run = _run()
    layer, head = HEAD
    weights = run.trace[f"layers.{layer}.self_attn.weights"].array
    n_groups = weights.shape[1]
    group = range(head // n_groups * n_groups, (head // n_groups + 1) * n_groups)
    rows = [["token", *(f"query head {one} looks most at" for one in group)]]
    by_head = weights.reshape(-1, *weights.shape[2:])
    for i, token_id in enumerate(run.ids):
        rows.append([run.piece(token_id), *(_looks_at(run, by_head[one, i]) for one in group)])
    caption = f"Layer {layer}, one group of query heads: whose values each token mixes"
    names = [f"Query head {one}" for one in group]
    pieces = [run.piece(i) for i in run.ids]
    return _Still(caption, rows, maps_svg(caption, names, pieces, by_head[list(group)]))


def _looks_at(run: _Run, shares: np.ndarray) -> str:
    """The three largest weights of one row, in words."""
    best = np.argsort(-shares, kind="stable")[:3]
    seen = [f"{100 * shares[j]:.0f}% {run.piece(run.ids[j])}" for j in best if shares[j] > 0.02]
    return ", ".join(seen)


def _sampler() -> _Still:
    run = _run()
    logits = run.trace["logits"].array[-1]
    settings = (Sampling(), Sampling(0.8, 40, 0.95), Sampling(1.5), Sampling(1.5, min_p=0.1))
    columns = [probabilities(logits, s) for s in settings]
    names = (f"T {s.temperature:g}, k {s.top_k}, p {s.top_p:g}, m {s.min_p:g}" for s in settings)
    rows = [["next token", *names]]
    for token_id in np.argsort(-logits, kind="stable")[:BARS].tolist():
        shares = [f"{100 * p[token_id]:.0f}%" if p[token_id] else "cut" for p in columns]
        rows.append([run.piece(token_id), *shares])
    caption = f"The chances of the token after “{SENTENCE}” under four settings"
    return _Still(caption, rows, shares_svg(caption, rows[0][1:], rows[1:]))


def _clocks() -> _Still:
    config = _run().model.config
    turns = inverse_frequencies(config)
    half = len(turns)
    rows = [["pair", "turns in", *(f"at {position}, degrees" for position in CLOCK_POSITIONS)]]
    for j, turn in enumerate(turns.tolist()):
        angles = [f"{np.degrees(position * turn) % 360:.0f}" for position in CLOCK_POSITIONS]
        rows.append([f"{j}, {j + half}", f"{2 * np.pi / turn:,.0f} positions", *angles])
    caption = f"RoPE's clocks: the {half} pairs of a head of {config.head_dim} numbers"
    return _Still(caption, rows, clocks_svg(caption, turns.tolist(), CLOCK_POSITIONS))


def _cache() -> _Still:
    run = _run()
    rows = [["step", "computed with the cache", "read from it", "computed without it"]]
    past = 0
    for step in range(STEPS):
        total = len(run.ids) + step
        rows.append([str(step), str(total - past), str(past), str(total)])
        past = total
    caption = "Rows computed for each new token, with a KV cache and without"
    return _Still(caption, rows, cache_svg(caption, rows[1:]))


def _neighbours() -> _Still:
    run = _run()
    weights, config = run.model.weights, run.model.config
    answer = int(np.argmax(run.trace["logits"].array[-1]))
    rows = [["after", "rank of the answer", "what it would say"]]
    places = [f"layers.{i}.mlp_residual" for i in range(config.num_hidden_layers)]
    for place in ("embed_tokens", *places):
        seen = run.model.operators.rms_norm(
            run.trace[place].array[-1:], weights.norm, config.rms_norm_eps
        )
        logits = run.model.operators.linear(seen, weights.lm_head)[0]
        best = np.argsort(-logits, kind="stable")[:3].tolist()
        rank = 1 + int(np.count_nonzero(logits > logits[answer]))
        name = f"layer {place.split('.')[1]}" if "." in place else "embedding"
        rows.append([name, str(rank), ", ".join(run.piece(i) for i in best)])
    caption = f"What the model would say after each layer; its answer is {run.piece(answer)}"
    return _Still(caption, rows, ranks_svg(caption, rows[1:]))


def _bits() -> _Still:
    rows = [["format", "sign, exponent, mantissa", "is", "a step up"]]
    for name, dtype, exponent in FLOATS:
        size = 8 * dtype.itemsize
        code = np.array(NUMBER).astype(dtype).view(f"u{dtype.itemsize}")
        bits = f"{int(code):0{size}b}"
        here, above = (float((code + step).view(dtype)) for step in (0, 1))
        fields = f"{bits[0]} {bits[1 : 1 + exponent]} {bits[1 + exponent :]}"
        rows.append([name, fields, f"{here:.9g}", f"{above - here:.3g}"])
    caption = f"{NUMBER} in four formats: its bits, what is stored, and how far the next number is"
    return _Still(caption, rows, bits_svg(caption, rows[1:]))


def _turns() -> _Still:
    model, tokenizer = Llama.from_pretrained("chat"), Tokenizer.from_pretrained("chat")
    session = ChatSession(model, tokenizer, max_new_tokens=60)
    rows = [["message", "prompt", "reused", "computed", "dropped", "reply"]]
    first, last = TALK
    for message in (first, SENTENCE, last, EDITED):
        if message == EDITED:
            session.rollback(0)
        reply = "".join(session.send(message))
        cost = session.turns[-1].usage
        counts = (cost.prompt_tokens, cost.reused, cost.computed, cost.dropped)
        said = f"{message} (in place of the first)" if message == EDITED else message
        rows.append([said, *map(str, counts), reply])
    caption = "A conversation, in tokens: every prompt is all of it, and most of it is cached"
    return _Still(caption, rows, turns_svg(caption, rows[1:]))


LABS: dict[str, Callable[[], _Still]] = {
    "machine": _machine,
    "tokens": _tokens,
    "neighbours": _neighbours,
    "clocks": _clocks,
    "attention": _attention,
    "cache": _cache,
    "sampler": _sampler,
    "bits": _bits,
    "turns": _turns,
}
"""The labs by name, each with what computes its still."""
