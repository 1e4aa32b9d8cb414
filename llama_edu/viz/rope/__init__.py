"""Figures of rotary position embedding."""
