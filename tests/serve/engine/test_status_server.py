"""The port of the status: what it answers, and to whom."""

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead_serve.engine.adapter_list import MAX_ADAPTERS
from fairlead_serve.engine.adapters import AdapterKeeper
from fairlead_serve.engine.status import Status
from fairlead_serve.engine.status_server import MAX_BODY_BYTES, StatusEndpoint, serving
from fairlead_serve.errors import PortInUse
from fairlead_serve.internal import TOKEN_HEADER
from fairlead_serve.stopping import Stopping

TOKEN = "internal-token"


def hold(directories: Mapping[str, Path]) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Served:
    """A status port; `client` brings the token, `keeper` is what it tells of wanted adapters."""

    url: str
    client: httpx.Client
    keeper: AdapterKeeper

    def put(self, body: object) -> httpx.Response:
        return self.client.put("/adapters", content=body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.fixture
def served() -> Iterator[Served]:
    keeper = AdapterKeeper(lambda name, uri: Path(uri), hold)
    port = free_port()
    with serving(StatusEndpoint(Status("one", Stopping()), keeper), host="127.0.0.1", port=port, token=TOKEN):
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, headers={TOKEN_HEADER: TOKEN}) as client:
            yield Served(url, client, keeper)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


def sentence(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


def test_the_status_is_whole_from_the_first_second(served: Served) -> None:
    answer = served.client.get("/status")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"phase": "Starting", "download": None, "cached": False, "adapters": []}


def test_wanted_adapters_are_taken_and_the_answer_is_the_status(served: Served) -> None:
    answer = served.put({"adapters": [{"name": "sql", "uri": "hf://org/lora"}]})
    assert answer.status_code == 200
    assert answer.json() == {
        "phase": "Starting",
        "download": None,
        "cached": False,
        "adapters": [{"name": "sql", "uri": "hf://org/lora", "state": "Pending", "message": ""}],
    }
    assert served.put({"adapters": []}).json()["adapters"] == []


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "2", TOKEN[:-1]])
def test_nobody_without_the_token_is_answered(served: Served, token: str | None) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token}
    body = {"adapters": [{"name": "sql", "uri": "hf://org/lora"}]}
    assert httpx.get(f"{served.url}/status", headers=headers).status_code == 401
    assert httpx.put(f"{served.url}/adapters", headers=headers, json=body).status_code == 401
    assert served.keeper.states() == []


def test_a_process_without_a_token_answers_nobody() -> None:
    keeper = AdapterKeeper(lambda name, uri: Path(uri), hold)
    port = free_port()
    with serving(StatusEndpoint(Status("one", Stopping()), keeper), host="127.0.0.1", port=port, token=""):
        assert httpx.get(f"http://127.0.0.1:{port}/status", headers={TOKEN_HEADER: ""}).status_code == 401


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not JSON", "JSON"),
        (b"\xff", "JSON"),
        (b"", "JSON"),
        ([], "object"),
        ({}, "adapters"),
        ({"adapters": "sql"}, "adapters"),
        ({"adapters": [{"name": "sql"}]}, "adapters.0.uri"),
        ({"adapters": [{"name": "sql", "uri": "ftp://org/lora"}]}, "adapters.0.uri"),
        ({"adapters": [{"name": "sql", "uri": "hf://org/lora", "rank": 3}]}, "adapters.0.rank"),
        ({"adapters": [{"name": "a", "uri": "hf://o/l"}, {"name": "a", "uri": "hf://o/m"}]}, "same name"),
        ({"adapters": [{"name": f"a{n}", "uri": "hf://o/l"} for n in range(MAX_ADAPTERS + 1)]}, "at most"),
    ],
)
def test_a_body_that_says_no_adapters_changes_nothing_and_is_answered_in_a_sentence(
    served: Served, body: Any, words: str
) -> None:
    served.put({"adapters": [{"name": "kept", "uri": "hf://org/kept"}]})
    answer = served.put(body)
    assert answer.status_code == 400
    assert words in sentence(answer)
    assert [state.name for state in served.keeper.states()] == ["kept"]


def test_a_body_without_bounds_is_refused(served: Served) -> None:
    answer = served.put(b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert str(MAX_BODY_BYTES) in sentence(answer)


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/adapters"), ("GET", "/adapters")])
def test_there_is_nothing_else(served: Served, method: str, path: str) -> None:
    assert served.client.request(method, path).status_code == 404


def test_a_taken_port_is_told_with_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = StatusEndpoint(Status("one", Stopping()), AdapterKeeper(lambda name, uri: Path(uri), hold))
        port = taken.getsockname()[1]
        with (
            pytest.raises(PortInUse, match="FAIRLEAD_STATUS_PORT"),
            serving(endpoint, host="127.0.0.1", port=port, token=TOKEN),
        ):
            pass


def test_the_port_is_free_again_afterwards() -> None:
    keeper = AdapterKeeper(lambda name, uri: Path(uri), hold)
    port = free_port()
    for _ in range(2):
        with serving(StatusEndpoint(Status("one", Stopping()), keeper), host="127.0.0.1", port=port, token=TOKEN):
            assert httpx.get(f"http://127.0.0.1:{port}/status").status_code == 401
