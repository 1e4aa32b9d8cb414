"""At the edge of what the API takes: the last value that is let in, and the first that is not."""

from __future__ import annotations
