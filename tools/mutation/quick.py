"""A pytest plugin for mutants: a counterexample need not be small, only found.

Hypothesis spends most of its time on making a failure readable, which nobody reads here.
"""

from hypothesis import Phase, settings

__all__ = ["pytest_sessionstart"]


def pytest_sessionstart() -> None:
    """Search as the tests do, and stop at the first failure."""
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", settings.get_profile("llama_edu"), phases=phases)
    settings.load_profile("mutants")
