"""Who of several operators leads, and that never two of them write."""

import threading
import time
from collections.abc import Iterator

import pytest

from fairlead_operator.api import Api
from fairlead_operator.leader import Leader, LeaseTimes
from fairlead_serve.api_server import ApiServer, connect
from tests.kube.cluster import KubeCluster
from tests.kube.server import KubeServer
from tests.operator.waiting import PATIENCE_SECONDS, until

LEASES = "coordination.k8s.io/v1/leases"
QUICK = LeaseTimes(renewing=0.02, asking=0.02)


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Candidates:
    """Candidates for one lease, each with a clock of its own, and threads that are ended with the test."""

    def __init__(self, cluster: KubeCluster) -> None:
        self._cluster = cluster
        self._stopping: list[threading.Event] = []
        self._threads: list[threading.Thread] = []

    def candidate(self, identity: str, *, clock: Clock | None = None) -> Leader:
        return Leader(
            Api(ApiServer(connect(self._cluster.kubeconfig), answer_seconds=0.5)),
            namespace=self._cluster.namespace,
            name="operator",
            identity=identity,
            times=QUICK,
            clock=clock or time.monotonic,
        )

    def run(self, leader: Leader) -> threading.Event:
        """Lead for as long as can be, as an operator does; the event ends it and gives the lease back."""
        stopping = threading.Event()

        def lead() -> None:
            while leader.acquire(stopping):
                leader.hold(stopping)
                leader.release()

        thread = threading.Thread(target=lead)
        thread.start()
        self._stopping.append(stopping)
        self._threads.append(thread)
        return stopping

    def end(self) -> None:
        for stopping in self._stopping:
            stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)


@pytest.fixture
def candidates(cluster: KubeCluster) -> Iterator[Candidates]:
    made = Candidates(cluster)
    yield made
    made.end()


def once(leader: Leader) -> bool:
    """One look at the lease; whether it is ours then."""
    stopping = threading.Event()
    threading.Timer(0.05, stopping.set).start()
    return leader.acquire(stopping)


def test_one_leads_and_the_other_waits(candidates: Candidates) -> None:
    first, second = candidates.candidate("first"), candidates.candidate("second")
    assert not first.leading
    assert once(first)
    assert not once(second)
    assert (first.leading, second.leading) == (True, False)


def test_a_lease_that_is_given_back_is_taken_at_once(candidates: Candidates, cluster: KubeCluster) -> None:
    first, second = candidates.candidate("first"), candidates.candidate("second")
    stop = candidates.run(first)
    until(lambda: first.leading)
    candidates.run(second)
    stop.set()
    until(lambda: second.leading, seconds=2)
    assert not first.leading
    lease = cluster.get(LEASES, "operator")
    assert lease is not None
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 1)


def test_a_leader_that_renews_leads_on(candidates: Candidates, cluster: KubeCluster) -> None:
    clock = Clock()
    leader = candidates.candidate("first", clock=clock)
    candidates.run(leader)
    until(lambda: leader.leading)
    for _ in range(5):
        clock.now += 9
        assert leader.leading
        # The first may have been asked for before the time went on, and the last need not be answered yet.
        for _ in range(3):
            wait_renewed(cluster)


def wait_renewed(cluster: KubeCluster) -> None:
    lease = cluster.get(LEASES, "operator")
    assert lease is not None
    before = lease["spec"]["renewTime"]
    cluster.wait_until(LEASES, "operator", lambda found: found is not None and found["spec"]["renewTime"] > before)


def test_a_leader_that_is_cut_off_stops_writing_before_its_lease_can_be_taken(
    candidates: Candidates, standin: KubeServer
) -> None:
    """Both clocks go alike from here on; the second has seen the lease for the first time when it was renewed last."""
    mine, theirs = Clock(), Clock()
    first, second = candidates.candidate("first", clock=mine), candidates.candidate("second", clock=theirs)
    assert once(first)
    assert not once(second)
    standin.away()
    seen = []
    for seconds in (9.9, 0.2):
        mine.now += seconds
        theirs.now += seconds
        seen.append(first.leading)
    assert seen == [True, False]
    standin.back()
    assert not once(second)
    theirs.now += 5
    assert once(second)


def test_a_leader_that_cannot_renew_in_time_says_so_and_becomes_a_candidate_again(
    candidates: Candidates, standin: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    leader = candidates.candidate("first", clock=clock)
    candidates.run(leader)
    until(lambda: leader.leading)
    standin.away()
    clock.now += 11
    assert not leader.leading
    until(lambda: any("leading no longer" in message for message in caplog.messages))
    standin.back()
    until(lambda: leader.leading)


def test_a_leader_whose_lease_was_taken_by_force_stops_at_once(candidates: Candidates, cluster: KubeCluster) -> None:
    leader = candidates.candidate("first", clock=Clock())
    candidates.run(leader)
    until(lambda: leader.leading)
    cluster.patch(LEASES, "operator", {"spec": {"holderIdentity": "somebody"}})
    until(lambda: not leader.leading)


def test_errors_of_the_server_within_the_time_cost_nothing(candidates: Candidates, standin: KubeServer) -> None:
    leader = candidates.candidate("first", clock=Clock())
    candidates.run(leader)
    until(lambda: leader.leading)
    for code in (500, 409, 429):
        fault = standin.fault(code=code, resource="leases.coordination.k8s.io", times=3)
        until(lambda fault=fault: fault.times == 0)  # type: ignore[misc]
        assert leader.leading


def test_a_missing_right_is_said_once(
    candidates: Candidates, standin: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    fault = standin.fault(code=403, resource="leases.coordination.k8s.io", times=5)
    candidates.run(candidates.candidate("first"))
    until(lambda: fault.times == 0)
    said = [message for message in caplog.messages if "cannot be had" in message]
    assert said == [f"the lease {candidates._cluster.namespace}/operator cannot be had: a fault of the test"]


def test_the_name_of_one_that_starts_anew_is_that_of_another(candidates: Candidates) -> None:
    assert once(candidates.candidate("pod_1"))
    assert not once(candidates.candidate("pod_2"))
