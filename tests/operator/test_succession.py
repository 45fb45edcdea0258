"""A leader that is killed as a process, with all it was doing, and who comes after it."""

import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from fairlead_operator.app import Installation, create_operator
from fairlead_operator.render import LoadedChart
from fairlead_operator.settings import OperatorSettings
from fairlead_serve.api_server import connect
from tests.charts.workload import CHART
from tests.operator.world import DEPLOYMENTS, QUICK, TOKEN, WAITS, WATCHES, World

LEASE = "coordination.k8s.io/v1/leases", "fairlead-operator"


def lead(settings: OperatorSettings, kubeconfig: Path, namespace: str) -> None:
    """An operator that nothing ends but the end of its process."""
    installation = Installation(connect(kubeconfig), namespace, TOKEN)
    chart = LoadedChart(CHART)
    operator = create_operator(settings, installation, chart=chart, lease_times=QUICK, timing=WATCHES, waits=WAITS)
    operator.run(threading.Event())


@pytest.fixture
def leader(world: World) -> Iterator[BaseProcess]:
    arguments = (world.settings, world.kubeconfig, world.cluster.namespace)
    process = multiprocessing.get_context("spawn").Process(target=lead, args=arguments, daemon=True)
    process.start()
    yield process
    process.kill()
    process.join()


def test_a_leader_that_is_killed_at_its_work_is_replaced_and_its_work_is_finished(
    world: World, leader: BaseProcess
) -> None:
    world.cluster.wait_until(*LEASE, lambda found: found is not None and "holderIdentity" in found["spec"])
    with world.operator():
        for number in range(20):
            world.model(f"m{number}")
        world.cluster.wait_until(DEPLOYMENTS, "m0", lambda found: found is not None)
        leader.kill()
        leader.join()
        for number in range(20):
            world.wait_started(f"m{number}")
        world.model("after")
        world.wait_started("after")
        lease = world.cluster.get(*LEASE)
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 1
