"""The loads: streams at once, requests one after another, first tokens. Every answer is checked, after the clock.

All raise BenchError when an answer is not exactly what it has to be: a fast proxy that loses a token is no result.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from bench import answers
from bench.client import Connection, Exchange, Target
from bench.errors import BenchError
from bench.figures import Cost, Rate
from bench.processes import cpu_seconds
from bench.upstream import TICK_SECONDS

CHAT = "/v1/chat/completions"
_SETTLE_SECONDS = 0.5
_END_SECONDS = 0.2
_FIRST_TOKEN_TOKENS = 2


@dataclass(frozen=True)
class Streaming:
    """What streams cost in the steady window: CPU for chunks passed, and how many chunks a read of the client held."""

    cost: Cost = field(default_factory=Cost)
    reads: int = 0
    expected: int = 0

    def __add__(self, other: "Streaming") -> "Streaming":
        return Streaming(self.cost + other.cost, self.reads + other.reads, self.expected + other.expected)

    @property
    def chunks_per_read(self) -> float:
        """1 where every chunk travelled alone; more where a server was late and joined some."""
        return self.cost.count / self.reads

    @property
    def pace(self) -> float:
        """Chunks that passed, as a share of those the upstream's clock asks for."""
        return self.cost.count / self.expected


@dataclass(frozen=True)
class Requests:
    """What requests cost in the steady window, and how many were answered a second."""

    cost: Cost = field(default_factory=Cost)
    rate: Rate = field(default_factory=Rate)

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(self.cost + other.cost, self.rate + other.rate)


async def stream(target: Target, *, streams: int, seconds: float) -> Streaming:
    """Run `streams` at once and measure `seconds` out of their middle."""
    tokens = math.ceil((_SETTLE_SECONDS + seconds + _END_SECONDS) / TICK_SECONDS)
    request = target.post(CHAT, answers.request_body(tokens=tokens, stream=True))
    async with _connections(target, streams) as connections:
        exchanges = [connection.send(request) for connection in connections]
        # The load itself is what is waited for: the clock starts when every stream runs.
        await asyncio.sleep(_SETTLE_SECONDS)
        before = _passed(exchanges), _read(exchanges), cpu_seconds(target.pid)
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        after = _passed(exchanges), _read(exchanges), cpu_seconds(target.pid)
        elapsed = time.perf_counter() - began
        await finished(target, exchanges, seconds=30 + 5 * seconds)
        for exchange in exchanges:
            _check_stream(target, exchange, tokens)
    count, reads, spent = (late - early for late, early in zip(after, before, strict=True))
    return Streaming(Cost(spent, round(count)), round(reads), round(streams * elapsed / TICK_SECONDS))


async def ask(target: Target, *, at_once: int, seconds: float) -> Requests:
    """Send requests without `stream`, `at_once` at any time, each when the one before it is answered."""
    request = target.post(CHAT, answers.request_body(tokens=32, stream=False))
    answered = 0
    running = True

    async def keep_asking(connection: Connection) -> None:
        nonlocal answered
        while running:
            exchange = connection.send(request)
            await exchange.done
            if exchange.status != 200 or exchange.body != answers.whole_body():
                raise BenchError(f"{target.name} answered {exchange.status}: {exchange.body[:300]!r}")
            answered += 1

    async with _connections(target, at_once) as connections:
        asking = asyncio.gather(*(keep_asking(connection) for connection in connections))
        await _or_failure(asking, _SETTLE_SECONDS)
        before, began = (answered, cpu_seconds(target.pid)), time.perf_counter()
        await _or_failure(asking, seconds)
        after, elapsed = (answered, cpu_seconds(target.pid)), time.perf_counter() - began
        running = False
        await asking
    count = after[0] - before[0]
    return Requests(Cost(after[1] - before[1], count), Rate(elapsed, count))


async def first_tokens(
    targets: Sequence[Target],
    *,
    samples: int,
    request: Callable[[Target], bytes] | None = None,
    check: Callable[[Target, Exchange], None] | None = None,
) -> list[list[float]]:
    """Seconds to the first event, one list a target: one stream at a time, the targets in turn.

    `request` and `check`: what is asked and how its answer is judged, where it is not the synthetic upstream's.
    """
    make = request or _short_request
    judge = check or _check_short
    found: list[list[float]] = [[] for _ in targets]
    async with contextlib.AsyncExitStack() as stack:
        connections = [(await stack.enter_async_context(_connections(target, 1)))[0] for target in targets]
        for sample in range(-2, samples):  # the first two only warm up
            for target, connection, seconds in zip(targets, connections, found, strict=True):
                exchange = connection.send(make(target))
                await finished(target, [exchange], seconds=60)
                judge(target, exchange)
                if sample >= 0:
                    seconds.append(exchange.first_token_seconds)
    return found


@contextlib.asynccontextmanager
async def _connections(target: Target, count: int) -> AsyncIterator[list[Connection]]:
    connections = [await Connection.open(target) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


async def _or_failure(asking: "asyncio.Future[list[None]]", seconds: float) -> None:
    """Let the load run for `seconds`; raise at once what ends it early."""
    done, _ = await asyncio.wait([asking], timeout=seconds)
    if done:
        await asking


async def finished(target: Target, exchanges: Sequence[Exchange], *, seconds: float) -> None:
    """Wait until all answers are whole. Raises BenchError when one breaks, or is not after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(exchange.done for exchange in exchanges))
    except TimeoutError:
        late = sum(not exchange.done.done() for exchange in exchanges)
        raise BenchError(f"{target.name}: {late} of {len(exchanges)} streams did not end in {seconds:g} s") from None


def _passed(exchanges: Sequence[Exchange]) -> float:
    return sum(exchange.events for exchange in exchanges)


def _read(exchanges: Sequence[Exchange]) -> float:
    return sum(exchange.reads for exchange in exchanges)


def _check_stream(target: Target, exchange: Exchange, tokens: int) -> None:
    if exchange.status != 200:
        raise BenchError(f"{target.name} answered {exchange.status}: {exchange.body[:300]!r}")
    wrong = answers.difference(exchange.body, tokens)
    if wrong:
        raise BenchError(f"a stream through {target.name} is not what was sent: {wrong}")


def _short_request(target: Target) -> bytes:
    return target.post(CHAT, answers.request_body(tokens=_FIRST_TOKEN_TOKENS, stream=True))


def _check_short(target: Target, exchange: Exchange) -> None:
    _check_stream(target, exchange, _FIRST_TOKEN_TOKENS)
