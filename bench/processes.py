"""Servers as child processes: started, waited for until they say where they listen, measured, ended by their own id."""

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import psutil

from bench.errors import BenchError

_STOP_SECONDS = 90
_LAST_LINES = 25


def cpu_seconds(pid: int | None) -> float:
    """User and system CPU seconds that the process `pid` has spent so far, all threads, to the nanosecond.

    From the process's own CPU clock (clock_getcpuclockid(3) builds its id this way on Linux); elsewhere from
    psutil, whose clock ticks are 10 ms. 0 for None.
    """
    if pid is None:
        return 0.0
    if psutil.LINUX:
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def tree_cpu_seconds(pid: int) -> float:
    """The same for a process and its descendants, as far as they live still."""
    total = cpu_seconds(pid)
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            total += cpu_seconds(child.pid)
    return total


def find_url(line: str, ready: str) -> str | None:
    """The http URL in a line that begins with `ready`; None where it is another line or has none."""
    if not line.startswith(ready):
        return None
    found = re.search(r"https?://[^\s/]+", line)
    return found[0] if found else None


class Server:
    """A running server: `url` (scheme, host and port) and `pid`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, url: str) -> None:
        self.name = name
        self.url = url
        self.pid = process.pid
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.returncode is None


@contextlib.asynccontextmanager
async def running(
    name: str,
    command: Sequence[str],
    *,
    ready: str | None,
    seconds: float,
    url: str | None = None,
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> AsyncIterator[Server]:
    """A server for as long as the block runs; then SIGTERM, and SIGKILL only when that does nothing for long.

    `ready` begins the line that says that it listens and where; with `url` given, it is anywhere in that line, or None
    for a server that inherits a listener as one of `descriptors`, and so takes connections from the first moment.
    `output`: a file for its standard output when that is not where the line comes.
    Raises BenchError, with its last words, when it ends or is not ready within `seconds`.
    """
    with output.open("wb") if output else contextlib.nullcontext(PIPE) as standard:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=standard,
            stderr=PIPE if output else STDOUT,
            env=environment,
            pass_fds=descriptors,
            start_new_session=True,
        )
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    if ready is None:
        found.set_result(url or "")
    stream = process.stderr if output else process.stdout
    assert stream is not None
    reading = asyncio.create_task(_read(stream, lines, found, ready or "", url))
    try:
        yield Server(name, process, await _wait_ready(name, found, reading, lines, seconds))
    finally:
        await _stop(process)
        await reading


async def _read(
    stream: asyncio.StreamReader, lines: deque[str], found: asyncio.Future[str], ready: str, url: str | None
) -> None:
    """Keep the last lines, and look for the one that says ready."""
    while raw := await _line(stream):
        line = raw.decode("utf-8", "replace").rstrip()
        lines.append(line)
        if not found.done():
            where = url if url and ready in line else find_url(line, ready)
            if where:
                found.set_result(where)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line too long to be shown)\n"


async def _wait_ready(
    name: str, found: asyncio.Future[str], reading: asyncio.Task[None], lines: deque[str], seconds: float
) -> str:
    either: list[asyncio.Future[Any]] = [found, reading]
    await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if found.done():
        return found.result()
    why = "ended" if reading.done() else f"was not ready within {seconds:g} s"
    raise BenchError("\n  ".join([f"{name} {why}; its last lines:", *lines]))


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
