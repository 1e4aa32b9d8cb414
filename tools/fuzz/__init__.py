"""Damaged files by the hundred thousand: `python -m tools.fuzz.checkpoint`."""
