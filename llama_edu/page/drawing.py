"""The whole model in one drawing: boxes from token ids to logits, each a link to its chapter."""

from dataclasses import dataclass

from llama_edu.formats.config import LlamaConfig
from llama_edu.viz.parts.html import escape

__all__ = ["PARTS", "Part", "machine_svg"]

Number = float | int

WIDTH, ROW, BOX = 400, 40, 28  # of the drawing, its rows and its boxes, in its own units
LEFT, RIGHT = 44, 376


@dataclass(frozen=True)
class Part:
    """One box: what the script calls it, its words, the array it makes, and where it is taught.

    `row` and `column` place it: column "all" spans the drawing, others share a row.
    """

    name: str
    label: str
    array: str
    chapter: str
    row: int
    column: str = "all"


_L = "layers.{layer}."
PARTS = (
    Part("embed_tokens", "embedding: a row per token", "embed_tokens", "03_embed_and_multiply", 1),
    Part("input_layernorm", "RMSNorm", f"{_L}input_layernorm", "08_norm_mlp_residual", 2),
    Part("q_proj", "queries", f"{_L}self_attn.q_proj", "04_qk_per_kv_group", 3, "1/3"),
    Part("k_proj", "keys", f"{_L}self_attn.k_proj", "04_qk_per_kv_group", 3, "2/3"),
    Part("v_proj", "values", f"{_L}self_attn.v_proj", "06_score_v", 3, "3/3"),
    Part("rope", "RoPE turns q and k", f"{_L}self_attn.q_rope", "07_rotate", 4),
    Part("weights", "mask, softmax", f"{_L}self_attn.weights", "05_mask_and_softmax", 5),
    Part("attn_v", "values, mixed", f"{_L}self_attn.attn_v", "06_score_v", 6),
    Part("attn_residual", "projected, and added", f"{_L}attn_residual", "06_score_v", 7),
    Part(
        "post_attention_layernorm",
        "RMSNorm",
        f"{_L}post_attention_layernorm",
        "08_norm_mlp_residual",
        8,
    ),
    Part("gate_up", "gate and up", f"{_L}mlp.gate_proj", "08_norm_mlp_residual", 9, "1/2"),
    Part("gated", "silu(gate) · up", f"{_L}mlp.gated", "08_norm_mlp_residual", 9, "2/2"),
    Part("mlp_residual", "projected, and added", f"{_L}mlp_residual", "08_norm_mlp_residual", 10),
    Part("norm", "RMSNorm", "norm", "09_whole_model", 11),
    Part("logits", "head: a score per token", "logits", "09_whole_model", 12),
)
"""The boxes, from the top down."""

FIRST_IN_LAYER, LAST_IN_LAYER = 2, 10


def machine_svg(config: LlamaConfig, chapters: str = "") -> str:
    """The drawing as inline SVG. Without a style sheet it is drawn in the colour of the text.

    `chapters` is put before each chapter's address.
    """
    height = (max(part.row for part in PARTS) + 1) * ROW
    top, bottom = FIRST_IN_LAYER * ROW - 6, LAST_IN_LAYER * ROW + BOX + 6
    middle = (top + bottom) / 2
    layers = f"{config.num_hidden_layers} layers"
    frame = (
        f'<rect x="{LEFT - 14}" y="{top}" width="{RIGHT - LEFT + 28}" height="{bottom - top}" '
        'rx="10" fill="none" stroke="currentColor" stroke-dasharray="4 4" opacity="0.55"/>'
        f'<text x="20" y="{middle:g}" transform="rotate(-90 20 {middle:g})" text-anchor="middle" '
        f'font-size="12" fill="currentColor" data-layers="">{layers}</text>'
    )
    ids = _text(WIDTH / 2, ROW - 18, "token ids", size=14)
    arrow = (
        f'<path d="M {WIDTH / 2} {ROW - 12} V {ROW - 2}" stroke="currentColor" fill="none" '
        'opacity="0.6"/>'
    )
    boxes = "".join(_box(part, chapters) for part in PARTS)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="group" '
        'aria-label="The parts of a Llama, from token ids to logits">'
        f"{frame}{ids}{arrow}{boxes}</svg>"
    )


def _box(part: Part, chapters: str) -> str:
    """A box with its words on the left and room for a shape on the right."""
    left, right = _columns(part.column)
    y = part.row * ROW
    address = f"{chapters}{part.chapter}.html"
    narrow = part.column != "all"
    link = (
        ""
        if part.row == 12
        else (
            f'<path d="M {WIDTH / 2} {y + BOX} v {ROW - BOX}" stroke="currentColor" fill="none" '
            'opacity="0.35"/>'
        )
    )
    shape = (
        ""
        if narrow
        else (
            f'<text class="pm-shape" x="{right - 12}" y="{y + 19}" text-anchor="end" '
            f'font-size="11" fill="currentColor" data-axes="" data-part="{part.name}"></text>'
        )
    )
    return (
        # `href` alone would be rewritten by JupyterLab, which knows links in HTML only.
        f'{link}<a xlink:href="{escape(address)}" data-part="{part.name}">'
        f"<title>{escape(part.label)}: chapter {int(part.chapter[:2])}</title>"
        f'<rect class="pm-box" x="{left}" y="{y}" width="{right - left}" height="{BOX}" rx="6" '
        'fill="none" stroke="currentColor"/>'
        f"{_text(left + 12, y + 19, part.label, anchor='start')}{shape}</a>"
    )


def _columns(column: str) -> tuple[Number, Number]:
    if column == "all":
        return LEFT, RIGHT
    number, count = map(int, column.split("/"))
    step = (RIGHT - LEFT + 12) / count
    return LEFT + (number - 1) * step, LEFT + number * step - 12


def _text(x: Number, y: Number, text: str, *, anchor: str = "middle", size: int = 13) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor">{escape(text)}</text>'
    )
