"""Figures of time, bytes and operations."""
