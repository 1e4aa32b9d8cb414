"""Figures of a conversation, and the conversation of a notebook."""
