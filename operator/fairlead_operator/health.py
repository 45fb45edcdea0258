"""What Kubernetes and Prometheus ask the operator over HTTP: /livez, /readyz and /metrics."""

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from fairlead_operator.errors import SettingsError

Check = Callable[[], Sequence[str]]
"""Asks for what is wrong, a sentence each. Nothing: all is well."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TEXT_TYPE = "text/plain; charset=utf-8"
_POLL_SECONDS = 0.1


class HealthServer:
    """Answers on an address of its own while the block runs."""

    def __init__(self, host: str, port: int, *, live: Check, ready: Check, metrics: Callable[[], bytes]) -> None:
        """`live`: what only a new process can mend; `ready`: what is yet to come. `port` 0: any free one.

        Raises SettingsError when the address cannot be listened on.
        """
        pages = {
            "/livez": lambda: _verdict(live()),
            "/readyz": lambda: _verdict(ready()),
            "/metrics": lambda: (200, _METRICS_TYPE, metrics()),
        }
        try:
            self._server = _Server((host, port), pages)
        except OSError as error:
            message = f"http: {host}:{port} cannot be listened on: {error.strerror}"
            raise SettingsError(message) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="health", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it answers, without a path."""
        return f"http://{self._server.server_address[0]!s}:{self._server.server_port}"

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


_Page = Callable[[], tuple[int, str, bytes]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], pages: dict[str, _Page]) -> None:
        super().__init__(address, _Exchange)
        self.pages = pages


class _Exchange(BaseHTTPRequestHandler):
    server: _Server
    # Of a client that says nothing.
    timeout = 10

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        status, kind, body = page() if page else (404, _TEXT_TYPE, b"there are /livez, /readyz and /metrics\n")
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
        """Say nothing: probes come every few seconds."""


def _verdict(problems: Sequence[str]) -> tuple[int, str, bytes]:
    return (503 if problems else 200), _TEXT_TYPE, ("\n".join(problems or ["ok"]) + "\n").encode()
