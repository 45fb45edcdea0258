"""The probe of an engine, run as the kubelet runs it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fairlead_serve.internal import TOKEN_HEADER, TOKEN_VARIABLE, engine_path
from tests.charts.workload import CHART, model, workload

TOKEN = "hunter2"


class Engine(BaseHTTPRequestHandler):
    """Answers who brings the token, at the path of the Model m."""

    def do_GET(self) -> None:
        known = self.path == f"{engine_path('m')}/health"
        self.send_response(401 if self.headers[TOKEN_HEADER] != TOKEN else 200 if known else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def probe(port: int, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what the chart tells the kubelet to, from the file in the chart and at another port."""
    _, isolated, _, _, path = workload(model()).container["readinessProbe"]["exec"]["command"]
    command = [sys.executable, isolated, str(CHART / "files/probe.py"), str(port), path]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_engine_that_answers_is_ready(port: int) -> None:
    done = probe(port, {TOKEN_VARIABLE: TOKEN})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({TOKEN_VARIABLE: "wrong-token"}, "the engine answers 401"),
        ({}, "FAIRLEAD_INTERNAL_TOKEN is missing"),
        ({TOKEN_VARIABLE: f"{TOKEN}\n"}, "cannot be a header; correct the Secret"),
        ({TOKEN_VARIABLE: "geheimnisvoll\u2026"}, "cannot be a header; correct the Secret"),
    ],
)
def test_a_wrong_token_is_no_engine_and_never_shown(port: int, environment: dict[str, str], sentence: str) -> None:
    done = probe(port, environment)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    for token in (TOKEN, "wrong-token", "geheimnisvoll"):
        assert token not in done.stderr


def test_nobody_at_the_port_is_no_engine(port: int) -> None:
    with HTTPServer(("127.0.0.1", 0), Engine) as closed:
        gone = closed.server_port
    done = probe(gone, {TOKEN_VARIABLE: TOKEN})
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def test_the_pod_has_the_file_that_it_probes_with() -> None:
    made = workload(model())
    assert made["ConfigMap"]["data"]["probe.py"] == (CHART / "files/probe.py").read_text(encoding="utf-8")
    assert made.container["readinessProbe"]["exec"]["command"][2] == "/etc/fairlead/probe.py"
