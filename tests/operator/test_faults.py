"""What an operator must survive: a server that fails at any request, is away, or drops its watches; its own death."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from fairlead_operator.crd import custom_resource_definition
from fairlead_serve.api_server import Answer
from tests.kube.cluster import KubeCluster
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.operator import samples
from tests.operator.hands import Hands, clear, settled
from tests.operator.waiting import until
from tests.operator.world import DEPLOYMENTS, MODELS, TOKEN, World

LEASES = "leases.coordination.k8s.io"


@pytest.fixture
def golden(world: World) -> Mapping[tuple[str, str], Manifest]:
    """What there is in the end; then nothing of it any more."""
    world.model(cache={"deletionPolicy": "Delete"}, replicas=2)
    found = settled(world)
    clear(world)
    return found


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_request_that_fails_is_made_up_for(
    world: World, standin: KubeServer, golden: Mapping[tuple[str, str], Manifest], after: bool
) -> None:
    resources = [
        "controllerrevisions.apps", "serviceaccounts", "configmaps", "persistentvolumeclaims", "services",
        "networkpolicies.networking.k8s.io", "poddisruptionbudgets.policy", "deployments.apps",
        "models.fairlead.dev/status",
    ]  # fmt: skip
    for resource in resources:
        verb = "update" if resource.endswith("status") else "patch"
        standin.fault(code=500, verb=verb, resource=resource, times=1, after=after)
        world.model(cache={"deletionPolicy": "Delete"}, replicas=2)
        assert settled(world) == golden, resource
        clear(world)


def test_five_hundred_models_at_once_get_their_workload_and_then_nothing_is_written(
    world: World, standin: KubeServer
) -> None:
    names = [f"m{number}" for number in range(500)]
    for name in names:
        world.model(name)
    with world.operator():
        for name in names:
            world.wait_started(name)
        assert len(world.cluster.list(DEPLOYMENTS)) == len(names)
        assert len(world.cluster.list("apps/v1/controllerrevisions")) == len(names)
        # What is left then is to tell of the last ones in Events.
        until(lambda: not written_during(standin, renewals=5))
        assert written_during(standin, renewals=10) == set()


def written_during(standin: KubeServer, *, renewals: int) -> set[tuple[str, str]]:
    """What the operator writes, by resource and name, while it renews its lease so many times."""
    mark = len(standin.audit)
    until(lambda: sum(one.resource == LEASES for one in standin.audit.writes(mark)) >= renewals)
    by_operator = [one for one in standin.audit.writes(mark) if one.agent == "fairlead"]
    return {(one.resource, one.name) for one in by_operator if one.resource != LEASES}


def test_a_new_operator_writes_nothing_where_all_is_well(world: World, standin: KubeServer) -> None:
    world.model()
    with world.operator():
        world.wait_started("m")
    mark = len(standin.audit)
    with world.operator():
        world.model("last")
        world.wait_started("last")
    written = {record.name for record in standin.audit.writes(mark) if record.agent == "fairlead"}
    assert not {name for name in written if name.startswith("m")}


@pytest.mark.parametrize(("verb", "resource"), [("get", "secrets"), ("patch", "deployments.apps")])
def test_a_right_that_is_missing_is_said_in_the_status(
    world: World, standin: KubeServer, verb: str, resource: str
) -> None:
    standin.fault(code=403, verb=verb, resource=resource)
    with world.operator():
        world.model()
        assert "a fault of the test" in world.wait_condition("SpecValid", "False", "Refused")["message"]
        standin.heal()
        world.wait_condition("SpecValid", "True")


def test_a_model_in_another_namespace_is_given_the_internal_token(world: World, standin: KubeServer) -> None:
    del standin  # counts nothing, but a real cluster has other Secrets to lose
    name = world.settings.internal_token.name
    world.cluster.delete("v1/secrets", name)
    world.model()
    with Hands(world, home="elsewhere") as hands:
        hands.settle()
    given = world.cluster.get("v1/secrets", name)
    assert given is not None
    assert base64.b64decode(given["data"]["token"]).decode() == TOKEN
    # Another token, after a rotation, reaches it when the next operator starts; a stranger's Secret never changes.
    world.cluster.patch("v1/secrets", name, {"data": {"token": "b2xk"}})
    world.model(drainTimeoutSeconds=7)
    with Hands(world, home="elsewhere") as hands:
        hands.settle()
    assert (world.cluster.get("v1/secrets", name) or {})["data"] == given["data"]
    world.cluster.patch("v1/secrets", name, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
    world.cluster.patch("v1/secrets", name, {"data": {"token": "bWluZQ=="}})
    world.model(drainTimeoutSeconds=8)
    with Hands(world, home="elsewhere") as hands:
        hands.settle()
    assert (world.cluster.get("v1/secrets", name) or {})["data"] == {"token": "bWluZQ=="}


def test_what_a_webhook_makes_of_an_object_is_not_taken_for_a_hand_edit(world: World, standin: KubeServer) -> None:
    world.model()
    with Hands(world) as hands:
        hands.settle()
        # The image of every Deployment is exchanged for a mirror's, right after it was applied.
        real = hands.server.request

        def through_webhook(method: str, path: str, **options: Any) -> Answer:
            answer = real(method, path, **options)
            if method == "PATCH" and path.endswith("/deployments/m") and answer.status < 300:
                document = answer.json()
                document["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror/e:1"
                return real("PUT", path, body=document)
            return answer

        hands.server.request = through_webhook  # type: ignore[method-assign]
        hands.hear_of(world.model(drainTimeoutSeconds=7))
        hands.settle()
        mark = len(standin.audit)
        hands.reconcile()
        assert not standin.audit.writes(mark)


def test_watches_that_are_dropped_lose_nothing(world: World, standin: KubeServer) -> None:
    with world.operator():
        world.model()
        world.wait_observed()
        for replicas in range(2, 6):
            standin.drop_watches()
            world.model(replicas=replicas)
            changed(world, replicas)


def test_a_past_that_is_compacted_is_listed_anew(world: World, standin: KubeServer) -> None:
    with world.operator():
        world.model()
        world.wait_observed()
        for replicas in range(2, 5):
            standin.compact()
            standin.drop_watches()
            world.model(replicas=replicas)
            changed(world, replicas)


def changed(world: World, replicas: int) -> None:
    world.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == replicas))


def test_what_happened_while_the_server_was_away_for_longer_than_the_lease_is_caught_up_with(
    world: World, standin: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    namespace = world.cluster.namespace
    with world.operator() as url:
        world.model()
        world.wait_started()
        standin.away()
        until(lambda: any("leading no longer" in message for message in caplog.messages))
        assert httpx.get(f"{url}/livez").status_code == 200
        standin.remove("services", "", namespace, "m")
        standin.change("models", "fairlead.dev", namespace, "m", replicas=3)
        # No watch can tell of it any more.
        standin.compact()
        standin.back()
        world.cluster.wait_until("v1/services", "m", lambda found: found is not None)
        changed(world, 3)


def test_a_server_that_fails_half_of_the_time_gets_there_in_the_end(world: World, standin: KubeServer) -> None:
    with world.operator():
        for _ in range(3):
            standin.fault(code=503, verb="patch", resource="services", times=1)
            standin.fault(code=500, verb="patch", resource="deployments.apps", times=1)
        world.model(cache={})
        assert world.wait_condition("SpecValid", "True")
        world.cluster.wait_until(DEPLOYMENTS, "m", lambda found: found is not None)


def test_of_two_operators_one_acts_and_the_other_takes_over(world: World, standin: KubeServer) -> None:
    with world.operator():
        world.model()
        world.wait_observed()
        with world.operator():
            world.model(replicas=2)
            changed(world, 2)
            holders = {one["spec"]["holderIdentity"] for one in world.cluster.list("coordination.k8s.io/v1/leases")}
            assert len(holders) == 1
        world.model(replicas=3)
        changed(world, 3)
    with world.operator():
        world.model(replicas=4)
        changed(world, 4)


def test_two_operators_together_make_nothing_twice(world: World) -> None:
    with world.operator(), world.operator():
        for number in range(10):
            world.model(f"m{number}")
        for number in range(10):
            world.wait_condition("SpecValid", "True", name=f"m{number}")
            revisions = world.cluster.list("apps/v1/controllerrevisions", f"fairlead.dev/model=m{number}")
            assert len(revisions) == 1


def test_a_namespace_that_is_deleted_takes_everything_along_and_the_others_are_served(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{world.cluster.namespace}-b"
    world.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    other = KubeCluster(world.cluster.client, world.cluster.kubeconfig, name, server=world.cluster.server)
    with world.operator(all_namespaces=True):
        for number in range(10):
            other.apply(samples.model(f"m{number}", engine={"device": "cpu"}, cache={}))
        # In the middle of the others' first reconciles.
        other.wait_until(DEPLOYMENTS, "m0", lambda found: found is not None)
        other.delete("v1/namespaces", name)
        other.wait_gone("v1/namespaces", name)
        world.model()
        world.wait_started()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_later_resource_definition_with_another_field_may_be_applied_under_running_models(world: World) -> None:
    later = custom_resource_definition()
    spec = later["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["tier"] = {"type": "string", "default": "gold"}
    with world.operator():
        world.model()
        world.wait_started()
        world.cluster.apply(later)
        world.model(replicas=2)
        changed(world, 2)
        found = world.cluster.get(MODELS, "m")
        assert found is not None
        assert found["spec"]["tier"] == "gold"
        assert world.wait_condition("SpecValid", "True")
        world.model("another")
        world.wait_started("another")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 1, "scaling": {"maxReplicas": 2}}, "replicas"),
    ({"rolloutStrategy": {"maxSurge": 0, "maxUnavailable": 0}}, "no engine could be replaced"),
    ({"model": {"uri": "ftp://x"}}, "uri"),
    ({"engine": {"maxModelLenght": 5}}, "unknown field"),
]


@pytest.mark.parametrize(("spec", "words"), BAD, ids=str)
def test_an_edit_that_makes_no_sense_is_refused_by_kubectl_with_a_sentence(
    world: World, spec: dict[str, Any], words: str
) -> None:
    good = world.cluster.kubectl("apply", "-f", "-", text=json.dumps(samples.model()))
    assert good.returncode == 0, good.stderr
    bad = world.cluster.kubectl("apply", "-f", "-", text=json.dumps(samples.model(**spec)))
    assert bad.returncode != 0
    assert words in bad.stderr, bad.stderr
