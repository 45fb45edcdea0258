"""Logs: JSON lines, one event each, on a stream that the process was given. No secret is ever among them.

Events go through the standard library's `logging`; the access log, one line a request, writes bytes itself
and in batches, since it is part of every request's cost.
"""

import asyncio
import json
import logging
from typing import IO, Any

import msgspec

_logger = logging.getLogger(__name__)
_FLUSH_BYTES = 64 * 1024
_FLUSH_SECONDS = 0.5


class JsonFormatter(logging.Formatter):
    """One JSON object a record: `time`, `level`, `logger`, `message`, what `extra={"fields": ...}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(event, enc_hook=str).decode()
        except UnicodeEncodeError:  # half a character, as file names may hold: escaped, as msgspec cannot
            return json.dumps(event, default=str)


def configure_logging(stream: IO[str], *, level: str = "INFO") -> None:
    """Send every logger's events to `stream`. Called once, by the command line."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class AccessLog:
    """One JSON line a request, written in batches: at the latest half a second after the request."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._encode = msgspec.json.Encoder().encode

    def write(self, event: dict[str, Any]) -> None:
        """Note one request. Must be called on the event loop."""
        line = self._encode(event)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is waiting now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lines:
            return
        lines = b"\n".join(self._lines) + b"\n"
        # Before the writing: a full disk must cost lines of the log, and neither memory nor a request.
        self._lines.clear()
        self._size = 0
        try:
            self._stream.write(lines)
            self._stream.flush()
        except OSError as error:
            _logger.warning("the access log lost %d bytes: %s", len(lines), error.strerror or error)
