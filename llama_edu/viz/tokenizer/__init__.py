"""Figures of text becoming tokens."""
