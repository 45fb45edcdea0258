"""An operator and a cluster: what is applied appears, what is changed follows, what is broken is mended."""

from typing import Any

import pytest

from fairlead_operator.crd import custom_resource_definition
from fairlead_operator.settings import Monitoring
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.operator.hands import Hands
from tests.operator.waiting import until
from tests.operator.world import DEPLOYMENTS, MODELS, World, condition

CLAIMS = "v1/persistentvolumeclaims"


@pytest.fixture
def served(world: World) -> Any:
    """A world with an operator at work."""
    with world.operator():
        yield world


def of_kind(world: World, kind: str) -> Manifest:
    (found,) = [manifest for (plural, _), manifest in world.children().items() if plural == kind]
    return found


def test_a_model_becomes_a_workload(served: World) -> None:
    served.model(cache={})
    served.wait_condition("SpecValid", "True")
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: found is not None)
    kinds = {kind for kind, _ in served.children()}
    assert kinds == {
        "serviceaccounts", "configmaps", "persistentvolumeclaims", "services", "networkpolicies", "deployments",
        "controllerrevisions",
    }  # fmt: skip
    deployment = of_kind(served, "deployments")
    (owner,) = deployment["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Model", "m", True)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/engine:1-cpu"
    assert "ownerReferences" not in of_kind(served, "persistentvolumeclaims")["metadata"]


def test_a_model_that_was_there_before_the_operator_is_looked_after_too(world: World) -> None:
    world.model()
    with world.operator():
        world.wait_condition("SpecValid", "True")
        assert world.cluster.get(DEPLOYMENTS, "m")


def test_a_change_of_the_model_reaches_the_workload(served: World) -> None:
    served.model()
    served.wait_observed()
    served.model(replicas=3, drainTimeoutSeconds=7)
    found = served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 3))
    assert found is not None
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 72
    assert served.cluster.get("policy/v1/poddisruptionbudgets", "m")
    served.model(replicas=1)
    served.cluster.wait_gone("policy/v1/poddisruptionbudgets", "m")


def test_a_change_that_needs_no_new_pod_makes_none(served: World) -> None:
    served.model()
    served.wait_observed()
    before = of_kind(served, "deployments")["spec"]["template"]
    served.model(replicas=2, fallback=["m2"], limits={"maxOngoing": 1}, routing={"strategy": "LeastLoad"})
    served.wait_observed()
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 2))
    assert of_kind(served, "deployments")["spec"]["template"] == before


def test_what_is_edited_by_hand_is_put_back(served: World) -> None:
    served.model()
    served.wait_observed()
    image = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}, "replicas": 5}}
    served.cluster.patch(DEPLOYMENTS, "m", image)
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 1))
    assert of_kind(served, "deployments")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 185


def test_one_more_condition_in_a_selector_is_put_back(served: World) -> None:
    """With it the Service would lead to no pod at all."""
    served.model()
    served.wait_observed()
    served.cluster.patch("v1/services", "m", {"spec": {"selector": {"a": "b"}}})
    served.cluster.wait_until("v1/services", "m", lambda found: bool(found and "a" not in found["spec"]["selector"]))
    assert "fairlead.dev/model" in of_kind(served, "services")["spec"]["selector"]


def test_a_status_that_is_edited_by_hand_is_put_right(served: World) -> None:
    served.model(replicas=2)
    served.wait(lambda status: status.get("desiredReplicas") == 2)
    wrong = {"status": {"phase": "Idle", "desiredReplicas": 9}}
    served.cluster.patch(MODELS, "m", wrong, subresource="status")
    served.wait(lambda status: status["desiredReplicas"] == 2 and status["phase"] != "Idle")


def test_what_others_add_is_left_alone(served: World) -> None:
    served.model()
    served.wait_observed()
    served.cluster.patch(DEPLOYMENTS, "m", {"metadata": {"annotations": {"team": "a"}}})
    served.model(replicas=2)
    found = served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 2))
    assert found is not None
    assert found["metadata"]["annotations"]["team"] == "a"


def test_an_object_of_somebody_else_is_refused_and_then_taken_note_of(served: World) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m"}, "spec": {"ports": [{"port": 80}]}}
    served.cluster.create(foreign)
    served.model()
    found = served.wait_condition("SpecValid", "False", "NameConflict")
    assert "the Service m is there already and belongs to somebody else" in found["message"]
    assert served.cluster.get(DEPLOYMENTS, "m") is None
    service = served.cluster.get("v1/services", "m")
    assert service is not None
    assert service["spec"]["ports"][0]["port"] == 80
    assert "ownerReferences" not in service["metadata"]
    served.cluster.delete("v1/services", "m")
    served.wait_condition("SpecValid", "True")


def test_an_object_of_somebody_else_that_comes_last_starts_no_engine(world: World) -> None:
    foreign = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "m"},
        "spec": {"selector": {}, "podMetricsEndpoints": []},
    }
    before = world.cluster.create(foreign)
    with world.operator(monitoring=Monitoring(enabled=True)):
        world.model()
        assert "the PodMonitor m is there" in world.wait_condition("SpecValid", "False", "NameConflict")["message"]
        assert world.cluster.get(DEPLOYMENTS, "m") is None
        world.model(drainTimeoutSeconds=7)
        world.wait_condition("SpecValid", "False", "NameConflict")
    assert world.cluster.get("monitoring.coreos.com/v1/podmonitors", "m") == before


def test_what_is_new_is_made_without_a_look_before(served: World, standin: KubeServer) -> None:
    mark = len(standin.audit)
    served.model()
    served.wait_started()
    asked = [one for one in standin.audit.since(mark) if one.agent == "fairlead" and one.verb == "get"]
    assert {one.resource for one in asked} <= {"leases.coordination.k8s.io", "secrets"}


def test_a_deleted_model_takes_everything_along_but_its_claim(served: World) -> None:
    served.model(cache={})
    served.wait_observed()
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: found is not None)
    served.cluster.delete(MODELS, "m", propagationPolicy="Background")
    served.cluster.wait_gone(DEPLOYMENTS, "m")
    for kind, name in served.children():
        if kind != "persistentvolumeclaims":
            served.cluster.wait_gone(f"{_group(kind)}/{kind}", name)
    assert served.cluster.get(CLAIMS, "m-cache")


def _group(plural: str) -> str:
    apps = ("deployments", "controllerrevisions")
    others = {"networkpolicies": "networking.k8s.io/v1", "poddisruptionbudgets": "policy/v1"}
    return others.get(plural, "apps/v1" if plural in apps else "v1")


def test_a_claim_that_goes_with_its_model_says_so(served: World) -> None:
    served.model(cache={"deletionPolicy": "Delete"})
    served.wait_observed()
    served.cluster.wait_until(CLAIMS, "m-cache", lambda found: bool(found and found["metadata"].get("ownerReferences")))
    served.model(cache={"deletionPolicy": "Retain"})
    served.cluster.wait_until(
        CLAIMS, "m-cache", lambda found: bool(found and not found["metadata"].get("ownerReferences"))
    )


def test_a_kept_claim_is_used_by_the_next_model_of_its_name(served: World) -> None:
    served.model(cache={})
    served.wait_observed()
    served.cluster.wait_until(CLAIMS, "m-cache", lambda found: found is not None)
    uid = (served.cluster.get(CLAIMS, "m-cache") or {})["metadata"]["uid"]
    served.cluster.delete(MODELS, "m", propagationPolicy="Background")
    served.cluster.wait_gone(DEPLOYMENTS, "m")
    served.cluster.wait_gone("v1/services", "m")
    served.model(cache={})
    served.wait_condition("SpecValid", "True")
    assert (served.cluster.get(CLAIMS, "m-cache") or {})["metadata"]["uid"] == uid


def test_suspending_stops_the_engines_and_keeps_the_rest(served: World) -> None:
    served.model(replicas=2)
    served.wait_observed()
    served.model(replicas=2, suspend=True)
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 0))
    assert served.wait_condition("Suspended", "True")["reason"] == "Suspended"
    assert served.cluster.get("v1/services", "m")
    served.model(replicas=2)
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 2))
    served.wait_condition("Suspended", "False")


def test_a_move_to_an_upstream_and_back(served: World) -> None:
    served.model()
    served.wait_observed()
    served.cluster.delete(MODELS, "m", propagationPolicy="Background")
    served.cluster.wait_gone(DEPLOYMENTS, "m")
    served.upstream()
    assert served.wait_condition("Ready", "True")["reason"] == "Ready"
    assert served.status()["phase"] == "Serving"
    assert not any(kind == "deployments" for kind, _ in served.children())


def test_the_number_of_a_scaled_model_is_only_kept_within_its_bounds(served: World) -> None:
    served.model(scaling={"minReplicas": 2, "maxReplicas": 4})
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 2))
    served.cluster.patch(DEPLOYMENTS, "m", {"spec": {"replicas": 3}}, subresource="scale")
    served.model(scaling={"minReplicas": 2, "maxReplicas": 4}, drainTimeoutSeconds=9)
    served.wait_observed()
    found = served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 3))
    assert found is not None
    served.cluster.patch(DEPLOYMENTS, "m", {"spec": {"replicas": 9}}, subresource="scale")
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 4))


def test_a_model_that_is_to_be_scaled_keeps_its_engines(served: World) -> None:
    served.model(replicas=5)
    served.wait_started()
    served.model(scaling={"minReplicas": 1, "maxReplicas": 9})
    served.wait_condition("ScalingReady", "False", "NotAutoscaled")
    served.model(scaling={"minReplicas": 1, "maxReplicas": 9}, drainTimeoutSeconds=7)
    found = served.cluster.wait_until(
        DEPLOYMENTS,
        "m",
        lambda found: bool(found and found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 72),
    )
    assert found is not None
    assert found["spec"]["replicas"] == 5
    served.model(replicas=2, drainTimeoutSeconds=7)
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 2))


def test_a_secret_that_is_gone_keeps_nobody_from_suspending_or_scaling(served: World) -> None:
    served.secret("hf", {"token": "x"})
    source = {"uri": "hf://org/model", "accessSecretRef": {"name": "hf", "key": "token"}}
    served.model(model=source, replicas=2)
    served.wait_started()
    served.cluster.delete("v1/secrets", "hf")
    served.model(model=source, replicas=3)
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 3))
    served.model(model=source, suspend=True, replicas=3)
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 0))


def test_a_field_that_kubernetes_does_not_have_is_said_and_not_tried_for_ever(served: World) -> None:
    served.model(podTemplate={"affinity": {"nodeAffinitty": {}}})
    found = served.wait_condition("SpecValid", "False", "Refused")
    assert "nodeAffinitty" in found["message"]


MISSING: list[tuple[dict[str, Any], str, str]] = [
    ({"resourceProfile": "nvidia-l40"}, "UnknownResourceProfile", "there is no profile nvidia-l40"),
    (
        {"model": {"uri": "hf://a/b", "accessSecretRef": {"name": "hf", "key": "token"}}},
        "SecretNotFound",
        "spec.model.accessSecretRef: the Secret hf with the key token is not in this namespace; create it",
    ),
]


@pytest.mark.parametrize(("spec", "reason", "words"), MISSING, ids=[row[1] for row in MISSING])
def test_what_the_cluster_lacks_is_said_and_nothing_is_made(
    served: World, spec: dict[str, Any], reason: str, words: str
) -> None:
    served.model(**spec)
    found = served.wait_condition("SpecValid", "False", reason)
    assert words in found["message"]
    assert served.cluster.get(DEPLOYMENTS, "m") is None
    until(lambda: ("Warning", reason) in served.events())


def test_a_model_whose_name_an_older_one_has_is_not_ready_until_that_is_gone(served: World) -> None:
    for name in ("a", "b"):
        served.model(name, model={"uri": "hf://org/model", "name": "Same"})
        served.wait_started(name)
    found = served.wait_condition("SpecValid", "False", "NameTaken", "b")
    assert f"the name Same belongs to the older Model {served.cluster.namespace}/a" in found["message"]
    assert served.wait_condition("Ready", "False", "NameTaken", "b")
    assert served.cluster.get(DEPLOYMENTS, "b")
    served.wait_condition("SpecValid", "True", name="a")
    until(lambda: ("Warning", "NameTaken") in served.events("b"))
    served.cluster.delete(MODELS, "a", propagationPolicy="Background")
    served.wait_condition("SpecValid", "True", name="b")


def test_a_model_that_loses_only_an_alias_stays_ready(served: World) -> None:
    served.upstream("a")
    served.upstream("b", model={"aliases": ["a"]})
    served.wait_condition("SpecValid", "False", "NameTaken", "b")
    served.wait_condition("Ready", "True", name="b")


def test_a_secret_without_the_key_is_told_apart_from_none(served: World) -> None:
    served.secret("hf", {"other": "x"})
    served.model(model={"uri": "hf://a/b", "accessSecretRef": {"name": "hf", "key": "token"}})
    found = served.wait_condition("SpecValid", "False", "SecretNotFound")
    assert "the Secret hf has no key token; add it" in found["message"]


def test_a_later_definition_of_the_resource_stops_no_edit(served: World) -> None:
    served.model()
    served.wait_started()
    later = custom_resource_definition()
    (version,) = later["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string", "default": "x"}
    served.cluster.apply(later)
    served.model(replicas=2)
    assert (served.cluster.get(MODELS, "m") or {})["spec"]["later"] == "x"
    served.cluster.wait_until(DEPLOYMENTS, "m", lambda found: bool(found and found["spec"]["replicas"] == 2))
    assert served.wait_condition("SpecValid", "True")


def test_a_model_that_goes_while_it_is_looked_at_is_no_failure(
    served: World, standin: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    served.model()
    served.wait_started()
    standin.fault(code=404, resource="models.fairlead.dev/status")
    mark = len(standin.audit)
    served.model(replicas=2)
    until(lambda: any(one.subresource == "status" and one.writes for one in standin.audit.since(mark)))
    standin.heal()
    served.model(replicas=3)
    served.wait_observed()
    assert "a fault of the test" not in caplog.text


def test_a_fallback_that_is_not_there_keeps_nothing_from_being_served(served: World) -> None:
    served.model(fallback=["other"])
    assert "there is no Model other" in served.wait_condition("SpecValid", "False", "UnknownFallback")["message"]
    assert served.cluster.get(DEPLOYMENTS, "m")
    served.model("other")
    served.wait_condition("SpecValid", "True")


def test_an_edit_that_cannot_be_served_leaves_the_engines_alone(served: World) -> None:
    served.model()
    served.wait_condition("SpecValid", "True")
    before = of_kind(served, "deployments")
    served.model(resourceProfile="nvidia-l40", replicas=4)
    served.wait_condition("SpecValid", "False")
    assert of_kind(served, "deployments")["spec"] == before["spec"]


def test_an_update_of_which_nothing_is_heard_is_looked_at_when_its_time_is_over(world: World) -> None:
    world.model(cluster="KubeRay", startupTimeoutSeconds=60, rolloutStrategy={"progressDeadlineSeconds": 700})
    with Hands(world) as hands:
        hands.settle()
        assert hands.reconcile() == 700


def test_a_secret_that_comes_is_noticed(served: World) -> None:
    served.upstream(upstream={"url": "http://h/v1", "apiKeySecretRef": {"name": "key", "key": "key"}})
    served.wait_condition("SpecValid", "False", "SecretNotFound")
    assert condition(served.status(), "Ready")["reason"] == "SecretNotFound"
    served.secret("key", {"key": "x"})
    served.wait_condition("SpecValid", "True")
