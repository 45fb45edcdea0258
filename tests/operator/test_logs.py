"""The operator's log: lines of JSON."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fairlead_operator.logs import configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_a_line_of_json(stream: io.StringIO) -> None:
    logging.getLogger("fairlead_operator.x").warning("%s is away,\nand \ud800 half a character", "it")
    event = json.loads(stream.getvalue())
    assert (event["level"], event["logger"]) == ("warning", "fairlead_operator.x")
    assert event["message"] == "it is away,\nand \ud800 half a character"
    assert stream.getvalue().count("\n") == 1


def test_a_traceback_is_part_of_its_event(stream: io.StringIO) -> None:
    spec: dict[str, str] = {}
    try:
        spec["spec"]
    except KeyError:
        logging.getLogger("x").exception("it crashed")
    assert "KeyError: 'spec'" in json.loads(stream.getvalue())["traceback"]


def test_details_are_for_nobody(stream: io.StringIO) -> None:
    logging.getLogger("x").debug("a detail")
    assert stream.getvalue() == ""
