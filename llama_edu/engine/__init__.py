"""Token ids in, logits and new token ids out: weights, the KV cache, the forward pass, sampling."""
