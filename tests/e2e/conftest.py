"""The whole stack for the tests of this folder: one run with two Models, and a plain vLLM beside it."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from fairlead_serve.engine.arguments import command_line
from fairlead_serve.engine.weights import WeightsStore
from fairlead_serve.model import load
from tests.processes import Command

SAMPLES = Path(__file__).parents[2] / "configs" / "models"
CHAT = SAMPLES / "tiny-chat.yaml"
EMBED = SAMPLES / "tiny-embed.yaml"
# For a connection too: beside an engine that keeps all cores busy, everything waits for one.
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Stack:
    """A running `fairlead serve`: `url` of its gateway, without a path."""

    command: Command
    url: str


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Two Models behind one gateway. Tests must leave it as it is."""
    arguments = ["-f", str(CHAT), "-f", str(EMBED), "--default-model", "tiny-chat"]
    with Command("serve", *arguments, "--port", "0") as command:
        yield Stack(command, command.wait_ready())


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS) as one:
        yield one


@pytest.fixture
async def async_client(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS) as one:
        yield one


@pytest.fixture(scope="session")
def plain_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The reference: vLLM's own server on the same weights with the same arguments; its URL without a path."""
    (model,) = load(CHAT)
    weights = WeightsStore(Path.home() / ".cache" / "fairlead").fetch(model.spec.model.uri, progress=lambda _: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "log"
    words = [*command_line(model, weights), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "VLLM_LOGGING_LEVEL": "WARNING"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_healthy(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(60)


@retry(
    retry=retry_if_exception_type(httpx.TransportError), wait=wait_fixed(0.5), stop=stop_after_delay(180), reraise=True
)
def _wait_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    assert server.poll() is None, log.read_text()[-3000:]
    assert httpx.get(f"{url}/health").status_code == 200
