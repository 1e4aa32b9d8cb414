"""Other ways to compute the same numbers, and the choice between them."""
