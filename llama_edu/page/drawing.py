"""The whole model in one drawing: boxes from token ids to logits, each a link to its chapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama_edu.viz.parts.html import escape

__all__ = ["PARTS", "Part", "machine_svg", "shape_words"]

Number = float | int
Columns = tuple[int, int, int]  # the first and the last that a box spans, of how many

# Of the drawing, in its own units. It is as wide as a phone's page is, so that its smallest words,
# of 12 units, are 12 pixels high there.
WIDTH, GAP, HEAD = 330, 12, 46
LEFT, RIGHT = 32, 298  # of the boxes
FRAME = (22, 326)  # left and right of the frame around a layer
SKIP = 312  # where the residual stream goes around what is added to it
LINE = 15  # from a line of words to the next
WHOLE: Columns = (1, 1, 1)


@dataclass(frozen=True)
class Part:
    """One box: what the script calls it, its words, the array it makes, and where it is taught.

    `row` and `columns` place it. What a box with `plus` makes is a sum with what went around.
    """

    name: str
    label: str
    array: str
    chapter: str
    row: int
    columns: Columns = WHOLE
    lines: int = 2
    plus: bool = False


_L = "layers.{layer}."
_NORM, _MLP = f"{_L}post_attention_layernorm", "08_norm_mlp_residual"
PARTS = (
    Part("embed_tokens", "embedding: a row per token", "embed_tokens", "03_embed_and_multiply", 0),
    Part("input_layernorm", "RMSNorm", f"{_L}input_layernorm", _MLP, 1, lines=1),
    Part("q_proj", "queries", f"{_L}self_attn.q_proj", "04_qk_per_kv_group", 2, (1, 1, 3), 3),
    Part("k_proj", "keys", f"{_L}self_attn.k_proj", "04_qk_per_kv_group", 2, (2, 2, 3), 3),
    Part("v_proj", "values", f"{_L}self_attn.v_proj", "06_score_v", 2, (3, 3, 3), 3),
    Part("rope", "RoPE turns q and k", f"{_L}self_attn.q_rope", "07_rotate", 3, (1, 2, 3), 3),
    Part(
        "weights", "mask, softmax", f"{_L}self_attn.weights", "05_mask_and_softmax", 4, (1, 2, 3), 3
    ),
    Part("attn_v", "values, mixed", f"{_L}self_attn.attn_v", "06_score_v", 5),
    Part("attn_residual", "projected, and added", f"{_L}attn_residual", "06_score_v", 6, plus=True),
    Part("post_attention_layernorm", "RMSNorm", _NORM, _MLP, 7, lines=1),
    Part("gate_up", "gate and up", f"{_L}mlp.gate_proj", _MLP, 8, (1, 1, 2), 3),
    Part("gated", "silu(gate) · up", f"{_L}mlp.gated", _MLP, 8, (2, 2, 2), 3),
    Part("mlp_residual", "projected, and added", f"{_L}mlp_residual", _MLP, 9, plus=True),
    Part("norm", "RMSNorm", "norm", "09_whole_model", 10, lines=1),
    Part("logits", "head: a score per token", "logits", "09_whole_model", 11),
)
"""The boxes, from the top down."""

# Who hands its array to whom, downwards; the values pass RoPE and the mask by.
FLOWS = (
    ("embed_tokens", "input_layernorm"),
    ("input_layernorm", "q_proj"),
    ("input_layernorm", "k_proj"),
    ("input_layernorm", "v_proj"),
    ("q_proj", "rope"),
    ("k_proj", "rope"),
    ("rope", "weights"),
    ("weights", "attn_v"),
    ("v_proj", "attn_v"),
    ("attn_v", "attn_residual"),
    ("attn_residual", "post_attention_layernorm"),
    ("post_attention_layernorm", "gate_up"),
    ("gated", "mlp_residual"),
    ("mlp_residual", "norm"),
    ("norm", "logits"),
)
SKIPS = (("input_layernorm", "attn_residual"), ("post_attention_layernorm", "mlp_residual"))
AXES = {
    "seq": "token",
    "total_seq": "key",
    "n_kv_heads": "KV group",
    "n_groups": "head",
    "vocab_size": "score",
}  # every other axis counts features


def shape_words(axes: Sequence[str], shape: Sequence[int]) -> str:
    """A shape whose axes have names: `14 tokens × 128 features`."""
    nouns = (AXES.get(axis, "feature") for axis in axes)
    return " × ".join(
        f"{size} {noun}{'' if size == 1 else 's'}" for size, noun in zip(shape, nouns, strict=True)
    )


@dataclass(frozen=True)
class _Box:
    left: Number
    right: Number
    top: Number
    bottom: Number

    @property
    def x(self) -> Number:
        return (self.left + self.right) / 2

    @property
    def y(self) -> Number:
        return (self.top + self.bottom) / 2


def machine_svg(n_layers: int, shapes: Mapping[str, str], chapters: str = "") -> str:
    """The drawing as inline SVG. Without a style sheet it is drawn in the colour of the text.

    `shapes` holds what `shape_words` says of each part's array, by the part's name. `chapters` is
    put before each chapter's address.
    """
    boxes = _placed()
    top, bottom = boxes["input_layernorm"].top - 2 * GAP + 4, boxes["mlp_residual"].bottom + 8
    middle = (top + bottom) / 2
    left, right = FRAME
    frame = (
        f'<rect x="{left}" y="{top:g}" width="{right - left}" height="{bottom - top:g}" '
        'rx="10" fill="none" stroke="currentColor" stroke-dasharray="4 4" opacity="0.55"/>'
        f'<text x="14" y="{middle:g}" transform="rotate(-90 14 {middle:g})" text-anchor="middle" '
        f'font-size="12" fill="currentColor" data-layers="">{n_layers} layers</text>'
    )
    first = boxes["embed_tokens"]
    lines = [_arrow(first.x, first.top - 20, first.top)]
    lines += [_flow(boxes[source], boxes[target]) for source, target in FLOWS]
    gate, gated = boxes["gate_up"], boxes["gated"]
    lines.append(f"M {gate.right:g} {gate.y:g} H {gated.left:g} m -4 -3 l 4 3 l -4 3")
    skips = [_skip(boxes[source], boxes[target]) for source, target in SKIPS]
    return (
        f'<svg viewBox="0 0 {WIDTH} {boxes["logits"].bottom + 2:g}" width="{WIDTH}" role="group" '
        'aria-label="The parts of a Llama, from token ids to logits">'
        f"{frame}{_text(first.x, first.top - 28, 'token ids', size=14)}"
        f'<path d="{" ".join(lines)}" stroke="currentColor" fill="none" opacity="0.6"/>'
        f"{''.join(skips)}"
        f"{''.join(_drawn(part, boxes[part.name], shapes, chapters) for part in PARTS)}</svg>"
    )


def _placed() -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    top: Number = HEAD
    for row in range(PARTS[-1].row + 1):
        parts = [part for part in PARTS if part.row == row]
        # Above a layer there is room for its frame, and for where the stream parts.
        top += GAP if parts[0].name in ("input_layernorm", "norm") else 0
        height = max(part.lines for part in parts) * LINE + 13
        for part in parts:
            first, last, count = part.columns
            step = (RIGHT - LEFT + GAP) / count
            left = LEFT + (first - 1) * step
            boxes[part.name] = _Box(left, LEFT + last * step - GAP, top, top + height)
        top += height + GAP
    return boxes


def _arrow(x: Number, top: Number, bottom: Number) -> str:
    return f"M {x:g} {top:g} V {bottom:g} m -3 -4 l 3 4 l 3 -4"


def _flow(source: _Box, target: _Box) -> str:
    """A line straight down, over the narrower of the two."""
    narrower = min(source, target, key=lambda box: box.right - box.left)
    return _arrow(narrower.x, source.bottom, target.top)


def _skip(source: _Box, target: _Box) -> str:
    """The stream from above a norm around everything to where it is added."""
    start = source.top - GAP / 2
    return (
        f'<path class="pm-skip" d="M {source.x:g} {start:g} H {SKIP} V {target.y - 8:g}" '
        'stroke="currentColor" fill="none" stroke-width="1.5"/>'
        f'<path d="M {SKIP - 8} {target.y:g} H {target.right:g} m 4 -3 l -4 3 l 4 3 '
        f"M {SKIP - 4} {target.y:g} h 8 M {SKIP} {target.y - 4:g} v 8 "
        f'M {SKIP + 8} {target.y:g} a 8 8 0 1 0 -16 0 a 8 8 0 1 0 16 0" '
        'stroke="currentColor" fill="none"/>'
    )


def _drawn(part: Part, box: _Box, shapes: Mapping[str, str], chapters: str) -> str:
    """A box with its words, and under or beside them the shape of what it makes."""
    address = f"{chapters}{part.chapter}.html"
    plus = ", to what the line beside it brings" if part.plus else ""
    is_narrow = part.columns != WHOLE
    x, anchor = (box.x, "middle") if is_narrow else (box.left + 10, "start")
    shape_x, shape_anchor = (x, anchor) if is_narrow else (box.right - 10, "end")
    # The script writes the reader's own shapes over these lines, in the same way.
    lines = _lines(shapes[part.name], is_narrow)
    first = box.bottom - 9 - LINE * (len(lines) - 1)
    shape = "".join(
        f'<text class="pm-shape" x="{shape_x:g}" y="{first + LINE * i:g}" '
        f'text-anchor="{shape_anchor}" font-size="12" fill="currentColor" data-shape="">'
        f"{escape(line)}</text>"
        for i, line in enumerate(lines)
    )
    return (
        # `href` alone would be rewritten by JupyterLab, which knows links in HTML only.
        f'<a xlink:href="{escape(address)}" data-part="{part.name}">'
        f"<title>{escape(part.label)}{plus}: chapter {int(part.chapter[:2])}</title>"
        f'<rect class="pm-box" x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:g}" '
        f'height="{box.bottom - box.top:g}" rx="6" fill="none" stroke="currentColor"/>'
        f"{_text(x, box.top + 19, part.label, anchor=anchor)}{shape}</a>"
    )


def _lines(words: str, is_narrow: bool) -> list[str]:
    """A shape on one line, or broken in the middle where the box is narrow or the axes are four."""
    axes = words.split(" × ")
    half = len(axes) // 2
    if half < 2 and not is_narrow:
        return [words]
    return [" × ".join(axes[:half]) + " ×", " × ".join(axes[half:])]


def _text(x: Number, y: Number, text: str, *, anchor: str = "middle", size: int = 13) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor">{escape(text)}</text>'
    )
