"""Engines that come, change and fail, in a cluster whose controllers, scheduler and kubelets are simulated."""

import itertools
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairlead_operator.render import LoadedChart
from tests.charts.workload import CHART
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.kube.simulation.clock import ManualClock
from tests.kube.simulation.engine import Engine
from tests.kube.simulation.script import Crash, CreateError, Fate, ImagePullError, Pulling, Ready, Starting
from tests.kube.simulation.simulation import Simulation, node
from tests.operator.waiting import until
from tests.operator.world import DEPLOYMENTS, MODELS, World, condition

GPU = {"engine": {"device": "cuda"}}
OTHER = {"engine": {"device": "cuda", "maxModelLen": 1024}}


@pytest.fixture
def simulation(world: World, standin: KubeServer) -> Iterator[Simulation]:
    """Controllers around the stand-in, and an operator at work."""
    del standin  # a real cluster has controllers of its own
    clock = ManualClock(time.time())
    with world.simulated(nodes=[node("n1", gpus=2)], clock=clock) as simulation, world.operator():
        yield simulation


@pytest.fixture
def timed(world: World, standin: KubeServer) -> Iterator[Simulation]:
    """As `simulation`, with an operator that goes by the clock of the cluster."""
    del standin  # a real cluster has controllers of its own
    clock = ManualClock(time.time())
    with (
        world.simulated(nodes=[node("n1", gpus=2)], clock=clock) as simulation,
        world.operator(clock=lambda: datetime.fromtimestamp(clock.now(), UTC)),
    ):
        yield simulation


def pods(world: World, name: str = "m") -> list[Manifest]:
    return world.cluster.list("v1/pods", f"fairlead.dev/model={name}")


def serving(world: World, revision: str = "", count: int = 1, name: str = "m") -> Manifest:
    """The status once so many engines answer, all of them of that revision."""

    def holds(status: Manifest) -> bool:
        complete = condition(status, "Progressing")["reason"] == "RolloutComplete"
        return complete and status["readyReplicas"] == count and revision in ("", status["updatedRevision"])

    return world.wait(holds, name)


def crash(world: World, simulation: Simulation) -> None:
    """Let an engine that crashes do so, often enough to be no accident."""
    world.wait(lambda status: condition(status, "WorkloadReady")["reason"] == "ContainerCrashLoopBackOff")
    simulation.advance(90)


class Seen:
    """How many engines of a Model there were, at every change of a pod."""

    def __init__(self, world: World, server: KubeServer, name: str = "m") -> None:
        self.most = 0
        self.fewest_ready = 1000
        self._pods = {pod["metadata"]["name"]: pod for pod in pods(world, name)}
        self._name = name
        server.call(server.store.subscribe, self._notice)

    def _notice(self, event: str, resource: Any, manifest: Manifest) -> None:
        labels = manifest["metadata"].get("labels") or {}
        engines = {"fairlead.dev/model": self._name, "app.kubernetes.io/component": "engine"}
        if resource.plural != "pods" or not engines.items() <= labels.items():
            return
        self._pods[manifest["metadata"]["name"]] = manifest
        if event == "DELETED":
            del self._pods[manifest["metadata"]["name"]]
        live = [pod for pod in self._pods.values() if not pod["metadata"].get("deletionTimestamp")]
        self.most = max(self.most, len(live))
        self.fewest_ready = min(self.fewest_ready, sum(_is_ready(pod) for pod in live))


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.mark.usefixtures("simulation")
def test_a_model_that_is_applied_becomes_ready(world: World) -> None:
    world.model(**GPU, replicas=2)
    world.wait_condition("Ready", "True")
    status = serving(world, count=2)
    assert (status["phase"], status["replicas"], status["desiredReplicas"]) == ("Serving", 2, 2)
    assert status["currentRevision"] == status["updatedRevision"]
    # That a pod is ready may be heard of after what its Deployment says.
    world.wait_condition("ModelCached", "True")
    until(lambda: ("Normal", "Ready") in world.events())


@pytest.mark.usefixtures("simulation")
def test_an_update_needs_no_gpu_more_than_there_are(world: World, standin: KubeServer) -> None:
    world.model(**GPU, replicas=2)
    before = serving(world, count=2)["updatedRevision"]
    seen = Seen(world, standin)
    world.model(**OTHER, replicas=2)
    world.wait(lambda status: status["updatedRevision"] != before)
    after = serving(world, count=2)
    assert after["currentRevision"] != before
    assert seen.most <= 2
    assert seen.fewest_ready >= 1
    assert {pod["metadata"]["labels"]["fairlead.dev/revision"] for pod in pods(world)} == {after["currentRevision"]}


def test_an_update_that_crashes_goes_back_while_the_other_engines_serve(
    world: World, standin: KubeServer, simulation: Simulation
) -> None:
    world.model(**GPU, replicas=2)
    before = serving(world, count=2)["updatedRevision"]
    seen = Seen(world, standin)
    broken = {"engine": {"device": "cuda", "image": "registry/engine:broken"}}
    simulation.script.play(Crash(message="EngineStartFailed: no kernel image"), image="registry/engine:broken")
    world.model(**broken, replicas=2)
    crash(world, simulation)
    found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "RolledBack")
    assert "no kernel image" in condition(found, "Progressing")["message"]
    world.wait(lambda status: status["readyReplicas"] == 2 and status["currentRevision"] == before)
    assert seen.fewest_ready >= 1
    until(lambda: ("Warning", "RolledBack") in world.events())
    assert condition(world.status(), "Ready")["status"] == "True"
    # Once it is known to fail it is not tried again, not even by another operator.
    uids = {pod["metadata"]["uid"] for pod in pods(world)}
    with world.operator():
        world.model(**broken, replicas=2, limits={"maxOngoing": 1})
        world.wait_observed()
    assert {pod["metadata"]["uid"] for pod in pods(world)} == uids
    # A retry is asked for by an annotation; by now the image is mended.
    simulation.script.play(Ready(), image="registry/engine:broken")
    world.cluster.patch(MODELS, "m", {"metadata": {"annotations": {"fairlead.dev/retry": "1"}}})
    world.wait(lambda status: status.get("currentRevision") not in ("", None, before))
    assert serving(world, count=2)["phase"] == "Serving"


def test_an_update_for_which_there_is_no_gpu_says_how_many_are_free(world: World, simulation: Simulation) -> None:
    del simulation
    surge = {"rolloutStrategy": {"maxSurge": 1, "maxUnavailable": 0}, "replicas": 2}
    world.model(**GPU, **surge)
    serving(world, count=2)
    world.model(**OTHER, **surge)
    found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "Blocked")
    message = condition(found, "Progressing")["message"]
    assert message.startswith("blocked: needs 1 more nvidia.com/gpu")
    assert "2 of before serve meanwhile" in message
    assert found["readyReplicas"] == 2
    assert condition(found, "Ready")["status"] == "True"


def test_hold_leaves_a_failed_update_for_inspection(world: World, simulation: Simulation) -> None:
    strategy = {"rolloutStrategy": {"onFailure": "Hold"}, "replicas": 2}
    world.model(**GPU, **strategy)
    before = serving(world, count=2)["updatedRevision"]
    simulation.script.play(Crash(), image="registry/engine:broken")
    world.model(engine={"device": "cuda", "image": "registry/engine:broken"}, **strategy)
    crash(world, simulation)
    found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "ProgressDeadlineExceeded")
    assert found["updatedRevision"] != before
    assert found["readyReplicas"] == 1
    assert found["phase"] == "Degraded"


def test_a_download_is_told_from_the_pod(world: World, simulation: Simulation) -> None:
    engine = Engine(
        phase="Downloading",
        cached=False,
        download={"bytesDone": 1_000_000, "bytesTotal": 4_000_000, "bytesPerSecond": 250_000},
    )
    simulation.script.serve(engine, model="m")
    simulation.script.play(Starting(), model="m")
    world.model(**GPU)
    found = world.wait(lambda status: "download" in status)
    assert found["download"] == {"bytesDone": 1_000_000, "bytesTotal": 4_000_000, "bytesPerSecond": 250_000}
    assert found["phase"] == "Caching"
    assert condition(found, "ModelCached")["reason"] == "Downloading"
    engine.phase, engine.cached, engine.download = "Loading", True, None
    found = world.wait(lambda status: condition(status, "WorkloadReady")["reason"] == "Loading")
    assert condition(found, "ModelCached")["status"] == "True"
    assert "download" not in found
    engine.phase = "Ready"
    simulation.script.play(Ready(), model="m")
    assert serving(world)["phase"] == "Serving"


def test_an_engine_that_fetches_is_asked_in_its_time_and_not_after_each_status(
    world: World, standin: KubeServer, simulation: Simulation
) -> None:
    numbers = itertools.count(1)

    class Fetching(Engine):
        def status(self, pod: str) -> dict[str, Any]:
            return {**super().status(pod), "download": {"bytesDone": next(numbers), "bytesTotal": 10**9}}

    simulation.script.serve(Fetching(phase="Downloading", cached=False), model="m")
    simulation.script.play(Starting(), model="m")
    world.model(**GPU)
    began, mark = time.monotonic(), len(standin.audit)
    world.wait(lambda status: status.get("download", {}).get("bytesDone", 0) >= 5)
    seconds = time.monotonic() - began
    written = [one for one in standin.audit.writes(mark) if one.resource == "models.fairlead.dev"]
    # Every tenth of a second, as the tests have it, and a few for what happens besides.
    assert len(written) <= 10 * seconds + 8


def adapter(name: str, uri: str = "hf://org/lora") -> dict[str, str]:
    return {"name": name, "uri": uri}


def test_adapters_come_and_go_on_running_engines(world: World, simulation: Simulation) -> None:
    engine = simulation.script.serve(Engine(), model="m")
    world.model(**GPU, lora={"adapters": [adapter("sql")]})
    found = world.wait(lambda status: status.get("adapters") == [{"name": "sql", "state": "Loaded"}])
    (uid,) = [pod["metadata"]["uid"] for pod in pods(world)]
    engine.failing["chat"] = "rank 64 is above spec.lora.maxRank"
    world.model(**GPU, lora={"adapters": [adapter("sql"), adapter("chat")]})
    found = world.wait(
        lambda status: len(status.get("adapters", ())) == 2 and status["adapters"][1]["state"] == "Failed"
    )
    assert found["adapters"][1]["message"] == "rank 64 is above spec.lora.maxRank"
    world.model(**GPU, lora={"adapters": []})
    world.wait(lambda status: "adapters" not in status)
    assert [pod["metadata"]["uid"] for pod in pods(world)] == [uid]


def test_an_engine_that_started_anew_gets_its_adapters_again(world: World, simulation: Simulation) -> None:
    engine = simulation.script.serve(Engine(), model="m")
    world.model(**GPU, lora={"adapters": [adapter("sql")]})
    world.wait(lambda status: status.get("adapters") == [{"name": "sql", "state": "Loaded"}])
    (name,) = engine.asked
    engine.asked.clear()
    engine.failing["sql"] = "asked for again"
    world.cluster.patch("v1/pods", name, {"metadata": {"annotations": {"anything": "happened"}}})
    world.wait(lambda status: status["adapters"][0].get("message") == "asked for again")


def test_an_engine_that_restarts_while_the_operator_is_away_has_its_adapters(world: World, standin: KubeServer) -> None:
    del standin  # a real cluster has controllers of its own
    with world.simulated(nodes=[node("n1", gpus=1)]) as simulation:
        engine = simulation.script.serve(Engine(), model="m")
        with world.operator():
            world.model(**GPU, lora={"adapters": [adapter("sql")]})
            world.wait(lambda status: status.get("adapters") == [{"name": "sql", "state": "Loaded"}])
            world.model(**GPU, lora={"adapters": [adapter("sql"), adapter("chat")]})
            world.wait(lambda status: [one["state"] for one in status["adapters"]] == ["Loaded", "Loaded"])
        (name,) = engine.asked
        engine.asked.clear()
        simulation.script.play(Crash(), pod=name)
        until(lambda: not any(map(_is_ready, pods(world))))
        simulation.script.play(Ready(), pod=name)
        until(lambda: [one["name"] for one in engine.asked.get(name, ())] == ["sql", "chat"])
        # Without any left there is none to start with.
        with world.operator():
            world.model(**GPU, lora={"adapters": []})
            world.cluster.wait_gone("v1/configmaps", "m-adapters")
        assert [pod["metadata"]["name"] for pod in pods(world)] == [name]


def test_an_update_that_was_suspended_on_its_way_fails_in_its_time_after_it_goes_on(
    world: World, standin: KubeServer
) -> None:
    del standin  # a real cluster has controllers of its own
    clock = ManualClock(time.time())
    timed: dict[str, Any] = {"startupTimeoutSeconds": 60, "rolloutStrategy": {"progressDeadlineSeconds": 60}}
    slow = {"engine": {"device": "cuda", "image": "registry/engine:slow"}, **timed}
    with (
        world.simulated(nodes=[node("n1", gpus=1)], clock=clock) as simulation,
        world.operator(clock=lambda: datetime.fromtimestamp(clock.now(), UTC)),
    ):
        world.model(**GPU, **timed)
        before = serving(world)["updatedRevision"]
        simulation.script.play(Starting(), image="registry/engine:slow")
        world.model(**slow)
        world.wait(lambda status: condition(status, "WorkloadReady")["status"] == "False")
        world.model(**slow, suspend=True)
        world.wait(lambda status: status["phase"] == "Suspended" and status["replicas"] == 0)
        simulation.advance(3600)
        world.model(**slow)
        world.wait(lambda status: status["replicas"] == 1 and status["phase"] != "Suspended")
        simulation.advance(70)
        found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "RolledBack")
        assert "not all engines answered within 60 s" in condition(found, "Progressing")["message"]
        world.wait(lambda status: status["readyReplicas"] == 1 and status["currentRevision"] == before)


BRIEF: dict[str, Any] = {"startupTimeoutSeconds": 60, "rolloutStrategy": {"progressDeadlineSeconds": 60}}
SLOW = {"device": "cuda", "image": "registry/engine:slow"}


def test_an_update_that_was_made_while_suspended_fails_in_its_time_after_it_goes_on(
    world: World, timed: Simulation
) -> None:
    world.model(**GPU, **BRIEF)
    before = serving(world)["updatedRevision"]
    world.model(**GPU, **BRIEF, suspend=True)
    world.wait(lambda status: status["phase"] == "Suspended" and status["replicas"] == 0)
    timed.script.play(Starting(), image="registry/engine:slow")
    world.model(engine=SLOW, **BRIEF, suspend=True)
    world.wait(lambda status: status["updatedRevision"] != before)
    timed.advance(3600)
    world.model(engine=SLOW, **BRIEF)
    goes_back(world, timed, before)


def test_an_update_that_was_made_at_no_engines_fails_in_its_time_after_the_first_is_wanted(
    world: World, timed: Simulation
) -> None:
    scaling = {"scaling": {"minReplicas": 0, "maxReplicas": 2}}
    world.model(**GPU, **BRIEF, **scaling)
    before = serving(world)["updatedRevision"]
    world.cluster.patch(DEPLOYMENTS, "m", {"spec": {"replicas": 0}}, subresource="scale")
    world.wait(lambda status: status["replicas"] == 0)
    timed.script.play(Starting(), image="registry/engine:slow")
    world.model(engine=SLOW, **BRIEF, **scaling)
    world.wait(lambda status: status["updatedRevision"] != before)
    timed.advance(3600)
    world.cluster.patch(DEPLOYMENTS, "m", {"spec": {"replicas": 1}}, subresource="scale")
    goes_back(world, timed, before)


def goes_back(world: World, timed: Simulation, before: str) -> None:
    """The deadline of a minute ends what is on its way, and the engines of before come."""
    world.wait(lambda status: status["replicas"] == 1 and condition(status, "Progressing")["status"] == "True")
    timed.advance(70)
    found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "RolledBack")
    assert "not all engines answered within 60 s" in condition(found, "Progressing")["message"]
    world.wait(lambda status: status["readyReplicas"] == 1 and status["currentRevision"] == before)


@pytest.mark.parametrize("fate", [ImagePullError(), CreateError()], ids=["no image", "no command"])
def test_an_update_whose_engines_cannot_be_made_goes_back_within_minutes(
    world: World, timed: Simulation, fate: Fate
) -> None:
    world.model(**GPU)
    before = serving(world)["updatedRevision"]
    timed.script.play(fate, image="registry/engine:broken")
    world.model(engine={"device": "cuda", "image": "registry/engine:broken"})
    reasons = ("ImagePullError", "ContainerStartError")
    found = world.wait(lambda status: condition(status, "WorkloadReady")["reason"] in reasons)
    assert condition(found, "Progressing")["reason"] == "RolloutInProgress"
    timed.advance(301)
    found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "RolledBack")
    assert any(reason in condition(found, "Progressing")["message"] for reason in reasons)
    world.wait(lambda status: status["readyReplicas"] == 1 and status["currentRevision"] == before)


def test_a_quota_that_is_used_up_is_said_and_what_becomes_free_is_taken(world: World, simulation: Simulation) -> None:
    del simulation
    quota(world, "1")
    world.model(**GPU, replicas=2)
    said = world.wait_condition("WorkloadReady", "False", "Unschedulable")["message"]
    assert "1 of 2 engines answer; needs 1 more nvidia.com/gpu: 1 of 1 are in use by the quota team" in said
    assert "forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=1" in said
    assert world.status()["lastFailure"]["reason"] == "Unschedulable"
    until(lambda: ("Warning", "Unschedulable") in world.events())
    quota(world, "2")
    assert serving(world, count=2)["phase"] == "Serving"


def quota(world: World, gpus: str) -> None:
    """Let the pods of the namespace have so many GPUs together."""
    spec = {"hard": {"requests.nvidia.com/gpu": gpus}}
    world.cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": spec})


@pytest.mark.usefixtures("simulation")
def test_kubectl_scales_a_model_of_fixed_size(world: World) -> None:
    world.model(**GPU)
    serving(world)
    done = world.cluster.kubectl("scale", "model", "m", "--replicas=2")
    assert done.returncode == 0, done.stderr
    assert serving(world, count=2)["replicas"] == 2
    assert world.cluster.call("GET", world.cluster.path(MODELS, "m", "scale"))["status"]["replicas"] == 2


def test_kubectl_is_told_why_a_model_that_is_scaled_has_no_number(world: World) -> None:
    world.model(**GPU, scaling={"maxReplicas": 2})
    done = world.cluster.kubectl("scale", "model", "m", "--replicas=2")
    assert done.returncode != 0
    assert "replicas and scaling exclude each other" in done.stderr


@pytest.mark.usefixtures("simulation")
def test_another_operator_restarts_nothing(world: World, tmp_path: Path) -> None:
    world.model(**GPU, replicas=2)
    serving(world, count=2)
    before = {pod["metadata"]["uid"] for pod in pods(world)}
    newer = tmp_path / "model"
    shutil.copytree(CHART, newer)
    chart = newer / "Chart.yaml"
    chart.write_text(chart.read_text().replace("version: ", "version: 9", 1))
    world.chart = LoadedChart(newer)
    with world.operator(images=world.settings.images.model_copy(update={"cpu": "other:2"})):
        world.cluster.patch(MODELS, "m", {"spec": {"limits": {"maxOngoing": 7}}})
        world.wait_observed()
        serving(world, count=2)
    assert {pod["metadata"]["uid"] for pod in pods(world)} == before


def test_an_engine_that_is_lost_is_told_and_comes_back(world: World, simulation: Simulation) -> None:
    world.model(**GPU, replicas=2)
    serving(world, count=2)
    simulation.script.play(Pulling(), model="m")
    world.cluster.delete("v1/pods", pods(world)[0]["metadata"]["name"], gracePeriodSeconds=0)
    found = world.wait(lambda status: status["readyReplicas"] == 1)
    assert condition(found, "Ready")["status"] == "True"
    found = world.wait(lambda status: condition(status, "WorkloadReady")["status"] == "False")
    assert condition(found, "Progressing")["reason"] == "RolloutComplete", "an engine that is lost is no update"
    simulation.script.play(Ready(), model="m")
    serving(world, count=2)


def test_suspending_ends_the_engines_and_resuming_starts_them(world: World, simulation: Simulation) -> None:
    del simulation
    world.model(**GPU, replicas=2)
    serving(world, count=2)
    world.model(**GPU, replicas=2, suspend=True)
    found = world.wait(lambda status: status["phase"] == "Suspended" and status["replicas"] == 0)
    assert found["desiredReplicas"] == 0
    assert world.cluster.get(DEPLOYMENTS, "m")
    world.model(**GPU, replicas=2)
    assert serving(world, count=2)["phase"] == "Serving"
