"""What holds for every test: the property tests are reproducible, and slow machines do not fail."""

from hypothesis import settings

settings.register_profile("llama_edu", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("llama_edu")
