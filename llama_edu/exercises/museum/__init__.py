"""The bug museum: mistakes from real projects, put into a model, run, and caught by a check."""

from llama_edu.exercises.museum.exhibit import (
    Exhibit,
    Finding,
    TextExhibit,
    overview,
    overview_table,
    text_card,
    tour,
)

__all__ = [
    "Exhibit",
    "Finding",
    "TextExhibit",
    "overview",
    "overview_table",
    "text_card",
    "tour",
]
