"""The gateway against a direct connection, HAProxy and a FastAPI + aiohttp relay, over the synthetic upstream."""

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from bench import answers, haproxy, load
from bench.client import Target
from bench.figures import added, median
from bench.load import Requests, Streaming
from bench.plan import Plan
from bench.processes import running
from bench.progress import Progress
from fairlead_serve.keys import KeyFile

FEW, MANY = 32, 128
KEYED = "gateway_keyed"
# Limits of every kind, none of which is ever reached.
_PLENTY = 1_000_000_000
_AT_ONCE = 32
_START_SECONDS = 60


@dataclass
class Measured:
    """What was measured of one target."""

    name: str
    few: Streaming = field(default_factory=Streaming)
    many: Streaming = field(default_factory=Streaming)
    requests: Requests = field(default_factory=Requests)
    first_token_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class GatewayResult:
    """Every target by its name; `direct` is the upstream itself, whose CPU time is of no interest."""

    targets: dict[str, Measured]

    def figures(self) -> dict[str, float]:
        """The numbers by the names of the JSON line."""
        direct = self.targets["direct"].first_token_seconds
        found = {"direct_ttft_ms_p50": median(direct) * 1e3}
        for name, measured in self.targets.items():
            found[f"{name}_chunks_per_read_{MANY}"] = measured.many.chunks_per_read
            found[f"{name}_pace_{MANY}"] = measured.many.pace
            found[f"{name}_requests_per_second"] = measured.requests.rate.per_second
            if name == "direct":
                continue
            found[f"{name}_us_per_chunk_{FEW}"] = measured.few.cost.microseconds
            found[f"{name}_us_per_chunk_{MANY}"] = measured.many.cost.microseconds
            found[f"{name}_us_per_request"] = measured.requests.cost.microseconds
            found[f"{name}_ttft_ms_p50"] = median(measured.first_token_seconds) * 1e3
            found[f"{name}_added_ttft_ms_p50"] = added(measured.first_token_seconds, direct) * 1e3
        for name in self.targets.keys() - {"direct", "gateway", KEYED}:
            for figure in (f"us_per_chunk_{FEW}", f"us_per_chunk_{MANY}", "us_per_request"):
                found[f"gateway_to_{name}_{figure}"] = found[f"gateway_{figure}"] / found[f"{name}_{figure}"]
        return found


async def measure(plan: Plan, progress: Progress) -> GatewayResult:
    """Start everything, measure all targets in turn, round by round. Raises BenchError."""
    async with contextlib.AsyncExitStack() as stack:
        targets = await _start(stack, progress)
        measured = {target.name: Measured(target.name) for target in targets}
        for turn in range(plan.rounds):
            for load_name, run in _LOADS.items():
                for target in targets:
                    progress.say(f"round {turn + 1}/{plan.rounds}: {load_name}, {target.name}")
                    await run(target, measured[target.name], plan.seconds / plan.rounds)
        progress.say(f"first token, one stream, {plan.samples} times: {', '.join(measured)}")
        times = await load.first_tokens(targets, samples=plan.samples)
        for one, seconds in zip(measured.values(), times, strict=True):
            one.first_token_seconds = seconds
    return GatewayResult(measured)


async def _run_many(target: Target, measured: Measured, seconds: float) -> None:
    measured.many += await load.stream(target, streams=MANY, seconds=seconds)


async def _run_few(target: Target, measured: Measured, seconds: float) -> None:
    measured.few += await load.stream(target, streams=FEW, seconds=seconds)


async def _run_requests(target: Target, measured: Measured, seconds: float) -> None:
    measured.requests += await load.ask(target, at_once=_AT_ONCE, seconds=seconds)


_LOADS = MappingProxyType(
    {
        f"{MANY} streams": _run_many,
        f"{FEW} streams": _run_few,
        f"{_AT_ONCE} requests at once": _run_requests,
    }
)


async def _start(stack: contextlib.AsyncExitStack, progress: Progress) -> list[Target]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-bench-")))
    progress.say("starting the synthetic upstream, the gateway and what it is compared with")
    upstream = await stack.enter_async_context(
        running("upstream", [sys.executable, "-m", "bench.upstream"], ready="Ready", seconds=_START_SECONDS)
    )
    direct = Target.at("direct", upstream.url)
    targets = [
        direct,
        await stack.enter_async_context(_gateway("gateway", upstream.url, folder)),
        await stack.enter_async_context(_gateway(KEYED, upstream.url, folder)),
    ]
    relay = await stack.enter_async_context(
        running(
            "aiohttp",
            [sys.executable, "-m", "bench.relay_aiohttp", "--upstream", upstream.url],
            ready="Ready",
            seconds=_START_SECONDS,
        )
    )
    targets.append(Target.at("aiohttp", relay.url, relay.pid))
    binary = haproxy.find_binary()
    if binary is None:
        progress.say("HAProxy is not installed: no floor to compare with")
    else:
        targets.append(await stack.enter_async_context(_haproxy(binary, direct, folder)))
    return targets


@contextlib.asynccontextmanager
async def _gateway(name: str, upstream: str, folder: Path) -> AsyncIterator[Target]:
    """The real command, with all on that is on by default, and keys with every limit if KEYED; it logs to a file."""
    settings: dict[str, Any] = {
        "backends": [{"name": answers.MODEL, "endpoints": [upstream]}],
        "databaseUrl": f"sqlite:///{folder / name}.db",
    }
    key = ""
    if name == KEYED:
        file = KeyFile(folder / "keys.yaml")
        _, key = file.create(
            "bench",
            models=["*"],
            requests_per_minute=_PLENTY,
            tokens_per_minute=_PLENTY,
            concurrent_requests=_PLENTY,
        )
        settings["keyFile"] = str(folder / "keys.yaml")
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(settings))
    async with running(
        name,
        [sys.executable, "-m", "fairlead_serve.cli", "gateway", "-c", str(config), "--port", "0"],
        ready="Gateway ready",
        seconds=_START_SECONDS,
        output=folder / f"{name}.log",
        environment=os.environ | {"FAIRLEAD_INTERNAL_TOKEN": secrets.token_urlsafe(32)},
    ) as server:
        yield Target.at(name, server.url, server.pid, key=key)


@contextlib.asynccontextmanager
async def _haproxy(binary: Path, upstream: Target, folder: Path) -> AsyncIterator[Target]:
    config = folder / "haproxy.cfg"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        descriptor = listener.fileno()
        config.write_text(haproxy.configuration(descriptor=descriptor, host=upstream.host, port=upstream.port))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [str(binary), "-f", str(config)]
        async with running(
            "haproxy", command, ready=None, seconds=_START_SECONDS, url=url, descriptors=[descriptor]
        ) as server:
            yield Target.at("haproxy", url, server.pid)
