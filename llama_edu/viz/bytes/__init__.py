"""Figures of bytes: files, floats and their bits."""
