"""A multipart/form-data body (RFC 7578), looked into as bytes: one small field read or replaced, nothing copied.

No I/O. Time is linear in the body, whatever is in it.
"""

import itertools
import re
from dataclasses import dataclass

from fairlead_serve.errors import ApiError

_BOUNDARY = re.compile(rb'boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[ \t]*form-data;[ \t]*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)
# The headers of a part: its name, a file's name, a type. Clients send a hundred bytes or two.
_MAX_HEADERS = 2048
_MAX_PARTS = 1000
_HEADERS_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Form:
    """`body`, where its first part begins, and where its fields are: name -> (start, end) of the value."""

    body: bytes
    delimiter: bytes
    first: int
    places: dict[str, tuple[int, int]]

    @classmethod
    def parse(cls, body: bytes, content_type: bytes) -> "Form":
        """Raises ApiError 400 for what is no such body."""
        boundary = _BOUNDARY.search(content_type)
        if boundary is None:
            raise ApiError(400, "the content-type multipart/form-data names no boundary", code="invalid_form")
        delimiter = b"--" + (boundary[1] or boundary[2])
        starts = _starts(body, delimiter)
        if not starts or not body.startswith(b"--", starts[-1] + len(delimiter)):
            message = f"the request body is not a whole form of at most {_MAX_PARTS} fields with the boundary it names"
            raise ApiError(400, message, code="invalid_form")
        places: dict[str, tuple[int, int]] = {}
        for start, after in itertools.pairwise(starts):
            head = body.find(_HEADERS_END, start, min(start + _MAX_HEADERS, after))
            name = _NAME.search(body, start, max(head, start))
            if name is not None:
                key = (name[1] if name[1] is not None else name[2]).decode("utf-8", "replace")
                value = head + len(_HEADERS_END)
                # The line break before a delimiter belongs to the delimiter.
                places.setdefault(key, (value, max(after - 2, value)))
        return cls(body, delimiter, starts[0], places)

    def field(self, name: str) -> bytes | None:
        """The value of the first field `name`; None where there is none."""
        place = self.places.get(name)
        return None if place is None else self.body[place[0] : place[1]]

    def with_field(self, name: str, value: bytes) -> bytes:
        """The body with `value` in the field `name`, which is added where there is none."""
        place = self.places.get(name)
        if place is not None:
            return self.body[: place[0]] + value + self.body[place[1] :]
        head = b'content-disposition: form-data; name="%s"' % name.encode()
        added = b"%s\r\n%s\r\n\r\n%s\r\n" % (self.delimiter, head, value)
        return self.body[: self.first] + added + self.body[self.first :]


def _starts(body: bytes, delimiter: bytes) -> list[int]:
    """Where the delimiters are: at the beginning, or at the beginning of a line. [] when there are too many."""
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    starts: list[int] = []
    while at > 1 or (at == 0 and not starts):
        starts.append(at)
        if len(starts) > _MAX_PARTS + 1:
            return []
        at = body.find(b"\r\n" + delimiter, at) + 2
    return starts
