"""Figures of matrix products."""
