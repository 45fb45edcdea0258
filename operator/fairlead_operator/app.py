"""Composition: the only place where the parts of the operator meet. Nothing imports it but the command line."""

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fairlead_operator.api import Api
from fairlead_operator.caches import EVERYWHERE, Caches
from fairlead_operator.cluster import Cluster
from fairlead_operator.engines import EnginePods, Engines
from fairlead_operator.health import HealthServer
from fairlead_operator.leader import DEFAULT_TIMES, Leader, LeaseTimes
from fairlead_operator.manager import Manager
from fairlead_operator.metrics import Metrics, Sources
from fairlead_operator.reader import Reader
from fairlead_operator.reconcile import DEFAULT_WAITS, Clock, Reconciler, Waits
from fairlead_operator.recorder import Recorder
from fairlead_operator.render import Chart, open_chart
from fairlead_operator.renderer import Renderer
from fairlead_operator.settings import OperatorSettings
from fairlead_operator.status import Links
from fairlead_operator.token_secret import TokenSecret
from fairlead_operator.work_queue import WorkQueue
from fairlead_serve.api_server import ApiServer, Client
from fairlead_serve.informer import DEFAULT_TIMING, Timing
from fairlead_serve.internal import TOKEN_VARIABLE

_logger = logging.getLogger(__name__)

# What is under way when the lease may no longer be relied upon has to end before another can have it.
_ANSWER_SECONDS = DEFAULT_TIMES.lasting - DEFAULT_TIMES.writing


@dataclass(frozen=True)
class Installation:
    """Where the operator runs: how it reaches the cluster, its own namespace, and the internal token (empty: none)."""

    client: Client
    namespace: str
    token: str = ""


@dataclass(frozen=True)
class Operator:
    """All parts of one operator, put together and not yet at work."""

    manager: Manager
    metrics: Metrics
    settings: OperatorSettings

    def run(self, stopping: threading.Event, *, on_started: Callable[[str], None] = lambda _url: None) -> None:
        """Work until `stopping`, then end what is at hand. `on_started` is told where health and metrics are.

        Raises SettingsError when their address cannot be listened on.
        """
        http, manager = self.settings.http, self.manager
        health = HealthServer(
            http.host, http.port, live=manager.hanging, ready=manager.lacking, metrics=self.metrics.render
        )
        with health:
            on_started(health.url)
            manager.run(stopping)


def run_operator(settings: OperatorSettings, installation: Installation, stopping: threading.Event) -> None:
    """Look after the Models of a cluster until `stopping`. Raises RenderError and SettingsError."""
    if not installation.token:
        _logger.warning(
            "%s is not set: engines do not say how far they are, and load no adapters; set it to the key %s of the "
            "Secret %s",
            TOKEN_VARIABLE,
            settings.internal_token.key,
            settings.internal_token.name,
        )
    create_operator(settings, installation).run(
        stopping, on_started=lambda url: _logger.info("health and metrics are at %s", url)
    )


def utc_now() -> datetime:
    """The time of this machine, as an aware one."""
    return datetime.now(UTC)


def create_operator(
    settings: OperatorSettings,
    installation: Installation,
    *,
    chart: Chart | None = None,
    engines: Engines | None = None,
    lease_times: LeaseTimes = DEFAULT_TIMES,
    timing: Timing = DEFAULT_TIMING,
    waits: Waits = DEFAULT_WAITS,
    clock: Clock = utc_now,
) -> Operator:
    """Put an operator together. Raises RenderError when there is no chart of a Model."""
    metrics = Metrics()
    queue = WorkQueue(on_wait=metrics.waited)
    server = ApiServer(installation.client, answer_seconds=_ANSWER_SECONDS)
    # The lease is asked for under no lease.
    leader = Leader(
        Api(server, on_request=metrics.requested),
        namespace=settings.lease.namespace or installation.namespace,
        name=settings.lease.name,
        identity=f"{socket.gethostname()}_{uuid.uuid4()}",
        times=lease_times,
    )
    api = Api(server, may_write=lambda: leader.leading, on_request=metrics.requested)
    caches = Caches(
        installation.client,
        namespaces(settings, installation),
        on_change=queue.add,
        on_wish=queue.add_first,
        timing=timing,
    )
    reconciler = Reconciler(
        cluster=Cluster(api, caches, Recorder(api)),
        renderer=Renderer(chart or open_chart(settings.chart), settings),
        engines=engines or EnginePods(installation.token),
        links=Links(settings.gateway_url),
        metrics=metrics,
        clock=clock,
        token_secret=TokenSecret(settings.internal_token, installation.namespace, installation.token),
        waits=waits,
    )
    manager = Manager(
        caches, queue, reconciler, leader, metrics, workers=settings.workers, resync_seconds=settings.resync_seconds
    )
    metrics.watch(
        Sources(
            models=caches.models,
            leading=lambda: leader.leading,
            queued=lambda: queue.depth,
            delayed=lambda: queue.delayed,
            silences=lambda: [(one.path, time.monotonic() - one.last_contact) for one in caches.informers()],
        )
    )
    return Operator(manager, metrics, settings)


def create_reader(client: Client) -> Reader:
    """A cluster to look at, for whoever does not follow it."""
    return Reader(Api(ApiServer(client)))


def namespaces(settings: OperatorSettings, installation: Installation) -> Sequence[str]:
    """The namespaces to follow."""
    if settings.all_namespaces:
        return EVERYWHERE
    return settings.namespaces or (installation.namespace,)
