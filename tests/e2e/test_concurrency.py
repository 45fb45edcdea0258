"""Many at once, and one that leaves."""

import asyncio
import contextlib
import re
from typing import NamedTuple

import httpx
import pytest
from openai import AsyncOpenAI
from tenacity import AsyncRetrying, stop_after_delay, wait_fixed

from tests.e2e.conftest import Stack

pytestmark = pytest.mark.engine

ENGINE_TOKENS = re.compile(r"^ray_vllm_generation_tokens_total\{[^}]*tiny-chat[^}]*\} (\S+)", re.MULTILINE)
FINISHED = re.compile(r"^ray_vllm_request_success_total\{[^}]*tiny-chat[^}]*\} (\S+)", re.MULTILINE)
# Of one request: enough work that an engine which went on would be seen to, however slow the machine is to leave.
CHOICES = 16
METRICS_URL = re.compile(r"metrics at (\S+)")


async def test_sixty_four_streams_at_once_are_not_mixed_up(async_client: AsyncOpenAI) -> None:
    """Each stream continues its own text greedily, so its answer is known from asking alone."""
    prompts = [f"{number} {number + 1}" for number in range(64)]

    async def alone(prompt: str) -> str:
        answer = await async_client.completions.create(model="tiny-chat", prompt=prompt, max_tokens=24, temperature=0)
        return answer.choices[0].text

    async def streamed(prompt: str) -> tuple[str, set[str]]:
        stream = await async_client.completions.create(
            model="tiny-chat", prompt=prompt, max_tokens=24, temperature=0, stream=True
        )
        chunks = [chunk async for chunk in stream]
        return "".join(chunk.choices[0].text for chunk in chunks), {chunk.id for chunk in chunks}

    expected = [await alone(prompt) for prompt in prompts]
    answers = await asyncio.gather(*(streamed(prompt) for prompt in prompts))
    # Batches of other sizes may round differently, rarely and after a few tokens; ids may never mix.
    assert all(len(ids) == 1 for _, ids in answers)
    assert len({next(iter(ids)) for _, ids in answers}) == 64
    same = sum(text == wanted for (text, _), wanted in zip(answers, expected, strict=True))
    assert same >= 60
    assert all(text[:4] == wanted[:4] for (text, _), wanted in zip(answers, expected, strict=True))


async def test_two_models_answer_at_the_same_time(async_client: AsyncOpenAI) -> None:
    async def chat() -> str:
        answer = await async_client.chat.completions.create(
            model="tiny-chat", messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0
        )
        return answer.choices[0].message.content or ""

    async def embed() -> int:
        answer = await async_client.embeddings.create(model="tiny-embed", input="one")
        return len(answer.data[0].embedding)

    texts, sizes = await asyncio.gather(
        asyncio.gather(*(chat() for _ in range(16))), asyncio.gather(*(embed() for _ in range(16)))
    )
    assert all("Paris" in text for text in texts)
    assert len(set(sizes)) == 1


async def test_a_client_that_leaves_stops_its_engine(stack: Stack) -> None:
    """Streams of 16 times 1900 tokens, of which the engine takes four at once, are left: many tokens are never made.

    How many depends on the machine: so small a model makes tokens faster than vLLM's HTTP side hands them on, and a
    gateway beside it may hear of the leaving seconds later. An engine that is not told makes all of them.

    vLLM counts no request that was given up, so another one of the same length follows: when that has finished and is
    counted, the others would have made theirs, too.
    """
    metrics_url = stack.command.wait_for(METRICS_URL)[1]

    async with httpx.AsyncClient(timeout=120) as client:
        before = await counters(client, metrics_url)
        body = {"model": "tiny-chat", "prompt": "Hello", "stream": True, "max_tokens": 1900, "ignore_eos": True}
        many = {**body, "n": CHOICES, "temperature": 1}

        async def leave() -> None:
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(2),
                    client.stream("POST", f"{stack.url}/v1/completions", json=many) as answer,
                ):
                    async for _line in answer.aiter_lines():
                        break

        await asyncio.gather(*(leave() for _ in range(16)))
        (await client.post(f"{stack.url}/v1/completions", json={**body, "stream": False})).raise_for_status()
        # Ray's exporter is told every few seconds and announces nothing: it is asked until it knows.
        async for attempt in AsyncRetrying(wait=wait_fixed(0.5), stop=stop_after_delay(60), reraise=True):
            with attempt:
                now = await counters(client, metrics_url)
                assert now.finished > before.finished
    assert 1900 <= now.tokens - before.tokens < 0.9 * 16 * CHOICES * 1900


class Counters(NamedTuple):
    """Tokens that the chat engine has made, and requests that it has finished."""

    tokens: float
    finished: float


async def counters(client: httpx.AsyncClient, metrics_url: str) -> Counters:
    text = (await client.get(metrics_url)).text
    return Counters(*(sum(map(float, pattern.findall(text))) for pattern in (ENGINE_TOKENS, FINISHED)))
