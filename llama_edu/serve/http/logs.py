"""One line of JSON per event on standard error: what happened and how long it took, never a text.

Neither what a client wrote nor what the model answered gets into a line, and of an error only its
kind and its place: its message might quote one of them.
"""

import logging
import sys
import traceback
from typing import Any

from pythonjsonlogger.json import JsonFormatter

__all__ = ["LOGGER", "log_event", "log_exception", "set_up"]

LOGGER = logging.getLogger("llama_edu.serve")


def log_event(event: str, **fields: Any) -> None:
    """Log an event with its numbers."""
    LOGGER.info(event, extra=fields)


def log_exception(problem: BaseException) -> None:
    """Log a fault of ours by its kind and its place."""
    places = traceback.extract_tb(problem.__traceback__)
    where = f"{places[-1].filename}:{places[-1].lineno}" if places else None
    LOGGER.error("fault", extra={"kind": type(problem).__name__, "where": where})


def set_up(level: int = logging.INFO) -> None:
    """Write lines of JSON to standard error, uvicorn's warnings among them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "message"],
            rename_fields={"levelname": "level", "message": "event"},
            timestamp="time",
        )
    )
    handler.addFilter(_without_texts)
    for name, at_least in (("llama_edu.serve", level), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(at_least)


def _without_texts(record: logging.LogRecord) -> bool:
    """Take out of uvicorn's records what could quote a client: arguments and exceptions."""
    if record.name != LOGGER.name:
        words = "an exception" if record.exc_info else record.msg
        record.msg, record.args, record.exc_info = f"uvicorn: {words}", None, None
    return True
