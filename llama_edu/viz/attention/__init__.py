"""Attention maps, one head or all of them."""
