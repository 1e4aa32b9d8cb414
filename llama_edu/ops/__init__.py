"""The operators of a Llama as pure functions: arrays in, arrays out, nothing kept."""
