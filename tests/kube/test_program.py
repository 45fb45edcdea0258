"""The server as a program."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.kube.cluster import kubectl_command
from tests.kube.samples import deployment

KUBECONFIG = "kubeconfig"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server with a simulation, and where it is."""
    words = [sys.executable, "-m", "tests.kube", "--simulate", "--kubeconfig", str(tmp_path / KUBECONFIG)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.match(r"listening at (\S+);", process.stdout.readline())
        assert match is not None
        yield process, match[1]
        process.kill()


def test_kubectl_finds_a_cluster_in_which_pods_become_ready(
    program: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    def kubectl(*words: str, text: str = "") -> str:
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / KUBECONFIG)}
        done = subprocess.run(
            [kubectl_command(), *words],
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    kubectl("create", "secret", "generic", "hf", "--from-literal=token=abc")
    assert kubectl("get", "secret", "hf", "-o", "jsonpath={.data.token}") == "YWJj"
    kubectl("apply", "-f", "-", text=json.dumps(deployment(replicas=2)))
    kubectl("wait", "deploy/m", "--for=condition=Available", "--timeout=20s")
    assert "2/2" in kubectl("get", "deploy", "m")
    assert kubectl("get", "models") == ""


def test_faults_are_set_over_http_and_a_signal_ends_it(program: tuple[subprocess.Popen[str], str]) -> None:
    process, url = program
    requests.post(f"{url}/_faults", json={"code": 503, "resource": "pods", "times": 1}, timeout=5).raise_for_status()
    pods = f"{url}/api/v1/namespaces/default/pods"
    assert [requests.get(pods, timeout=5).status_code for _ in range(2)] == [503, 200]
    assert requests.post(f"{url}/_faults", json={"cod": 503}, timeout=5).status_code == 400
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
