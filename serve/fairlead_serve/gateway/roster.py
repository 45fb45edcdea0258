"""The Models that are served while the gateway runs, kept as a source tells them. All of it on the event loop."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.claims import LeftOut
from fairlead_serve.gateway.probes import Prober
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.gateway.upstream import Headers, UpstreamClient
from fairlead_serve.metrics import GatewayMetrics
from fairlead_serve.settings import ServedModel

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One Model. `fallbacks` are keys, of which those that are on the roster count.

    `upstream` is the base URL of a server that is not ours, and `api_key` what it wants to see; empty where there are
    engines, or where it wants none. `refusal`: why requests are refused; empty where they are not.
    """

    key: str
    served: ServedModel
    fallbacks: tuple[str, ...] = ()
    upstream: str = ""
    api_key: str = field(default="", repr=False)
    refusal: str = ""


class Roster:
    """What a source of Models writes to."""

    def __init__(
        self,
        table: RoutingTable,
        client: UpstreamClient,
        prober: Prober,
        metrics: GatewayMetrics,
        *,
        engine_headers: Headers,
        created: int,
    ) -> None:
        """`engine_headers` go with every request to an engine. `created`: for Models that give no date."""
        self._table = table
        self._client = client
        self._prober = prober
        self._metrics = metrics
        self._engine_headers = engine_headers
        self._created = created
        self._entries: dict[str, Entry] = {}
        self._backends: dict[str, Backend] = {}

    def settled(self) -> None:
        """Every Model there is has been told."""
        self._table.unsettled = ""

    def set_models(self, entries: Sequence[Entry]) -> list[str]:
        """Serve these Models and no others; gives the keys of those whose endpoints have to be told (again).

        What is under way and what is counted survives every change but the end of its Model. Raises ValueError where
        two claim one name, or an upstream is at no URL; what was routed is routed as before then.
        """
        before = self._backends
        names = {backend.name for backend in before.values()}
        after: dict[str, Backend] = {}
        told: list[str] = []
        for entry in entries:
            backend = before.get(entry.key)
            if backend is None or entry != self._entries[entry.key]:
                backend = self._take_in(entry, backend)
                if backend.is_engine:
                    told.append(entry.key)
            after[entry.key] = backend
        self._table.route(list(after.values()))
        self._backends, self._entries = after, {entry.key: entry for entry in entries}
        for entry in entries:
            after[entry.key].fallbacks = [after[key] for key in entry.fallbacks if key in after]
        for key, backend in before.items():
            if key not in after:
                self._let_go(backend)
        for name in names - {backend.name for backend in after.values()}:
            self._metrics.forget(name)
        return told

    def set_endpoints(self, key: str, urls: Iterable[str]) -> None:
        """Send the requests of a Model's engines to these base URLs. Nothing for one that is not on the roster."""
        backend = self._backends.get(key)
        if backend is not None and backend.is_engine:
            self._serve_at(backend, urls)

    def _take_in(self, entry: Entry, backend: Backend | None) -> Backend:
        headers = self._engine_headers if not entry.upstream else _bearer(entry.api_key)
        created = entry.served.created or self._created
        if backend is None:
            backend = Backend(entry.served, headers, created, key=entry.key)
            _logger.info("the Model %s is served as %s", entry.key, ", ".join(backend.names))
        else:
            backend.change(entry.served, headers, created)
        backend.refuse(entry.refusal)
        if entry.upstream:
            self._serve_at(backend, (entry.upstream,))
        return backend

    def _let_go(self, backend: Backend) -> None:
        self._serve_at(backend, ())
        backend.remove()
        _logger.info("the Model %s is served no longer", backend.key)

    def _serve_at(self, backend: Backend, urls: Iterable[str]) -> None:
        # An engine is ready when its pod is: nobody has to ask it first.
        gone = backend.serve_at(urls, ready=True)
        self._prober.follow(backend)
        for endpoint in gone:
            self._client.drop(endpoint.origin)


class Source(Protocol):
    """Where Models come from while the gateway runs."""

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What of the Models is not served as they say, and why."""

    @property
    def silence_seconds(self) -> float:
        """For how long the source has said nothing."""

    @property
    def alive(self) -> bool:
        """Whether it still follows anything: what has died of a fault of its own comes back with the process only."""

    def start(self) -> None:
        """Begin to write to the roster, on the running event loop."""

    async def wait_settled(self) -> None:
        """Wait until every Model there is has been told."""

    async def stop(self) -> None:
        """Write no more."""


def _bearer(api_key: str) -> Headers:
    return [(b"authorization", f"Bearer {api_key}".encode())] if api_key else []
