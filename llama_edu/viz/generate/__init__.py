"""Figures of the KV cache as it grows."""
