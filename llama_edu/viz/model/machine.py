"""The whole machine on one line or several, as wide as the page lets it: where a chapter stands.

The same drawing stands at the head of every chapter. Its parts are links, so it is also a map.
"""

from dataclasses import dataclass

from llama_edu.chapters import CHAPTER_FILES, chapter_number
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS
from llama_edu.viz.parts.html import Html, escape

__all__ = ["machine"]


@dataclass(frozen=True)
class _Stop:
    """One part of the machine: the topic of its chapter, its everyday name, its colour."""

    topic: str
    words: str
    part: str


BEFORE = (
    _Stop("bytes", "a file of bytes", "file"),
    _Stop("tokenizer", "text becomes ids", "text"),
    _Stop("linear", "each id a list of numbers", "embedding"),
)
LAYER = (
    _Stop("scores", "who looks at whom", "attention"),
    _Stop("mask_softmax", "scores become shares", "attention"),
    _Stop("score_v", "what is seen is mixed in", "attention"),
    _Stop("rope", "order, by turning", "attention"),
    _Stop("norm_mlp", "each word thinks alone", "mlp"),
)
AFTER = (
    _Stop("model", "a score for every word", "head"),
    _Stop("sampling", "one is drawn", "text"),
    _Stop("generate", "word after word, remembering", "text"),
)
AROUND = (
    _Stop("precision", "fewer bits", "around"),
    _Stop("chat", "a conversation", "around"),
    _Stop("serve", "many readers", "around"),
    _Stop("cost", "how fast", "around"),
    _Stop("parallel", "on several machines", "around"),
)
# Shown at the head of its own chapter and of its neighbours: the walk ends before it.
BEYOND = (_Stop("faster", "fewer passes, fewer bytes", "around"),)
# Attention is taught in an order in which every step can be understood; the machine turns first.
NOTE = "drawn as the chapters go; in the machine the turning comes before the looking"
_STYLE = (
    "<style>"
    ".llama-machine{font-family:var(--llama-ui,system-ui,sans-serif);font-size:.86rem;"
    "line-height:1.25;margin:1em 0}"
    ".llama-machine ol{align-items:center;display:flex;flex-wrap:wrap;gap:.35em;list-style:none;"
    "margin:0;padding:0}"
    ".llama-machine li{display:flex;align-items:center;gap:.35em;margin:0;padding:0}"
    '.llama-machine li:not(:last-child)::after{content:"→";opacity:.55}'
    ".llama-machine :is(.around,.layer ol)>li::after{content:none!important}"
    ".llama-machine a{border:1.5px solid var(--part);border-radius:.5em;color:inherit;"
    "display:block;padding:.28em .6em;text-decoration:none}"
    ".llama-machine a:hover,.llama-machine a:focus-visible{text-decoration:underline}"
    ".llama-machine a[aria-current]{background:var(--part);color:light-dark(#fff,#14181e);"
    "font-weight:700}"
    ".llama-machine .layer{border:1.5px dashed light-dark(#8b857a,#7d766a);border-radius:.7em;"
    "padding:.4em .5em}"
    ".llama-machine .layer>div>b{display:block;font-weight:600;margin-bottom:.3em;opacity:.8}"
    ".llama-machine .around{margin-top:.5em;opacity:.92}"
    ".llama-machine small{display:block;font-size:.78rem;margin-top:.4em;opacity:.85}"
    "</style>"
)


def machine(here: str | None = None, *, layers: int = 30) -> Html:
    """The machine from the bytes of a file to the next word, with "you are here" at a topic.

    `here` is a topic of `llama_edu.chapters.CHAPTER_FILES`, or None for no mark; `layers` is how
    often the dashed part is run. Inside it there are no arrows: its parts are opened in another
    order than they are run in, and at the steps of attention the drawing says that the turning,
    which it shows last of them, is done first. Raises `InputError` for an unknown topic.
    """
    if here is not None and here not in CHAPTER_FILES:
        raise InputError(f"expected a topic among {', '.join(CHAPTER_FILES)}, got {here!r}")
    beyond = (stop for stop in BEYOND if here is not None and _are_neighbours(stop.topic, here))
    beside = tuple(sorted([*AROUND, *beyond], key=lambda stop: chapter_number(stop.topic)))
    stops = [*BEFORE, *LAYER, *AFTER, *beside]
    now = next((stop.words for stop in stops if stop.topic == here), None)
    label = "The machine" + (f"; you are here: {now}" if now else "")

    def listed(some: tuple[_Stop, ...]) -> str:
        return "".join(f"<li>{_link(stop, here)}</li>" for stop in some)

    in_attention = any(stop.topic == here and stop.part == "attention" for stop in LAYER)
    note = f"<small>({NOTE})</small>" if in_attention else ""
    layer = (
        f'<li class="layer"><div><b>{layers} layers, one after another; what each does, '
        f"in the order of the chapters</b><ol>{listed(LAYER)}</ol>{note}</div></li>"
    )
    # On the page that has no place in it yet, the last row says how it belongs to the others.
    joined = "<small>And then, with the whole machine:</small>" if here is None else ""
    html = (
        f'<nav class="llama-machine" aria-label="{escape(label)}">{_STYLE}'
        f"<ol>{listed(BEFORE)}{layer}{listed(AFTER)}</ol>"
        f'{joined}<ol class="around">{listed(beside)}</ol></nav>'
    )
    inside = " · ".join(_marked(stop, here) for stop in LAYER)
    text = " → ".join(
        [
            *(_marked(stop, here) for stop in BEFORE),
            f"{layers} × ({inside})",
            *(_marked(stop, here) for stop in AFTER),
        ]
    )
    around = " · ".join(_marked(stop, here) for stop in beside)
    said = f"\n({NOTE})" if in_attention else ""
    last = "and then, with the whole machine" if here is None else "around it"
    return Html(html, f"{text}{said}\n{last}: {around}")


def _are_neighbours(topic: str, other: str) -> bool:
    """Whether the chapters of two topics are the same one or follow each other."""
    return abs(chapter_number(topic) - chapter_number(other)) <= 1


def _link(stop: _Stop, here: str | None) -> str:
    light, dark = PARTS[stop.part]
    current = ' aria-current="page" title="you are here"' if stop.topic == here else ""
    return (
        f'<a href="{CHAPTER_FILES[stop.topic]}.html"{current} '
        f'style="--part:light-dark({light},{dark})">{escape(stop.words)}</a>'
    )


def _marked(stop: _Stop, here: str | None) -> str:
    return f"[{stop.words}: you are here]" if stop.topic == here else stop.words
