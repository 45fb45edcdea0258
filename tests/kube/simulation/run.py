"""A container's command as a process of this machine."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PROGRAMS = {"fairlead": (sys.executable, "-m", "fairlead_serve.cli"), "python3": (sys.executable,)}
# A pod has an address of its own; processes of one machine share theirs.
_ADDRESSES = {"0.0.0.0": "{ip}", "127.0.0.1": "{ip}"}
_MESSAGE_BYTES = 2048
_SIGNALLED = 128


@dataclass(frozen=True)
class Local:
    """The command of the container runs here, and the pod's status follows it.

    `programs` are the words for the first word of a command. `texts` are replaced in the command, the environment, the
    probe and the files of config maps; `{ip}` in them is the pod's address. `environment` goes before the pod's own.
    """

    programs: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(_PROGRAMS))
    texts: Mapping[str, str] = field(default_factory=lambda: dict(_ADDRESSES))
    environment: Mapping[str, str] = field(default_factory=dict)


class Rewriting:
    """From the words of a container to those that mean the same on this machine."""

    def __init__(self, local: Local, *, ip: str, mounts: Mapping[str, Path]) -> None:
        """`mounts`: what lies where, by the path in the container."""
        self._local = local
        self._texts = {text: other.format(ip=ip) for text, other in local.texts.items()}
        longest_first = sorted(mounts, key=len, reverse=True)
        self._paths = {path: str(mounts[path]) for path in longest_first}
        names = "|".join(map(re.escape, longest_first))
        self._mounted = re.compile(rf"(?<![\w./-])(?:{names})(?![\w.-])") if names else None

    def text(self, text: str) -> str:
        """Of a file."""
        for there, here in self._texts.items():
            text = text.replace(there, here)
        return text

    def word(self, word: str) -> str:
        """Of a command or a variable: paths too."""
        word = self.text(word)
        return word if self._mounted is None else self._mounted.sub(lambda match: self._paths[match[0]], word)

    def command(self, words: Sequence[str]) -> list[str]:
        first = self._local.programs.get(words[0], (words[0],))
        return [*first, *map(self.word, words[1:])]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        own = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**own, **{name: self.word(value) for name, value in variables.items()}, **self._local.environment}


class Process:
    """One start of a container. `run` it as a task; cancelled, it lets the process end in its time."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        probe: Mapping[str, Any] | None,
        grace_seconds: float,
        last_words: Path,
        log_speaks: bool,
    ) -> None:
        """`probe` is the readiness probe, rewritten; without an `exec` in it the process is ready as it runs.

        What the process writes to the file `last_words` is why it ended; where there is nothing and `log_speaks`, the
        end of its output is.
        """
        self._command = command
        self._environment = dict(environment)
        self._folder = folder
        self._probe = probe or {}
        self._grace_seconds = grace_seconds
        self._last_words = last_words
        self._log_speaks = log_speaks
        self._log = folder / "log"

    async def run(self, *, on_ready: Callable[[bool], None], on_exit: Callable[[int, str], None]) -> None:
        """`on_exit` is told the exit code as Kubernetes counts it, and why the process ended."""
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        probing = asyncio.create_task(self._probe_on(on_ready))
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        on_exit(code if code >= 0 else _SIGNALLED - code, self._message(code))

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self._grace_seconds)
        # The kernel ends what else is in a container with its first process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def _probe_on(self, on_ready: Callable[[bool], None]) -> None:
        command = self._probe.get("exec", {}).get("command")
        if command is None:
            on_ready(True)
            return
        while True:
            on_ready(await self._answers(command))
            await asyncio.sleep(self._probe.get("periodSeconds", 10))

    async def _answers(self, command: Sequence[str]) -> bool:
        nothing = asyncio.subprocess.DEVNULL
        probe = await asyncio.create_subprocess_exec(
            *command, env=self._environment, cwd=self._folder, stdin=nothing, stdout=nothing, stderr=nothing
        )
        try:
            return await asyncio.wait_for(probe.wait(), self._probe.get("timeoutSeconds", 1)) == 0
        except TimeoutError:
            return False
        finally:
            if probe.returncode is None:
                probe.kill()
                await probe.wait()

    def _message(self, code: int) -> str:
        said = self._last_words.read_bytes() if self._last_words.exists() else b""
        if not said and code and self._log_speaks:
            said = self._log.read_bytes()
        return said[-_MESSAGE_BYTES:].decode(errors="replace")
