"""One line of JSON per event on standard error: what happened and how long it took, never a text.

Neither what a client wrote nor what the model answered gets into a line, and of an error only its
kind and its place: its message might quote one of them.
"""

import json
import logging
import sys
import time
import traceback
from typing import Any

__all__ = ["LOGGER", "complain", "set_up", "tell"]

LOGGER = logging.getLogger("llama_edu.serve")


def tell(event: str, **fields: Any) -> None:
    """Log an event with its numbers."""
    LOGGER.info(event, extra={"fields": fields})


def complain(problem: BaseException) -> None:
    """Log a fault of ours by its kind and its place."""
    places = traceback.extract_tb(problem.__traceback__)
    where = f"{places[-1].filename}:{places[-1].lineno}" if places else None
    fields = {"kind": type(problem).__name__, "where": where}
    LOGGER.error("fault", extra={"fields": fields})


def set_up(level: int = logging.INFO) -> None:
    """Write lines of JSON to standard error, uvicorn's warnings among them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, at_least in (("llama_edu.serve", level), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(at_least)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level and event first, then the fields."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage() if record.name == LOGGER.name else "uvicorn",
        }
        if record.name != LOGGER.name:  # its words are about sockets and signals
            line["message"] = record.msg if record.exc_info is None else "exception"
        line |= getattr(record, "fields", {})
        return json.dumps(line, ensure_ascii=True, default=str)
