"""What the controllers have to do next."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from tests.kube.errors import Forbidden

_SLICE_SECONDS = 0.005


class Work:
    """Calls to be made, each once however often it was asked for, in the order of asking.

    They are made on the event loop, a few milliseconds at a time, so that the API server goes on answering; or all at
    once by `settle`.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._awake = False

    def add(self, call: Callable[..., None], *arguments: Hashable) -> None:
        self._calls.setdefault((call, arguments), (call, arguments))
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._run)

    def settle(self) -> None:
        """Make all calls, and those that come of them."""
        while self._calls:
            self._next()

    def clear(self) -> None:
        self._calls.clear()

    def _next(self) -> None:
        call, arguments = self._calls.pop(next(iter(self._calls)))
        # A namespace that ends takes nothing new; what was to be made would go with it.
        with contextlib.suppress(Forbidden):
            call(*arguments)

    def _run(self) -> None:
        end = time.monotonic() + _SLICE_SECONDS
        try:
            while self._calls and time.monotonic() < end:
                self._next()
        finally:
            self._awake = bool(self._calls)
            if self._awake:
                asyncio.get_running_loop().call_soon(self._run)


class Background:
    """What goes on beside the controllers: servers and processes."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, then: Callable[[], None]) -> "Errand":
        """Run `coroutine`, and call `then` when it has ended, also where it was cancelled before it began."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._end(task, then))
        return Errand(task)

    async def stop(self) -> None:
        """End everything that was spawned."""
        tasks = list(self._tasks)
        for task in tasks:
            Errand(task).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _end(self, task: asyncio.Task[None], then: Callable[[], None]) -> None:
        self._tasks.discard(task)
        then()


class Errand:
    """Something that goes on; it is cancelled once, and then has all the time it needs to end."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        if not self._task.cancelling():
            self._task.cancel()
