"""Cutting proxy: stands before another HTTP server, writes requests down, and cuts answers short."""

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.serve.engine.loopback import Handler, listening

_PER_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class CuttingProxy:
    """Forwards GET and HEAD to `upstream`.

    `cut_after` are lengths at which the next answers for paths ending in `cut_path` are cut; `refusals` are
    whole answers (status, body) given instead of the next ones. `requests` holds the headers of each request
    under its path.
    """

    upstream: str
    url: str = ""
    cut_path: str = ""
    cut_after: list[int] = field(default_factory=list)
    refusals: list[tuple[int, bytes]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def gets(self, name: str) -> list[dict[str, str]]:
        """The headers of the requests for one file."""
        return [headers for path, headers in self.requests if urlsplit(path).path.endswith(f"/{name}")]


@contextlib.contextmanager
def cutting(upstream: str) -> Iterator[CuttingProxy]:
    """A proxy, serving."""
    proxy = CuttingProxy(upstream)
    address = urlsplit(upstream).netloc

    class ProxyHandler(Handler):
        def do_GET(self) -> None:  # noqa: N802
            proxy.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            if proxy.refusals:
                status, refusal = proxy.refusals.pop(0)
                self.answer(status, {"Content-Type": "application/xml"}, refusal)
                return
            with contextlib.closing(http.client.HTTPConnection(address)) as connection:
                connection.request(self.command, self.path, headers=dict(self.headers.items()))
                answer = connection.getresponse()
                body = answer.read()
                headers = {name: value for name, value in answer.getheaders() if name.lower() not in _PER_CONNECTION}
            cut = urlsplit(self.path).path.endswith(proxy.cut_path) and proxy.cut_after
            if cut:
                length = proxy.cut_after.pop(0)
                self.answer(answer.status, headers | {"Content-Length": str(len(body))}, body[:length])
                self.hang_up()
            else:
                self.answer(answer.status, headers, body)

    with listening(ProxyHandler) as server:
        host, port = server.server_address[:2]
        proxy.url = f"http://{host!s}:{port}"
        yield proxy
