"""The server in a thread of its own, for tests; everything a test does to it goes through here or over HTTP."""

import asyncio
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import kubernetes
import uvloop
from aiohttp import web

from tests.kube import kubeconfig
from tests.kube.access import ADMINISTRATOR, Access, token_of
from tests.kube.audit import Audit
from tests.kube.certificates import identity
from tests.kube.crds import GROUP, PLURAL, Definitions
from tests.kube.faults import Fault, Faults
from tests.kube.frontend import Frontend
from tests.kube.garbage import Garbage
from tests.kube.namespaces import Namespaces
from tests.kube.resources import Manifest
from tests.kube.store import Store

P = ParamSpec("P")
T = TypeVar("T")

_NAMESPACES = ("default", "kube-system", "kube-public")
_SECONDS = 30


class KubeServer:
    """An API server at a port of the loopback, from `start` to `stop`."""

    def __init__(self, *, port: int = 0, rbac: bool = False, bookmark_seconds: float = 30) -> None:
        self.audit = Audit()
        self.store = Store()
        # The controllers without which the rest could not be understood; those of workloads are a simulation's.
        for controller in (Definitions, Garbage, Namespaces):
            controller(self.store)
        self._faults = Faults()
        self._access = Access(self.store, enforced=rbac)
        self._frontend = Frontend(self.store, self._access, self.audit, self._faults, bookmark_seconds=bookmark_seconds)
        self._port = port
        # Only who has something to hide pays for TLS.
        self._identity = identity() if rbac else None
        self._tls = None if self._identity is None else self._identity.context()
        self._files = tempfile.TemporaryDirectory(prefix="fairlead-kube-")
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kube-api-server", daemon=True)
        self._web: web.Server | None = None
        self._listening: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._identity is None else 'https'}://127.0.0.1:{self._port}"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, the only place where the store may be used."""
        return self._loop

    def start(self) -> None:
        """Returns when connections are taken."""
        self._thread.start()
        self.call(self._prepare)
        self.back()

    def stop(self) -> None:
        """End everything; nothing is kept."""
        self.away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
        self._files.cleanup()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the store, or any other, on the event loop and return what it returns."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_SECONDS)

    def define(self, definitions: Iterable[Manifest]) -> None:
        """Store CustomResourceDefinitions, without the ways of the API."""
        resource = self.store.resource(PLURAL, GROUP)
        for definition in definitions:
            self.call(self.store.create, resource, definition)

    def remove(self, plural: str, group: str, namespace: str, name: str) -> None:
        """Delete an object without the ways of the API, which may be away."""
        self.call(self.store.delete, self.store.resource(plural, group), namespace, name)

    def change(self, plural: str, group: str, namespace: str, name: str, **spec: Any) -> None:
        """Change fields of an object's specification without the ways of the API, which may be away."""
        resource = self.store.resource(plural, group)

        def write() -> None:
            found = self.store.existing(resource, namespace, name)
            self.store.update(resource, {**found, "spec": {**found["spec"], **spec}})

        self.call(write)

    def client(self, user: str = ADMINISTRATOR) -> kubernetes.client.ApiClient:
        """A client of the official library, as a user or as `system:serviceaccount:<namespace>:<name>`."""
        file = self.kubeconfig(Path(self._files.name) / secrets.token_hex(8), user)
        client: kubernetes.client.ApiClient = kubernetes.config.new_client_from_config(str(file))
        return client

    def kubeconfig(self, path: Path, user: str = ADMINISTRATOR, namespace: str = "default") -> Path:
        """Write a kubeconfig to `path` for kubectl and whoever else reads one."""
        authority = b"" if self._identity is None else self._identity.certificate
        return kubeconfig.write(path, self.url, namespace=namespace, token=token_of(user), authority=authority)

    def rights_used(self, user: str) -> set[tuple[str, str]]:
        """Verbs and `group/resource` of what a user was let do; an apply that makes an object is a `create` too."""
        return self.call(self._access.used, user)

    # What goes wrong on purpose

    def fault(self, **fields: Any) -> Fault:
        """Let requests fail or wait; the fields are those of Fault."""
        return self.call(self._faults.add, Fault(**fields))

    def heal(self) -> None:
        """End all faults."""
        self.call(self._faults.clear)

    def drop_watches(self) -> int:
        """Cut every watch; returns how many there were."""
        return self.call(self._frontend.drop_watches)

    def compact(self) -> None:
        """Forget the past: watches from before are answered 410 when they come again."""
        self.call(self.store.compact)

    def away(self) -> None:
        """Refuse connections and cut those there are, as a server that died. What is stored stays."""
        self._wait(self._close())

    def back(self) -> None:
        """Listen again, at the same port."""
        self._wait(self._listen())

    def __enter__(self) -> "KubeServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        namespaces = self.store.resource("namespaces")
        for name in _NAMESPACES:
            self.store.create(namespaces, {"metadata": {"name": name}})

    async def _listen(self) -> None:
        if self._listening is not None:
            return
        # Who hangs up ends its watch.
        self._web = web.Server(self._frontend, access_log=None, keepalive_timeout=3600, handler_cancellation=True)
        self._listening = await self._loop.create_server(
            self._web, "127.0.0.1", self._port, reuse_address=True, family=socket.AF_INET, backlog=1024, ssl=self._tls
        )
        self._port = self._listening.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._listening is None or self._web is None:
            return
        self._listening.close()
        for connection in list(self._web.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self._web.shutdown(0)
        self._listening = None

    def _wait(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_SECONDS)
