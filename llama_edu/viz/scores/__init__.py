"""Figures of queries meeting keys, KV group by KV group."""
