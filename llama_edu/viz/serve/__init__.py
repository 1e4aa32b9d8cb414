"""Figures of continuous batching."""
