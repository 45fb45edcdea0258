"""The cluster as a reconciler sees it, against an API server."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fairlead_operator.api import Api
from fairlead_operator.caches import Caches
from fairlead_operator.cluster import Cluster, Key
from fairlead_operator.errors import Away, Conflict, NotAllowed, Refused
from fairlead_operator.kinds import Kind
from fairlead_operator.recorder import Recorder
from fairlead_serve.api_server import ApiServer, connect
from fairlead_serve.informer import Timing
from tests.kube import foreign
from tests.kube.cluster import KubeCluster
from tests.kube.server import KubeServer
from tests.operator import samples
from tests.operator.waiting import until

# A connection that died in silence is given up within the patience of a test.
BRISK = Timing(watch=2, grace=1, first_pause=0.01, longest_pause=0.05, absent=0.05)
QUICK = Timing(watch=20, grace=5, first_pause=0.01, longest_pause=0.05, absent=0.05)


@dataclass
class World:
    """A cluster as its tests see it, and as the operator does."""

    real: KubeCluster
    seen: Cluster
    caches: Caches
    changed: list[Key] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    leads: threading.Event = field(default_factory=threading.Event)

    def key(self, name: str = "m") -> Key:
        return Key(self.real.namespace, name)

    def model(self, name: str = "m", **spec: Any) -> dict[str, Any]:
        """A Model that there is."""
        document = samples.model(name, **spec)
        metadata = {"name": name, "namespace": self.real.namespace}
        [stored] = self.real.apply({**document, "metadata": metadata})
        until(lambda: self.seen.model(self.key(name)))
        return stored

    def config_map(self, name: str = "m-model", *, model: str = "m", **data: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.real.namespace, "labels": {"fairlead.dev/model": model}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.fixture
def world(cluster: KubeCluster) -> Iterator[World]:
    changed: list[Key] = []
    requests: list[tuple[str, str, str]] = []
    leads = threading.Event()
    leads.set()
    client = connect(cluster.kubeconfig)
    api = Api(
        ApiServer(client),
        may_write=leads.is_set,
        on_request=lambda verb, resource, code: requests.append((verb, resource, code)),
    )
    caches = Caches(client, (cluster.namespace,), on_change=changed.append, timing=QUICK)
    caches.start()
    until(lambda: caches.synced)
    yield World(cluster, Cluster(api, caches, Recorder(api)), caches, changed, requests, leads)
    caches.stop()
    client.close()


def data(found: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [one["data"] for one in found]


def test_what_belongs_to_a_model_is_found_by_its_label(world: World) -> None:
    world.real.apply(world.config_map(a="1"))
    world.real.apply(world.config_map("other", model="n", a="2"))
    until(lambda: len(world.changed) == 2)
    assert data(world.seen.children(world.key())) == [{"a": "1"}]
    assert set(world.changed) == {world.key("m"), world.key("n")}


def test_every_change_of_a_child_is_told_with_its_model(world: World) -> None:
    world.real.apply(world.config_map(a="1"))
    world.real.apply(world.config_map(a="2"))
    world.real.delete("v1/configmaps", "m-model")
    until(lambda: world.changed == [world.key()] * 3)
    assert world.seen.children(world.key()) == []


def test_a_new_wish_is_told_apart_and_a_status_not_at_all(cluster: KubeCluster) -> None:
    told: list[str] = []
    client = connect(cluster.kubeconfig)
    caches = Caches(
        client,
        (cluster.namespace,),
        on_change=lambda _key: told.append("change"),
        on_wish=lambda _key: told.append("wish"),
        timing=QUICK,
    )
    caches.start()
    until(lambda: caches.synced)
    models = "fairlead.dev/v1alpha1/models"
    cluster.apply({**samples.model("m"), "metadata": {"name": "m", "namespace": cluster.namespace}})
    cluster.patch(models, "m", {"status": {"phase": "Starting"}}, subresource="status")
    cluster.patch(models, "m", {"spec": {"replicas": 2}})
    cluster.delete(models, "m")
    until(lambda: told == ["wish", "wish", "change"])
    caches.stop()
    client.close()


def test_a_status_calls_for_a_look_where_somebody_else_wrote_it(world: World) -> None:
    world.model()
    for phase in ("Pending", "Starting", "Serving"):
        model = world.seen.model(world.key())
        assert model is not None
        world.seen.write_status(model, {"phase": phase})
    world.changed.clear()
    world.real.patch("fairlead.dev/v1alpha1/models", "m", {"status": {"phase": "Idle"}}, subresource="status")
    until(lambda: world.changed and phase_of(world) == "Idle")
    assert world.changed == [world.key()]


def phase_of(world: World) -> str:
    return str((world.seen.model(world.key()) or {})["status"]["phase"])


def test_a_kind_that_is_installed_later_calls_for_every_model(cluster: KubeCluster, standin: KubeServer) -> None:
    del standin  # a real cluster keeps the kinds that it has
    cluster.delete("apiextensions.k8s.io/v1/customresourcedefinitions", "podmonitors.monitoring.coreos.com")
    for name in ("a", "b"):
        cluster.apply(samples.model(name))
    changed: list[str] = []
    client = connect(cluster.kubeconfig)
    caches = Caches(client, (cluster.namespace,), on_change=lambda key: changed.append(key.name), timing=QUICK)
    caches.start()
    until(lambda: caches.synced)
    until(lambda: sorted(changed) == ["a", "b"])
    cluster.apply(foreign.definition("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"))
    until(lambda: sorted(changed) == ["a", "a", "b", "b"])
    assert caches.knows(Kind("monitoring.coreos.com/v1", "PodMonitor"))
    caches.stop()
    client.close()


def test_what_has_no_label_is_nobodys(world: World) -> None:
    stranger = world.config_map()
    del stranger["metadata"]["labels"]
    world.real.apply(stranger)
    world.real.apply(world.config_map("mine"))
    until(lambda: world.changed)
    assert world.changed == [world.key()]


def test_a_model_that_comes_or_goes_calls_for_those_who_fall_back(world: World) -> None:
    world.model("a", fallback=["b"])
    world.changed.clear()
    world.model("b")
    until(lambda: set(world.changed) == {world.key("a"), world.key("b")})
    world.changed.clear()
    world.real.delete("fairlead.dev/v1alpha1/models", "b")
    until(lambda: set(world.changed) == {world.key("a"), world.key("b")})


def test_an_own_write_is_seen_at_once(world: World) -> None:
    for number in range(50):
        world.seen.apply(world.config_map(a=str(number)))
        assert data(world.seen.children(world.key())) == [{"a": str(number)}]


def test_apply_owns_its_fields_and_leaves_those_of_others(world: World) -> None:
    world.seen.apply(world.config_map(mine="1", gone="1"))
    world.real.apply({**world.config_map(theirs="1"), "metadata": {"name": "m-model"}}, manager="somebody")
    written = world.seen.apply(world.config_map(mine="2"))
    assert written["data"] == {"mine": "2", "theirs": "1"}
    assert "managedFields" not in written["metadata"]


def test_make_owns_what_an_apply_would_and_leaves_what_is_there_alone(world: World) -> None:
    made = world.seen.make(world.config_map(a="1"))
    assert data(world.seen.children(world.key())) == [{"a": "1"}]
    with pytest.raises(Conflict):
        world.seen.make(world.config_map(a="2"))
    found = world.real.get("v1/configmaps", "m-model")
    assert found is not None
    assert (found["data"], found["metadata"]["resourceVersion"]) == ({"a": "1"}, made["metadata"]["resourceVersion"])
    [owner] = found["metadata"]["managedFields"]
    assert (owner["manager"], owner["operation"]) == ("fairlead", "Apply")
    assert world.seen.apply(world.config_map(b="2"))["data"] == {"b": "2"}


def test_delete_is_for_this_very_object_and_may_be_repeated(world: World) -> None:
    first = world.seen.apply(world.config_map(a="1"))
    world.seen.delete(first)
    world.seen.delete(first)
    second = world.seen.apply(world.config_map(a="2"))
    world.seen.delete(first)
    found = world.real.get("v1/configmaps", "m-model")
    assert found is not None
    assert found["metadata"]["uid"] == second["metadata"]["uid"]


def test_the_status_is_replaced_as_a_whole_and_nothing_else_is(world: World) -> None:
    model = world.model()
    first = world.seen.write_status(model, {"phase": "Starting", "replicas": 1})
    assert first is not None
    second = world.seen.write_status(first, {"phase": "Serving"})
    assert second is not None
    assert second["status"] == {"phase": "Serving"}
    assert second["metadata"]["generation"] == model["metadata"]["generation"]
    seen = world.seen.model(world.key())
    assert seen is not None
    assert seen["status"] == {"phase": "Serving"}


def test_a_status_of_a_model_that_has_changed_since_is_a_conflict(world: World) -> None:
    old = world.model()
    world.seen.write_status(old, {"phase": "Starting"})
    with pytest.raises(Conflict):
        world.seen.write_status(old, {"phase": "Serving"})


def test_a_status_of_a_model_that_is_gone_is_written_nowhere(world: World) -> None:
    model = world.model()
    world.real.delete("fairlead.dev/v1alpha1/models", "m")
    assert world.seen.write_status(model, {"phase": "Serving"}) is None


def test_an_object_that_cannot_be_is_refused_in_the_servers_words(world: World) -> None:
    bad = world.config_map("Not_A_Name")
    with pytest.raises(Refused, match="Not_A_Name"):
        world.seen.apply(bad)


def test_a_kind_that_the_cluster_does_not_know_is_refused_by_name(world: World) -> None:
    unknown = {**world.config_map(), "apiVersion": "example.com/v1", "kind": "Thing"}
    with pytest.raises(Refused, match=r"Thing of example\.com/v1: "):
        world.seen.apply(unknown)


def test_who_leads_no_longer_reads_and_does_not_write(world: World) -> None:
    model = world.model()
    world.leads.clear()
    writes: list[Callable[[], object]] = [
        lambda: world.seen.apply(world.config_map()),
        lambda: world.seen.delete(model),
        lambda: world.seen.write_status(model, {}),
        lambda: world.seen.resize(model, {"replicas": 1}),
    ]
    for write in writes:
        with pytest.raises(Away, match="no longer leads"):
            write()
    assert world.seen.read("v1", "ConfigMap", world.real.namespace, "none") is None
    assert world.real.get("fairlead.dev/v1alpha1/models", "m") is not None


def test_the_keys_of_a_secret_are_asked_for_by_its_name(world: World) -> None:
    metadata = {"name": "hub", "namespace": world.real.namespace}
    world.real.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"token": "aGV5"}})
    answers = [world.seen.secret_keys(world.real.namespace, name) for name in ("hub", "x")]
    assert answers == [{"token"}, None]
    assert {request[:2] for request in world.requests} == {("get", "secrets")}


def test_scaling_sets_the_number_alone(world: World) -> None:
    applied = world.seen.apply(deployment(world, image="one"))
    world.seen.resize(applied, {"replicas": 3})
    [child] = world.seen.children(world.key())
    assert child["spec"]["replicas"] == 3
    assert world.seen.apply(deployment(world, image="two"))["spec"]["replicas"] == 3
    with pytest.raises(Conflict):
        world.seen.resize(applied, {"replicas": 4})
    gone = {**applied, "metadata": {**applied["metadata"], "name": "none"}}
    world.seen.resize(gone, {"replicas": 3})


def test_objects_of_kinds_that_others_bring_are_children_too(world: World) -> None:
    metadata = {**world.config_map()["metadata"], "name": "m"}
    spec: dict[str, Any] = {"selector": {}, "podMetricsEndpoints": []}
    world.seen.apply(
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": metadata, "spec": spec}
    )
    world.seen.apply(world.config_map("last"))
    assert {one["kind"] for one in world.seen.children(world.key())} == {"PodMonitor", "ConfigMap"}


def test_nodes_and_pods_are_asked_for_once_for_many(world: World, standin: KubeServer) -> None:
    for _ in range(5):
        assert world.seen.nodes_and_pods() is not None
    assert world.requests == [("list", "nodes", "200"), ("list", "pods", "200")]


def test_many_nodes_are_asked_for_in_pages(world: World, standin: KubeServer) -> None:
    nodes = standin.store.resource("nodes")
    for number in range(201):
        standin.call(standin.store.create, nodes, {"metadata": {"name": f"node-{number}"}})
    survey = world.seen.nodes_and_pods()
    assert survey is not None
    assert {one["metadata"]["name"] for one in survey[0]} == {f"node-{number}" for number in range(201)}
    assert [request[:2] for request in world.requests] == [("list", "nodes")] * 2 + [("list", "pods")]


def test_nodes_and_pods_are_unknown_where_they_are_not_allowed(world: World, standin: KubeServer) -> None:
    standin.fault(code=403, resource="nodes")
    assert world.seen.nodes_and_pods() is None


@pytest.mark.parametrize(
    ("code", "error"), [(403, NotAllowed), (409, Conflict), (429, Away), (500, Away), (503, Away), (504, Away)]
)
def test_what_the_server_answers_becomes_an_error_of_ours(
    world: World, standin: KubeServer, code: int, error: type[Exception]
) -> None:
    standin.fault(code=code, verb="patch", resource="configmaps")
    with pytest.raises(error, match="a fault of the test"):
        world.seen.apply(world.config_map())
    assert world.requests == [("apply", "configmaps", str(code))]


def test_a_server_that_is_gone_is_away(world: World, standin: KubeServer) -> None:
    standin.away()
    with pytest.raises(Away, match="the API server does not answer"):
        world.seen.apply(world.config_map())
    assert world.requests == [("apply", "configmaps", "away")]
    standin.back()


def test_what_happened_while_the_server_was_away_is_seen_when_it_is_back(world: World, standin: KubeServer) -> None:
    world.real.apply(world.config_map("gone"))
    until(lambda: len(world.changed) == 1)
    standin.away()
    standin.call(lambda: standin.store.delete(standin.store.resource("configmaps"), world.real.namespace, "gone"))
    standin.call(lambda: standin.store.create(standin.store.resource("configmaps"), world.config_map("new", a="1")))
    standin.back()
    until(lambda: data(world.seen.children(world.key())) == [{"a": "1"}])
    assert world.changed == [world.key()] * 3


def test_dropped_watches_and_forgotten_history_lose_nothing(world: World, standin: KubeServer) -> None:
    for number in range(60):
        world.real.apply(world.config_map(f"m-{number % 7}", a=str(number)))
        if number % 3 == 0:
            standin.drop_watches()
        if number % 5 == 0:
            standin.compact()
        if number % 4 == 0:
            world.real.delete("v1/configmaps", f"m-{number % 7}")
    expected = sorted(one["data"]["a"] for one in world.real.list("v1/configmaps") if "m-" in one["metadata"]["name"])
    until(lambda: sorted(one["data"]["a"] for one in world.seen.children(world.key())) == expected)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_through_any_disorder_own_writes_are_seen_and_the_last_that_is_told_is_how_it_is(
    cluster: KubeCluster, standin: KubeServer, seed: int
) -> None:
    told: dict[Key, Versions] = {}
    client = connect(cluster.kubeconfig)
    api = Api(ApiServer(client))
    # What a reconcile would see that is called for then.
    caches = Caches(
        client, (cluster.namespace,), on_change=lambda key: told.update({key: versions(caches, key)}), timing=BRISK
    )
    seen = Cluster(api, caches, Recorder(api))
    caches.start()
    try:
        until(lambda: caches.synced)
        disorder(cluster, standin, seen, lambda key: versions(caches, key), random.Random(seed))
        keys = [Key(cluster.namespace, f"m{number}") for number in range(3)]
        until(lambda: {key: told.get(key, {}) for key in keys} == {key: real(cluster, key) for key in keys})
    finally:
        caches.stop()
        client.close()


def disorder(
    cluster: KubeCluster,
    standin: KubeServer,
    seen: Cluster,
    known_of: Callable[[Key], "Versions"],
    chance: random.Random,
) -> None:
    """Writes of ours and of others, and everything that may happen to a connection, in any order."""
    for number in range(300):
        name, model = f"c{chance.randrange(8)}", f"m{chance.randrange(3)}"
        labels = {"name": name, "namespace": cluster.namespace, "labels": {"fairlead.dev/model": model}}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": labels, "data": {"a": str(number)}}
        match chance.choices(("ours", "theirs", "delete", "drop", "compact", "away"), (9, 6, 3, 1, 1, 1))[0]:
            case "ours":
                # One that meets the end of a connection fails, and that is all.
                with contextlib.suppress(Away):
                    written = seen.apply(document)
                    known = known_of(Key(cluster.namespace, model))
                    assert known[name] >= int(written["metadata"]["resourceVersion"])
            case "theirs":
                cluster.apply(document)
            case "delete":
                found = cluster.get("v1/configmaps", name)
                if found is not None:
                    with contextlib.suppress(Away):
                        seen.delete(found)
            case "drop":
                standin.drop_watches()
            case "compact":
                standin.compact()
            case _:
                standin.away()
                standin.back()


Versions = dict[str, int]


def versions(caches: Caches, key: Key) -> Versions:
    return {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in caches.children(key)}


def real(cluster: KubeCluster, key: Key) -> Versions:
    found = cluster.list("v1/configmaps", f"fairlead.dev/model={key.name}")
    return {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in found}


def test_warnings_are_those_about_what_the_model_has_with_the_newest_last(world: World) -> None:
    world.real.apply(deployment(world, image="one"))
    until(lambda: world.seen.children(world.key()))
    world.changed.clear()
    warning(world, "second", "Deployment", "m", "2026-01-02T00:00:00Z")
    warning(world, "first", "ReplicaSet", "m-5d4f", "2026-01-01T00:00:00Z")
    warning(world, "stranger", "Pod", "somebody", "2026-01-03T00:00:00Z")
    warning(world, "fine", "Deployment", "m", "2026-01-04T00:00:00Z", type="Normal")
    about = world.seen.children(world.key())
    until(lambda: len(world.seen.warnings(world.key(), about)) == 2)
    assert [one["reason"] for one in world.seen.warnings(world.key(), about)] == ["first", "second"]
    until(lambda: world.changed == [world.key()] * 2)


def warning(world: World, reason: str, kind: str, name: str, at: str, *, type: str = "Warning") -> None:  # noqa: A002
    world.real.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{reason}", "namespace": world.real.namespace},
            "involvedObject": {"kind": kind, "namespace": world.real.namespace, "name": name},
            "type": type,
            "reason": reason,
            "message": "m",
            "lastTimestamp": at,
        }
    )


def deployment(world: World, *, image: str) -> dict[str, Any]:
    labels = {"fairlead.dev/model": "m"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "engine", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "m", "namespace": world.real.namespace, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
