"""How likely the model held a token, and which ones it held likeliest: log-probabilities.

The distribution is the model's own: softmax of its logits as they are. Temperature, top-k and
top-p decide what is drawn; they do not change what the model thought.
"""

import numpy as np
from jaxtyping import Float32

from llama_edu.serve.job import TokenLogprob

__all__ = ["log_probabilities", "token_logprob"]


def log_probabilities(
    logits: Float32[np.ndarray, " vocab_size"],
) -> Float32[np.ndarray, " vocab_size"]:
    """log softmax: natural logarithms, each at most 0. The largest logit must be finite."""
    shifted = logits - np.max(logits)
    return shifted - np.log(np.sum(np.exp(shifted)))


def token_logprob(
    logits: Float32[np.ndarray, " vocab_size"], token_id: int, start: int, top: int
) -> TokenLogprob:
    """One token's log-probability, and the `top` likeliest ids, the lower id first among equals."""
    logprobs = log_probabilities(logits)
    top = min(top, len(logprobs))
    best: list[int] = []
    if top:
        line = np.partition(logprobs, -top)[-top]
        candidates = np.flatnonzero(logprobs >= line)
        best = candidates[np.argsort(-logprobs[candidates], kind="stable")][:top].tolist()
    return TokenLogprob(
        token_id, float(logprobs[token_id]), start, tuple((i, float(logprobs[i])) for i in best)
    )
