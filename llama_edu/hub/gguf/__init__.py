"""A GGUF file read, and written again as a model directory in the Hugging Face layout."""
