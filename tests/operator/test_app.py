"""The operator put together."""

import threading

import pytest

from fairlead_operator.app import Installation, run_operator
from fairlead_serve.api_server import connect
from tests.charts.workload import CHART
from tests.operator.world import World


@pytest.mark.parametrize("token", ["", "x"])
def test_an_operator_without_the_internal_token_says_so_at_its_start(
    world: World, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    stopping = threading.Event()
    stopping.set()
    settings = world.settings.model_copy(update={"chart": CHART})
    run_operator(settings, Installation(connect(world.kubeconfig), world.cluster.namespace, token), stopping)
    said = [message for message in caplog.messages if "FAIRLEAD_INTERNAL_TOKEN is not set" in message]
    assert len(said) == (not token)
    assert all("the key token of the Secret fairlead-internal-token" in message for message in said)
