"""The keeper: opens the store, and does what has to be done from time to time."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead_serve.conversations import Keeper, Store
from fairlead_serve.errors import ConfigurationError, NotStored, StoreUnavailable
from tests.postgres import Postgres
from tests.serve.conversations.world import OWNER, START, Clock, Closing, begin, messages

DAY = 24 * 60 * 60.0


class _Enough(Exception):  # noqa: N818
    """Ends a run from within a pause."""


class Pauses:
    """What is waited, in seconds; time passes at once. Before each `between` is called with how many there were."""

    def __init__(self, clock: Clock, *, most: int, between: Callable[[int], None] = lambda _: None) -> None:
        self.seconds: list[float] = []
        self._clock = clock
        self._most = most
        self._between = between

    async def __call__(self, seconds: float) -> None:
        self._between(len(self.seconds))
        self.seconds.append(seconds)
        self._clock.now += seconds
        if len(self.seconds) == self._most:
            raise _Enough


class Flaky(Store):
    """A store whose database says `troubles`, one at each call of `open` and `abandon`; empty: it answers."""

    def __init__(self, url: str, troubles: list[str]) -> None:
        super().__init__(url)
        self._troubles = troubles

    async def open(self) -> None:
        self._trouble()
        await super().open()

    async def abandon(self, now: float) -> int:
        self._trouble()
        return await super().abandon(now)

    def _trouble(self) -> None:
        if self._troubles and (trouble := self._troubles.pop(0)):
            raise StoreUnavailable(trouble)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'conversations.db'}"


async def run(keeper: Keeper) -> None:
    with pytest.raises(_Enough):
        await keeper.run()


async def test_a_store_that_is_away_is_tried_again_ever_more_rarely(sqlite: str, closing: Closing) -> None:
    store = closing(Flaky(sqlite, ["gone"] * 9))
    pauses = Pauses(Clock(), most=10)
    await run(Keeper(store, ttl_days=None, pause=pauses))
    assert pauses.seconds == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 60]
    await store.ping()


async def test_trouble_is_logged_once_for_every_change(
    sqlite: str, caplog: pytest.LogCaptureFixture, closing: Closing
) -> None:
    caplog.set_level(logging.INFO, "fairlead_serve")
    troubles = ["refused", "refused", "starting up", "", "", "slow", "slow", "", ""]
    store = closing(Flaky(sqlite, troubles))
    await run(Keeper(store, ttl_days=None, pause=Pauses(Clock(), most=8)))
    assert [record.getMessage() for record in caplog.records] == [
        "conversations cannot be kept: refused",
        "conversations cannot be kept: starting up",
        "conversations can be kept again",
        "conversations cannot be kept: slow",
        "conversations can be kept again",
    ]


async def test_a_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    pauses = Pauses(Clock(), most=1)
    with pytest.raises(ConfigurationError):
        await Keeper(Store(f"sqlite:///{tmp_path}/file/x.db"), ttl_days=None, pause=pauses).run()
    assert pauses.seconds == []


async def test_a_gateway_starts_without_its_database_and_has_it_when_it_comes(
    postgres: Postgres, postgres_url: str, closing: Closing
) -> None:
    postgres.stop()
    store = closing(Store(postgres_url))
    away = asyncio.Event()
    back = asyncio.Event()

    async def pause(seconds: float) -> None:
        if seconds == 60:
            raise _Enough
        away.set()
        await back.wait()

    keeping = asyncio.create_task(Keeper(store, ttl_days=None, pause=pause).run())
    await away.wait()
    with pytest.raises(StoreUnavailable):
        await store.create_conversation(OWNER, "c", metadata={})
    postgres.start()
    back.set()
    with pytest.raises(_Enough):
        await keeping
    await store.create_conversation(OWNER, "c", metadata={})


async def test_responses_that_lost_their_gateway_fail_within_a_minute(url: str, closing: Closing) -> None:
    clock = Clock()
    store = closing(Store(url, clock=clock))
    await store.open()
    await begin(store, "r", "asked", deadline=START + 90)
    statuses: list[str] = []

    async def pause(seconds: float) -> None:
        assert seconds == 60
        clock.now += seconds
        statuses.append((await store.get_response(OWNER, "r")).status)
        if len(statuses) == 4:
            raise _Enough

    await run(Keeper(store, ttl_days=None, clock=clock, pause=pause))
    assert statuses == ["in_progress", "in_progress", "failed", "failed"]


async def test_what_has_expired_is_deleted_batch_by_batch_every_hour(sqlite: str, closing: Closing) -> None:
    clock = Clock()
    store = closing(Store(sqlite, clock=clock))
    await store.open()
    for number in range(3):
        await store.create_conversation(OWNER, f"c{number}", metadata={}, items=messages("a"))
        clock.now += 1800
    # The first is swept one hour after, the second and the third in the hour after that.
    clock.now = START + 2 * DAY - 1800
    pauses = Pauses(clock, most=130)
    await run(Keeper(store, ttl_days=2, clock=clock, pause=pauses))
    assert (await store.list_conversations(OWNER)).data == []
    assert [index for index, seconds in enumerate(pauses.seconds) if seconds < 60] == [60, 121]


async def test_nothing_expires_without_a_bound(sqlite: str, closing: Closing) -> None:
    clock = Clock()
    store = closing(Store(sqlite, clock=clock))
    await store.open()
    await store.create_conversation(OWNER, "c", metadata={})
    clock.now += 10_000 * DAY
    await run(Keeper(store, ttl_days=None, clock=clock, pause=Pauses(clock, most=70)))
    assert (await store.get_conversation(OWNER, "c")).created_at == START
    with pytest.raises(NotStored):
        await store.get_conversation(OWNER, "other")
