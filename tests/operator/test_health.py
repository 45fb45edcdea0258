"""What the operator answers to Kubernetes and Prometheus."""

import socket

import pytest
import requests

from fairlead_operator.errors import SettingsError
from fairlead_operator.health import HealthServer


def test_all_is_well_until_something_is_said() -> None:
    wrong: list[str] = []
    with HealthServer("127.0.0.1", 0, live=lambda: wrong, ready=list, metrics=lambda: b"") as server:
        assert requests.get(f"{server.url}/livez", timeout=5).text == "ok\n"
        wrong.extend(["worker 1 hangs", "worker 2 hangs"])
        answer = requests.get(f"{server.url}/livez", timeout=5)
        assert (answer.status_code, answer.text) == (503, "worker 1 hangs\nworker 2 hangs\n")
        assert requests.get(f"{server.url}/readyz?verbose", timeout=5).status_code == 200


def test_not_ready_is_not_dead() -> None:
    with HealthServer("127.0.0.1", 0, live=list, ready=lambda: ["/x is not listed yet"], metrics=lambda: b"") as server:
        assert requests.get(f"{server.url}/livez", timeout=5).status_code == 200
        answer = requests.get(f"{server.url}/readyz", timeout=5)
        assert (answer.status_code, answer.text) == (503, "/x is not listed yet\n")


def test_metrics_come_in_the_format_of_prometheus() -> None:
    with HealthServer("127.0.0.1", 0, live=list, ready=list, metrics=lambda: b"a 1\n") as server:
        answer = requests.get(f"{server.url}/metrics", timeout=5)
        assert (answer.headers["content-type"], answer.text) == ("text/plain; version=0.0.4; charset=utf-8", "a 1\n")


def test_other_paths_are_told_what_there_is() -> None:
    with HealthServer("127.0.0.1", 0, live=list, ready=list, metrics=lambda: b"") as server:
        answer = requests.get(f"{server.url}/", timeout=5)
        assert (answer.status_code, answer.text) == (404, "there are /livez, /readyz and /metrics\n")


def test_an_address_that_is_taken_is_a_wrong_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"http: 127.0.0.1:{port} cannot be listened on"):
            HealthServer("127.0.0.1", port, live=list, ready=list, metrics=lambda: b"")
