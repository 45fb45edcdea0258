"""What pods ask for, where they may run, and what is free there."""

from decimal import Decimal
from typing import Any

import pytest

from fairlead_operator.capacity import Capacity, device_of, free_gpus, may_run_on, of_holder, of_node, requests_of
from fairlead_operator.render import Manifest
from tests.operator.pod_samples import GPU, node, pod

GI = Decimal(2**30)


def container(**requests: str) -> Manifest:
    return {"resources": {"requests": requests}}


def sidecar(**requests: str) -> Manifest:
    return {"restartPolicy": "Always", **container(**requests)}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container(cpu="1"), container(cpu="500m")]}, "1.5"),
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="3"), container(cpu="2")]}, "3"),
        ({"containers": [container(cpu="2")], "initContainers": [container(cpu="1"), container(cpu="1")]}, "2"),
        ({"containers": [container(cpu="2")], "initContainers": [sidecar(cpu="1")]}, "3"),
        # The last two run side by side before the engine starts.
        ({"containers": [container(cpu="1")], "initContainers": [sidecar(cpu="1"), container(cpu="4")]}, "5"),
        # A sidecar that comes later is not there yet.
        ({"containers": [container(cpu="1")], "initContainers": [container(cpu="4"), sidecar(cpu="1")]}, "4"),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, "1.25"),
        ({"containers": [container(cpu="1")], "resources": {"requests": {"cpu": "6"}}}, "6"),
        ({"containers": [{"resources": {"limits": {"cpu": "7"}}}]}, "7"),
        ({"containers": [{"resources": {"limits": {"cpu": "7"}, "requests": {"cpu": "2"}}}]}, "2"),
        ({"containers": [{}]}, "0"),
        ({}, "0"),
    ],
)
def test_a_pod_asks_for_what_it_may_use_at_once(spec: dict[str, Any], cpu: str) -> None:
    assert requests_of({"spec": spec}).get("cpu", 0) == Decimal(cpu)


def test_each_resource_is_counted_for_itself() -> None:
    assert requests_of(pod(gpus=2)) == {"memory": 32 * GI, GPU: 2}


def test_the_device_of_a_pod_is_what_it_asks_for_with_a_prefix() -> None:
    assert device_of(pod()) == GPU
    assert device_of(pod(gpus=0)) is None
    assert device_of({"spec": {"containers": [{"resources": {"limits": {GPU: "0"}}}]}}) is None


def on(name: str, gpus: int, phase: str = "Running") -> Manifest:
    found = pod(gpus=gpus, phase=phase)
    found["spec"]["nodeName"] = name
    return found


def asking(gpus: int = 1, **spec: Any) -> Manifest:
    found = pod(gpus=gpus)
    del found["spec"]["nodeName"]
    found["spec"] |= spec
    return found


def test_what_runs_is_in_use_and_what_has_ended_is_not() -> None:
    pods = [on("a", 2), on("b", 1), on("b", 4, "Failed"), on("b", 4, "Succeeded"), asking(4)]
    nodes = [node("a", gpus=4), node("b", gpus=4)]
    assert free_gpus(nodes, pods, GPU, asking(2)) == Capacity(
        GPU, nodes=2, total=8, free=5, largest_node=4, largest_free=3, room=2
    )


def test_only_nodes_that_the_pod_may_run_on_count() -> None:
    nodes = [node("a"), node("b", unschedulable=True), node("c", taints=[{"key": "k", "effect": "NoSchedule"}])]
    assert free_gpus(nodes, [], GPU, asking()).nodes == 1
    assert free_gpus([], [], GPU, asking()) == Capacity(
        GPU, nodes=0, total=0, free=0, largest_node=0, largest_free=0, room=0
    )


def test_a_device_that_broke_while_in_use_is_not_owed() -> None:
    found = free_gpus([node("a", gpus=1), node("b", gpus=2)], [on("a", 2)], GPU, asking())
    assert (found.total, found.free, found.largest_free) == (3, 2, 2)


def test_what_is_kept_of_nodes_and_pods_is_enough_and_no_more() -> None:
    bulk = {"images": [{"names": ["registry/engine:1"]}] * 50}
    nodes = [node("a", gpus=4, taints=[{"key": "gpu", "effect": "NoSchedule"}]), node("b", unschedulable=True)]
    nodes[0]["status"] |= bulk
    late, early = on("a", 1), on("a", 2, "Succeeded")
    late["spec"]["initContainers"] = [{"restartPolicy": "Always", "resources": {"limits": {GPU: "1"}}}]
    pods = [late, early, asking(), on("a", 0)]
    pod_kept = [one for one in map(of_holder, pods) if one is not None]
    waiting = asking(tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert free_gpus(map(of_node, nodes), pod_kept, GPU, waiting) == free_gpus(nodes, pods, GPU, waiting)
    assert len(pod_kept) == 2
    assert "images" not in of_node(nodes[0])["status"]
    assert of_holder(on("a", 1)) == {
        "spec": {
            "nodeName": "a",
            "containers": [{"resources": {"limits": {"memory": "32Gi", GPU: "1"}}}],
            "initContainers": [],
        },
        "status": {"phase": "Running"},
    }


@pytest.mark.parametrize(
    ("spec", "labels", "runs"),
    [
        ({}, {}, True),
        ({"nodeSelector": {"gpu": "l4"}}, {"gpu": "l4"}, True),
        ({"nodeSelector": {"gpu": "l4"}}, {"gpu": "h100"}, False),
        ({"nodeSelector": {"gpu": "l4"}}, {}, False),
    ],
)
def test_a_node_has_every_label_of_the_selector(spec: dict[str, Any], labels: dict[str, str], runs: bool) -> None:
    assert may_run_on(asking(**spec), node(labels=labels)) is runs


@pytest.mark.parametrize(
    ("toleration", "runs"),
    [
        (None, False),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "operator": "Equal", "value": "l4"}, True),
        ({"key": "gpu", "value": "l4"}, True),
        ({"key": "gpu", "value": "h100"}, False),
        ({"key": "gpu"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_has_to_be_tolerated(toleration: Manifest | None, runs: bool) -> None:
    tainted = node(taints=[{"key": "gpu", "value": "l4", "effect": "NoSchedule"}])
    assert may_run_on(asking(tolerations=[toleration] if toleration else []), tainted) is runs


def test_a_taint_that_only_puts_off_is_no_matter() -> None:
    assert may_run_on(asking(), node(taints=[{"key": "k", "effect": "PreferNoSchedule"}]))


def test_a_cordoned_node_takes_who_tolerates_it() -> None:
    cordoned = node(unschedulable=True)
    assert not may_run_on(asking(), cordoned)
    assert may_run_on(asking(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]), cordoned)


def wants(*terms: Manifest) -> Manifest:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return asking(affinity={"nodeAffinity": required})


def label(operator: str, *values: str, key: str = "zone") -> Manifest:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("terms", "runs"),
    [
        ([label("In", "a", "b")], True),
        ([label("In", "b")], False),
        ([label("In", "b"), label("In", "a")], True),
        ([label("In", "a", key="missing")], False),
        ([label("NotIn", "b")], True),
        ([label("NotIn", "a")], False),
        ([label("NotIn", "a", key="missing")], True),
        ([label("Exists")], True),
        ([label("Exists", key="missing")], False),
        ([label("DoesNotExist")], False),
        ([label("DoesNotExist", key="missing")], True),
        ([label("Gt", "15", key="memory")], True),
        ([label("Gt", "16", key="memory")], False),
        ([label("Lt", "17", key="memory")], True),
        ([label("Lt", "17", key="missing")], False),
        ([label("Near", "a")], False),
        ([{"matchExpressions": [*label("Exists")["matchExpressions"], *label("In", "b")["matchExpressions"]]}], False),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}], True),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}], False),
        ([{}], False),
        ([], False),
    ],
)
def test_one_term_of_a_required_affinity_has_to_match(terms: list[Manifest], runs: bool) -> None:
    assert may_run_on(wants(*terms), node("node-1", labels={"zone": "a", "memory": "16"})) is runs


def test_a_wish_is_no_matter() -> None:
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": label("In", "b")}]}
    assert may_run_on(asking(affinity={"nodeAffinity": wish}), node())
