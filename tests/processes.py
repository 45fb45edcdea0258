"""Fairlead's own commands as child processes of the tests: started, waited for, and ended by their process id."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import psutil

# `Ready` of serve and engine, `Gateway ready` of the gateway alone.
_READY = re.compile(r"[Rr]eady: (?P<url>http://\S+?)(?:/v1|/engines)")
READY_SECONDS = 240
END_SECONDS = 90


class Command:
    """One `fairlead` process; its standard error is kept line by line in `lines`."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.lines: list[str] = []
        # The conversations of tests are not those of whoever runs them.
        self._data = tempfile.TemporaryDirectory(prefix="fairlead-test-")
        database = {"FAIRLEAD_DATABASE_URL": f"sqlite:///{self._data.name}/conversations.db"}
        self._changed = threading.Condition()
        self._closed = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fairlead_serve.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **database, **(environment or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return "\n".join(self.lines)

    def wait_for(self, pattern: re.Pattern[str], *, seconds: float = READY_SECONDS) -> re.Match[str]:
        """The first match of `pattern` in a line, printed or to come. Fails when the process ends without one."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if match := pattern.search(line):
                        return match
                seen = len(self.lines)
                if self._closed or time.monotonic() > deadline:
                    raise AssertionError(f"no line like {pattern.pattern!r} in:\n" + "\n".join(self.lines))
                self._changed.wait(deadline - time.monotonic())

    def wait_ready(self) -> str:
        """The URL that the command announced, without a path."""
        return self.wait_for(_READY)["url"]

    def family(self) -> list[psutil.Process]:
        """The process and everything below it.

        By parents alone: psutil's `children` leaves out what seems older than its parent, and adds the time of boot to
        each, which moves by a second when the machine's clock is put right.
        """
        below: defaultdict[int, list[psutil.Process]] = defaultdict(list)
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                below[one.ppid()].append(one)
        found = [psutil.Process(self.process.pid)]
        for one in found:
            found += below[one.pid]
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = END_SECONDS) -> int:
        return self.process.wait(seconds)

    def end(self) -> None:
        """Drain; by force where that takes too long."""
        if self.process.poll() is not None:
            return
        family = self.family()
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            for process in family:
                if process.is_running():
                    process.kill()

    def __enter__(self) -> "Command":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._reader.join()
        self._data.cleanup()


def left_behind(family: Sequence[psutil.Process], *, seconds: float = 10) -> list[psutil.Process]:
    """Which of `family` still live after `seconds`; zombies, whose parent has to collect them, do not."""
    gone, alive = psutil.wait_procs(family, timeout=seconds)
    del gone
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def model_file(directory: Path, name: str, *, uri: str = "tiny://chat", engine: str = "", spec: str = "") -> Path:
    """A Model file for tests. `engine` and `spec` are more YAML at their level, each line indented from there."""
    lines = [
        "apiVersion: fairlead.dev/v1alpha1",
        "kind: Model",
        f"metadata: {{name: {name}}}",
        "spec:",
        f"  model: {{uri: '{uri}'}}",
        "  engine:",
        "    device: cpu",
        "    maxNumSeqs: 64",
        "    args: {kv_cache_memory_bytes: 268435456}",
        *(f"    {line}" for line in engine.splitlines()),
        *(f"  {line}" for line in spec.splitlines()),
    ]
    path = directory / f"{name}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
