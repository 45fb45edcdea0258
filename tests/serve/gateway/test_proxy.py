"""The byte path, from a real client through the real server to a synthetic upstream."""

from tests.serve.gateway.upstream import DONE, Exchange, Request, event
from tests.serve.gateway.world import CHAT, World, backend

REQUEST = {"model": "model", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def test_a_stream_arrives_byte_for_byte(world: World) -> None:
    events = [event(text) for text in ("Grüße", " 世界", " 👍")]

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.stream(*events)

    running = await world.gateway(await world.upstream(script))
    answer = await world.post(running, REQUEST)
    assert answer.status == 200
    assert answer.body == b"".join(events) + DONE
