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
from pathlib import Path

import pytest
from openai import OpenAI

from fairlead_serve.settings import EngineSettings
from tests.charts.workload import CHART, ROOT
from tests.kube.cluster import KubeCluster
from tests.kube.fixture import standin_cluster
from tests.kube.simulation.run import Local
from tests.kube.simulation.simulation import Simulation, simulated
from tests.processes import Command

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

TOKEN = "internal-token-of-the-chain"
MODEL = ROOT / "configs/models/tiny-chat.yaml"
GATEWAY = re.compile(r"Gateway ready: (?P<url>http://\S+)")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[KubeCluster, Simulation]]:
    """A cluster whose pods run here, as processes."""
    with standin_cluster(tmp_path) as opened:
        assert opened.server is not None
        with simulated(opened.server) as simulation:
            own = {
                # Made once for all tests, and not in the pod's own volume.
                "FAIRLEAD_CACHE_DIR": str(EngineSettings().cache_dir),
                # Of all addresses of this machine, not of the pod's alone.
                "FAIRLEAD_METRICS_PORT": "0",
            }
            simulation.script.play(Local(environment=own), model="tiny-chat")
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


def kubectl(cluster: KubeCluster, *words: str, seconds: float = 30) -> str:
    done = cluster.kubectl(*words, seconds=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("operator")
def test_a_model_that_is_applied_ends_in_tokens(cluster: tuple[KubeCluster, Simulation], tmp_path: Path) -> None:
    kube, _ = cluster
    with Command(
        "gateway", "--from-cluster", "--kubeconfig", str(kube.kubeconfig), "--port", "0",
        environment={"FAIRLEAD_INTERNAL_TOKEN": TOKEN},
    ) as gateway:  # fmt: skip
        kubectl(kube, "apply", "-f", str(MODEL))
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
