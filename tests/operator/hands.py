"""A reconciler in the hands of a test, which can make it die at a write."""

import contextlib
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fairlead_operator.api import Api
from fairlead_operator.caches import Caches
from fairlead_operator.cluster import Cluster
from fairlead_operator.engines import EnginePods
from fairlead_operator.errors import ClusterError
from fairlead_operator.kinds import Key
from fairlead_operator.metrics import Metrics
from fairlead_operator.reconcile import Reconciler
from fairlead_operator.recorder import Recorder
from fairlead_operator.renderer import Renderer
from fairlead_operator.status import Links
from fairlead_operator.token_secret import TokenSecret
from fairlead_serve.api_server import Answer, ApiServer, connect
from tests.kube.cluster import SECONDS
from tests.kube.resources import Manifest
from tests.operator.world import MODELS, TOKEN, World

NEVER = 10**9


class Killed(BaseException):
    """The process died: nothing that follows in it is done."""


class DyingServer(ApiServer):
    """Dies after its write number `last` was answered: what a process that dies before the next one leaves, too."""

    last = NEVER
    count = 0
    writes = 0

    def request(self, method: str, path: str, **options: Any) -> Answer:
        self.count += 1
        answer = super().request(method, path, **options)
        self.writes += method != "GET"
        if self.writes == self.last:
            raise Killed
        return answer


class Hands:
    """A reconciler that a test calls by hand, with caches that are true whenever it is called."""

    def __init__(self, world: World, *, last: int = NEVER, home: str = "") -> None:
        """`last`: the write after which it dies.

        `home`: the platform's namespace, which has the internal token's Secret; by default the world's own.
        """
        client = connect(world.cluster.kubeconfig)
        self._changed = threading.Event()
        self.server = DyingServer(client)
        self.server.last = last
        self._caches = Caches(client, [world.cluster.namespace], on_change=lambda _key: self._changed.set())
        api = Api(self.server)
        self._reconciler = Reconciler(
            cluster=Cluster(api, self._caches, Recorder(api)),
            renderer=Renderer(world.chart, world.settings),
            engines=EnginePods(""),
            links=Links(),
            metrics=Metrics(),
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            token_secret=TokenSecret(world.settings.internal_token, home or world.cluster.namespace, TOKEN),
        )
        self._key = Key(world.cluster.namespace, "m")

    def __enter__(self) -> "Hands":
        self._caches.start()
        for informer in self._caches.informers():
            assert informer.wait_synced(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._caches.stop()

    def hear_of(self, manifest: Manifest) -> None:
        """Know what somebody else wrote before a watch tells of it."""
        self._caches.wrote(manifest)

    def reconcile(self) -> float | None:
        """Once; the seconds after which to look again. Raises Killed, or what the API server did."""
        return self._reconciler.reconcile(self._key)

    def settle(self) -> None:
        """Until nothing is left to do."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            before = self.server.count
            self._changed.clear()
            with contextlib.suppress(ClusterError):
                self.reconcile()
                if self.server.count == before:
                    return
            # What was written is known at once; what the one before wrote, when the caches hear of it.
            self._changed.wait(0.05)
        raise AssertionError("it is never done")


def shape(world: World) -> Mapping[tuple[str, str], Manifest]:
    """What was made, without what differs from run to run."""
    kept = ("spec", "data", "revision")
    return {
        place: {name: value for name, value in manifest.items() if name in kept}
        for place, manifest in world.children().items()
    }


def settled(world: World, *, home: str = "") -> Mapping[tuple[str, str], Manifest]:
    """What was made once there is nothing left to do."""
    with Hands(world, home=home) as hands:
        hands.settle()
    return shape(world)


def clear(world: World) -> None:
    """Delete the Model and what it owns."""
    world.cluster.delete(MODELS, "m", propagationPolicy="Foreground")
    world.cluster.wait_gone(MODELS, "m")
