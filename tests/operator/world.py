"""A cluster with an operator at work in it, and what tests do to both.

Everything but the simulation goes over the API, so that the same tests run against a real API server. There, pods are
made by hand with the states that a test is about: `World.pod` does so in both.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fairlead_operator.app import Installation, create_operator, utc_now
from fairlead_operator.leader import LeaseTimes
from fairlead_operator.reconcile import Clock, Waits
from fairlead_operator.render import LoadedChart
from fairlead_operator.settings import OperatorSettings
from fairlead_serve.api_server import connect
from fairlead_serve.informer import Timing
from fairlead_serve.model import API_VERSION
from tests.charts.workload import CHART, SETTINGS
from tests.kube.cluster import SECONDS, KubeCluster
from tests.kube.resources import Manifest
from tests.kube.simulation.simulation import Simulation, simulated
from tests.operator import samples

MODELS = f"{API_VERSION}/models"
DEPLOYMENTS = "apps/v1/deployments"
TOKEN = "of the tests"
CPU = {"engine": {"device": "cpu"}}
QUICK = LeaseTimes(lasting=1.5, writing=1.0, renewing=0.2, asking=0.05)
# Short enough that a test notices what only the next watch finds.
WAITS = Waits(outside=0.3, loading=0.1, capacity=0.3, stuck=0.3, adapters=0.3)
WATCHES = Timing(watch=20, grace=5, first_pause=0.05, longest_pause=0.5, absent=0.2)


class World:
    """One namespace, and operators that look after the Models in it."""

    def __init__(self, cluster: KubeCluster, settings: OperatorSettings = SETTINGS) -> None:
        self.cluster = cluster
        http = settings.http.model_copy(update={"host": "127.0.0.1", "port": 0})
        self.settings = settings.model_copy(update={"http": http, "gateway_url": "http://gateway"})
        self.chart = LoadedChart(CHART)
        self.kubeconfig = cluster.kubeconfig
        """As whom the operator acts."""
        self.token_secret()

    # The operator

    @contextlib.contextmanager
    def operator(self, *, clock: Clock = utc_now, **settings: Any) -> Iterator[str]:
        """One operator, from start to stop; gives where its health and metrics are."""
        stopping, started = threading.Event(), threading.Event()
        urls: list[str] = []

        def on_started(url: str) -> None:
            urls.append(url)
            started.set()

        operator = create_operator(
            self.settings.model_copy(update=settings),
            Installation(connect(self.kubeconfig), self.cluster.namespace, TOKEN),
            chart=self.chart,
            lease_times=QUICK,
            timing=WATCHES,
            waits=WAITS,
            clock=clock,
        )
        thread = threading.Thread(target=operator.run, args=(stopping,), kwargs={"on_started": on_started})
        thread.start()
        try:
            if not started.wait(SECONDS):
                raise AssertionError("the operator did not start")
            yield urls[0]
        finally:
            stopping.set()
            thread.join(SECONDS)
        if thread.is_alive():
            raise AssertionError("the operator did not stop")

    # Models

    def model(self, name: str = "m", /, **spec: Any) -> Manifest:
        """Apply a Model on the CPU, with what is given in its spec."""
        document = samples.model(name, **{**CPU, **spec})
        (applied,) = self.cluster.apply(document)
        return applied

    def upstream(self, name: str = "m", /, **spec: Any) -> Manifest:
        """Apply a Model that an upstream serves."""
        (applied,) = self.cluster.apply(samples.upstream(**spec) | {"metadata": {"name": name}})
        return applied

    def status(self, name: str = "m") -> Manifest:
        """The status as it is; empty before there is one."""
        found = self.cluster.get(MODELS, name)
        return dict((found or {}).get("status") or {})

    def wait(self, holds: Callable[[Manifest], bool], name: str = "m", *, seconds: float = SECONDS) -> Manifest:
        """The status of a Model in the first state in which `holds` is true of it."""
        found = self.cluster.wait_until(
            MODELS, name, lambda model: model is not None and holds(model.get("status") or {}), seconds=seconds
        )
        return dict((found or {})["status"])

    def wait_condition(self, kind: str, status: str, reason: str = "", name: str = "m") -> Manifest:
        """The condition once it is so, said about the Model as it is now."""
        generation = (self.cluster.get(MODELS, name) or {})["metadata"]["generation"]

        def holds(found: Manifest) -> bool:
            one = condition(found, kind)
            current = one.get("observedGeneration", 0) >= generation
            return current and one["status"] == status and reason in ("", one["reason"])

        return condition(self.wait(holds, name), kind)

    def wait_observed(self, name: str = "m") -> Manifest:
        """The status once it is about the Model as it is now."""
        generation = (self.cluster.get(MODELS, name) or {})["metadata"]["generation"]
        return self.wait(lambda status: status.get("observedGeneration", 0) >= generation, name)

    def wait_started(self, name: str = "m") -> Manifest:
        """The status once it tells of the workload that was applied: there is nothing more to do then."""
        started = "pods are being started"
        return self.wait(lambda status: started in condition(status, "WorkloadReady")["message"], name)

    # What is around them

    def token_secret(self) -> None:
        """The Secret that every engine wants."""
        place = self.settings.internal_token
        self.secret(place.name, {place.key: TOKEN})

    def secret(self, name: str, values: Mapping[str, str]) -> None:
        """Make a Secret."""
        metadata = {"name": name}
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(values)})

    def children(self, name: str = "m") -> dict[tuple[str, str], Manifest]:
        """What there is of a Model, by kind and name, without pods."""
        found: dict[tuple[str, str], Manifest] = {}
        for kind in OWN_KINDS:
            for manifest in self.cluster.list(kind, f"fairlead.dev/model={name}"):
                found[kind.rpartition("/")[2], manifest["metadata"]["name"]] = manifest
        return found

    def events(self, name: str = "m") -> list[tuple[str, str]]:
        """Type and reason of the Events about a Model."""
        found = self.cluster.list("v1/events")
        return [(one["type"], one["reason"]) for one in found if one["involvedObject"]["name"] == name]

    # Pods by hand: no scheduler takes them and no kubelet runs them, here or in a real cluster.

    def pod(self, name: str, model: str = "m", *, revision: str = "", secret: str = "") -> Manifest:
        """An engine's pod that nobody runs."""
        container: Manifest = {"name": "engine", "image": "e:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        if secret:
            reference = {"secretKeyRef": {"name": secret, "key": "token"}}
            container["env"] = [{"name": "HF_TOKEN", "valueFrom": reference}]
        labels = {"fairlead.dev/model": model, "fairlead.dev/revision": revision}
        return self.cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels},
                "spec": {"schedulerName": "nobody", "containers": [container]},
            }
        )

    def pod_status(self, name: str, status: Mapping[str, Any]) -> None:
        """Write what a kubelet would."""
        found = self.cluster.get("v1/pods", name)
        if found is None:
            raise AssertionError(f"there is no pod {name}")
        path = self.cluster.path("v1/pods", name, "status")
        self.cluster.call("PUT", path, {**found, "status": dict(status)})

    # Controllers, scheduler and kubelets, where the cluster has none of its own.

    @contextlib.contextmanager
    def simulated(self, **options: Any) -> Iterator[Simulation]:
        """Run the simulation around the stand-in."""
        server = self.cluster.server
        if server is None:
            raise AssertionError("a real cluster has its own controllers")
        with simulated(server, **options) as simulation:
            yield simulation


OWN_KINDS = (
    "v1/serviceaccounts", "v1/configmaps", "v1/persistentvolumeclaims", "v1/services",
    "networking.k8s.io/v1/networkpolicies", "policy/v1/poddisruptionbudgets", "apps/v1/deployments",
    "apps/v1/controllerrevisions", "ray.io/v1/rayservices",
)  # fmt: skip


def condition(status: Mapping[str, Any], kind: str) -> Manifest:
    """One condition of a status; one of status Absent before there is any."""
    found: Sequence[Manifest] = status.get("conditions") or ()
    return next((dict(one) for one in found if one["type"] == kind), {"status": "Absent", "reason": "", "message": ""})


def now() -> str:
    """As the API writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
