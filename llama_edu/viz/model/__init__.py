"""Figures of the whole model."""
