"""RayServices: their clusters, what a change does to them, and what is said of them."""

from typing import Any

import yaml

from fairlead_operator.render import Manifest
from tests.kube.simulation.script import Evicted, Ready, Starting
from tests.kube.simulation.world import World, condition, template

LABELS = {"fairlead.dev/model": "m"}


def spec(
    *, image: str = "e:1", replicas: int = 1, hosts: int = 1, upgrade: str = "None", scaled: bool = False, **more: Any
) -> dict[str, Any]:
    """A RayService as the chart of a Model makes it."""
    application = {"name": "m", "import_path": "app:build", "args": {}, "deployments": [{"name": "engine"}]}
    group = {"groupName": "engine", "numOfHosts": hosts, "rayStartParams": {}, "template": template(image=image)}
    size = {"minReplicas": 0, "maxReplicas": 4} if scaled else {"replicas": replicas, "minReplicas": replicas}
    return {
        "serveConfigV2": yaml.safe_dump({"applications": [application]}),
        "upgradeStrategy": {"type": upgrade},
        "rayClusterConfig": {
            "enableInTreeAutoscaling": scaled,
            "headGroupSpec": {"rayStartParams": {}, "template": template(image="head:1")},
            "workerGroupSpecs": [{**group, **size}],
        },
        **more,
    }


def deploy(world: World, **parts: Any) -> None:
    world.create("rayservices", "m", labels=LABELS, spec=spec(**parts))


def status(world: World) -> dict[str, Any]:
    return dict(world.get("rayservices", "m")["status"])


def ready(world: World) -> tuple[str, str]:
    found = condition(world.get("rayservices", "m"), "Ready")
    return found["status"], found["reason"]


def cluster(world: World) -> Manifest:
    """The only RayCluster."""
    (found,) = world.all("rayclusters")
    return found


async def test_a_service_becomes_a_cluster_with_a_head_and_workers(world: World) -> None:
    deploy(world, replicas=2, hosts=2)
    found = cluster(world)
    assert found["metadata"]["labels"] | LABELS == found["metadata"]["labels"]
    kinds = sorted(pod["metadata"]["labels"]["ray.io/node-type"] for pod in world.pods)
    assert kinds == ["head", *["worker"] * 4]
    assert found["status"]["state"] == "ready"
    assert (found["status"]["desiredWorkerReplicas"], found["status"]["readyWorkerReplicas"]) == (4, 4)
    assert ready(world) == ("True", "NonZeroServeEndpoints")
    assert (status(world)["serviceStatus"], status(world)["numServeEndpoints"]) == ("Running", 4)
    active = status(world)["activeServiceStatus"]
    assert active["rayClusterName"] == found["metadata"]["name"]
    assert active["rayClusterStatus"]["head"]["podName"] == f"{found['metadata']['name']}-head"
    assert active["applicationStatuses"]["m"]["status"] == "RUNNING"
    assert active["applicationStatuses"]["m"]["serveDeploymentStatuses"]["engine"]["status"] == "HEALTHY"


async def test_a_service_that_starts_is_pending(world: World) -> None:
    world.script.play(Starting(), labels={"ray.io/node-type": "worker"})
    deploy(world)
    assert ready(world) == ("False", "Initializing")
    pending = status(world)["pendingServiceStatus"]
    assert pending["rayClusterName"] == cluster(world)["metadata"]["name"]
    assert pending["applicationStatuses"]["m"]["status"] == "DEPLOYING"


async def test_what_ray_serve_says_of_an_application_is_told(world: World) -> None:
    world.script.deploy("DEPLOY_FAILED", "no such model", model="m")
    deploy(world)
    said = status(world)["pendingServiceStatus"]["applicationStatuses"]["m"]
    assert (said["status"], said["message"]) == ("DEPLOY_FAILED", "no such model")
    assert said["serveDeploymentStatuses"]["engine"]["status"] == "UNHEALTHY"


async def test_without_upgrades_a_new_template_waits_for_the_end_of_the_cluster(world: World) -> None:
    deploy(world)
    first = cluster(world)["metadata"]["name"]
    world.change("rayservices", "m", spec=spec(image="e:2"))
    assert cluster(world)["metadata"]["name"] == first
    world.delete("rayclusters", first)
    assert cluster(world)["metadata"]["name"] != first
    assert world.images == ["e:2", "head:1"]
    assert status(world)["activeServiceStatus"]["rayClusterName"] == cluster(world)["metadata"]["name"]
    assert ready(world) == ("True", "NonZeroServeEndpoints")


async def test_with_upgrades_a_second_cluster_takes_over_and_the_first_goes_later(world: World) -> None:
    deploy(world, upgrade="NewCluster", rayClusterDeletionDelaySeconds=90)
    first = cluster(world)["metadata"]["name"]
    world.script.play(Starting(), image="e:2")
    world.change("rayservices", "m", spec=spec(image="e:2", upgrade="NewCluster", rayClusterDeletionDelaySeconds=90))
    assert condition(world.get("rayservices", "m"), "UpgradeInProgress")["status"] == "True"
    assert status(world)["activeServiceStatus"]["rayClusterName"] == first
    assert len(world.all("rayclusters")) == 2
    world.script.play(Ready(), image="e:2")
    world.settle()
    assert status(world)["activeServiceStatus"]["rayClusterName"] != first
    world.advance(89)
    assert len(world.all("rayclusters")) == 2
    world.advance(1)
    assert cluster(world)["metadata"]["name"] != first


async def test_a_change_of_the_application_or_of_the_size_keeps_the_cluster_as_it_is(world: World) -> None:
    deploy(world, upgrade="NewCluster")
    first = cluster(world)
    world.change("rayservices", "m", spec=spec(upgrade="NewCluster", replicas=3, serveConfigV2="applications: []"))
    assert cluster(world)["metadata"]["uid"] == first["metadata"]["uid"]
    assert len(world.pods) == 2


async def test_whoever_scales_the_cluster_gets_workers(world: World) -> None:
    deploy(world, scaled=True)
    assert len(world.pods) == 2
    found = cluster(world)
    (group,) = found["spec"]["workerGroupSpecs"]
    for replicas, pods in ((3, 4), (0, 1)):
        size = {**group, "replicas": replicas}
        world.change("rayclusters", found["metadata"]["name"], spec={**found["spec"], "workerGroupSpecs": [size]})
        assert len(world.pods) == pods
    assert ready(world) == ("False", "ZeroServeEndpoints")


async def test_a_suspended_service_has_no_cluster(world: World) -> None:
    deploy(world)
    world.change("rayservices", "m", spec=spec(suspend=True))
    assert (world.all("rayclusters"), world.pods) == ([], [])
    assert condition(world.get("rayservices", "m"), "Suspended")["status"] == "True"
    assert ready(world)[0] == "False"
    world.change("rayservices", "m", spec=spec())
    assert ready(world)[0] == "True"


async def test_a_worker_that_is_evicted_is_replaced(world: World) -> None:
    deploy(world)
    (worker,) = (pod for pod in world.pods if pod["metadata"]["labels"]["ray.io/node-type"] == "worker")
    world.script.play(Evicted(), pod=worker["metadata"]["name"])
    world.settle()
    assert worker["metadata"]["name"] not in [pod["metadata"]["name"] for pod in world.pods]
    assert world.images == ["e:1", "head:1"]
