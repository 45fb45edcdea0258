"""Readers of server-sent events, as browsers and okhttp read them.

The parser follows https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"\r\n|\n|\r")
ACCEPT = "text/event-stream"


@dataclass(frozen=True)
class Event:
    """One event, as a listener gets it."""

    data: str
    type: str = "message"


class Parser:
    """Makes events of bytes, however they are cut."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._data: list[str] = []
        self._type = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` ends; what the stream does not end is no event."""
        text = self._rest + self._decoder.decode(chunk)
        # A lone \r at the end may be half of a \r\n.
        held = "\r" if text.endswith("\r") else ""
        *lines, self._rest = _LINE.split(text.removesuffix(held))
        self._rest += held
        for line in lines:
            if line:
                self._field(line)
            elif (event := self._dispatched()) is not None:
                yield event

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value

    def _dispatched(self) -> Event | None:
        data, kind = self._data, self._type
        self._data, self._type = [], ""
        return Event("\n".join(data), kind or "message") if data else None


def is_event_stream(content_type: str | None) -> bool:
    """Whether a reader takes the answer for events at all: browsers and okhttp look at the type before its `;`."""
    return (content_type or "").partition(";")[0].strip().lower() == ACCEPT


def events_of(body: bytes) -> list[Event]:
    """The events of a whole body, fed byte by byte."""
    parser = Parser()
    return [event for byte in body for event in parser.feed(bytes([byte]))]
