"""Where requests go, and how they begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Origin:
    """Where connections go: scheme, host and port of a URL, and the path that its requests start with."""

    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Raises ValueError for anything but an http or https URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"{url!r} is not an http:// or https:// URL"
            raise ValueError(message)
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @cached_property
    def authority(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()

    @cached_property
    def address(self) -> tuple[str, int, bool]:
        """What decides whether two origins may share connections: host, port and whether TLS is spoken."""
        return self.host, self.port, self.tls

    def head(self, method: str, path: str, headers: Headers, length: int) -> bytes:
        """The head of a request for `self.path + path` with a body of `length` bytes."""
        lines = [f"{method} {self.path}{path} HTTP/1.1\r\nhost: ".encode(), self.authority, b"\r\n"]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if length or method not in {"GET", "HEAD"}:
            lines.append(b"content-length: %d\r\n" % length)
        lines.append(b"\r\n")
        return b"".join(lines)
