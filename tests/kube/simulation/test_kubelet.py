"""Pods on a node: what happens to them by the script, in the words of a kubelet."""

from typing import Any

import pytest

from tests.kube.simulation.script import (
    Crash,
    CreateError,
    Evicted,
    ImagePullError,
    OutOfMemory,
    Pulling,
    Ready,
    RunError,
    Starting,
)
from tests.kube.simulation.world import World, condition, state

TOKEN = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "word"}}}


def phase(world: World) -> str:
    return str(world.pod["status"]["phase"])


async def test_without_a_word_a_pod_is_ready_at_once(world: World) -> None:
    world.deploy()
    pod = world.pod
    assert (phase(world), state(pod)["ready"], state(pod)["restartCount"]) == ("Running", True, 0)
    assert {one["type"]: one["status"] for one in pod["status"]["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }


async def test_every_pod_has_an_address_of_its_own_on_this_machine(world: World) -> None:
    world.deploy(replicas=3)
    addresses = {pod["status"]["podIP"] for pod in world.pods}
    assert len(addresses) == 3
    assert all(address.startswith("127.") for address in addresses)


async def test_a_pod_that_loads_runs_and_is_not_ready(world: World) -> None:
    world.script.play(Ready(after=20))
    world.deploy(startupProbe={"exec": {"command": ["true"]}})
    world.advance(19)
    assert (phase(world), state(world.pod)["ready"], state(world.pod)["started"]) == ("Running", False, False)
    found = condition(world.pod, "Ready")
    assert (found["status"], found["reason"]) == ("False", "ContainersNotReady")
    assert found["message"] == "containers with unready status: [engine]"
    world.advance(1)
    assert (state(world.pod)["ready"], state(world.pod)["started"]) == (True, True)


async def test_an_image_that_is_pulled_keeps_the_container_creating(world: World) -> None:
    world.script.play(Pulling())
    world.deploy()
    world.advance(600)
    assert (phase(world), world.waiting()) == ("Pending", {"reason": "ContainerCreating"})
    world.script.play(Ready())
    world.settle()
    assert world.images == ["e:1"]


async def test_an_image_that_cannot_be_pulled_is_tried_again_and_again(world: World) -> None:
    world.script.play(ImagePullError("no such image"))
    world.deploy()
    assert world.waiting() == {"reason": "ErrImagePull", "message": "no such image"}
    world.advance(2)
    message = 'Back-off pulling image "e:1": ErrImagePull: no such image'
    assert (phase(world), world.waiting()) == ("Pending", {"reason": "ImagePullBackOff", "message": message})
    world.advance(9)
    assert world.waiting()["reason"] == "ErrImagePull"
    world.script.play(Ready())
    world.settle()
    assert (world.images, state(world.pod)["restartCount"]) == (["e:1"], 0)


async def test_a_kubelet_warns_of_what_it_cannot_do(world: World) -> None:
    world.script.play(ImagePullError("no such image"))
    world.deploy()
    world.advance(1)
    messages = ['Failed to pull image "e:1": no such image', "Error: ErrImagePull", "Error: ImagePullBackOff"]
    assert sorted(event["message"] for event in world.events("Failed")) == sorted(messages)
    world.script.play(Crash())
    world.settle()
    (event,) = world.events("BackOff")
    assert (event["type"], event["count"], event["source"]["component"]) == ("Warning", 1, "kubelet")
    world.advance(10)
    (event,) = world.events("BackOff")
    assert event["count"] == 2
    assert event["firstTimestamp"] < event["lastTimestamp"]


async def test_a_container_out_of_memory_is_restarted_after_longer_and_longer_waits(world: World) -> None:
    world.script.play(OutOfMemory(after=5))
    world.deploy()
    world.advance(5)
    running = state(world.pod)
    assert (running["restartCount"], list(running["state"])) == (1, ["running"])
    assert {name: running["lastState"]["terminated"][name] for name in ("exitCode", "reason")} == {
        "exitCode": 137,
        "reason": "OOMKilled",
    }
    world.advance(5)
    uid, name = world.pod["metadata"]["uid"], world.pod["metadata"]["name"]
    assert world.waiting() == {
        "reason": "CrashLoopBackOff",
        "message": f"back-off 10s restarting failed container=engine pod={name}_models({uid})",
    }
    assert (phase(world), state(world.pod)["lastState"]["terminated"]["reason"]) == ("Running", "OOMKilled")
    world.advance(15)
    assert "back-off 20s" in world.waiting()["message"]
    assert state(world.pod)["restartCount"] == 2


async def test_the_longest_wait_is_five_minutes(world: World) -> None:
    world.script.play(Crash())
    world.deploy()
    world.advance(3600)
    assert "back-off 5m0s" in world.waiting()["message"]


async def test_the_last_words_of_a_container_are_kept(world: World) -> None:
    world.script.play(Crash(exit_code=3, message="AuthFailed: no access to org/model"))
    world.deploy()
    last = state(world.pod)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    assert last["message"] == "AuthFailed: no access to org/model"


async def test_a_ready_container_may_crash(world: World) -> None:
    world.deploy()
    world.script.play(Crash(after=7, ready=True))
    world.advance(6)
    assert world.images == ["e:1"]
    world.advance(1)
    assert state(world.pod)["restartCount"] == 1


async def test_a_ready_pod_may_become_unready_and_ready_again(world: World) -> None:
    world.deploy()
    world.script.play(Starting())
    world.settle()
    assert (world.images, phase(world)) == ([], "Running")
    world.script.play(Ready())
    world.settle()
    assert (world.images, state(world.pod)["restartCount"]) == (["e:1"], 0)


async def test_a_word_about_some_pods_leaves_the_others_alone(world: World) -> None:
    world.script.play(Starting(), image="e:2")
    world.script.play(Pulling(), model="other")
    world.script.play(Pulling(), labels={"fairlead.dev/model": "third"})
    world.deploy()
    for name in ("other", "third"):
        world.deploy(name)
    assert world.images == ["e:1"]


async def test_a_secret_that_is_missing_is_named_until_it_is_there(world: World) -> None:
    world.deploy(env=[TOKEN])
    assert (phase(world), world.waiting()) == (
        "Pending",
        {"reason": "CreateContainerConfigError", "message": 'secret "token" not found'},
    )
    secret = world.create("secrets", "token", data={"other": "eA=="})
    assert world.waiting()["message"] == "couldn't find key word in Secret models/token"
    world.store.update(world.store.resource("secrets"), {**secret, "data": {"word": "eA=="}})
    world.settle()
    assert world.images == ["e:1"]


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"secretRef": {"name": "s"}}]}, 'secret "s" not found'),
        ({"envFrom": [{"configMapRef": {"name": "c"}}]}, 'configmap "c" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]},
            'configmap "c" not found',
        ),
    ],
    ids=["secret", "config map", "key of a config map"],
)
async def test_whatever_the_environment_refers_to_has_to_be_there(
    world: World, container: dict[str, Any], message: str
) -> None:
    world.deploy(**container)
    assert world.waiting() == {"reason": "CreateContainerConfigError", "message": message}


async def test_what_is_optional_may_be_missing(world: World) -> None:
    world.deploy(envFrom=[{"secretRef": {"name": "s", "optional": True}}])
    assert world.images == ["e:1"]


async def test_a_volume_that_cannot_be_mounted_keeps_the_container_creating(world: World) -> None:
    world.deploy(pod={"volumes": [{"name": "config", "configMap": {"name": "c"}}]})
    assert (phase(world), world.waiting()) == ("Pending", {"reason": "ContainerCreating"})
    (event,) = world.events("FailedMount")
    assert event["message"] == 'MountVolume.SetUp failed for volume "config" : configmap "c" not found'
    assert (event["type"], event["involvedObject"]["uid"]) == ("Warning", world.pod["metadata"]["uid"])
    world.create("configmaps", "c", data={"a": "b"})
    assert world.images == ["e:1"]


async def test_a_container_that_cannot_be_made_or_started_says_why(world: World) -> None:
    world.script.play(CreateError("no command specified"))
    world.deploy()
    assert world.waiting() == {"reason": "CreateContainerError", "message": "no command specified"}
    world.script.play(RunError("exec: fairlead: not found"))
    world.settle()
    assert world.waiting() == {"reason": "RunContainerError", "message": "exec: fairlead: not found"}
    world.advance(3)
    assert world.waiting()["reason"] == "CrashLoopBackOff"
    last = state(world.pod)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (128, "StartError", "exec: fairlead: not found")


async def test_a_pod_that_is_evicted_stays_failed_beside_its_successor(world: World) -> None:
    world.deploy()
    name = world.pod["metadata"]["name"]
    world.script.play(Evicted("The node was low on resource: memory. "), pod=name)
    world.settle()
    status = world.get("pods", name)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["message"] == "The node was low on resource: memory. "
    assert condition(world.get("pods", name), "DisruptionTarget")["reason"] == "TerminationByKubelet"
    assert world.images == ["e:1"]
    assert len(world.pods) == 2


async def test_a_deleted_pod_is_gone_at_once_unless_it_takes_its_time(world: World) -> None:
    world.deploy(pod={"terminationGracePeriodSeconds": 60})
    world.delete("pods", world.pod["metadata"]["name"])
    assert len(world.pods) == 1
    world.script.leave(20)
    leaving = world.pod["metadata"]["name"]
    world.delete("pods", leaving)
    world.advance(19)
    assert condition(world.get("pods", leaving), "Ready")["status"] == "True"
    world.advance(1)
    assert leaving not in [pod["metadata"]["name"] for pod in world.pods]


async def test_no_pod_outlives_its_grace_period(world: World) -> None:
    world.script.leave(None)
    world.deploy(pod={"terminationGracePeriodSeconds": 60})
    leaving = world.pod["metadata"]["name"]
    world.delete("pods", leaving)
    world.advance(59)
    assert len(world.pods) == 2
    world.advance(1)
    assert len(world.pods) == 1
