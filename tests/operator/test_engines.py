"""Asking engines for their status, over real HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fairlead_operator.engines import EnginePods, EngineStatus

POD = {"metadata": {"name": "m-0"}, "status": {"podIP": "127.0.0.1"}}
SAID: dict[str, Any] = {
    "phase": "Downloading",
    "download": {"bytesDone": 1, "bytesTotal": 9, "bytesPerSecond": 3},
    "cached": False,
    "adapters": [{"name": "sql", "uri": "hf://a/b", "state": "Loaded", "message": ""}],
}


class Engine(BaseHTTPRequestHandler):
    """The status port of an engine; what came is kept."""

    answer: tuple[int, bytes] = (200, json.dumps(SAID).encode())
    asked: list[tuple[str, str, str | None, bytes]]

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        token = self.headers.get("x-fairlead-internal-token")
        self.asked.append((self.command, self.path, token, self.rfile.read(length)))
        status, body = self.answer
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def engine() -> Iterator[tuple[type[Engine], EnginePods]]:
    handler = type("Handler", (Engine,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield handler, EnginePods("secret", port=server.server_port)
        server.shutdown()
        thread.join()


def test_an_engine_says_how_far_it_is(engine: tuple[type[Engine], EnginePods]) -> None:
    handler, pods = engine
    adapter = {"name": "sql", "uri": "hf://a/b", "state": "Loaded", "message": ""}
    assert pods.status(POD) == EngineStatus("Downloading", False, 1, 9, 3, (adapter,))
    assert handler.asked == [("GET", "/status", "secret", b"")]


def test_an_engine_is_told_which_adapters_it_should_have(engine: tuple[type[Engine], EnginePods]) -> None:
    handler, pods = engine
    pods.load(POD, [{"name": "sql", "uri": "hf://a/b"}])
    ((method, path, token, body),) = handler.asked
    assert (method, path, token) == ("PUT", "/adapters", "secret")
    assert json.loads(body) == {"adapters": [{"name": "sql", "uri": "hf://a/b"}]}


def test_before_anything_is_known_there_is_no_download(engine: tuple[type[Engine], EnginePods]) -> None:
    handler, pods = engine
    handler.answer = (200, b'{"phase": "Starting", "download": null, "cached": true, "adapters": []}')
    assert pods.status(POD) == EngineStatus("Starting", cached=True)


@pytest.mark.parametrize(
    "answer", [(401, b"{}"), (200, b"no JSON"), (200, b"[]"), (200, b"{}"), (200, b'{"phase": 1, "download": [1]}')]
)
def test_whatever_else_answers_is_no_engine(engine: tuple[type[Engine], EnginePods], answer: tuple[int, bytes]) -> None:
    handler, pods = engine
    handler.answer = answer
    assert pods.status(POD) is None


def test_an_engine_that_wants_another_token_is_told_of_once_until_it_takes_it(
    engine: tuple[type[Engine], EnginePods], caplog: pytest.LogCaptureFixture
) -> None:
    handler, pods = engine
    taken = handler.answer
    for answer, complaints in (((401, b"{}"), 1), ((401, b"{}"), 1), (taken, 1), ((401, b"{}"), 2)):
        handler.answer = answer
        pods.status(POD)
        assert len(caplog.messages) == complaints
    other = {**POD, "metadata": {"name": "m-1", "namespace": "ns"}}
    pods.load(other, [])
    assert "the engine of pod ns/m-1 refuses the operator's token" in caplog.messages[-1]
    assert "secret" not in caplog.text


def test_a_pod_that_does_not_answer_says_nothing(engine: tuple[type[Engine], EnginePods]) -> None:
    nobody = EnginePods("secret", port=1)
    assert nobody.status(POD) is None
    assert engine[1].status({"metadata": {"name": "m-0"}, "status": {}}) is None
