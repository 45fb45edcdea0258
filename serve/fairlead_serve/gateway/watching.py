"""What is watched while an answer is passed on: its time, that it is not silent for long, that its client is there."""

import asyncio
from types import TracebackType

from fairlead_serve.asgi import Receive
from fairlead_serve.gateway.inbound import ClientGone
from fairlead_serve.gateway.line import Line
from fairlead_serve.gateway.upstream import Answer


class Silence:
    """Pokes an answer when nothing was sent for `seconds`. One timer a stream, none a chunk."""

    def __init__(self, answer: Answer, seconds: float) -> None:
        self._answer = answer
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Silence":
        self._timer = self._loop.call_later(self._seconds, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def broken(self) -> None:
        """Something was sent."""
        self._since = self._loop.time()

    def _look(self) -> None:
        left = self._since + self._seconds - self._loop.time()
        if left <= 0:
            self._answer.poke()
            left = self._seconds
        self._timer = self._loop.call_later(left, self._look)


class Deadline:
    """Ends the block, with TimeoutError, after `seconds`: `asyncio.timeout` at a third of its cost."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._passed = False

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass)

    def _pass(self) -> None:
        self._passed = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Cancelled by somebody else as well: that is not a matter of time.
        if self._passed and self._task is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Leaving:
    """Ends the block, with ClientGone, as soon as the client closes the connection. `gone`: it has.

    `line`: tells so where there is one; else `receive` is listened to, which takes a task.
    """

    def __init__(self, receive: Receive, line: Line | None) -> None:
        self._receive = receive
        self._line = line
        self.gone = False
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> "Leaving":
        if self._line is not None:
            self._line.when_gone(self._leave)
        else:
            self._watcher = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.when_gone(None)
        if self._watcher is not None:
            self._watcher.cancel()
        if self.gone and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise ClientGone from None
