"""Hints for the exercises on sampling, in three steps."""

from llama_edu.exercises.framework.guide import ESSENTIAL, EXTRA, USEFUL, Guide

__all__ = ["GUIDES"]

GUIDES = {
    "with_temperature": Guide(
        10,
        ESSENTIAL,
        question="Logits of several hundred are among the inputs. What does `np.exp` give for "
        "300 in float32, and how can the same probabilities be had without it?",
        idea="Subtract the largest logit before anything else: all powers shrink by the same "
        "factor, and the shares stay. Then divide by the temperature, take the exponentials, and "
        "divide by their sum.",
        code="""
            def with_temperature_mine(logits, temperature):
                powers = np.exp((logits - ...) / temperature)
                return powers / ...
            """,
    ),
    "nucleus": Guide(
        20,
        ESSENTIAL,
        question="Which token does `<=` throw away, and do those that stay reach `top_p`?",
        idea="A token stays if the likelier ones *before* it have not reached `top_p` yet. Sort "
        "by probability; the running sum minus the token's own probability is what came before "
        "it. Then put the ones that stay back in their places and divide by their sum.",
        code="""
            def nucleus_mine(p, top_p):
                order = np.argsort(-p, kind="stable")
                before = np.cumsum(p[order]) - ...
                kept = np.zeros_like(p)
                chosen = order[before < ...]
                kept[chosen] = p[chosen]
                return kept / ...
            """,
    ),
    "filtered": Guide(
        20,
        USEFUL,
        question="Top-p looks at probabilities. Of which logits: as they came, heated, or heated "
        "and cut by top-k?",
        idea="Temperature, then top-k, then a softmax, then `nucleus_mine`. What top-k cuts gets "
        "the logit `-np.inf`, and a softmax makes 0 of it. A stable `np.argsort` of the negative "
        "logits has equal ones in the order of their ids.",
        code="""
            def filtered_mine(logits, temperature, top_k, top_p):
                scaled = logits / temperature
                if top_k:
                    order = np.argsort(-scaled, kind="stable")
                    scaled = scaled.copy()
                    scaled[order[...]] = -np.inf
                return nucleus_mine(softmax(...), top_p)
            """,
    ),
    "draw": Guide(
        25,
        EXTRA,
        question="The pieces lie one after the other on a line. If the point is exactly on a "
        "border, whose is it, the piece that ends there or the one that begins?",
        idea='It belongs to the piece that begins, which is `side="right"` of `np.searchsorted` '
        "on the running sums. So a piece of length 0 never holds a point. Let the point run to "
        "the real end of the sums instead of to 1, and keep it just below that end.",
        code="""
            def draw_mine(p, point):
                ends = np.cumsum(p)
                below = np.nextafter(ends[-1], np.float32(0))
                at = np.float32(min(point * ..., float(below)))
                return int(np.searchsorted(ends, at, side=...))
            """,
    ),
}
