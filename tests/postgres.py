"""A real PostgreSQL for tests: Debian's, in a folder of its own, which can be stopped and started again."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import asyncpg
import psutil

URL_VARIABLE = "FAIRLEAD_TEST_POSTGRES_URL"
"""Names an existing server to use instead, as a user who may make schemas."""


def binaries() -> Path | None:
    """Where the newest PostgreSQL of this machine has its programs."""
    found = shutil.which("postgres")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


class Postgres:
    """A server from `with` to its end. `url` leads to it whether it runs or not."""

    def __init__(self) -> None:
        found = binaries()
        assert found is not None, "there is no PostgreSQL; ask binaries() first"
        self._binaries = found
        # It refuses to run as root.
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="fairlead-postgres-"))
        self._port = _free_port()
        self.password = secrets.token_hex(8)
        self.url = f"postgresql://fairlead:{self.password}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> "Postgres":
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        password = self._folder / "password"
        password.write_text(self.password, encoding="ascii")
        password.chmod(0o644)
        self._run(
            "initdb",
            *("--username=fairlead", f"--pwfile={password}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._folder} -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """End it as a crash would: nobody is waited for, and what was committed is kept."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    @property
    def running(self) -> bool:
        return (self._folder / "data" / "postmaster.pid").exists()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """While the block runs it takes connections and says nothing."""
        server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
        server.suspend()
        family = [server, *server.children()]
        self._signal(family, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(family, signal.SIGCONT)

    @staticmethod
    def _signal(family: Sequence[psutil.Process], number: int) -> None:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # some of its workers come and go
                process.send_signal(number)

    def _run(self, program: str, *arguments: str) -> None:
        user, group = (self._user.pw_uid, self._user.pw_gid) if self._user else (None, None)
        command = [str(self._binaries / program), f"--pgdata={self._folder / 'data'}", *arguments]
        # Into a file: the server keeps what it was given open, and a pipe would never end.
        with (self._folder / "output").open("w+b") as output:
            ended = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                cwd="/",
                check=False,
            )
            output.seek(0)
            assert ended.returncode == 0, f"{program} failed:\n{output.read().decode()}"


@contextlib.asynccontextmanager
async def schema(server: str) -> AsyncIterator[str]:
    """The URL of an empty schema of its own on the server at the URL `server`."""
    name = f"test_{secrets.token_hex(8)}"
    await _execute(server, f"CREATE SCHEMA {name}")
    try:
        yield f"{server}{'&' if '?' in server else '?'}search_path={name}"
    finally:
        await _execute(server, f"DROP SCHEMA {name} CASCADE")


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no user postgres or nobody to run PostgreSQL as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
