"""The port at which an engine's process tells the operator its status and is told which LoRA adapters to have.

    GET /status      the status, and the state of every adapter
    PUT /adapters    {"adapters": [{"name": "sql", "uri": "hf://org/lora"}]}; the status

Open from the first second of the process, and like the engine only to who brings the internal token.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import uvicorn

from fairlead_serve.asgi import ASGIApp, Message, Receive, Scope, Send, send_error
from fairlead_serve.engine.adapter_list import parse_adapters
from fairlead_serve.engine.adapters import AdapterKeeper
from fairlead_serve.engine.guard import TokenGuard
from fairlead_serve.engine.status import Status
from fairlead_serve.errors import ApiError, PortInUse

MAX_BODY_BYTES = 1 << 20
"""As many adapters as a Model may have fit several times."""

_IDLE_SECONDS = 5


class StatusEndpoint:
    """The two routes, as an ASGI application."""

    def __init__(self, status: Status, keeper: AdapterKeeper) -> None:
        self._status = status
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = (scope["method"], scope["path"])
        if asked not in (("GET", "/status"), ("PUT", "/adapters")):
            await send_error(send, ApiError(404, "there are GET /status and PUT /adapters here, and nothing else"))
            return
        if asked == ("PUT", "/adapters"):
            try:
                self._keeper.want(_adapters(await _body(receive)))
            except ApiError as error:
                await send_error(send, error)
                return
        adapters = [asdict(adapter) for adapter in self._keeper.states()]
        await _send_json(send, {**self._status.document(), "adapters": adapters})


def _adapters(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_adapters(body)
    except ValueError as error:
        raise ApiError(400, str(error), code="invalid_adapters") from None


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(400, "the request broke off")
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return body


async def _send_json(send: Send, document: dict[str, Any]) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serving(endpoint: ASGIApp, *, host: str, port: int, token: str) -> Iterator[None]:
    """Serve `endpoint` at `host` and `port`, in a thread, while the block runs; guarded by `token`.

    Raises PortInUse.
    """
    with contextlib.closing(_listen(host, port)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                TokenGuard(endpoint, token=token),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), name="status", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        message = f"cannot listen on {host}:{port} for the status: {error.strerror}; change FAIRLEAD_STATUS_PORT"
        raise PortInUse(message) from error
