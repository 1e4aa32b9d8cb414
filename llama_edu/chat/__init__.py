"""A conversation: templates, a cache kept between turns, what each turn cost, files to keep it."""
