"""Looks after the store while a gateway runs: opens it, fails what was given up, deletes what has expired."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from itertools import count

from fairlead_serve.conversations.store import Store
from fairlead_serve.errors import StoreUnavailable

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_ROUND_SECONDS = 60.0
_ROUNDS_TO_A_SWEEP = 60
# Between two batches of a sweep, so that those who write get their turn.
_BREATH_SECONDS = 0.2
_DAY_SECONDS = 24 * 60 * 60


class Keeper:
    """Keeps one store. `ttl_days`: what nobody has used for as long is deleted; None: nothing is.

    `pause` is awaited with the seconds to wait.
    """

    def __init__(
        self,
        store: Store,
        *,
        ttl_days: float | None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._ttl_days = ttl_days
        self._clock = clock
        self._pause = pause
        self._trouble = ""

    async def run(self) -> None:
        """Open the store, however long the database is away, and tend it until cancelled.

        Raises ConfigurationError where the database can never be used as it is.
        """
        await self._open()
        for number in count():
            await self._tend(sweeping=number % _ROUNDS_TO_A_SWEEP == 0)
            await self._pause(_ROUND_SECONDS)

    async def _open(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._store.open()
            except StoreUnavailable as error:
                self._note(str(error))
            else:
                self._note("")
                return
            await self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _tend(self, *, sweeping: bool) -> None:
        try:
            if abandoned := await self._store.abandon(self._clock()):
                _logger.warning("%d responses had lost their gateway and were marked failed", abandoned)
            if sweeping and self._ttl_days is not None:
                await self._sweep(self._clock() - self._ttl_days * _DAY_SECONDS)
        except StoreUnavailable as error:
            self._note(str(error))
        else:
            self._note("")

    async def _sweep(self, before: float) -> None:
        total = 0
        while swept := await self._store.sweep(before):
            total += swept
            await self._pause(_BREATH_SECONDS)
        if total:
            _logger.info("%d conversations and responses had expired and were deleted", total)

    def _note(self, trouble: str) -> None:
        """Say what is wrong with the database, once for every change."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            _logger.warning("conversations cannot be kept: %s", trouble)
        else:
            _logger.info("conversations can be kept again")
