"""Figures of guessing ahead, and of rows that are held once."""
