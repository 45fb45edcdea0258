"""The simulation around a real server: what clients see, and tests in another thread."""

import pytest

from fairlead_operator.render import Manifest
from tests.charts.workload import model, workload
from tests.kube.cluster import KubeCluster
from tests.kube.server import KubeServer
from tests.kube.simulation.clock import ManualClock
from tests.kube.simulation.objects import with_metadata
from tests.kube.simulation.script import OutOfMemory, Ready, Starting
from tests.kube.simulation.simulation import simulated
from tests.kube.simulation.world import state, template

LABELS = {"fairlead.dev/model": "m"}


def deployment() -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "m"},
        "spec": {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template()},
    }


def test_what_is_applied_becomes_available(cluster: KubeCluster, standin: KubeServer) -> None:
    with simulated(standin):
        cluster.apply(deployment())
        waited = cluster.kubectl("rollout", "status", "deployment/m", "--timeout=20s")
        assert waited.stdout.endswith('deployment "m" successfully rolled out\n'), waited.stderr
        assert "2/2" in cluster.kubectl("get", "deployment", "m").stdout


def test_a_test_writes_the_script_while_the_cluster_runs(cluster: KubeCluster, standin: KubeServer) -> None:
    with simulated(standin) as simulation:
        simulation.script.play(Starting(), model="m")
        cluster.apply(deployment())
        simulation.settle()
        assert [state(pod)["ready"] for pod in cluster.list("v1/pods")] == [False, False]
        simulation.script.play(OutOfMemory(), model="m")
        simulation.settle()
        assert {state(pod)["state"]["waiting"]["reason"] for pod in cluster.list("v1/pods")} == {"CrashLoopBackOff"}
        simulation.script.play(Ready(), model="m")
        simulation.settle()
        assert [state(pod)["ready"] for pod in cluster.list("v1/pods")] == [True, True]


def test_a_test_may_move_the_time(cluster: KubeCluster, standin: KubeServer) -> None:
    with simulated(standin, clock=ManualClock()) as simulation:
        simulation.script.play(Ready(after=600))
        cluster.apply(deployment())
        simulation.advance(599)
        assert [state(pod)["ready"] for pod in cluster.list("v1/pods")] == [False, False]
        simulation.advance(1)
        assert [state(pod)["ready"] for pod in cluster.list("v1/pods")] == [True, True]


def test_real_time_cannot_be_moved(standin: KubeServer) -> None:
    with simulated(standin) as simulation, pytest.raises(TypeError, match="ManualClock"):
        simulation.advance(1)


def test_what_was_there_before_is_taken_up(cluster: KubeCluster, standin: KubeServer) -> None:
    cluster.apply(deployment())
    with simulated(standin) as simulation:
        simulation.settle()
        assert len(cluster.list("v1/pods")) == 2
    with simulated(standin) as simulation:
        simulation.settle()
        assert len(cluster.list("v1/pods")) == 2
        cluster.delete("apps/v1/deployments", "m")
        simulation.settle()
        assert cluster.list("v1/pods") == []


def test_a_namespace_that_ends_takes_its_pods_along(cluster: KubeCluster, standin: KubeServer) -> None:
    with simulated(standin) as simulation:
        cluster.apply(deployment())
        simulation.settle()
        cluster.delete("v1/namespaces", cluster.namespace)
        cluster.wait_gone("v1/namespaces", cluster.namespace)
        simulation.settle()
        assert cluster.list("v1/pods") == []


@pytest.mark.parametrize("cluster_of", ["Standalone", "KubeRay"])
def test_the_workload_of_a_model_becomes_ready(cluster: KubeCluster, standin: KubeServer, cluster_of: str) -> None:
    with simulated(standin) as simulation:
        for manifest in workload(model(cluster=cluster_of, cache={"size": "1Gi"})).manifests:
            cluster.apply(with_metadata(manifest, namespace=cluster.namespace))
        simulation.settle()
        (pod, *_) = cluster.list("v1/pods")
        missing = 'secret "fairlead-internal-token" not found'
        assert state(pod)["state"]["waiting"] == {"reason": "CreateContainerConfigError", "message": missing}
        secret = {"metadata": {"name": "fairlead-internal-token"}, "stringData": {"token": "word"}}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", **secret})
        simulation.settle()
        (found,) = cluster.list("discovery.k8s.io/v1/endpointslices", selector="fairlead.dev/model=m")
        (endpoint,) = found["endpoints"]
        assert (endpoint["conditions"]["ready"], found["ports"][0]["port"]) == (True, 8000)
