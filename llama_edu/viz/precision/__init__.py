"""Figures of what rounding costs."""
