"""The addresses behind a Service."""

from typing import Any

from tests.kube.simulation.script import Ready, Starting
from tests.kube.simulation.world import World, state

SELECTOR = {"fairlead.dev/model": "m"}
PORTS = [{"name": "http", "containerPort": 8000}]


def serve(world: World, **spec: Any) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    world.create("services", "m", spec={"clusterIP": "None", "selector": SELECTOR, "ports": ports, **spec})


def endpoints(world: World) -> list[dict[str, Any]]:
    (found,) = world.all("endpointslices")
    return list(found.get("endpoints") or ())


async def test_a_slice_has_the_address_and_the_port_of_each_pod(world: World) -> None:
    serve(world)
    assert endpoints(world) == []
    world.deploy(ports=PORTS, replicas=2)
    (found,) = world.all("endpointslices")
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "m"
    assert found["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert found["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP"}]
    addresses = {one["addresses"][0]: one["targetRef"]["name"] for one in endpoints(world)}
    assert addresses == {pod["status"]["podIP"]: pod["metadata"]["name"] for pod in world.pods}


async def test_pods_from_before_the_service_count_and_those_of_others_do_not(world: World) -> None:
    world.deploy("m", ports=PORTS)
    world.deploy("other", ports=PORTS)
    serve(world)
    (found,) = endpoints(world)
    assert world.get("pods", found["targetRef"]["name"])["metadata"]["labels"] | SELECTOR
    assert found["conditions"] == {"ready": True, "serving": True, "terminating": False}


async def test_an_endpoint_is_ready_when_its_pod_is(world: World) -> None:
    serve(world)
    world.script.play(Starting())
    world.deploy(ports=PORTS)
    assert [one["conditions"]["ready"] for one in endpoints(world)] == [False]
    world.script.play(Ready())
    world.settle()
    assert [one["conditions"]["ready"] for one in endpoints(world)] == [True]


async def test_a_pod_that_leaves_serves_and_is_not_ready(world: World) -> None:
    serve(world)
    world.script.leave(30)
    world.deploy(ports=PORTS, pod={"terminationGracePeriodSeconds": 60})
    assert state(world.pod)["ready"]
    world.deploy(ports=PORTS, replicas=0, pod={"terminationGracePeriodSeconds": 60})
    assert [one["conditions"] for one in endpoints(world)] == [{"ready": False, "serving": True, "terminating": True}]
    world.advance(30)
    assert endpoints(world) == []


async def test_a_service_that_publishes_all_says_so_of_all(world: World) -> None:
    serve(world, publishNotReadyAddresses=True)
    world.script.play(Starting())
    world.deploy(ports=PORTS)
    assert [one["conditions"]["ready"] for one in endpoints(world)] == [True]
