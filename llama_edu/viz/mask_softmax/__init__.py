"""Figures of the causal mask and of softmax."""
