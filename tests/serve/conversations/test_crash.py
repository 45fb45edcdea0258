"""Processes that write are killed in the middle of it: what was acknowledged is there, and only whole turns are."""

import asyncio
import sys
from itertools import groupby

from fairlead_serve.conversations import Store
from tests.serve.conversations.world import OWNER, World, messages, names
from tests.serve.conversations.writer import CONVERSATION, ITEMS

_KILLS = 4
# No acknowledgement takes that long unless the test fails.
_PATIENCE_SECONDS = 60


class Writer:
    """One process that writes."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.acknowledged = 0
        self._process = process

    @classmethod
    async def start(cls, url: str, name: str) -> "Writer":
        command = (sys.executable, "-m", "tests.serve.conversations.writer", url, name)
        return cls(name, await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))

    async def write(self, turns: int) -> None:
        """Wait for `turns` more acknowledgements."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for _ in range(turns):
                assert await self._read(), f"{self.name} has ended"

    async def kill(self) -> None:
        self._process.kill()
        while await self._read():
            pass
        await self._process.wait()

    async def _read(self) -> bool:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return False
        assert int(line) == self.acknowledged
        self.acknowledged += 1
        return True


async def test_a_killed_gateway_leaves_every_turn_that_it_acknowledged_and_no_half_one(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, CONVERSATION, metadata={})
    # The victims write first and at once, so that one is killed while others wait for it; the survivor goes on.
    survivor, *victims = await asyncio.gather(
        *(Writer.start(world.url, name) for name in ("survivor", *(f"victim{number}" for number in range(_KILLS))))
    )
    try:
        await asyncio.gather(*(writer.write(3) for writer in (survivor, *victims)))
        for number, victim in enumerate(victims):
            await victim.write(number)
            await victim.kill()
            await assert_whole(store, [survivor, *victims])
            await survivor.write(2)
    finally:
        for writer in (survivor, *victims):
            if writer._process.returncode is None:
                await writer.kill()
    await assert_whole(store, [survivor, *victims])
    # Nothing of the dead is left in the way.
    await store.add_items(OWNER, CONVERSATION, messages("last"))
    assert names(await store.history(OWNER, CONVERSATION))[-1] == "last"


async def assert_whole(store: Store, writers: list[Writer]) -> None:
    """Every turn in the conversation is whole, each writer's are in order, and the acknowledged are among them."""
    acknowledged = {writer.name: writer.acknowledged for writer in writers}
    found = names(await store.history(OWNER, CONVERSATION))
    written = dict.fromkeys(acknowledged, 0)
    for name, parts in groupby(found, key=lambda item: item.partition(".")[0]):
        assert list(parts) == [f"{name}.{part}" for part in range(ITEMS)]
        writer = name.partition("-")[0]
        assert name == f"{writer}-{written[writer]}"
        written[writer] += 1
    for writer, count in acknowledged.items():
        assert written[writer] >= count
        assert (await store.get_response(OWNER, f"{writer}-{count - 1}")).status == "completed"
