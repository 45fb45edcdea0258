"""Server-sent events as bytes: the only file that knows `data:`, `[DONE]` and comments.

Events end with a blank line. A chunk of an upstream answer may hold many events, or the half of one: what is
sent on is always cut at the end of an event, so that a comment or an error can follow and no character is
ever split. The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from fairlead_serve.errors import ApiError

END = b"\n\n"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # nginx and its relatives hold streams back unless told not to.
    (b"x-accel-buffering", b"no"),
)

# The format knows three ends of a line, \n, \r\n and \r: this is how a line and the blank one after it may end.
_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r\n?")
_LONGEST_BLANK_LINE = max(map(len, _BLANK_LINES))
_LINE = re.compile(rb"[^\r\n]+")
_DONE_ENDINGS = (b"data: [DONE]", b"data:[DONE]")
# Long enough for the last event when it is a [DONE], whatever ends its lines.
_DONE_TAIL = 32
# Inside a JSON string the quotes would be escaped: only a key or a whole value looks like this.
_ERROR_KEY = b'"error"'


class _Payload(msgspec.Struct):
    error: Any = None
    type: Any = None


_decoder = msgspec.json.Decoder(_Payload)


def event(data: bytes) -> bytes:
    """One event carrying `data` (one line, as compact JSON is)."""
    return b"data: " + data + END


def named_event(name: bytes, data: bytes) -> bytes:
    """One event with a name, as EventSource's listeners ask for it."""
    return b"event: " + name + b"\ndata: " + data + END


def each(events: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(event, its data) for each of `events`, whole ones; the data of a comment is b""."""
    start = 0
    for blank in _BLANK_LINE.finditer(events):
        one = events[start : blank.end()]
        yield one, _data(one)
        start = blank.end()


def failure(error: ApiError) -> bytes:
    """How a stream ends that fails after its 200: the error, then the end."""
    return event(msgspec.json.encode(error.envelope())) + DONE


def may_be_error(events: bytes) -> bool:
    """Whether it is worth looking for an error in `events`. Cheap: this runs for every chunk."""
    return _ERROR_KEY in events


def find_error(events: bytes) -> tuple[bytes, bytes] | None:
    """(the events before the first error, the JSON of that error); None where no event is one.

    `events`: whole ones. Anthropic's error
    events (`"type": "error"`) are left to their clients, who know them.
    """
    if _ERROR_KEY not in events:
        return None
    start = 0
    for blank in _BLANK_LINE.finditer(events):
        payload = _error_payload(events[start : blank.end()])
        if payload:
            return events[:start], payload
        start = blank.end()
    return None


def is_done(events: bytes) -> bool:
    """Whether the last of `events` is the [DONE] that ends OpenAI's streams."""
    return events[-_DONE_TAIL:].rstrip().endswith(_DONE_ENDINGS)


def _data(one: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in _LINE.findall(one) if line.startswith(b"data:"))


def _error_payload(one: bytes) -> bytes:
    if _ERROR_KEY not in one:
        return b""
    data = _data(one)
    try:
        payload = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""
    return data if payload.error and payload.type != "error" else b""


def _end_of(data: bytearray, mark: bytes, start: int) -> int:
    at = data.rfind(mark, start)
    return at + len(mark) if at >= 0 else 0


class Splitter:
    """Cuts a stream of byte chunks at the ends of events."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def held(self) -> int:
        """How many bytes wait for the end of their event."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> bytes:
        """The whole events known so far that were not given out yet; b"" where none has ended."""
        rest = self._rest
        if not rest and chunk.endswith(END):
            return chunk
        # A blank line may itself have been cut; what lies further back was looked through before.
        unseen = max(len(rest) + 1 - _LONGEST_BLANK_LINE, 0)
        rest += chunk
        cut = max(_end_of(rest, blank, unseen) for blank in _BLANK_LINES)
        if not cut:
            return b""
        whole = bytes(rest[:cut])
        del rest[:cut]
        return whole

    def end(self) -> bytes | None:
        """The stream has ended: the last event where only its blank line was missing, b"" where nothing was.

        None: it ended in the middle of a line, so an event is lost.
        """
        rest = bytes(self._rest)
        self._rest.clear()
        if not rest.strip():
            return b""
        if rest.endswith((b"\n", b"\r")) or is_done(rest):
            return rest + END
        return None
