"""`fairlead-operator run`, as a process of its own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.kube.cluster import KubeCluster
from tests.operator import samples

CHART = Path(__file__).parents[2] / "charts/model"
COMMAND = [sys.executable, "-m", "fairlead_operator", "run"]
DEPLOYMENTS = "apps/v1/deployments"
LEASE = "coordination.k8s.io/v1/leases", "fairlead-operator"
SECONDS = 20.0


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "operator.yaml"
    document = {
        "chart": str(CHART),
        "images": {"cpu": "registry/engine:1"},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


@pytest.fixture
def operator(cluster: KubeCluster, settings: Path) -> Iterator["subprocess.Popen[str]"]:
    secret = {"name": "fairlead-internal-token", "namespace": cluster.namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": {"token": "aGV5"}})
    command = [*COMMAND, "--kubeconfig", str(cluster.kubeconfig), "--config", str(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_model_becomes_a_deployment_and_sigterm_hands_over_within_seconds(
    cluster: KubeCluster, operator: "subprocess.Popen[str]"
) -> None:
    model = samples.model("tiny", model={"uri": "tiny://chat"}, engine={"device": "cpu"})
    cluster.apply({**model, "metadata": {"name": "tiny", "namespace": cluster.namespace}})
    cluster.wait_until(DEPLOYMENTS, "tiny", lambda found: found is not None, seconds=SECONDS)
    began = time.monotonic()
    operator.send_signal(signal.SIGTERM)
    log, _ = operator.communicate(timeout=SECONDS)
    assert (operator.returncode, time.monotonic() - began < 5) == (0, True)
    lease = cluster.get(*LEASE)
    assert lease is not None
    assert "holderIdentity" not in lease["spec"]
    events = [json.loads(line) for line in log.splitlines()]
    assert any("leading: " in event["message"] for event in events)
    assert all({"time", "level", "logger", "message"} <= event.keys() for event in events)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--namespace", "a", "--all-namespaces"], "--namespace and --all-namespaces exclude each other"),
        (["--config", "/none.yaml"], "/none.yaml cannot be read: No such file or directory"),
        (["--kubeconfig", "/none"], "there is no cluster to talk to (/none)"),
        ([], "this is no pod of a cluster; give --kubeconfig"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("fairlead-operator: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
