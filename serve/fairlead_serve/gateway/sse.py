"""Server-sent events as bytes: the only file that knows `data:`, `[DONE]` and comments.

Events end with a blank line. A chunk of an upstream answer may hold many events, or the half of one: what is
sent on is always cut at the end of an event, so that a comment or an error can follow and no character is
ever split. The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

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

# What an engine's error event begins with; a delta never does. With and without the space that JSON allows.
_ERROR_STARTS = (b'data: {"error"', b'data:{"error"')


def event(data: bytes) -> bytes:
    """One event carrying `data` (one line, as compact JSON is)."""
    return b"data: " + data + END


def failure(error: ApiError) -> bytes:
    """How a stream ends that fails after its 200: the error, then the end."""
    return event(msgspec.json.encode(error.envelope())) + DONE


def holds_error(events: bytes) -> bool:
    """Whether one of `events` (whole ones) is an error. Cheap: this runs for every chunk."""
    return b'{"error"' in events and any(
        one.startswith(_ERROR_STARTS) for one in events.split(END) if b'{"error"' in one
    )


def error_payload(events: bytes) -> tuple[bytes, bytes] | None:
    """(the events before the first error, the JSON of that error), or None where there is none."""
    before = b""
    for one in events.split(END):
        if one.startswith(_ERROR_STARTS):
            return before, one.partition(b":")[2].strip()
        before += one + END
    return None


class Splitter:
    """Cuts a stream of byte chunks at the ends of events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The whole events known so far that were not given out yet; b"" where none has ended."""
        if not self._rest and chunk.endswith(END):
            return chunk
        whole = self._rest + chunk
        cut = whole.rfind(END)
        if cut < 0:
            # Some servers end lines with \r\n; the blank line is then \r\n\r\n.
            cut = whole.rfind(b"\r\n\r\n") + 2 if b"\r\n\r\n" in whole else -1
        if cut < 0:
            self._rest = whole
            return b""
        self._rest = whole[cut + 2 :]
        return whole[: cut + 2]

    @property
    def rest(self) -> bytes:
        """What was fed after the last whole event: half an event, lost when the stream ends here."""
        return self._rest
