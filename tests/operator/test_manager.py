"""The operator at work, with a small reconciler in place of the real one."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import requests

from fairlead_operator.api import Api
from fairlead_operator.caches import Caches
from fairlead_operator.cluster import Key
from fairlead_operator.errors import Away, Conflict, NotAllowed
from fairlead_operator.health import HealthServer
from fairlead_operator.leader import Leader
from fairlead_operator.manager import Manager
from fairlead_operator.metrics import Metrics, Sources
from fairlead_operator.work_queue import WorkQueue
from fairlead_serve.api_server import ApiServer, connect
from tests.kube.cluster import KubeCluster
from tests.kube.server import KubeServer
from tests.operator import samples
from tests.operator.waiting import PATIENCE_SECONDS, until

MODELS = "fairlead.dev/v1alpha1/models"
Behaviour = Callable[[Key, int], float | None]


class Recorded:
    """A reconciler that notes whom it was called for, and then does what the test says."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.calls: Counter[str] = Counter()
        self._behaviour = behaviour
        self._lock = threading.Lock()

    def reconcile(self, key: Key) -> float | None:
        with self._lock:
            self.calls[key.name] += 1
        return self._behaviour(key, self.calls[key.name])


class Operator:
    """One operator in a thread of this process, with its health server."""

    def __init__(self, cluster: KubeCluster, behaviour: Behaviour, identity: str, resync_seconds: float) -> None:
        self.skipped_seconds = 0.0
        self.stopping = threading.Event()
        self._client = connect(cluster.kubeconfig)
        self._reconciler = Recorded(behaviour)
        metrics, queue = Metrics(), WorkQueue()
        caches = Caches(self._client, (cluster.namespace,), on_change=queue.add)
        api = Api(ApiServer(self._client))
        leader = Leader(api, namespace=cluster.namespace, name="fairlead-operator", identity=identity)
        self.caches = caches
        self.manager = Manager(
            caches,
            queue,
            self._reconciler,
            leader,
            metrics,
            workers=2,
            resync_seconds=resync_seconds,
            clock=lambda: time.monotonic() + self.skipped_seconds,
        )
        metrics.watch(
            Sources(
                models=caches.models,
                leading=lambda: leader.leading,
                queued=lambda: queue.depth,
                delayed=lambda: queue.delayed,
                silences=list,
            )
        )
        self._health = HealthServer(
            "127.0.0.1", 0, live=self.manager.hanging, ready=self.manager.lacking, metrics=metrics.render
        )
        self._health.__enter__()
        self.thread = threading.Thread(target=self.manager.run, args=(self.stopping,))
        self.thread.start()

    @property
    def calls(self) -> Counter[str]:
        return self._reconciler.calls

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self._health.url}{path}", timeout=5)

    def metric(self, line: str) -> float:
        """The value of the series that is written as `line`; 0 where there is none."""
        found = [text for text in self.get("/metrics").text.splitlines() if text.startswith(f"{line} ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    def end(self) -> None:
        self.stopping.set()
        self.thread.join(PATIENCE_SECONDS)
        self._health.__exit__(None, None, None)
        self._client.close()


Start = Callable[..., Operator]


@pytest.fixture
def start(cluster: KubeCluster) -> Iterator[Start]:
    started: list[Operator] = []

    def begin(behaviour: Behaviour, *, resync_seconds: float = 600) -> Operator:
        started.append(Operator(cluster, behaviour, f"operator-{len(started)}", resync_seconds))
        return started[-1]

    yield begin
    for operator in started:
        operator.end()


def nothing(_key: Key, _calls: int) -> None:
    """All is as it should be."""


def apply(cluster: KubeCluster, *names: str) -> None:
    for name in names:
        cluster.apply({**samples.model(name), "metadata": {"name": name, "namespace": cluster.namespace}})


def test_every_model_is_looked_at_at_the_start_and_when_it_changes(cluster: KubeCluster, start: Start) -> None:
    apply(cluster, "a", "b")
    operator = start(nothing)
    until(lambda: operator.calls == {"a": 1, "b": 1})
    cluster.patch(MODELS, "a", {"spec": {"replicas": 2}})
    until(lambda: operator.calls["a"] == 2)
    apply(cluster, "c")
    cluster.delete(MODELS, "b")
    until(lambda: operator.calls == {"a": 2, "b": 2, "c": 1})


def test_at_rest_the_lease_is_all_that_is_written_and_nothing_is_logged(
    cluster: KubeCluster, standin: KubeServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    apply(cluster, "a")
    operator = start(nothing)
    until(lambda: operator.calls["a"] == 1)
    with caplog.at_level(logging.INFO):
        caplog.clear()
        mark = len(standin.audit)
        until(lambda: len(standin.audit.writes(mark)) == 2)
    assert {record.resource for record in standin.audit.writes(mark)} == {"leases.coordination.k8s.io"}
    assert operator.calls == {"a": 1}
    assert not caplog.records


def test_who_asks_to_come_again_is_called_again(cluster: KubeCluster, start: Start) -> None:
    apply(cluster, "a")
    operator = start(lambda _key, calls: 0.01 if calls < 5 else None)
    until(lambda: operator.calls["a"] == 5)


def test_who_asks_to_come_again_late_is_called_with_all_the_others(cluster: KubeCluster, start: Start) -> None:
    apply(cluster, "a")
    operator = start(lambda _key, _calls: 3600.0, resync_seconds=0.01)
    until(lambda: operator.calls["a"] >= 3)


def test_a_crash_is_logged_with_its_traceback_and_the_others_go_on(
    cluster: KubeCluster, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(key: Key, calls: int) -> None:
        if key.name == "bad" and calls < 4:
            raise KeyError("spec")

    apply(cluster, "bad", "good")
    operator = start(behave)
    until(lambda: operator.calls == {"bad": 4, "good": 1})
    crashes = [record for record in caplog.records if "crashed" in record.getMessage()]
    assert len(crashes) == 3
    assert crashes[0].exc_info is not None
    until(lambda: operator.metric('fairlead_operator_reconcile_total{result="crashed"}') == 3)
    assert operator.metric("fairlead_operator_queue_retries_total") == 3
    assert operator.get("/livez").status_code == 200


def test_a_conflict_is_tried_again_without_a_word(
    cluster: KubeCluster, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(_key: Key, calls: int) -> None:
        if calls < 3:
            raise Conflict("the object has been modified")

    apply(cluster, "a")
    operator = start(behave)
    until(lambda: operator.calls["a"] == 3)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_missing_right_is_said_once_for_each_model(
    cluster: KubeCluster, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(_key: Key, calls: int) -> None:
        if calls < 5:
            raise NotAllowed("deployments.apps is forbidden")

    apply(cluster, "a")
    operator = start(behave)
    until(lambda: operator.calls["a"] == 5)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [f"{cluster.namespace}/a: deployments.apps is forbidden"]


def test_a_server_that_is_away_is_said_once_for_all(
    cluster: KubeCluster, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(_key: Key, calls: int) -> None:
        if calls < 3:
            raise Away("the API server does not answer")

    apply(cluster, *(f"m{number}" for number in range(10)))
    operator = start(behave)
    until(lambda: operator.calls.total() == 30)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 2


def test_an_end_lets_the_reconcile_at_hand_finish_and_gives_the_lease_back(cluster: KubeCluster, start: Start) -> None:
    begun, go, finished = threading.Event(), threading.Event(), threading.Event()

    def behave(_key: Key, _calls: int) -> None:
        begun.set()
        go.wait(PATIENCE_SECONDS)
        finished.set()

    apply(cluster, "a")
    operator = start(behave)
    assert begun.wait(PATIENCE_SECONDS)
    operator.stopping.set()
    go.set()
    operator.thread.join(5)
    assert not operator.thread.is_alive()
    assert finished.is_set()
    lease = cluster.get("coordination.k8s.io/v1/leases", "fairlead-operator")
    assert lease is not None
    assert "holderIdentity" not in lease["spec"]


def test_of_two_operators_one_acts_and_the_other_takes_over_within_two_seconds(
    cluster: KubeCluster, start: Start
) -> None:
    apply(cluster, "a")
    first = start(nothing)
    until(lambda: first.calls["a"] == 1)
    second = start(nothing)
    until(lambda: second.get("/readyz").status_code == 200)
    apply(cluster, "b")
    until(lambda: first.calls["b"] == 1)
    assert second.calls == {}
    assert (first.metric("fairlead_operator_leader"), second.metric("fairlead_operator_leader")) == (1, 0)
    first.stopping.set()
    until(lambda: second.calls == {"a": 1, "b": 1}, seconds=2)


def test_a_worker_that_hangs_and_a_cache_that_is_dead_call_for_a_new_process(
    cluster: KubeCluster, start: Start
) -> None:
    go = threading.Event()

    def behave(_key: Key, _calls: int) -> None:
        go.wait(PATIENCE_SECONDS)

    apply(cluster, "a")
    operator = start(behave)
    until(lambda: operator.calls["a"])
    assert operator.get("/livez").status_code == 200
    operator.skipped_seconds = 301
    assert operator.get("/livez").status_code == 503
    assert operator.get("/livez").text in {"worker 0 hangs\n", "worker 1 hangs\n"}
    go.set()
    until(lambda: operator.get("/livez").status_code == 200)
    dead = next(operator.caches.informers())
    dead.stop()
    assert operator.get("/livez").text == f"{dead.path} is not followed any more\n"


def test_without_the_definition_of_a_model_the_operator_waits_and_says_for_what(
    cluster: KubeCluster, standin: KubeServer, start: Start
) -> None:
    standin.fault(code=404, resource="models.fairlead.dev")
    operator = start(nothing)
    path = f"/apis/fairlead.dev/v1alpha1/namespaces/{cluster.namespace}/models"
    until(lambda: operator.get("/readyz").text == f"{path} is not listed yet: a fault of the test\n")
    assert operator.get("/livez").status_code == 200
    standin.heal()
    until(lambda: operator.get("/readyz").status_code == 200)


def test_an_end_while_waiting_for_the_cluster_is_an_end(
    cluster: KubeCluster, standin: KubeServer, start: Start
) -> None:
    standin.away()
    operator = start(nothing)
    operator.stopping.set()
    operator.thread.join(5)
    assert not operator.thread.is_alive()
    standin.back()


def test_a_server_that_keeps_silent_does_not_keep_the_operator(
    cluster: KubeCluster, standin: KubeServer, start: Start
) -> None:
    standin.fault(delay_seconds=30)
    operator = start(nothing)
    operator.stopping.set()
    operator.thread.join(5)
    assert not operator.thread.is_alive()
    standin.heal()
