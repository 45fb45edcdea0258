"""What a local run listens on: whatever is not on loopback is one of the few that docs/architecture.md explains."""

import ipaddress
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.e2e.conftest import Stack

pytestmark = pytest.mark.engine

# Words in a process's name or command line, and why it may listen on an address other than loopback.
EXPLAINED = {
    "haproxy": "its metrics and statistics pages: read-only numbers (Ray offers no address for them)",
    "gcs_server": "Ray's gRPC, which wants Ray's token",
    "raylet": "Ray's gRPC, which wants Ray's token",
    "ray::": "Ray's gRPC in every worker, which wants Ray's token; metrics of its agents",
    "monitor.py": "metrics of Ray's autoscaler: read-only numbers",
    "dashboard.py": "metrics of Ray's head: read-only numbers",
    "fairlead_serve.cli engine": "Ray's gRPC in the driver, which wants Ray's token",
}


def open_sockets(family: list[psutil.Process]) -> Iterator[tuple[str, str, int]]:
    """(name and command line, address, port) of every listener that others than this machine can reach."""
    for process in family:
        try:
            connections = process.net_connections(kind="tcp")
            who = f"{process.name()} {' '.join(process.cmdline())}"
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN and not _is_loopback(connection.laddr.ip):
                yield who, connection.laddr.ip, connection.laddr.port


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def test_every_listener_that_is_not_on_loopback_is_explained(stack: Stack) -> None:
    unexplained = [
        (who[:100], address, port)
        for who, address, port in open_sockets(stack.command.family())
        if not any(word in who for word in EXPLAINED)
    ]
    assert not unexplained


def test_the_gateway_itself_listens_on_loopback_only(stack: Stack) -> None:
    gateway = psutil.Process(stack.command.process.pid)
    listeners = [one for one in gateway.net_connections(kind="tcp") if one.status == psutil.CONN_LISTEN]
    assert [_is_loopback(one.laddr.ip) for one in listeners] == [True]


def test_no_process_of_vllm_can_be_reached_from_outside(stack: Stack) -> None:
    reachable = [who for who, _, _ in open_sockets(stack.command.family()) if "VLLM" in who or "EngineCore" in who]
    assert not reachable


def test_the_engines_refuse_who_brings_no_token(stack: Stack) -> None:
    """Through HAProxy and on the replicas' own ports alike."""
    refused = 0
    for process in stack.command.family():
        if "ServeReplica" not in " ".join(process.cmdline()) and "haproxy" not in process.name():
            continue
        for connection in process.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr.ip != "127.0.0.1":
                continue
            for path in ("/engines/tiny-chat/v1/models", "/engines/tiny-embed/v1/models", "/v1/models"):
                try:
                    answer = httpx.get(f"http://127.0.0.1:{connection.laddr.port}{path}", timeout=10)
                except httpx.TransportError:
                    continue  # not HTTP: Ray's gRPC
                assert answer.status_code in {401, 404}, (process.name(), connection.laddr, path)
                refused += answer.status_code == 401
    assert refused >= 2
