"""Figures of values being mixed."""
