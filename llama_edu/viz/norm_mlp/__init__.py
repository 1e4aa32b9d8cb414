"""Figures of norms, gates and the residual stream."""
