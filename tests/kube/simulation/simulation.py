"""Controllers, scheduler and kubelets around a store: what an operator applies becomes what a cluster would show."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

from fairlead_operator.render import Manifest
from tests.kube.resources import Resource
from tests.kube.server import KubeServer
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, LoopClock, ManualClock
from tests.kube.simulation.deployments import Deployments
from tests.kube.simulation.endpoints import Endpoints
from tests.kube.simulation.events import Recorder
from tests.kube.simulation.kubelet import Kubelet
from tests.kube.simulation.launcher import Launcher
from tests.kube.simulation.pod_worker import Surroundings
from tests.kube.simulation.rayservices import RayClusters, RayServices
from tests.kube.simulation.replicasets import ReplicaSets
from tests.kube.simulation.scheduler import Scheduler
from tests.kube.simulation.script import Script
from tests.kube.simulation.volumes import Volumes, storage_class
from tests.kube.simulation.work import Background, Work
from tests.kube.store import Store

P = ParamSpec("P")
T = TypeVar("T")


class Controller(Protocol):
    """A part of the cluster, which is told of every change and plans its work."""

    def observe(self, event: str, plural: str, manifest: Manifest) -> None: ...


def node(
    name: str,
    *,
    cpu: str = "64",
    memory: str = "512Gi",
    gpus: int = 8,
    pods: int = 110,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
) -> Manifest:
    """A machine."""
    allocatable = {"cpu": cpu, "memory": memory, "pods": str(pods)} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {"taints": [dict(taint) for taint in taints]} if taints else {},
        "status": {
            "allocatable": allocatable,
            "capacity": allocatable,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


ENDLESS = node("endless", cpu="1000000", memory="1000000Gi", gpus=1_000_000, pods=1_000_000)
"""A machine on which everything has room."""
STANDARD = storage_class()


class Simulation:
    """Starts and stops on the event loop of the store's server, and works there.

    Tests in another thread reach it through `call`, `advance` and `script`.
    """

    def __init__(
        self,
        store: Store,
        *,
        nodes: Sequence[Manifest] = (ENDLESS,),
        storage_classes: Sequence[Manifest] = (STANDARD,),
        script: Script | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.script = script or Script()
        self.clock = clock or LoopClock()
        self._store = store
        self._own = (("nodes", nodes), ("storageclasses", storage_classes))
        self._work = Work()
        self._background = Background()
        self._api = Api(store)
        self._launcher = Launcher(self._api)
        recorder = Recorder(self._api, self.clock)
        around = Surroundings(
            self._api, self._work, self.clock, recorder, self.script, self._background, self._launcher
        )
        self._kubelet = Kubelet(around)
        self._ray = RayServices(self._api, self._work, self.clock, self.script)
        self._controllers: tuple[Controller, ...] = (
            Deployments(self._api, self._work, self.clock),
            ReplicaSets(self._api, self._work, self.clock),
            self._ray,
            RayClusters(self._api, self._work, self.clock),
            Volumes(self._api, self._work, recorder),
            Scheduler(self._api, self._work, self.clock, recorder),
            self._kubelet,
            Endpoints(self._api, self._work),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.get_ident()
        self._end: Callable[[], None] = lambda: None

    def start(self) -> None:
        """To be called on the loop, once."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._end = self._store.subscribe(self._observe)
        for plural, manifest in self._api.fill():
            self._tell("ADDED", plural, manifest)
        for plural, manifests in self._own:
            for one in manifests:
                if self._api.get(plural, ("", one["metadata"]["name"])) is None:
                    self._api.create(plural, one)
        self.script.on_change = lambda: self.call(self._look_again)

    async def stop(self) -> None:
        """To be awaited on the loop; everything that ran for pods is over then, and the objects stay."""
        self.script.on_change = lambda: None
        self._end()
        self._kubelet.close()
        await self._background.stop()
        self._work.clear()
        self._launcher.close()

    def call(self, function: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        """The result of `function`, called on the loop, from any thread."""
        if self._loop is None or threading.get_ident() == self._thread:
            return function(*arguments, **more)

        async def there() -> T:
            return function(*arguments, **more)

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result()

    def settle(self) -> None:
        """Come to where nothing is left to do before time goes on. From any thread."""
        self.call(self._work.settle)

    def advance(self, seconds: float) -> None:
        """Let so much time go by, on a clock that a test moves. From any thread."""
        clock = self.clock
        if not isinstance(clock, ManualClock):
            raise TypeError("time goes by itself; give the simulation a ManualClock to move it")
        self.settle()
        self.call(clock.advance, seconds, self._work.settle)

    def _look_again(self) -> None:
        self._kubelet.look_again()
        self._ray.look_again()

    def _observe(self, event: str, resource: Resource, manifest: Manifest) -> None:
        if self._api.concerns(resource):
            self._api.observe(event, resource.plural, manifest)
            self._tell(event, resource.plural, manifest)

    def _tell(self, event: str, plural: str, manifest: Manifest) -> None:
        for controller in self._controllers:
            controller.observe(event, plural, manifest)


@contextmanager
def simulated(server: KubeServer, **options: Any) -> Iterator[Simulation]:
    """A simulation around a server's store while the block runs; `options` are those of Simulation."""
    simulation = Simulation(server.store, **options)
    server.call(simulation.start)
    try:
        yield simulation
    finally:
        asyncio.run_coroutine_threadsafe(simulation.stop(), server.loop).result()
