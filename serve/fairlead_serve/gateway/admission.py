"""How many requests may be at a Model's backends at once, and how many may wait for a place. No I/O."""

import asyncio
import contextlib
from collections import deque
from types import TracebackType

from fairlead_serve.errors import ApiError


class Admission:
    """A fair, bounded queue in front of a bounded number of places. `async with admission:` takes a place.

    Raises ApiError 429 `engine_overloaded` at once when the queue is full too. The bounds may change at any time.
    """

    def __init__(self, model: str, *, max_ongoing: int, max_queued: int) -> None:
        self._model = model
        self._max_ongoing = max_ongoing
        self._max_queued = max_queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.ongoing = 0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def resize(self, model: str, *, max_ongoing: int, max_queued: int) -> None:
        """Go by other bounds from now on. Who is in stays, who waits goes on waiting, and new places are given out."""
        self._model = model
        self._max_ongoing = max_ongoing
        self._max_queued = max_queued
        while self._waiting and self.ongoing < max_ongoing:
            self.ongoing += 1
            self._leave()  # as if the new place had been somebody's until now

    async def __aenter__(self) -> None:
        if self.ongoing < self._max_ongoing and not self._waiting:
            self.ongoing += 1
            return
        if len(self._waiting) >= self._max_queued:
            raise ApiError(
                429,
                f"the model {self._model} is at its limit of {self._max_ongoing} requests at once and "
                f"{self._max_queued} waiting; try again later",
                code="engine_overloaded",
                headers={"retry-after": "1"},
            )
        await self._wait()

    async def _wait(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()  # the place came at the moment of leaving: it goes to the next
            else:
                # It may be out of the queue already: a place was offered between the leaving and this line.
                with contextlib.suppress(ValueError):
                    self._waiting.remove(place)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._waiting and self.ongoing <= self._max_ongoing:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)  # the place changes hands; `ongoing` stays
                return
        self.ongoing -= 1
