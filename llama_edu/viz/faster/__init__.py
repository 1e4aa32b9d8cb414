"""Figures of guessing ahead."""
