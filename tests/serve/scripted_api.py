"""An API server that says what the test wrote down, byte for byte: for what a good one never does on demand."""

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import urllib3

from fairlead_serve.api_server import Client

PATH = "/api/v1/namespaces/ns/things"
# No test waits that long unless it fails.
_PATIENCE_SECONDS = 10

Step = Callable[["_Exchange"], None]
Query = dict[str, str]


def thing(name: str, version: int, *, model: str = "", **more: Any) -> dict[str, Any]:
    """An object as the watch tells of it."""
    labels = {"labels": {"fairlead.dev/model": model}} if model else {}
    metadata = {"namespace": "ns", "name": name, "resourceVersion": str(version), **labels}
    return {"apiVersion": "v1", "kind": "Thing", "metadata": metadata, **more}


def event(kind: str, manifest: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": manifest}).encode() + b"\n"


def refusal(status: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": status, "message": message}


def listing(version: int, *things: dict[str, Any], more: str = "") -> Step:
    """A page of a list, whose items do not say their kind, as those of built-in types do not."""
    items = [{key: value for key, value in one.items() if key not in {"apiVersion", "kind"}} for one in things]
    metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    return answer(200, {"kind": "ThingList", "apiVersion": "v1", "metadata": metadata, "items": items})


def answer(status: int, document: dict[str, Any]) -> Step:
    return lambda exchange: exchange.send(status, json.dumps(document).encode())


def refuse(status: int, message: str = "no") -> Step:
    return answer(status, refusal(status, message))


def watch(*lines: bytes, end: bool = False, after: threading.Event | None = None) -> Step:
    """A watch that sends `lines` (once `after` is set) and then ends, or keeps silent for as long as it is let."""

    def say(exchange: "_Exchange") -> None:
        exchange.begin()
        if after is not None:
            after.wait(_PATIENCE_SECONDS)
        for line in lines:
            exchange.chunk(line)
        if end:
            exchange.chunk(b"")
        else:
            exchange.server.closing.wait()

    return say


def silence(exchange: "_Exchange") -> None:
    """Take the request and say nothing."""
    exchange.server.closing.wait()


def torn(line: bytes) -> Step:
    """A watch that breaks off within a line."""

    def say(exchange: "_Exchange") -> None:
        exchange.begin()
        exchange.chunk(line[: len(line) // 2])
        exchange.close_connection = True

    return say


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    closing: threading.Event
    take: Callable[[Query, str], Step]


class _Exchange(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.take(dict(parse_qsl(urlsplit(self.path).query)), self.headers.get("authorization", ""))(self)

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's
        """Say nothing on stderr."""


class ScriptedApi:
    """Answers one request after the other by `steps`; those after the last by silence. Use as a context manager."""

    def __init__(self, *steps: Step) -> None:
        self.requests: list[Query] = []
        self.tokens: list[str] = []
        self._steps: Sequence[Step] = steps
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Exchange)
        self._server.closing = threading.Event()
        self._server.take = self._take
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def client(self) -> Client:
        return Client(self.url, urllib3.PoolManager())

    def wait_for_requests(self, count: int) -> list[Query]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, _PATIENCE_SECONDS), self.requests
            return list(self.requests)

    def _take(self, query: Query, token: str) -> Step:
        with self._changed:
            self.requests.append(query)
            self.tokens.append(token)
            self._changed.notify_all()
            number = len(self.requests)
        return self._steps[number - 1] if number <= len(self._steps) else watch()

    def __enter__(self) -> "ScriptedApi":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
