"""Keeps every engine endpoint's `ready` true to what the engine itself says, in the background."""

import asyncio
import contextlib

import msgspec

from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.balancing import Endpoint
from fairlead_serve.gateway.upstream import UpstreamClient, UpstreamError
from fairlead_serve.internal import TASKS_PATH

# A ready endpoint's requests tell more than probes do, so it is probed this much less often.
_READY_FACTOR = 5
_PROBE_TIMEOUT_SECONDS = 5.0
_ANSWER_BYTES = 64 * 1024


class Prober:
    """Asks every engine for its health: each `seconds` while it is not ready, seldom while it is, at once on doubt."""

    def __init__(self, client: UpstreamClient, *, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._tasks: dict[Backend, dict[str, asyncio.Task[None]]] = {}

    def follow(self, backend: Backend) -> None:
        """Look after the endpoints that `backend` has now, and no longer after those that it had.

        Needs a running event loop.
        """
        before = self._tasks.pop(backend, {})
        endpoints = backend.balancer.endpoints if backend.is_engine else ()
        tasks = {one.url: before.get(one.url) or self._start(backend, one) for one in endpoints}
        if tasks:
            self._tasks[backend] = tasks
        for url, task in before.items():
            if url not in tasks:
                task.cancel()

    async def stop(self) -> None:
        """End all probing."""
        tasks = [task for tasks in self._tasks.values() for task in tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, backend: Backend, endpoint: Endpoint) -> "asyncio.Task[None]":
        return asyncio.create_task(self._watch(backend, endpoint), name=f"probe {endpoint.url}")

    async def _watch(self, backend: Backend, endpoint: Endpoint) -> None:
        asked = False
        while True:
            endpoint.doubt.clear()
            backend.mark(endpoint, ready=await self._healthy(backend, endpoint))
            if endpoint.ready and not asked:
                # Once an endpoint: new weights, which may be for something else, come with new engines.
                tasks = await self._ask_tasks(backend, endpoint)
                backend.tasks, asked = tasks or backend.tasks, bool(tasks)
            pause = self._seconds * (_READY_FACTOR if endpoint.ready else 1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    # Doubt about an endpoint that is known to be down changes nothing: keep the rhythm.
                    await (endpoint.doubt.wait() if endpoint.ready else asyncio.sleep(pause))

    async def _healthy(self, backend: Backend, endpoint: Endpoint) -> bool:
        try:
            status, _ = await self._get(backend, endpoint, "/health")
        except UpstreamError:
            return False
        return status == 200

    async def _ask_tasks(self, backend: Backend, endpoint: Endpoint) -> tuple[str, ...]:
        """The tasks of the model; () where the engine does not say, which costs a detail in an error message."""
        try:
            status, body = await self._get(backend, endpoint, TASKS_PATH)
            return tuple(msgspec.json.decode(body, type=list[str])) if status == 200 else ()
        except (UpstreamError, msgspec.MsgspecError, UnicodeDecodeError):
            return ()

    async def _get(self, backend: Backend, endpoint: Endpoint, path: str) -> tuple[int, bytes]:
        return await self._client.fetch(
            endpoint.origin, path, backend.headers, limit=_ANSWER_BYTES, seconds=_PROBE_TIMEOUT_SECONDS
        )
