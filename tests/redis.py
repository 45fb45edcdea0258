"""A Redis of the tests' own: Debian's redis-server on a free port of the loopback, with nothing kept on disk."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

_BINARY = shutil.which("redis-server")
_END_SECONDS = 10


class RedisServer:
    """One `redis-server` in `directory`. It can be stopped and started again, empty, at the same port."""

    def __init__(self, directory: Path, *, password: str = "") -> None:
        self._directory = directory
        self._password = password
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self._port: int = listening.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Returns when connections are taken."""
        if _BINARY is None:
            pytest.skip("there is no redis-server on this machine")
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self._directory, "save": "", "appendonly": "no"}
        if self._password:
            options["requirepass"] = self._password
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([_BINARY, *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Ready to accept connections" in line:
                return
        self.stop()
        pytest.fail(f"redis-server ended at once; is something else at port {self._port}?")

    def stop(self) -> None:
        """End it, and what it kept."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=_END_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """From now on it takes connections, since the kernel does, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Answer everything that came meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
