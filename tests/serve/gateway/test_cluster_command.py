"""`fairlead gateway --from-cluster` as a process: how it begins, what it serves, how it ends."""

import asyncio
import signal
from pathlib import Path

import pytest

from fairlead_serve.gateway.server import listen
from tests.kube.server import KubeServer
from tests.processes import READY_SECONDS, Command
from tests.serve.gateway.client import Client
from tests.serve.gateway.cluster import NAMESPACE, Cluster, install_models
from tests.serve.gateway.test_cluster_source import answering
from tests.serve.gateway.world import CHAT, World


def gateway(server: KubeServer, folder: Path, *, port: int = 0) -> Command:
    file = server.kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)
    words = ["gateway", "--from-cluster", "--kubeconfig", str(file), "--port", str(port)]
    return Command(*words, environment={"FAIRLEAD_INTERNAL_TOKEN": "internal"})


async def test_the_namespace_of_the_kubeconfig_is_served_from_the_announcement_on(world: World, tmp_path: Path) -> None:
    engine = await world.upstream(answering)
    with KubeServer() as server:
        install_models(server)
        cluster = Cluster(server)
        cluster.make_model("qwen")
        cluster.start_engine("qwen", engine)
        with gateway(server, tmp_path) as command:
            url = await asyncio.to_thread(command.wait_ready)
            client = await Client.connect(url)
            answer = await client.post(CHAT, {"model": "qwen", "messages": []})
            client.leave()
            command.signal(signal.SIGTERM)
            assert await asyncio.to_thread(command.wait) == 0
    assert (answer.status, answer.json["model"]) == (200, "qwen")
    assert engine.requests[0].headers["x-fairlead-internal-token"] == "internal"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_that_waits_for_its_cluster_says_so_and_ends_when_it_is_told_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    with KubeServer() as server:
        server.away()
        with listen("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        with gateway(server, tmp_path, port=port) as command:
            client = await reached(f"http://127.0.0.1:{port}")
            answer = await client.get("/readyz")
            client.leave()
            command.signal(number)
            assert await asyncio.to_thread(command.wait) == 0
    assert (answer.status, answer.error["message"]) == (503, "the gateway is waiting for the cluster")
    assert "Gateway ready" not in command.output


async def reached(url: str) -> Client:
    """A connection to who will take one soon."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                return await Client.connect(url)
            except ConnectionError:
                await asyncio.sleep(0.01)
