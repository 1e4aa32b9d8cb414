"""A line of JSON per event: what is in it, and what is never."""

import io
import json
import logging
import sys

import pytest

from llama_edu.serve.http.logs import log_event, log_exception, set_up

SECRET = "a sentence that nobody else should read"


@pytest.fixture
def lines(monkeypatch):
    """Sets the logs up, as a server does; gives a function for the lines written since."""
    names = ("llama_edu.serve", "uvicorn.error")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    for one in loggers:  # import-linter, in another test, silences all loggers it finds
        monkeypatch.setattr(one, "disabled", False)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up()
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_an_event_comes_with_its_numbers(lines):
    log_event("request", status=200, seconds=0.5, reasons=["stop"])
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "event": "request",
        "status": 200,
        "seconds": 0.5,
        "reasons": ["stop"],
    }


def test_of_a_fault_only_kind_and_place_are_told(lines):
    def fail():
        raise ValueError(SECRET)

    try:
        fail()
    except ValueError as problem:
        log_exception(problem)
    (line,) = lines()
    assert (line["level"], line["event"], line["kind"]) == ("ERROR", "fault", "ValueError")
    assert line["where"] == f"{__file__}:{fail.__code__.co_firstlineno + 1}", "the innermost"
    assert SECRET not in json.dumps(line)


def test_uvicorn_says_what_happened_and_not_to_whom(lines):
    logger = logging.getLogger("uvicorn.error")
    logger.warning("Invalid %s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.error(SECRET, exc_info=sys.exc_info())
    told, raised = lines()
    assert told["event"] == "uvicorn: Invalid %s"
    assert raised["event"] == "uvicorn: an exception"
    assert SECRET not in json.dumps([told, raised])
