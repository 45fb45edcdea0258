"""The engines as a child process: how `fairlead serve` starts, watches and ends `fairlead engine`.

Ray, its threads and its environment stay out of the gateway's process, and a laptop runs the very command that
a pod runs. The child tells what it does as JSON lines on a pipe, and ends when its parent is gone.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import psutil

from fairlead_serve.engine.events import EngineAddress, Failed, error_of, read_events
from fairlead_serve.errors import EngineStartError
from fairlead_serve.internal import TOKEN_VARIABLE
from fairlead_serve.progress import Report, Reporter


class EngineProcess:
    """One child that runs the engines of some Model files."""

    def __init__(self, files: Sequence[Path], *, token: str, log: Path, arguments: Sequence[str] = ()) -> None:
        read_end, write_end = os.pipe()
        environment = {**os.environ, TOKEN_VARIABLE: token}
        command = [sys.executable, "-m", "fairlead_serve.cli", "engine", "--events-fd", str(write_end), *arguments]
        command += [part for file in files for part in ("--model", str(file))]
        with log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(write_end,),
                env=environment,
                # Ctrl-C is for this process: the child is told when the gateway has drained.
                start_new_session=True,
            )
        os.close(write_end)
        self._events: IO[str] = os.fdopen(read_end, encoding="utf-8")
        self._log = log

    def wait_ready(self, report: Reporter, *, cancelled: threading.Event) -> EngineAddress | None:
        """Show the child's progress until its engines are ready. None when `cancelled` was set meanwhile.

        Raises what the child failed with, as the same class of error.
        """
        for event in read_events(self._events):
            if cancelled.is_set():
                return None
            match event:
                case Report():
                    report(event)
                case EngineAddress():
                    return event
                case Failed():
                    raise error_of(event)
        if cancelled.is_set():
            return None
        code = self._child.wait()
        message = f"the engine process ended with exit code {code} before it was ready; its log is {self._log}"
        raise EngineStartError(message)

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the child ends, from a thread."""

        def wait() -> None:
            self._child.wait()
            with contextlib.suppress(RuntimeError):  # the event loop it belongs to may be gone by then
                callback()

        threading.Thread(target=wait, name="engine process", daemon=True).start()

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def stop(self, *, timeout: float) -> None:
        """Tell the child to drain and wait for its end, for `timeout` seconds; then end it by force."""
        if self.running:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._events.close()

    def kill(self) -> None:
        """End the child and everything below it now."""
        try:
            root = psutil.Process(self._child.pid)
            family = [*root.children(recursive=True), root]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=5)
