"""Measurements on the engine: what a precision costs, what a pass must take, where time goes."""
