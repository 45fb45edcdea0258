"""The addresses and options of a Ray of our own. No Ray runs here."""

import concurrent.futures
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve.engine.cluster import EngineState, LocalCluster, Ports, environment, own_loopback_address
from fairlead_serve.errors import ConfigurationError

HAPROXY_PATH_LIMIT = 97
NODE_ID = "0" * 56


def test_every_port_is_another_one() -> None:
    ports = Ports.pick()
    assert len({ports.serve, ports.metrics, ports.haproxy_metrics, ports.haproxy_stats}) == 4


def test_the_port_of_the_metrics_may_be_given() -> None:
    assert Ports.pick(metrics=8080).metrics == 8080
    assert Ports.pick(metrics=0).metrics > 0


def test_engines_answer_on_loopback_unless_told_otherwise() -> None:
    assert Ports.pick().host == "127.0.0.1"
    given = Ports.pick(host="0.0.0.0", serve=8100)
    assert (given.host, given.serve) == ("0.0.0.0", 8100)
    assert ipaddress.ip_address(own_loopback_address()).is_loopback


@pytest.mark.parametrize("host", ["192.0.2.1", "127.0.0.2", "::1"])
def test_an_address_on_which_rays_proxy_would_find_no_replica_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"give --host 127\.0\.0\.1, or 0\.0\.0\.0 for all"):
        Ports.pick(host=host)


def test_haproxys_sockets_have_paths_short_enough_for_it(tmp_path: Path) -> None:
    cluster = LocalCluster(Ports.pick(), drain_seconds=1)
    options = environment(cluster.ports, cluster.directory, 1)
    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        path = Path(options[name])
        assert len(str(path.parent / NODE_ID / path.name)) <= HAPROXY_PATH_LIMIT
    cluster.stop()
    assert not cluster.directory.exists()


def test_haproxy_outlives_the_longest_drain(tmp_path: Path) -> None:
    options = environment(Ports.pick(), tmp_path, 300)
    assert int(options["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > 300


def test_a_failure_says_the_sentence_of_the_replica_and_not_its_traceback(tmp_path: Path) -> None:
    cluster = LocalCluster(Ports.pick(), drain_seconds=1, directory=tmp_path)
    message = (
        "Deployment 'engine' failed to start 1 times in a row.\n"
        "ray::ServeReplica.initialize_and_get_metadata()\n"
        '  File "replica.py", line 40, in __init__\n'
        "fairlead_serve.errors.EngineStartError: the engine of one did not start: the disk is on fire\n"
    )
    error = cluster.failure("one", EngineState("DEPLOY_FAILED", message, 0))
    assert str(error) == "the engine of one did not start: the disk is on fire"


def test_a_failure_whose_cause_is_only_in_the_engines_log_is_found_there(tmp_path: Path) -> None:
    cluster = LocalCluster(Ports.pick(), drain_seconds=1, directory=tmp_path)
    cluster.log_directory.mkdir(parents=True)
    (cluster.log_directory / "worker-1.err").write_text(
        "(EngineCore pid=1) ValueError: No available memory for the cache blocks\n", encoding="utf-8"
    )
    message = (
        "fairlead_serve.errors.EngineStartError: the engine of one did not start: Engine core initialization failed."
    )
    error = cluster.failure("one", EngineState("DEPLOY_FAILED", message, 0))
    assert "spec.engine.maxModelLen" in str(error)


class Handle:
    """Ray Serve's handle of an application, which answers `said` or raises it."""

    def __init__(self, said: Exception | list[Mapping[str, str]]) -> None:
        self._said = said

    def broadcast(self, method: str, paths: Mapping[str, str]) -> "Handle":
        # Where a handle says that it has no router.
        if isinstance(self._said, RuntimeError):
            raise self._said
        return self

    def results(self, *, timeout_s: float) -> list[Mapping[str, str]]:
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


@pytest.mark.parametrize(
    ("said", "failures"),
    [
        ([{"a": "too large"}, {"b": "too small"}], {"a": "too large", "b": "too small"}),
        ([{}, {}], {}),
        ([], None),
        (TimeoutError(), None),
        (RuntimeError("Router is not initialized"), None),
        (concurrent.futures.CancelledError(), None),
    ],
    ids=repr,
)
def test_what_went_wrong_with_adapters_is_told_and_none_where_no_engine_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Any, failures: Mapping[str, str] | None
) -> None:
    monkeypatch.setattr("ray.serve.get_app_handle", lambda name: Handle(said))
    cluster = LocalCluster(Ports.pick(), drain_seconds=1, directory=tmp_path)
    assert cluster.hold_adapters("one", {"a": tmp_path}) == failures
