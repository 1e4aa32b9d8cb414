"""Stored results of PyTorch and `transformers` for the tests: `python -m tools.goldens.make`."""
