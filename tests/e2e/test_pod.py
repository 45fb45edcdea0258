"""One engine as a pod runs it: status, metrics, LoRA adapters while it runs, and what it leaves when it dies."""

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tenacity import retry, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from fairlead_serve.internal import TOKEN_HEADER, TOKEN_VARIABLE
from tests.e2e.lora import make_adapter
from tests.e2e.test_faults import engine_core
from tests.processes import READY_SECONDS, Command, model_file

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

TOKEN = "internal-token-of-the-test"
HEADERS = {TOKEN_HEADER: TOKEN}
LOADING = re.compile("Loading the engine")


@dataclass(frozen=True)
class Pod:
    """A running `fairlead engine` of one Model called `pod`."""

    command: Command
    url: str
    status_url: str
    metrics_url: str

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{self.status_url}/status", headers=HEADERS).raise_for_status().json()
        return document

    def want(self, **adapters: str) -> dict[str, Any]:
        body = {"adapters": [{"name": name, "uri": uri} for name, uri in adapters.items()]}
        answer = httpx.put(f"{self.status_url}/adapters", headers=HEADERS, json=body).raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def settled(self) -> dict[str, str]:
        """The states of the adapters by name, once none is on its way."""

        @retry(retry=retry_if_result(on_its_way), wait=wait_fixed(0.2), stop=stop_after_delay(120))
        def states() -> dict[str, str]:
            return {adapter["name"]: adapter["state"] for adapter in self.status()["adapters"]}

        return states()

    def complete(self, model: str) -> httpx.Response:
        body = {"model": model, "prompt": "Hello", "max_tokens": 8, "temperature": 0}
        return httpx.post(f"{self.url}/v1/completions", headers=HEADERS, json=body, timeout=60)

    def says(self, model: str) -> str:
        text: str = self.complete(model).raise_for_status().json()["choices"][0]["text"]
        return text


def on_its_way(states: dict[str, str]) -> bool:
    return any(state in ("Pending", "Loading") for state in states.values())


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    folder = tmp_path_factory.mktemp("models")
    given, listed = make_adapter(folder / "given", seed=0), make_adapter(folder / "listed", seed=6)
    begun = {"given": given, "listed": listed, "gone": "file:///nowhere/at/all"}
    adapters = folder / "adapters.json"
    named = [{"name": name, "uri": uri} for name, uri in begun.items() if name != "given"]
    adapters.write_text(json.dumps({"adapters": named}), encoding="utf-8")
    lora = f"lora: {{maxRank: 8, maxAdapters: 2, adapters: [{{name: given, uri: '{given}'}}]}}"
    path = model_file(folder, "pod", spec=lora)
    status, metrics = free_ports(2)
    environment = {
        TOKEN_VARIABLE: TOKEN,
        "FAIRLEAD_STATUS_PORT": str(status),
        "FAIRLEAD_METRICS_PORT": str(metrics),
        "FAIRLEAD_ADAPTERS_FILE": str(adapters),
    }
    with Command("engine", "--model", str(path), environment=environment) as command:
        command.wait_for(LOADING)
        early = Pod(command, "", f"http://127.0.0.1:{status}", f"http://127.0.0.1:{metrics}/metrics")
        assert early.status() == {
            "phase": "Loading",
            "download": None,
            "cached": True,
            "adapters": [{"name": name, "uri": begun[name], "state": "Pending", "message": ""} for name in begun],
        }
        yield Pod(command, f"{command.wait_ready()}/engines/pod", early.status_url, early.metrics_url)


def test_the_status_says_that_the_engine_is_ready_and_only_to_who_brings_the_token(pod: Pod) -> None:
    status = pod.status()
    assert (status["phase"], status["download"], status["cached"]) == ("Ready", None, True)
    assert httpx.get(f"{pod.status_url}/status").status_code == 401
    assert httpx.put(f"{pod.status_url}/adapters", json={"adapters": []}).status_code == 401


def test_the_metrics_port_answers_on_every_address_with_vllms_metrics(pod: Pod) -> None:
    pod.says("pod")
    port = pod.metrics_url.rpartition(":")[2]

    @retry(retry=retry_if_exception_type(AssertionError), wait=wait_fixed(0.5), stop=stop_after_delay(60), reraise=True)
    def exported(address: str) -> None:
        answer = httpx.get(f"http://{address}:{port}")
        assert answer.headers["content-type"].startswith("text/plain")
        assert re.search(r'ray_vllm_generation_tokens_total\{.*model_name="pod"', answer.text)

    exported("127.0.0.1")
    exported(socket.gethostbyname(socket.gethostname()))


def test_adapters_of_the_model_file_and_of_the_list_are_there_as_soon_as_it_is_ready(pod: Pod) -> None:
    assert len({pod.says("given"), pod.says("listed"), pod.says("pod")}) == 3
    states = {adapter["name"]: adapter["state"] for adapter in pod.status()["adapters"]}
    assert states == {"given": "Loaded", "listed": "Loaded", "gone": "Failed"}


def test_adapters_come_change_and_go_while_the_engine_runs(pod: Pod, tmp_path: Path) -> None:
    first, second = make_adapter(tmp_path / "first", seed=1), make_adapter(tmp_path / "second", seed=2)
    assert pod.complete("sql").status_code == 404
    assert [adapter["name"] for adapter in pod.want(sql=first)["adapters"]] == ["sql"]
    assert pod.settled() == {"sql": "Loaded"}
    base, before = pod.says("pod"), pod.says("sql")
    assert before != base

    pod.want(sql=second, old=first)
    assert pod.settled() == {"sql": "Loaded", "old": "Loaded"}
    assert pod.says("old") == before
    assert pod.says("sql") not in (base, before)

    pod.want(old=first)
    assert pod.settled() == {"old": "Loaded"}

    @retry(retry=retry_if_result(lambda status: status != 404), wait=wait_fixed(0.2), stop=stop_after_delay(30))
    def unloaded() -> int:
        return pod.complete("sql").status_code

    unloaded()
    assert pod.says("pod") == base


def test_an_adapter_that_cannot_be_used_fails_alone_and_says_why(pod: Pod, tmp_path: Path) -> None:
    good = make_adapter(tmp_path / "good", seed=3)
    wide = make_adapter(tmp_path / "wide", seed=4, rank=64)
    pod.want(good=good, wide=wide, missing="file:///nowhere/at/all")
    assert pod.settled() == {"good": "Loaded", "wide": "Failed", "missing": "Failed"}
    messages = {adapter["name"]: adapter["message"] for adapter in pod.status()["adapters"]}
    assert "spec.lora.maxRank" in messages["wide"]
    assert "/nowhere/at/all" in messages["missing"]
    assert messages["good"] == ""


def test_an_engine_that_was_replaced_gets_its_adapters_again(pod: Pod, tmp_path: Path) -> None:
    pod.want(sql=make_adapter(tmp_path / "sql", seed=5))
    assert pod.settled() == {"sql": "Loaded"}
    before = pod.says("sql")
    core = engine_core(pod.command)
    core.kill()
    psutil.wait_procs([core], timeout=30)

    @retry(
        retry=retry_if_exception_type((httpx.HTTPError, AssertionError)),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(READY_SECONDS),
        reraise=True,
    )
    def again() -> None:
        assert pod.says("sql") == before

    again()


def test_an_engine_that_is_told_to_go_says_so_while_it_drains(pod: Pod) -> None:
    with httpx.stream(
        "POST",
        f"{pod.url}/v1/completions",
        headers=HEADERS,
        json={"model": "pod", "prompt": "Hello", "max_tokens": 1500, "ignore_eos": True, "stream": True},
        timeout=60,
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        pod.command.signal(signal.SIGTERM)

        @retry(retry=retry_if_result(lambda one: one != "Stopping"), wait=wait_fixed(0.02), stop=stop_after_delay(5))
        def phase() -> str:
            return str(pod.status()["phase"])

        phase()
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert pod.command.wait() == 0
