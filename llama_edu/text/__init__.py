"""Text to token ids and back, streaming included."""
