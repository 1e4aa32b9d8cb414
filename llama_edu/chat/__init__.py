"""A conversation: templates, a cache kept between turns, what each turn cost, and files to keep it in."""
