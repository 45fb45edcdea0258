"""What an operator must survive: a server that fails at any request, is away, or drops its watches; its own death."""

import base64
import contextlib
import json
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from fairlead_operator.api import Api
from fairlead_operator.caches import Caches
from fairlead_operator.cluster import Cluster
from fairlead_operator.crd import custom_resource_definition
from fairlead_operator.engines import EnginePods
from fairlead_operator.errors import ClusterError
from fairlead_operator.kinds import Key
from fairlead_operator.metrics import Metrics
from fairlead_operator.reconcile import Reconciler
from fairlead_operator.recorder import Recorder
from fairlead_operator.renderer import Renderer
from fairlead_operator.status import Links
from fairlead_operator.token_secret import TokenSecret
from fairlead_serve.api_server import Answer, ApiServer, connect
from tests.kube.cluster import SECONDS
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.operator import samples
from tests.operator.world import DEPLOYMENTS, MODELS, TOKEN, World, condition


class Killed(BaseException):
    """The process died: nothing that follows in it is done."""


class DyingServer(ApiServer):
    """Dies at its request number `last`, before it is sent or after it was answered."""

    last = 10**9
    after = False
    count = 0

    def request(self, method: str, path: str, **options: Any) -> Answer:
        self.count += 1
        if self.count == self.last and not self.after:
            raise Killed
        answer = super().request(method, path, **options)
        if self.count == self.last:
            raise Killed
        return answer


class Hands:
    """A reconciler that a test calls by hand, with caches that are true whenever it is called."""

    def __init__(self, world: World, *, last: int = 10**9, after: bool = False, home: str = "") -> None:
        """`home`: the platform's namespace, which has the internal token's Secret; by default the world's own."""
        client = connect(world.cluster.kubeconfig)
        self._changed = threading.Event()
        self.server = DyingServer(client)
        self.server.last, self.server.after = last, after
        self._caches = Caches(client, [world.cluster.namespace], on_change=lambda _key: self._changed.set())
        api = Api(self.server)
        self._reconciler = Reconciler(
            cluster=Cluster(api, self._caches, Recorder(api)),
            renderer=Renderer(world.chart, world.settings),
            engines=EnginePods(""),
            links=Links(),
            metrics=Metrics(),
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            token_secret=TokenSecret(world.settings.internal_token, home or world.cluster.namespace, TOKEN),
        )
        self._key = Key(world.cluster.namespace, "m")
        self._world = world

    def __enter__(self) -> "Hands":
        self._caches.start()
        for informer in self._caches.informers():
            assert informer.wait_synced(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._caches.stop()

    def reconcile(self) -> None:
        """Once. Raises Killed, or what the API server did."""
        self._reconciler.reconcile(self._key)

    def settle(self) -> None:
        """Until nothing is left to do."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            before = self.server.count
            self._changed.clear()
            with contextlib.suppress(ClusterError):
                self.reconcile()
                if self.server.count == before:
                    return
            # What was written is known at once; what the one before wrote, when the caches hear of it.
            self._changed.wait(1)
        raise AssertionError("it is never done")


def shape(world: World) -> dict[tuple[str, str], Manifest]:
    """What was made, without what differs from run to run."""
    return {
        place: {name: value for name, value in manifest.items() if name in ("spec", "data", "revision")}
        for place, manifest in world.children().items()
    }


def settled(world: World) -> dict[tuple[str, str], Manifest]:
    with Hands(world) as hands:
        hands.settle()
    return shape(world)


@pytest.fixture
def golden(world: World) -> tuple[dict[tuple[str, str], Manifest], int]:
    """What there is in the end, and how many requests a first reconcile takes; then nothing of it any more."""
    world.model(cache={"deletionPolicy": "Delete"}, replicas=2)
    with Hands(world) as hands:
        hands.reconcile()
        count = hands.server.count
        hands.settle()
    found = shape(world)
    clear(world)
    return found, count


def clear(world: World) -> None:
    world.cluster.delete(MODELS, "m", propagationPolicy="Foreground")
    world.cluster.wait_gone(MODELS, "m")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.usefixtures("standin")
def test_an_operator_that_dies_at_any_request_leaves_nothing_that_the_next_one_does_not_finish(
    world: World, golden: tuple[dict[tuple[str, str], Manifest], int], after: bool
) -> None:
    expected, count = golden
    assert count > 10
    for last in range(1, count + 1):
        world.model(cache={"deletionPolicy": "Delete"}, replicas=2)
        with Hands(world, last=last, after=after) as hands, pytest.raises(Killed):
            hands.reconcile()
        assert settled(world) == expected, f"killed at request {last} of {count}"
        clear(world)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_request_that_fails_is_made_up_for(
    world: World, standin: KubeServer, golden: tuple[dict[tuple[str, str], Manifest], int], after: bool
) -> None:
    expected, _ = golden
    resources = [
        "controllerrevisions.apps", "serviceaccounts", "configmaps", "persistentvolumeclaims", "services",
        "networkpolicies.networking.k8s.io", "poddisruptionbudgets.policy", "deployments.apps",
        "models.fairlead.dev/status",
    ]  # fmt: skip
    for resource in resources:
        verb = "update" if resource.endswith("status") else "patch"
        standin.fault(code=500, verb=verb, resource=resource, times=1, after=after)
        world.model(cache={"deletionPolicy": "Delete"}, replicas=2)
        assert settled(world) == expected, resource
        clear(world)


def test_nothing_is_written_when_nothing_has_changed(world: World, standin: KubeServer) -> None:
    with world.operator():
        for number in range(5):
            world.model(f"m{number}")
        for number in range(5):
            world.wait_started(f"m{number}")
        mark = len(standin.audit)
        # Whatever was still to be done for the others is done before this one is.
        world.model("last")
        world.wait_started("last")
        written = {record.name for record in standin.audit.writes(mark) if record.agent == "fairlead"}
    assert not {name for name in written if name[:2] in ("m0", "m1", "m2", "m3", "m4")}


def test_many_models_at_once_all_get_their_workload(world: World) -> None:
    names = [f"m{number}" for number in range(60)]
    with world.operator():
        for name in names:
            world.model(name)
        for name in names:
            world.wait_started(name)
        assert len(world.cluster.list(DEPLOYMENTS)) == len(names)
        assert len(world.cluster.list("apps/v1/controllerrevisions")) == len(names)


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


@pytest.mark.parametrize("verb", ["get", "patch"])
def test_a_right_that_is_missing_is_said_in_the_status(world: World, standin: KubeServer, verb: str) -> None:
    standin.fault(code=403, verb=verb, resource="deployments.apps")
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
        world.model(drainTimeoutSeconds=7)
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


def test_a_server_that_was_away_is_caught_up_with(world: World, standin: KubeServer) -> None:
    with world.operator():
        world.model()
        world.wait_observed()
        standin.away()
        standin.back()
        world.model(replicas=3)
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


def test_a_namespace_that_is_deleted_takes_everything_along(world: World, standin: KubeServer) -> None:
    with world.operator() as url:
        world.model()
        world.wait_observed()
        world.cluster.delete("v1/namespaces", world.cluster.namespace)
        world.cluster.wait_gone("v1/namespaces", world.cluster.namespace)
        assert url


def test_a_resource_definition_may_be_applied_again_under_running_models(world: World) -> None:
    with world.operator():
        world.model()
        world.wait_observed()
        world.cluster.apply(custom_resource_definition({"note": "a later version"}))
        world.model(replicas=2)
        changed(world, 2)
        assert condition(world.status(), "SpecValid")["status"] == "True"


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
