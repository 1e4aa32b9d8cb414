"""Shares as bars of HTML on one fixed axis: the whole width is always 100%."""

from collections.abc import Sequence

from llama_edu.viz.parts.html import Html, escape

__all__ = ["bar_blocks"]


def bar_blocks(
    shares: Sequence[Sequence[float]],
    labels: Sequence[Sequence[str]],
    titles: Sequence[str],
    colors: tuple[str, str],
    caption: str,
    *,
    stacked: bool = False,
) -> Html:
    """Blocks of bars side by side, each with labels of its own and a title, which may be empty.

    `colors` are for light and for dark pages. Blocks that are `stacked` stand one below the other,
    so that a bar has the whole width, and give shares below 10% with one decimal. The text has one
    line for each block.
    """
    light, dark = colors
    bar = f"background:light-dark({light},{dark});height:.8em;border-radius:2px;min-width:2px"
    middle = "border:0;background:none;vertical-align:middle"
    basis = "15em" if len(titles) < 3 else "12em"  # of three, all fit the figure's 44
    if stacked:
        basis = "100%"
    blocks, lines = [], []
    for title, names, row in zip(titles, labels, shares, strict=True):
        body = "".join(
            f'<tr><th scope="row" style="text-align:right;font-weight:400;padding:.08em .6em;'
            f'white-space:nowrap;{middle}">{escape(label)}</th>'
            f'<td style="width:100%;padding:.08em 0;{middle}">'
            f'<div style="{bar};width:{100 * share:.1f}%"></div></td>'
            f'<td style="text-align:right;padding:.08em .4em;{middle};'
            f'font-variant-numeric:tabular-nums">{_percent(share, fine=stacked)}</td></tr>'
            for label, share in zip(names, row, strict=True)
        )
        head = f"<caption>{escape(title)}</caption>" if title else ""
        blocks.append(
            f'<table style="border-collapse:collapse;flex:1 1 {basis};margin:0;color:inherit;'
            f'background:none;font-size:.92em">{head}<tbody>{body}</tbody></table>'
        )
        said = ", ".join(
            f"{a} {_percent(b, fine=stacked)}" for a, b in zip(names, row, strict=True)
        )
        lines.append(f"{title}: {said}" if title else said)
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    html = (
        '<figure class="llama-figure llama-rows" style="margin:1em auto;max-width:44em">'
        f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(blocks)}</div>{note}</figure>'
    )
    return Html(html, "\n".join(lines + ([caption] if caption else [])))


def _percent(share: float, *, fine: bool) -> str:
    if fine and 0 < share < 0.1:
        return "<0.1%" if share < 0.0005 else f"{100 * share:.1f}%"
    whole = round(100 * share)
    return "<1%" if whole == 0 and share > 0 else f"{whole}%"
