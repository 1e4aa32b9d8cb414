"""Figures of choosing the next token."""
