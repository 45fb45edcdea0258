"""The parts of a gateway: each made once, from the settings, and run while the gateway serves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from fairlead_serve.conversations import Keeper, Store
from fairlead_serve.errors import StoreUnavailable
from fairlead_serve.gateway.auth import KeyRing
from fairlead_serve.gateway.background import Background
from fairlead_serve.gateway.configured import engine_headers, fixed_table, open_table
from fairlead_serve.gateway.exchange import Means
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.gateway.limits import Limits
from fairlead_serve.gateway.probes import Prober
from fairlead_serve.gateway.proxy import Proxy
from fairlead_serve.gateway.roster import Roster, Source
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.gateway.turns import Turns
from fairlead_serve.gateway.upstream import UpstreamClient
from fairlead_serve.logs import AccessLog
from fairlead_serve.metrics import GatewayMetrics, Load
from fairlead_serve.settings import GatewaySettings


@dataclass(frozen=True)
class Parts:
    """What routes and middleware are made with, and what works beside them.

    `ring` None: there are no keys. `source` None: the models are those of the settings. `access_log` None: no log.
    """

    table: RoutingTable
    client: UpstreamClient
    ring: KeyRing | None
    limits: Limits
    store: Store
    keeper: Keeper
    prober: Prober
    metrics: GatewayMetrics
    source: Source | None
    lifecycle: Lifecycle
    proxy: Proxy
    turns: Turns
    background: Background
    access_log: AccessLog | None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything works while the block runs; then turns without a client may end, and all is given back."""
        await open_store(self.store)
        for backend in self.table.backends:
            self.prober.follow(backend)
        if self.source is not None:
            self.source.start()
        if self.ring is not None:
            self.ring.start()
        keeping = asyncio.create_task(self.keeper.run(), name="keeper of the store")
        try:
            yield
        finally:
            await self.background.close(self.lifecycle.over)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        # From the last to the first, and each of them whatever becomes of the others.
        async with contextlib.AsyncExitStack() as stack:
            if self.access_log is not None:
                stack.callback(self.access_log.flush)
            stack.callback(self.client.close)
            stack.push_async_callback(self.store.close)
            stack.push_async_callback(self.limits.close)
            stack.push_async_callback(self.prober.stop)
            if self.source is not None:
                stack.push_async_callback(self.source.stop)
            if self.ring is not None:
                stack.push_async_callback(self.ring.stop)


def create_parts(
    settings: GatewaySettings,
    *,
    environment: Mapping[str, str],
    created: int,
    access_log: AccessLog | None,
    make_source: Callable[[Roster], Source] | None,
) -> Parts:
    """Make every part. Arguments and errors: see create_gateway."""
    times, sizes = settings.times, settings.sizes
    table = fixed_table(settings, environment, created) if make_source is None else open_table(settings)
    client = UpstreamClient(connect_seconds=times.connect_seconds, max_idle=sizes.idle_connections)
    ring = KeyRing(settings.key_file) if settings.key_file is not None else None
    limits = Limits(settings.limits_url.get_secret_value())
    store = Store(settings.database_url.get_secret_value())
    prober = Prober(client, seconds=times.probe_seconds)
    metrics = GatewayMetrics(lambda: _loads(table))
    roster = Roster(table, client, prober, metrics, engine_headers=engine_headers(settings), created=created)
    source = make_source(roster) if make_source is not None else None
    if source is not None:
        metrics.follow(source)
    proxy = Proxy(table, Means(client, metrics, times, sizes), limits)
    return Parts(
        table=table,
        client=client,
        ring=ring,
        limits=limits,
        store=store,
        keeper=Keeper(store, ttl_days=settings.conversation_ttl_days),
        prober=prober,
        metrics=metrics,
        source=source,
        lifecycle=Lifecycle(),
        proxy=proxy,
        turns=Turns(proxy, store, lambda: table.longest_request(times.request_seconds)),
        background=Background(store),
        access_log=access_log,
    )


async def open_store(store: Store) -> None:
    """Open `store`, or leave it to the keeper where its database is away: it goes on trying, and says why."""
    with contextlib.suppress(StoreUnavailable):
        await store.open()


def _loads(table: RoutingTable) -> Iterator[Load]:
    for backend in table.backends:
        yield backend.name, backend.admission.ongoing, backend.waiting, backend.ready
