"""Figures of a model on several machines."""
