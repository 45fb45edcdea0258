"""A store with a simulation around it, for the simulation's own tests: no server, and time that stands still."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube import foreign
from tests.kube.crds import Definitions
from tests.kube.garbage import Garbage
from tests.kube.simulation.clock import Clock, ManualClock
from tests.kube.simulation.script import Script
from tests.kube.simulation.simulation import ENDLESS, STANDARD, Simulation
from tests.kube.store import Store

GPU = "nvidia.com/gpu"
_GROUPS = {
    "deployments": "apps",
    "replicasets": "apps",
    "endpointslices": "discovery.k8s.io",
    "rayservices": "ray.io",
    "rayclusters": "ray.io",
}


class World:
    """What a test does to the cluster, and what it sees of it."""

    def __init__(
        self,
        *,
        nodes: Sequence[Manifest] = (ENDLESS,),
        storage_classes: Sequence[Manifest] = (STANDARD,),
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self.store = Store(now=lambda: datetime.fromtimestamp(self.clock.now(), UTC))
        Definitions(self.store)
        Garbage(self.store)
        for definition in foreign.definitions():
            self.store.create(self.store.resource("customresourcedefinitions", "apiextensions.k8s.io"), definition)
        self.script = Script()
        self.simulation = Simulation(
            self.store, nodes=nodes, storage_classes=storage_classes, script=self.script, clock=self.clock
        )
        namespaces = self.store.resource("namespaces")
        for name in ("default", "models"):
            if self.store.get(namespaces, "", name) is None:
                self.store.create(namespaces, {"metadata": {"name": name}})
        self.simulation.start()

    def create(self, plural: str, name: str, *, labels: Mapping[str, str] | None = None, **parts: Any) -> Manifest:
        """Make an object in the namespace `models`, and let the cluster do what comes of it."""
        resource = self.store.resource(plural, _GROUPS.get(plural, ""))
        metadata = {"name": name, "namespace": "models", "labels": dict(labels or {})}
        created = self.store.create(resource, {"metadata": metadata, **parts})
        self.simulation.settle()
        return created

    def deploy(
        self,
        name: str = "m",
        *,
        replicas: int = 1,
        surge: int = 0,
        unavailable: int = 1,
        deadline: int = 600,
        gpus: int = 1,
        pod: Mapping[str, Any] | None = None,
        **container: Any,
    ) -> None:
        """Apply a Deployment of engines, and let the cluster do what comes of it."""
        spec = {
            "replicas": replicas,
            "progressDeadlineSeconds": deadline,
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "selector": {"matchLabels": {"fairlead.dev/model": name}},
            "template": template(name, gpus=gpus, pod=pod, **container),
        }
        deployments = self.store.resource("deployments", "apps")
        if self.store.get(deployments, "models", name) is None:
            self.create("deployments", name, spec=spec)
        else:
            self.change("deployments", name, spec=spec)

    def change(self, plural: str, name: str, **parts: Any) -> None:
        """Replace parts of an object, and let the cluster do what comes of it."""
        resource = self.store.resource(plural, _GROUPS.get(plural, ""))
        self.store.update(resource, {**self.get(plural, name), **parts})
        self.simulation.settle()

    def get(self, plural: str, name: str) -> Manifest:
        found = self.store.get(self.store.resource(plural, _GROUPS.get(plural, "")), "models", name)
        assert found is not None, f"there is no {name} among {plural}"
        return found

    def all(self, plural: str) -> list[Manifest]:
        return self.store.all(self.store.resource(plural, _GROUPS.get(plural, "")), "models")

    def delete(self, plural: str, name: str) -> None:
        self.store.delete(self.store.resource(plural, _GROUPS.get(plural, "")), "models", name)
        self.simulation.settle()

    def advance(self, seconds: float) -> None:
        self.simulation.advance(seconds)

    def settle(self) -> None:
        self.simulation.settle()

    @property
    def pods(self) -> list[Manifest]:
        return self.all("pods")

    @property
    def pod(self) -> Manifest:
        """The only pod."""
        (pod,) = self.pods
        return pod

    @property
    def images(self) -> list[str]:
        """What the pods run that are ready."""
        ready = [pod for pod in self.pods if condition(pod, "Ready").get("status") == "True"]
        return sorted(pod["spec"]["containers"][0]["image"] for pod in ready)

    def waiting(self) -> dict[str, str]:
        """What the container of the only pod waits for: reason and message."""
        (status,) = self.pod["status"]["containerStatuses"]
        return dict(status["state"]["waiting"])

    def events(self, reason: str) -> list[Manifest]:
        return [event for event in self.all("events") if event["reason"] == reason]


def template(
    name: str = "m", *, gpus: int = 0, pod: Mapping[str, Any] | None = None, **container: Any
) -> dict[str, Any]:
    """The pods of a Model."""
    resources = {"limits": {GPU: gpus}} if gpus else {}
    return {
        "metadata": {"labels": {"fairlead.dev/model": name}},
        "spec": {
            "containers": [{"name": "engine", "image": "e:1", "resources": resources, **container}],
            **(pod or {}),
        },
    }


def condition(manifest: Manifest, name: str) -> dict[str, Any]:
    """The condition of this type; empty when there is none."""
    conditions = manifest.get("status", {}).get("conditions", ())
    return next((dict(one) for one in conditions if one["type"] == name), {})


def state(pod: Manifest) -> dict[str, Any]:
    """The status of the only container."""
    (status,) = pod["status"]["containerStatuses"]
    return dict(status)
