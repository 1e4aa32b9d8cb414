"""What builds and checks the project; run from its root, as `python -m tools.check book`."""
