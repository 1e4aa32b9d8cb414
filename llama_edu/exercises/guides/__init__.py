"""Minutes, importance and three hints for every exercise; a module a topic."""

from llama_edu.exercises.guides import (
    bytes,
    chat,
    cost,
    faster,
    generate,
    linear,
    mask_softmax,
    model,
    norm_mlp,
    parallel,
    precision,
    rope,
    sampling,
    score_v,
    scores,
    serve,
    tokenizer,
)

__all__ = ["GUIDES"]

GUIDES = {
    **bytes.GUIDES,
    **tokenizer.GUIDES,
    **linear.GUIDES,
    **scores.GUIDES,
    **mask_softmax.GUIDES,
    **score_v.GUIDES,
    **rope.GUIDES,
    **norm_mlp.GUIDES,
    **model.GUIDES,
    **generate.GUIDES,
    **sampling.GUIDES,
    **precision.GUIDES,
    **chat.GUIDES,
    **serve.GUIDES,
    **cost.GUIDES,
    **faster.GUIDES,
    **parallel.GUIDES,
}
