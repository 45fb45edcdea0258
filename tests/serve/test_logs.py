"""Logs as JSON lines."""

import asyncio
import errno
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fairlead_serve import logs
from fairlead_serve.logs import AccessLog, JsonFormatter, configure_logging


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, *arguments: object, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("fairlead_serve.x", logging.WARNING, __file__, 1, message, arguments, None)
    if fields:
        made.fields = fields
    return made


def formatted(one: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(one)
    assert "\n" not in line
    decoded: dict[str, Any] = json.loads(line)
    return decoded


def test_an_event_is_one_line_of_json() -> None:
    event = formatted(record("%s of %d", "Grüße\n", 3))
    assert (event["level"], event["logger"], event["message"]) == ("warning", "fairlead_serve.x", "Grüße\n of 3")
    assert "T" in event["time"]


def test_fields_are_keys_of_their_own() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    event = formatted(record("m", request_id="r", seconds=1.5, odd=Odd()))
    assert (event["request_id"], event["seconds"], event["odd"]) == ("r", 1.5, "odd")


def test_an_exception_has_its_traceback_in_the_line() -> None:
    one = record("m")
    try:
        int("why")
    except ValueError as error:
        one.exc_info = (ValueError, error, error.__traceback__)
    traceback = formatted(one)["traceback"]
    assert traceback.startswith("Traceback")
    assert "ValueError" in traceback.splitlines()[-1]


def test_half_a_character_is_written_too() -> None:
    assert formatted(record("file \udcff"))["message"] == "file \udcff"


def test_every_logger_writes_to_the_one_stream(root: logging.Logger) -> None:
    stream = io.StringIO()
    configure_logging(stream)
    configure_logging(stream, level="WARNING")
    logging.getLogger("uvicorn.error").warning("one")
    logging.getLogger("anything").info("too little")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["one"]
    assert len(root.handlers) == 1


async def test_requests_are_written_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FLUSH_SECONDS", 0.01)
    written = asyncio.Event()

    class Stream(io.BytesIO):
        def flush(self) -> None:
            written.set()

    stream = Stream()
    log = AccessLog(stream)
    for number in range(3):
        log.write({"n": number})
    assert stream.getvalue() == b""
    await asyncio.wait_for(written.wait(), 10)
    assert stream.getvalue() == b'{"n":0}\n{"n":1}\n{"n":2}\n'


async def test_a_large_batch_does_not_wait() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream)
    for _ in range(70):
        log.write({"path": "x" * 1000})
    assert len(stream.getvalue().splitlines()) >= 65
    log.flush()
    assert len(stream.getvalue().splitlines()) == 70


async def test_flushing_nothing_writes_nothing() -> None:
    stream = io.BytesIO()
    AccessLog(stream).flush()
    assert stream.getvalue() == b""


async def test_a_full_disk_costs_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Full(io.BytesIO):
        full = True

        def write(self, data: Any) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    stream = Full()
    log = AccessLog(stream)
    log.write({"n": 1})
    log.flush()
    assert "the access log lost 8 bytes: No space left on device" in caplog.text
    stream.full = False
    log.write({"n": 2})
    log.flush()
    assert stream.getvalue() == b'{"n":2}\n'
