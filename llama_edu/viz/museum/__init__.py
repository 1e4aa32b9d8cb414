"""The cards of the bug museum."""
