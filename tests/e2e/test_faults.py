"""An engine that dies under load: clean errors, and it serves again without help."""

import asyncio
from collections.abc import Callable, Iterator

import httpx
import openai
import psutil
import pytest
from openai import AsyncOpenAI

from tests.processes import Command, model_file

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Command, str]]:
    path = model_file(tmp_path_factory.mktemp("models"), "fragile")
    with Command("serve", "-f", str(path), "--port", "0") as command:
        yield command, command.wait_ready()


def engine_core(command: Command) -> psutil.Process:
    return newest(command, "EngineCor")


def replica(command: Command) -> psutil.Process:
    return newest(command, "ServeRepli")


def newest(command: Command, word: str) -> psutil.Process:
    """The youngest process with `word` in its name, of which the kernel keeps fifteen letters, and more not always.

    One that is being replaced may still be on its way out.
    """
    found = [one for one in command.family() if word in f"{one.name()} {' '.join(one.cmdline())}"]
    return max(found, key=psutil.Process.create_time)


@pytest.mark.parametrize("victim", [engine_core, replica], ids=["engine core", "replica"])
async def test_a_killed_engine_ends_streams_with_an_error_and_comes_back(
    fragile: tuple[Command, str], victim: Callable[[Command], psutil.Process]
) -> None:
    command, url = fragile
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=240) as client:
        await kill_under_load(client, victim(command).kill)
    # The request was handed to the new engine by Ray, which held it; the gateway's next probe finds that engine too.
    assert await became_ready(url)


async def became_ready(url: str) -> bool:
    async with httpx.AsyncClient() as probe:
        for _ in range(100):
            if (await probe.get(f"{url}/readyz")).status_code == 200:
                return True
            await asyncio.sleep(0.2)
    return False


async def kill_under_load(client: AsyncOpenAI, kill: Callable[[], None]) -> None:
    killed = False

    async def stream() -> tuple[bool, str]:
        """Whether this stream had begun when the engine was killed, which the first to begin does; and its end."""
        nonlocal killed
        begun = False
        try:
            answer = await client.completions.create(
                model="fragile",
                prompt="Hello",
                max_tokens=1900,
                n=2,
                temperature=1,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            async for _ in answer:
                if not killed:
                    begun = killed = True
                    kill()
        except openai.APIError as error:
            return begun, str(error.code)
        return begun, "whole"

    ended = await asyncio.gather(*(stream() for _ in range(8)))
    assert (True, "engine_lost") in ended
    # Of those that nobody had heard of yet, some had sent their first byte, and others waited for the new engine.
    assert {end for _, end in ended} <= {"engine_lost", "whole"}
    # The very next request waits for the new engine instead of failing.
    answer = await client.completions.create(model="fragile", prompt="Hello", max_tokens=5)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
