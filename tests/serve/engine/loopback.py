"""Loopback: HTTP servers of the tests' own, on a free port of 127.0.0.1, in threads of this process."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed or cut off are what these servers are for."""


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 without a log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Nothing."""

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """A whole answer; without the body for HEAD."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection in the middle of whatever was promised."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[http.server.HTTPServer]:
    """A server in a thread; `server_address` says where."""
    server = _QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
