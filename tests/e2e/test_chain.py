"""The whole chain: `kubectl apply` of a Model, the operator, the container's own command as a process, tokens.

Only the API server and the kubelet are stand-ins; the operator, the gateway, the engine and kubectl are the real ones.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from openai import OpenAI

from fairlead_serve.settings import EngineSettings
from tests.charts.workload import CHART, ROOT
from tests.e2e.forwarding import Forwarding
from tests.e2e.test_pod import free_ports
from tests.kube.cluster import KubeCluster
from tests.kube.fixture import standin_cluster
from tests.kube.resources import Manifest
from tests.kube.simulation.run import Local
from tests.kube.simulation.simulation import Simulation, simulated
from tests.processes import Command

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MODELS = "fairlead.dev/v1alpha1/models"
TOKEN = "internal-token-of-the-chain"
MODEL = ROOT / "configs/models/tiny-chat.yaml"
GATEWAY = re.compile(r"Gateway ready: (?P<url>http://\S+)")


PORTS = dict(zip(("8000", "8090"), map(str, free_ports(2)), strict=True))
"""The ports of a pod, and those of this machine that stand for them."""


def local_pod() -> Local:
    """The container's command, with the addresses and ports that this machine has instead of the pod's own.

    On other addresses than loopback Ray's proxy does not find its replicas.
    """
    own = {
        # Made once for all tests, and not in the pod's own volume.
        "FAIRLEAD_CACHE_DIR": str(EngineSettings().cache_dir),
        # Of all addresses of this machine, not of the pod's alone.
        "FAIRLEAD_METRICS_PORT": "0",
    }
    return Local(texts={"0.0.0.0": "127.0.0.1", **PORTS}, environment=own)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[KubeCluster, Simulation]]:
    """A cluster whose pods run here, as processes."""
    with standin_cluster(tmp_path) as opened:
        assert opened.server is not None
        with simulated(opened.server) as simulation:
            simulation.script.play(local_pod(), model="tiny-chat")
            data = {"token": base64.b64encode(TOKEN.encode()).decode()}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fairlead-internal-token"}}
            opened.apply({**secret, "data": data})
            yield opened, simulation


@pytest.fixture
def operator(cluster: tuple[KubeCluster, Simulation], tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The operator's own command."""
    config = tmp_path / "operator.yaml"
    settings = {"chart": str(CHART), "images": {"cpu": "e:1"}, "http": {"host": "127.0.0.1", "port": 0}}
    config.write_text(json.dumps(settings), encoding="utf-8")
    words = ["run", "--config", str(config), "--kubeconfig", str(cluster[0].kubeconfig)]
    environment = {**os.environ, "FAIRLEAD_INTERNAL_TOKEN": TOKEN}
    with (tmp_path / "operator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fairlead_operator", *words], env=environment, stdout=log, stderr=log
        )
        yield process
        process.terminate()
        assert process.wait(30) == 0


def forwarded(cluster: KubeCluster) -> Forwarding:
    """The address of the Model's pod, once it has one."""
    cluster.wait_until(
        "apps/v1/deployments", "tiny-chat", lambda found: bool(found and found.get("status", {}).get("replicas"))
    )
    (name,) = [pod["metadata"]["name"] for pod in cluster.list("v1/pods", "fairlead.dev/model=tiny-chat")]
    pod = cluster.wait_until("v1/pods", name, lambda found: bool(found and found["status"].get("podIP")))
    assert pod is not None
    address = pod["status"]["podIP"]
    return Forwarding({(address, int(there)): ("127.0.0.1", int(here)) for there, here in PORTS.items()})


def reason(model: Manifest | None, kind: str) -> str:
    """The reason of a condition of a Model."""
    conditions = (model or {}).get("status", {}).get("conditions", ())
    return next((one["reason"] for one in conditions if one["type"] == kind), "")


def kubectl(cluster: KubeCluster, *words: str, seconds: float = 30) -> str:
    done = cluster.kubectl(*words, seconds=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("operator")
def test_a_model_that_is_applied_ends_in_tokens(cluster: tuple[KubeCluster, Simulation], tmp_path: Path) -> None:
    kube, _ = cluster
    with ExitStack() as stack, Command(
        "gateway", "--from-cluster", "--kubeconfig", str(kube.kubeconfig), "--port", "0",
        environment={"FAIRLEAD_INTERNAL_TOKEN": TOKEN},
    ) as gateway:  # fmt: skip
        kubectl(kube, "apply", "-f", str(MODEL))
        stack.enter_context(forwarded(kube))
        told = kube.wait_until(
            MODELS, "tiny-chat", lambda found: reason(found, "WorkloadReady") == "Loading", seconds=120
        )
        assert told is not None
        kubectl(kube, "wait", "model/tiny-chat", "--for=condition=Ready", "--timeout=300s", seconds=310)
        shown = kubectl(kube, "get", "mdl")
        assert re.search(r"^tiny-chat +True +Ready +1 +1 +Serving +tiny://chat ", shown, re.MULTILINE), shown
        client = OpenAI(base_url=gateway.wait_for(GATEWAY)["url"], api_key="none")
        stream = client.chat.completions.create(
            model="tiny-chat", messages=[{"role": "user", "content": "Hello"}], stream=True, max_tokens=16
        )
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert sum(map(bool, pieces)) > 1
        kubectl(kube, "delete", "model", "tiny-chat")
        kube.wait_gone("apps/v1/deployments", "tiny-chat")
    assert (tmp_path / "operator.log").read_text(encoding="utf-8")
