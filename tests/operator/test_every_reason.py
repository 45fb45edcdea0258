"""Every reason that a condition can have is reached by something that happens in a cluster.

A reason that is new needs a row in SCENARIOS, or in the tables of `test_reasons`.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairlead_operator.conditions import ASPECTS, READY
from fairlead_operator.render import LoadedChart
from tests.charts.workload import CHART
from tests.kube import foreign
from tests.kube.server import KubeServer
from tests.kube.simulation.clock import ManualClock
from tests.kube.simulation.engine import Engine
from tests.kube.simulation.script import Crash, Fate, Starting
from tests.kube.simulation.simulation import STANDARD, Simulation, node
from tests.kube.simulation.volumes import storage_class
from tests.operator.test_reasons import CASES, UNOBTAINABLE
from tests.operator.world import World, condition, now

DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"
GPU: dict[str, Any] = {"engine": {"device": "cuda", "image": "registry/engine:1"}}
# A chart of somebody's own, which does not understand one of the Models.
STUMBLING = '{{ if eq .Release.Name "unrendered" }}{{ fail "this chart stumbles" }}{{ end }}\n'


@dataclass(frozen=True)
class Stage:
    """A cluster with an operator at work. Every scenario has a Model of its own in it, called after the scenario."""

    world: World
    server: KubeServer
    simulation: Simulation

    def wait(self, name: str, *said: str) -> None:
        """Until the Model says all of these, each as `Type/Reason`."""
        pairs = [one.split("/") for one in said]
        self.world.wait(lambda status: all(condition(status, kind)["reason"] == why for kind, why in pairs), name)


Scenario = Callable[[Stage, str], None]


def asks(**spec: Any) -> Scenario:
    """The Model asks for this, and nothing else happens."""

    def happen(stage: Stage, name: str) -> None:
        stage.world.model(name, **spec)

    return happen


def meets(fate: Fate) -> Scenario:
    """Whatever pods the Model has come to this."""

    def happen(stage: Stage, name: str) -> None:
        stage.simulation.script.play(fate, model=name)
        stage.world.model(name)

    return happen


def has_an_upstream(stage: Stage, name: str) -> None:
    stage.world.upstream(name)


def crash(message: str = "EngineStartFailed: no kernel image") -> Crash:
    return Crash(message=message)


def has_no_kuberay(stage: Stage, name: str) -> None:
    stage.world.cluster.delete(DEFINITIONS, "rayservices.ray.io")
    # Nobody is told that a kind is gone: it shows when it is listed again.
    stage.server.drop_watches()
    stage.world.model(name, cluster="KubeRay")
    stage.wait(name, "SpecValid/KubeRayNotFound")
    stage.world.cluster.apply(foreign.definition("ray.io", "v1", "RayService", "rayservices"))


def has_a_name_that_is_taken(stage: Stage, name: str) -> None:
    for one in ("owner", name):
        stage.world.model(one, model={"uri": "hf://org/model", "name": "shared"})
        stage.world.wait_observed(one)


def meets_a_stranger(stage: Stage, name: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
    stage.world.cluster.create(service)
    stage.world.model(name)


def wants_another_volume(stage: Stage, name: str) -> None:
    for class_name in ("standard", "other"):
        stage.world.model(name, cache={"storageClassName": class_name})
        stage.wait(name, "SpecValid/Valid" if class_name == "standard" else "SpecValid/CacheImmutable")


def has_no_volume_yet(stage: Stage, name: str) -> None:
    stage.world.model(name, cache={"storageClassName": "waits"}, **GPU, parallelism={"tensor": 8})
    stage.world.cluster.wait_until("v1/persistentvolumeclaims", f"{name}-cache", lambda found: found is not None)
    about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": f"{name}-cache"}
    event = {"type": "Warning", "reason": "ProvisioningFailed", "message": "the quota is used up"}
    where = {**about, "namespace": stage.world.cluster.namespace}
    document = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{name}.1"}, "lastTimestamp": now()}
    stage.world.cluster.create({**document, **event, "involvedObject": where})


def loads(stage: Stage, name: str) -> None:
    fetched = {"bytesDone": 1, "bytesTotal": 4, "bytesPerSecond": 1}
    engine = stage.simulation.script.serve(Engine(phase="Downloading", cached=False, download=fetched), model=name)
    stage.simulation.script.play(Starting(), model=name)
    stage.world.model(name)
    stage.wait(name, "WorkloadReady/Downloading", "ModelCached/Downloading")
    engine.phase, engine.cached, engine.download = "Loading", True, None


def loses_an_engine(stage: Stage, name: str) -> None:
    stage.world.model(name, replicas=2)
    stage.wait(name, "WorkloadReady/Ready")
    (pod, _) = stage.world.cluster.list("v1/pods", f"fairlead.dev/model={name}")
    stage.simulation.script.play(Starting(), pod=pod["metadata"]["name"])


def fails_at_first(stage: Stage, name: str) -> None:
    meets(crash())(stage, name)
    stage.wait(name, "WorkloadReady/ContainerCrashLoopBackOff")
    stage.simulation.advance(90)


def fails_later(stage: Stage, name: str) -> None:
    stage.simulation.script.play(crash(), image="registry/engine:broken")
    stage.world.model(name)
    stage.wait(name, "Progressing/RolloutComplete")
    stage.world.model(name, engine={"device": "cpu", "image": "registry/engine:broken"})
    stage.wait(name, "WorkloadReady/ContainerCrashLoopBackOff")
    stage.simulation.advance(90)


# What happens, and what the Model says in the end. In their order: what a cluster lacks at first it has later.
SCENARIOS: dict[str, tuple[Scenario, list[str]]] = {
    "no-kuberay": (has_no_kuberay, []),
    "starting": (
        meets(Starting()),
        ["WorkloadReady/Starting", "ModelCached/Unknown", "Progressing/RolloutInProgress"],
    ),
    "serving": (
        asks(),
        [
            "SpecValid/Valid", "ModelCached/Cached", "WorkloadReady/Ready", "Progressing/RolloutComplete",
            "ScalingReady/Fixed", "Suspended/NotSuspended",
        ],
    ),
    "suspended": (
        asks(suspend=True),
        ["WorkloadReady/Suspended", "Progressing/Suspended", "ScalingReady/Suspended", "Suspended/Suspended"],
    ),
    "upstream": (
        has_an_upstream,
        ["ModelCached/Upstream", "WorkloadReady/Upstream", "ScalingReady/Upstream"],
    ),
    "idle": (asks(replicas=0), ["WorkloadReady/Idle"]),
    "scaled": (asks(scaling={"maxReplicas": 2}), ["ScalingReady/NotAutoscaled"]),
    "ray": (asks(cluster="KubeRay", scaling={"maxReplicas": 2}), ["ScalingReady/Autoscaled"]),
    "profile": (
        asks(resourceProfile="nvidia-l40"),
        ["SpecValid/UnknownResourceProfile", "ScalingReady/Unknown", "Suspended/Unknown", "Progressing/Blocked"],
    ),
    "too-many": (asks(**GPU, resourceProfile="nvidia-l4", parallelism={"tensor": 8}), ["SpecValid/TooManyGPUs"]),
    "no-image": (asks(engine={"device": "cuda"}), ["SpecValid/UnknownImage"]),
    "no-secret": (
        asks(model={"uri": "hf://a/b", "accessSecretRef": {"name": "hf", "key": "token"}}),
        ["SpecValid/SecretNotFound"],
    ),
    "no-fallback": (asks(fallback=["nobody"]), ["SpecValid/UnknownFallback"]),
    "argument": (meets(crash("UnknownArgument: vLLM knows no such argument")), ["SpecValid/UnknownArgument"]),
    "unrendered": (asks(), ["SpecValid/RenderFailed"]),
    "stranger": (meets_a_stranger, ["SpecValid/NameConflict"]),
    "taken": (has_a_name_that_is_taken, ["SpecValid/NameTaken"]),
    "other-volume": (wants_another_volume, ["SpecValid/CacheImmutable"]),
    "refused": (asks(podTemplate={"affinity": {"nodeAffinitty": {}}}), ["SpecValid/Refused"]),
    "loading": (loads, ["WorkloadReady/Loading"]),
    "no-class": (asks(cache={"storageClassName": "none"}), ["ModelCached/StorageClassNotFound"]),
    "no-volume": (has_no_volume_yet, ["ModelCached/ClaimPending"]),
    "no-room": (asks(**GPU, parallelism={"tensor": 8}), ["Progressing/Blocked"]),
    "fewer": (loses_an_engine, ["WorkloadReady/NotEnoughReady"]),
    "failed": (fails_at_first, ["Progressing/ProgressDeadlineExceeded"]),
    "rolled-back": (fails_later, ["Progressing/RolledBack"]),
}  # fmt: skip
# Reached by pods made by hand, one test each: what a controller replaces at once, nobody could wait for.
BY_HAND = {f"WorkloadReady/{reason}" for reason in CASES} | {f"ModelCached/{reason}" for reason in UNOBTAINABLE}
# Said on the way of a scenario, which waits for it.
ON_THE_WAY = {"SpecValid/KubeRayNotFound", "WorkloadReady/Downloading", "ModelCached/Downloading"}


@pytest.fixture
def stage(world: World, standin: KubeServer, tmp_path: Path) -> Iterator[Stage]:
    chart = tmp_path / "model"
    shutil.copytree(CHART, chart)
    (chart / "templates/stumbling.yaml").write_text(STUMBLING, encoding="utf-8")
    world.chart = LoadedChart(chart)
    images = world.settings.images.model_copy(update={"cuda": ""})
    classes = (STANDARD, storage_class("waits", default=False, waits=True))
    clock = ManualClock(time.time())
    with (
        world.simulated(nodes=[node("n1", gpus=4)], storage_classes=classes, clock=clock) as simulation,
        world.operator(images=images),
    ):
        yield Stage(world, standin, simulation)


def test_every_reason_is_reached(stage: Stage) -> None:
    for name, (happen, said) in SCENARIOS.items():
        happen(stage, name)
        stage.wait(name, *said)


def test_there_is_a_scenario_for_every_reason() -> None:
    known = {f"{aspect.name}/{reason}" for aspect in ASPECTS if aspect is not READY for reason in aspect.reasons}
    assert set().union(BY_HAND, ON_THE_WAY, *(said for _, said in SCENARIOS.values())) == known
