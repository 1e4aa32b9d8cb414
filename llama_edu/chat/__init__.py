"""A conversation: its template, its cache between turns, what a turn cost, files to keep it in."""
