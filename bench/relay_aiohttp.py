"""The comparator: the same relay as one would write it in an afternoon. `python -m bench.relay_aiohttp`.

FastAPI in front, an aiohttp session behind, a StreamingResponse between them, bodies as bytes. It checks nothing, logs
nothing, counts nothing and repeats nothing: what it costs is what these parts cost.
"""

import argparse
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse


def create_application(upstream: str) -> FastAPI:
    """A relay to the server whose base URL is `upstream`."""
    sessions: list[aiohttp.ClientSession] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            sessions.append(session)
            yield

    application = FastAPI(lifespan=lifespan)

    @application.post("/v1/chat/completions")
    async def relay(request: Request) -> Response:
        body = await request.body()
        answer = await sessions[0].post(
            f"{upstream}/v1/chat/completions", data=body, headers={"content-type": "application/json"}
        )
        if json.loads(body).get("stream"):
            return StreamingResponse(_chunks(answer), answer.status, media_type="text/event-stream")
        async with answer:
            return Response(await answer.read(), answer.status, media_type=answer.content_type)

    return application


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for chunk in answer.content.iter_any():
            yield chunk


def main() -> None:
    parser = argparse.ArgumentParser(description="A relay of FastAPI and aiohttp, for comparison.")
    parser.add_argument("--upstream", required=True, help="base URL of the server behind it")
    arguments = parser.parse_args()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        print(f"Ready: http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            create_application(arguments.upstream),
            loop="uvloop",
            http="httptools",
            ws="none",
            log_level="warning",
            access_log=False,
        )
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
