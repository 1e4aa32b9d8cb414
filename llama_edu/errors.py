"""The exceptions a caller may catch. Every one derives from `LlamaEduError`.

A message names both sides: what was expected, and what came. Programming mistakes inside the
package (a wrong shape handed from one operator to the next) stay ordinary Python errors; these
are for what comes from outside: files, configs, text, ids, parameters, the network.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ContextError",
    "HubError",
    "InputError",
    "LlamaEduError",
    "NumericsError",
    "ParallelError",
    "ServeError",
    "SessionError",
    "TokenizerError",
]


class LlamaEduError(Exception):
    """Base of all errors this package raises on purpose."""


class CheckpointError(LlamaEduError, ValueError):
    """A weight file is damaged, malformed, missing, or does not fit its config."""


class ConfigError(LlamaEduError, ValueError):
    """A `config.json` is incomplete, contradicts itself, or asks for what is not supported."""


class TokenizerError(LlamaEduError, ValueError):
    """A tokenizer file is missing or unreadable, or an id is not in the vocabulary."""


class InputError(LlamaEduError, ValueError):
    """An argument is out of range: token ids, sampling parameters, a prompt without tokens."""


class ContextError(InputError):
    """More positions are asked for than the model or its cache has room for."""


class NumericsError(LlamaEduError, ArithmeticError):
    """The numbers broke: NaN, or nothing left to sample from."""


class HubError(LlamaEduError, RuntimeError):
    """A named model is unknown, not fetched yet, or could not be fetched."""


class ParallelError(LlamaEduError, RuntimeError):
    """A process that computes a part of a model ended, failed or fell silent."""


class ServeError(LlamaEduError, RuntimeError):
    """A server cannot do now what was asked; `code` says why in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SessionError(LlamaEduError, ValueError):
    """A saved conversation is damaged, or was held with another model."""
