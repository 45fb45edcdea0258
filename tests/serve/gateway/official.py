"""OpenAI's own client, and its types as what every answer has to fit."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.serve.gateway.world import Running

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@contextlib.asynccontextmanager
async def sdk(running: Running, *, key: str = "none") -> AsyncIterator[openai.AsyncOpenAI]:
    """The client, which here refuses every object and event that does not fit its types."""
    # Without the certificates of the whole world, which take longer to load than a test.
    async with openai.AsyncOpenAI(
        base_url=f"{running.url}/v1",
        api_key=key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=False),
        _strict_response_validation=True,
    ) as client:
        yield client


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream of a response, each under its name and one of OpenAI's, numbered without a gap."""
    events: list[dict[str, Any]] = []
    for block in body.decode().split("\n\n")[:-1]:
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert _EVENT.validate_python(event).type == event["type"]
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events
