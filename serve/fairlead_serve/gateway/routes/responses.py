"""`/v1/responses`: answers that are kept, and go on where another left off. The engines know nothing of it."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from fairlead_serve.asgi import Receive, Scope, Send
from fairlead_serve.conversations import Store
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway import sse
from fairlead_serve.gateway.auth import caller_of
from fairlead_serve.gateway.background import Background
from fairlead_serve.gateway.bare import BareRoute
from fairlead_serve.gateway.inbound import read_body
from fairlead_serve.gateway.lists import After, Limit, Order, list_object
from fairlead_serve.gateway.openapi import EVENTS, JSON, answers, json_body
from fairlead_serve.gateway.turn_request import TurnRequest
from fairlead_serve.gateway.turns import Event, Turns
from fairlead_serve.gateway.upstream import Headers
from fairlead_serve.settings import Sizes, Times

_PATH = "/v1/responses"
_SCHEMA = {
    "model": {"type": "string"},
    "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
    "instructions": {"type": "string"},
    "conversation": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "string"}}}]},
    "previous_response_id": {"type": "string"},
    "store": {"type": "boolean"},
    "stream": {"type": "boolean"},
    "background": {"type": "boolean"},
    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
}
ResponseId = Annotated[str, Path(max_length=100)]


class EventStream:
    """Sends the events of a turn to the client as they come. A Listener."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def begin(self, headers: Headers) -> None:
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *headers]})

    async def event(self, event: Event) -> None:
        await self._body(encode_event(event))

    async def quiet(self) -> None:
        await self._body(sse.KEEP_ALIVE)

    async def end(self, error: ApiError | None = None) -> None:
        """The stream ends, with `error` where it failed."""
        await self._body(b"" if error is None else sse.failure(error), more=False)

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class Whole:
    """Waits for the end of a turn; keeps the headers for the one answer. A Listener."""

    def __init__(self) -> None:
        self.headers: Headers = ()

    async def begin(self, headers: Headers) -> None:
        self.headers = headers

    async def event(self, event: Event) -> None:
        """The response object at the end has it all."""

    async def quiet(self) -> None:
        """JSON has no place for a sign of life."""


class CreateResponse:
    """POST /v1/responses, as a bare ASGI endpoint."""

    def __init__(self, turns: Turns, background: Background, times: Times, sizes: Sizes) -> None:
        self._turns = turns
        self._background = background
        self._times = times
        self._sizes = sizes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ApiError while nothing has been sent, and ClientGone."""
        body = await read_body(scope, receive, limit=self._sizes.body_bytes, seconds=self._times.request_seconds)
        request = TurnRequest.parse(body)
        caller = caller_of(scope)
        turn = await self._turns.prepare(caller.owner, request)
        headers = await turn.open(caller)
        if request.background:
            broadcast = self._background.start(turn, scope)
            if request.stream:
                events = broadcast.follow(quiet_seconds=self._times.keep_alive_comment_seconds)
                await _streaming(events, headers)(scope, receive, send)
            else:
                await send_json(send, turn.body, headers)
        elif request.stream:
            stream = EventStream(send)
            try:
                await turn.run(scope, receive, stream)
            except ApiError as error:
                if not stream.begun:
                    raise
                await stream.end(error)
            else:
                await stream.end()
        else:
            whole = Whole()
            answer = await turn.run(scope, receive, whole)
            await send_json(send, answer, whole.headers)


def create_routes(create: CreateResponse) -> list[BareRoute]:
    return [
        BareRoute(
            _PATH,
            create,
            summary="Answer, after what a conversation or another response holds, and keep the answer",
            tag="responses",
            body=json_body(_SCHEMA),
            answer="OpenAI's response object, or a stream of its events",
        )
    ]


def create_router(store: Store, background: Background, *, quiet_seconds: float) -> APIRouter:
    """`quiet_seconds`: the silence on a stream after which a comment is sent."""
    router = APIRouter(tags=["responses"])

    @router.get(_PATH + "/{response_id}", summary="Get a response", responses=answers(JSON, EVENTS))
    async def get_response(
        request: Request,
        response_id: ResponseId,
        *,
        stream: bool = False,
        starting_after: Annotated[int, Query(ge=-1)] = -1,
    ) -> Response:
        # Before it is looked up: what ends in between is then found whole.
        broadcast = background.broadcast(response_id)
        found = await store.get_response(caller_of(request.scope).owner, response_id)
        if not stream:
            return JSONResponse(found.body)
        if broadcast is not None:
            return _streaming(broadcast.follow(after=starting_after, quiet_seconds=quiet_seconds))
        if not found.finished:
            message = "it is being answered at another place; ask for it without stream until it has ended"
            raise ApiError(409, message, code="response_unfinished")
        return _streaming(_replay(found.body, after=starting_after))

    @router.delete(_PATH + "/{response_id}", summary="Delete a response")
    async def delete_response(request: Request, response_id: ResponseId) -> dict[str, Any]:
        await store.delete_response(caller_of(request.scope).owner, response_id)
        await background.cancel(response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @router.get(_PATH + "/{response_id}/input_items", summary="List what a response was asked")
    async def input_items(
        request: Request, response_id: ResponseId, after: After = None, limit: Limit = 20, order: Order = "desc"
    ) -> dict[str, Any]:
        owner = caller_of(request.scope).owner
        page = await store.list_input_items(owner, response_id, after=after, limit=limit, order=order)
        return list_object(page.data, has_more=page.has_more)

    @router.post(_PATH + "/{response_id}/cancel", summary="Cancel a response in the background")
    async def cancel_response(request: Request, response_id: ResponseId) -> dict[str, Any]:
        owner = caller_of(request.scope).owner
        found = await store.get_response(owner, response_id)
        if not found.body.get("background"):
            message = "only responses in the background can be cancelled; of others, close the connection"
            raise ApiError(400, message, code="not_in_background")
        if not await background.cancel(response_id) and not found.finished:
            # It runs in another gateway, which looks.
            await store.update_response(owner, response_id, {**found.body, "status": "cancelled"})
        return (await store.get_response(owner, response_id)).body

    return router


def encode_event(event: Event) -> bytes:
    return sse.named_event(event["type"].encode(), msgspec.json.encode(event))


async def send_json(send: Send, answer: Mapping[str, Any], headers: Headers = ()) -> None:
    """Send a whole answer."""
    body = msgspec.json.encode(answer)
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _streaming(events: AsyncIterator[Event | None], headers: Headers = ()) -> StreamingResponse:
    written = (sse.KEEP_ALIVE if event is None else encode_event(event) async for event in events)
    shown = {name.decode(): value.decode() for name, value in [*sse.HEADERS, *headers]}
    return StreamingResponse(written, headers=shown)


async def _replay(body: Event, *, after: int) -> AsyncIterator[Event | None]:
    """A finished response as a stream: its events were not kept, so each item comes whole.

    The end comes in any case: who asks for what is after an event of the live stream has seen more of them than this.
    """
    begun = {**body, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    events: list[Event] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(body.get("output") or ()):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    end: Literal["completed", "incomplete", "failed"] = "incomplete"
    if body["status"] in {"completed", "failed"}:
        end = body["status"]
    events.append({"type": f"response.{end}", "response": body})
    for number, event in enumerate(events):
        if number > after or event is events[-1]:
            yield {**event, "sequence_number": max(number, after + 1)}
