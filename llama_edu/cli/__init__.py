"""The command line: `python -m llama_edu …`."""
