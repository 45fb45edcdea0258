"""The whole stack (`fairlead serve`) against plain vLLM, on one Model, with the very same engine arguments."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import load
from bench.client import Connection, Exchange, Target
from bench.errors import BenchError
from bench.figures import Rate, added, median
from bench.plan import Plan
from bench.processes import running, tree_cpu_seconds
from bench.progress import Progress
from fairlead_serve.engine.arguments import command_line
from fairlead_serve.engine.weights import Progress as Fetched
from fairlead_serve.engine.weights import WeightsStore
from fairlead_serve.model import Model, load_all
from fairlead_serve.settings import EngineSettings

STREAMS = 16
_TOKENS = 256
_FIRST_TOKEN_TOKENS = 8
_START_SECONDS = 600
_IDLE_SECONDS = 3.0


@dataclass
class Measured:
    """What was measured of one server; `idle_cpu` is the share of one core it takes while nobody asks."""

    name: str
    tokens: Rate = field(default_factory=Rate)
    idle_cpu: float = 0.0
    first_token_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class StackResult:
    """Plain vLLM and the stack, measured in turn."""

    plain: Measured
    stack: Measured

    def figures(self) -> dict[str, float]:
        """The numbers by the names of the JSON line."""
        return {
            "plain_tokens_per_second": self.plain.tokens.per_second,
            "stack_tokens_per_second": self.stack.tokens.per_second,
            "stack_tokens_ratio": self.stack.tokens.per_second / self.plain.tokens.per_second,
            "plain_ttft_ms_p50": median(self.plain.first_token_seconds) * 1e3,
            "stack_ttft_ms_p50": median(self.stack.first_token_seconds) * 1e3,
            "stack_added_ttft_ms_p50": added(self.stack.first_token_seconds, self.plain.first_token_seconds) * 1e3,
            "plain_idle_cpu": self.plain.idle_cpu,
            "stack_idle_cpu": self.stack.idle_cpu,
        }


async def measure(plan: Plan, progress: Progress, *, model_file: Path) -> StackResult:
    """Start both servers, one after the other, and measure them in turn while the other one idles.

    Raises BenchError, and FairleadError for a Model that cannot be served.
    """
    model = load_all([model_file])[0]
    weights = await asyncio.to_thread(_fetch, model, progress)
    async with contextlib.AsyncExitStack() as stack:
        progress.say("starting plain vLLM")
        plain = await stack.enter_async_context(_plain(model, weights))
        progress.say("starting the whole stack")
        whole = await stack.enter_async_context(_whole(model_file))
        targets = [plain, whole]
        measured = [Measured(target.name) for target in targets]
        for target in targets:
            await _tokens(target, model, seconds=0)  # compiles and fills caches
        for one, target in zip(measured, targets, strict=True):
            one.idle_cpu = await _idle_cpu(target)
        for turn in range(2 * plan.rounds):
            # Each goes first as often as the other.
            for place in (0, 1) if turn % 2 == 0 else (1, 0):
                progress.say(f"round {turn + 1}/{2 * plan.rounds}: {targets[place].name}, {STREAMS} streams")
                measured[place].tokens += await _tokens(targets[place], model, seconds=plan.seconds / plan.rounds)
        progress.say(f"first token, one stream, {plan.samples} times, in turn")
        times = await load.first_tokens(
            targets,
            samples=plan.samples,
            request=lambda target: _request(target, model, _FIRST_TOKEN_TOKENS),
            check=lambda target, exchange: _check(target, exchange, _FIRST_TOKEN_TOKENS),
        )
        for one, seconds in zip(measured, times, strict=True):
            one.first_token_seconds = seconds
        progress.say("stopping both")
    return StackResult(*measured)


def count_tokens(body: bytes) -> int:
    """`usage.completion_tokens` of a finished stream. Raises ValueError where there is none or the stream failed."""
    for event in reversed(body.split(b"\n\n")):
        if event.startswith(b"data: {"):
            chunk = json.loads(event[6:])
            if chunk.get("error"):
                raise ValueError(f"the stream ended with an error: {chunk['error']}")
            if chunk.get("usage"):
                return int(chunk["usage"]["completion_tokens"])
    raise ValueError(f"the stream ended without its usage: {body[-200:]!r}")


def _request(target: Target, model: Model, tokens: int) -> bytes:
    body = {
        "model": model.served_names[0],
        "messages": [{"role": "user", "content": "Hello, who are you and what can you do?"}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return target.post(load.CHAT, json.dumps(body).encode())


def _check(target: Target, exchange: Exchange, tokens: int) -> None:
    if exchange.status != 200:
        raise BenchError(f"{target.name} answered {exchange.status}: {exchange.body[:300]!r}")
    try:
        came = count_tokens(exchange.body)
    except ValueError as error:
        raise BenchError(f"{target.name}: {error}") from error
    if came != tokens or not exchange.body.endswith(b"data: [DONE]\n\n"):
        raise BenchError(f"{target.name} made {came} tokens of {tokens}: {exchange.body[-200:]!r}")


async def _tokens(target: Target, model: Model, *, seconds: float) -> Rate:
    """Batches of STREAMS streams of _TOKENS tokens, the next when the last of one has ended, for at least `seconds`."""
    request = _request(target, model, _TOKENS)
    connections = [await Connection.open(target) for _ in range(STREAMS)]
    rate = Rate()
    try:
        while True:
            exchanges = [connection.send(request) for connection in connections]
            await load.finished(target, exchanges, seconds=300)
            for exchange in exchanges:
                _check(target, exchange, _TOKENS)
            began = min(exchange.began for exchange in exchanges)
            rate += Rate(max(exchange.ended for exchange in exchanges) - began, STREAMS * _TOKENS)
            if rate.seconds >= seconds:
                return rate
    finally:
        for connection in connections:
            connection.close()


async def _idle_cpu(target: Target) -> float:
    assert target.pid is not None
    before, began = tree_cpu_seconds(target.pid), time.perf_counter()
    await asyncio.sleep(_IDLE_SECONDS)
    return (tree_cpu_seconds(target.pid) - before) / (time.perf_counter() - began)


def _fetch(model: Model, progress: Progress) -> Path:
    """The weights, from the cache that `fairlead serve` uses too; made or fetched where they are missing."""
    shown = -1

    def show(fetched: Fetched) -> None:
        nonlocal shown
        percent = 100 * fetched.done // fetched.total if fetched.total else 0
        if percent // 10 != shown:
            shown = percent // 10
            progress.say(f"weights of {model.name}: {fetched.phase} {percent}%")

    source = model.spec.model
    return WeightsStore(EngineSettings().cache_dir).fetch(source.uri, revision=source.revision or None, progress=show)


@contextlib.asynccontextmanager
async def _plain(model: Model, weights: Path) -> AsyncIterator[Target]:
    port = _free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *command_line(model, weights)]
    async with running(
        "plain vLLM",
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        ready="Application startup complete",
        seconds=_START_SECONDS,
        url=f"http://127.0.0.1:{port}",
    ) as server:
        yield Target.at("plain vLLM", server.url, server.pid)


@contextlib.asynccontextmanager
async def _whole(model_file: Path) -> AsyncIterator[Target]:
    command = [sys.executable, "-m", "fairlead_serve.cli", "serve", "-f", str(model_file), "--port", "0"]
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        environment = os.environ | {"FAIRLEAD_DATABASE_URL": f"sqlite:///{folder}/conversations.db"}
        async with running(
            "the whole stack", command, ready="Ready: ", seconds=_START_SECONDS, environment=environment
        ) as server:
            yield Target.at("the whole stack", server.url, server.pid)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
