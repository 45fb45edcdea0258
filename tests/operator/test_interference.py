"""What others do to the objects of a Model, kind by kind: delete, hide, edit, and have the name before."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from fairlead_operator.kinds import plural
from tests.charts.workload import model, workload
from tests.kube.resources import Manifest
from tests.operator.world import DEPLOYMENTS, World

LABEL = "fairlead.dev/model"
SPEC: dict[str, Any] = {"replicas": 2, "cache": {"deletionPolicy": "Delete"}}
RAY_SERVICES = "ray.io/v1/rayservices"
# What nothing else in an object says: whose it is, and by whom.
RELABELLED = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}
EDITS: dict[str, Manifest] = {
    "v1/serviceaccounts": {"automountServiceAccountToken": True},
    # Nobody can change the rest of the next three.
    "v1/configmaps": RELABELLED,
    "v1/persistentvolumeclaims": RELABELLED,
    "apps/v1/controllerrevisions": RELABELLED,
    "v1/services": {"spec": {"selector": {"a": "b"}}},
    "networking.k8s.io/v1/networkpolicies": {"spec": {"ingress": [{}]}},
    "policy/v1/poddisruptionbudgets": {"spec": {"minAvailable": 2}},
    DEPLOYMENTS: {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}},
    RAY_SERVICES: {"spec": {"rayClusterConfig": {"rayVersion": "0.1"}}},
    "monitoring.coreos.com/v1/podmonitors": {"spec": {"podMetricsEndpoints": []}},
}
# Of a name that others could give: that of a revision ends in a hash.
FOREIGN = [kind for kind in EDITS if kind != "apps/v1/controllerrevisions"]


@pytest.fixture
def served(world: World, kind: str) -> Iterator[World]:
    """A world with an operator at work and a Model in it that has such an object."""
    with world.operator():
        world.model(**SPEC, cluster="KubeRay" if kind == RAY_SERVICES else "Standalone")
        world.wait_started()
        yield world


def child(world: World, kind: str) -> Manifest:
    (found,) = world.cluster.list(kind, f"{LABEL}=m")
    return found


@pytest.mark.parametrize("kind", EDITS)
def test_a_child_that_is_deleted_comes_back(served: World, kind: str) -> None:
    name, uid = (child(served, kind)["metadata"][field] for field in ("name", "uid"))
    served.cluster.delete(kind, name)
    served.cluster.wait_until(kind, name, lambda found: found is not None and found["metadata"]["uid"] != uid)


@pytest.mark.parametrize("kind", EDITS)
def test_a_child_without_its_label_is_found_again(served: World, kind: str) -> None:
    before = child(served, kind)["metadata"]
    served.cluster.patch(kind, before["name"], {"metadata": {"labels": {LABEL: None}}})
    found = served.cluster.wait_until(
        kind, before["name"], lambda found: found is not None and LABEL in found["metadata"]["labels"]
    )
    assert found is not None
    assert found["metadata"]["uid"] == before["uid"]


@pytest.mark.parametrize("kind", EDITS)
def test_a_child_that_is_edited_is_put_back(served: World, kind: str) -> None:
    before = child(served, kind)
    edited = served.cluster.patch(kind, before["metadata"]["name"], EDITS[kind])
    assert said(edited) != said(before)
    served.cluster.wait_until(
        kind, before["metadata"]["name"], lambda found: found is not None and said(found) == said(before)
    )


def said(manifest: Manifest) -> Manifest:
    """What an object says, without what the API server counts and controllers report."""
    rest = {name: value for name, value in manifest.items() if name not in ("metadata", "status")}
    metadata = manifest["metadata"]
    return {**rest, "labels": metadata.get("labels", {}), "owned": "ownerReferences" in metadata}


@pytest.mark.parametrize("labelled", [False, True], ids=["stranger", "labelled"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_an_object_of_somebody_else_is_refused_and_left_as_it_is(world: World, kind: str, labelled: bool) -> None:
    spec = {**SPEC, "cluster": "KubeRay" if kind == RAY_SERVICES else "Standalone"}
    foreign = rendered(kind, spec)
    foreign["metadata"]["labels"] = {LABEL: "m"} if labelled else {}
    before = world.cluster.create(foreign)
    with world.operator():
        world.model(**spec)
        found = world.wait_condition("SpecValid", "False", "NameConflict")
        assert f"the {foreign['kind']} {foreign['metadata']['name']} is there already" in found["message"]
        world.model(**spec, drainTimeoutSeconds=120, limits={"maxOngoing": 8})
        world.wait_condition("SpecValid", "False", "NameConflict")
        there = world.cluster.get(kind, foreign["metadata"]["name"])
        assert there is not None
        assert said(there) == said(before)
        # Without everything that is its own, a Model starts no engine.
        assert not [one for one in world.children() if one[0] in ("deployments", "rayservices") and one[0] not in kind]


def rendered(kind: str, spec: Manifest) -> Manifest:
    """What the operator would make, as somebody else has made it."""
    made = workload(model("m", engine={"device": "cpu"}, **spec)).manifests
    (found,) = [one for one in made if kind.endswith(f"/{plural(one['kind'])}")]
    manifest: Manifest = copy.deepcopy(found)
    manifest["metadata"].pop("namespace", None)
    return manifest
