"""Routes that clients of older services speak: forms, EventSource, plain text. Every answer is a turn like any other.

Each route is a translation: its request into a `TurnRequest`, the text of the turn into its own form.
"""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from fairlead_serve.asgi import ASGIApp, Receive, Scope, Send
from fairlead_serve.conversations import Store
from fairlead_serve.errors import ApiError, StoreError
from fairlead_serve.gateway import sse, stored
from fairlead_serve.gateway.auth import caller_of
from fairlead_serve.gateway.bare import BareRoute
from fairlead_serve.gateway.form import Form
from fairlead_serve.gateway.inbound import ClientGone, decode, read_body
from fairlead_serve.gateway.items import Item, message, parse_items, text_of, user_message
from fairlead_serve.gateway.openapi import DETAILS, EVENTS, JSON, form_body, json_body
from fairlead_serve.gateway.routes.responses import send_json
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.gateway.turn_request import TurnRequest
from fairlead_serve.gateway.turns import Event, Turns
from fairlead_serve.gateway.upstream import Headers
from fairlead_serve.settings import Sizes, Times

# What these clients are used to: up to this many tokens, or what the context leaves.
_MAX_TOKENS = 4096
_TITLE_CHARACTERS = 80
_UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"description": "No model can answer", "content": {JSON: {}}}}
T = TypeVar("T")
_PROMPT = {"prompt": {"type": "string"}}
_ROLE_AND_TEXT = {
    "type": "object",
    "properties": {"role": {"enum": ["user", "assistant", "system", "developer"]}, "content": {"type": "string"}},
    "required": ["role", "content"],
}
_MESSAGES = {"messages": {"type": "array", "items": _ROLE_AND_TEXT, "minItems": 1}, "model": {"type": "string"}}


class _Message(msgspec.Struct):
    """POST /chat/new/message/."""

    prompt: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    history: list[Any] = []
    stream: bool | None = None


class _Messages(msgspec.Struct):
    """POST /chat/stream and POST /stream."""

    messages: list[Any]
    model: str | None = None


class _Say(msgspec.Struct):
    """POST /chat."""

    message: str
    temperature: float | None = None


_message_decoder = msgspec.json.Decoder(_Message)
_messages_decoder = msgspec.json.Decoder(_Messages)
_say_decoder = msgspec.json.Decoder(_Say)


class Text:
    """Collects the text of a turn. A Listener."""

    def __init__(self) -> None:
        self.begun = False
        self.headers: Headers = ()
        self.text = ""

    async def begin(self, headers: Headers) -> None:
        self.begun = True
        self.headers = headers

    async def event(self, event: Event) -> None:
        if event["type"] == "response.output_text.delta":
            self.text += event["delta"]
            await self.delta(event["delta"])

    async def delta(self, text: str) -> None:
        """More of the text has come."""

    async def quiet(self) -> None:
        """Whoever waits for the whole needs no sign of life."""


class TextStream(Text):
    """Sends the text as it comes, each piece as `piece` writes it, after `opening` and before `closing`.

    `failure` writes an error in the middle; where it is None, the connection is cut, so that nobody takes half an
    answer for a whole one.
    """

    def __init__(
        self,
        send: Send,
        piece: Callable[[str], bytes],
        *,
        opening: bytes = b"",
        closing: bytes = b"",
        failure: Callable[[str], bytes] | None = None,
    ) -> None:
        super().__init__()
        self._send = send
        self._piece = piece
        self._opening = opening
        self._closing = closing
        self._failure = failure

    async def begin(self, headers: Headers) -> None:
        await super().begin(headers)
        await self._send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *headers]})
        if self._opening:
            await self._body(self._opening)

    async def delta(self, text: str) -> None:
        if text:
            await self._body(self._piece(text))

    async def quiet(self) -> None:
        if self._failure is not None:  # plain text has no comments
            await self._body(sse.KEEP_ALIVE)

    async def end(self, error: ApiError | None = None) -> None:
        """The answer has ended, or failed with `error`."""
        if error is None:
            await self._body(self._closing, more=False)
        elif self._failure is not None:
            await self._body(self._failure(error.message), more=False)

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


@dataclass(frozen=True)
class Compat:
    """The bare endpoints of these routes."""

    turns: Turns
    store: Store
    times: Times
    sizes: Sizes

    async def generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/code/generate: a form, answered whole."""
        prompt, _ = await self._prompt(scope, receive)
        answer = await self._whole(scope, receive, TurnRequest([user_message(prompt)], {}, store=False))
        await send_json(send, {"status": "success", "result": answer.text}, answer.headers)

    async def code_chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/code/chat_stream: a form, answered as bare text; the first time after the conversation's id."""
        prompt, given = await self._prompt(scope, receive)
        owner = caller_of(scope).owner
        request = TurnRequest([user_message(prompt)], {}, store=False)
        if given:
            conversation = _conversation_of(given)
            await self._stored(self.store.get_conversation(owner, conversation))
            request = replace(request, conversation=conversation)
            return await self._stream(scope, receive, request, TextStream(send, str.encode))
        new = uuid.uuid4()
        opening = f"conversation_id:{new}\n---\n".encode()
        async with self._begun(owner, prompt, [], id=_conversation_of(str(new))) as conversation:
            request = replace(request, conversation=conversation)
            return await self._stream(scope, receive, request, TextStream(send, str.encode, opening=opening))

    async def new_message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /chat/new/message/: JSON, answered whole or as events."""
        asked = decode(await self._read(scope, receive), _message_decoder)
        owner = caller_of(scope).owner
        history = parse_items(asked.history, param="history")
        options = {"max_output_tokens": asked.max_tokens, "temperature": asked.temperature, "top_p": asked.top_p}
        request = TurnRequest(
            [user_message(asked.prompt)],
            {key: value for key, value in options.items() if value is not None},
            store=False,
        )
        async with self._continued(owner, asked.prompt, history) as conversation:
            request = replace(request, conversation=conversation)
            if asked.stream:
                mark = uuid.uuid4().hex
                stream = TextStream(
                    send,
                    lambda text: _data({"text": text, "message_id": mark}),
                    failure=lambda why: _data({"text": "", "message_id": mark, "error": why}),
                )
                return await self._stream(scope, receive, request, stream)
            answer = await self._whole(scope, receive, request)
        if asked.stream is False:
            event = _data({"text": answer.text, "message_id": uuid.uuid4().hex})
            return await _send_events(send, event, answer.headers)
        turn = [user_message(asked.prompt), message("assistant", answer.text)]
        whole = {
            "response": answer.text,
            "history": _messages([*history, *turn]),
            "status": 200,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        return await send_json(send, whole, answer.headers)

    async def chat_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET and POST /chat/stream: `data: {"content": ...}` and at the end [DONE]."""
        if scope["method"] == "GET":
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace")
            if not query.get("message", [""])[0]:
                raise ApiError(400, "say something: /chat/stream?message=...", param="message")
            request = TurnRequest([user_message(query["message"][0])], {}, store=False)
        else:
            request = self._said(decode(await self._read(scope, receive), _messages_decoder))
        stream = TextStream(
            send,
            lambda text: _data({"content": text}),
            closing=sse.DONE,
            # Without the end mark an EventSource connects again, and asks again.
            failure=lambda why: _data({"error": why}) + sse.DONE,
        )
        await self._stream(scope, receive, request, stream)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /stream: `event: message` with `done`, true in the last one."""
        request = self._said(decode(await self._read(scope, receive), _messages_decoder))
        stream = TextStream(
            send,
            lambda text: _named({"content": text, "done": False}),
            closing=_named({"content": "", "done": True}),
            failure=lambda why: _named({"content": "", "done": True, "error": why}),
        )
        await self._stream(scope, receive, request, stream)

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /chat: one text for another."""
        asked = decode(await self._read(scope, receive), _say_decoder)
        options = {} if asked.temperature is None else {"temperature": asked.temperature}
        request = TurnRequest([user_message(asked.message)], options, store=False)
        answer = await self._whole(scope, receive, request)
        await send_json(send, {"response": answer.text}, answer.headers)

    # --- what they share ---------------------------------------------------------------------------

    async def _whole(self, scope: Scope, receive: Receive, request: TurnRequest) -> Text:
        text = Text()
        await self._run(scope, receive, request, text)
        return text

    async def _stream(self, scope: Scope, receive: Receive, request: TurnRequest, stream: TextStream) -> None:
        try:
            await self._run(scope, receive, replace(request, stream=True), stream)
        except ApiError as error:
            if not stream.begun:
                raise
            await stream.end(error)
        else:
            await stream.end()

    async def _run(self, scope: Scope, receive: Receive, request: TurnRequest, listener: Text) -> None:
        owner = caller_of(scope).owner
        if "max_output_tokens" in request.options:
            await (await self.turns.prepare(owner, request)).run(scope, receive, listener)
            return
        bounded = replace(request, options={**request.options, "max_output_tokens": _MAX_TOKENS})
        try:
            await (await self.turns.prepare(owner, bounded)).run(scope, receive, listener)
        except ApiError as error:
            if error.code != "context_length_exceeded" or listener.begun:
                raise
            # The context has no room for that many; engines that are not told a number take what it leaves.
            await (await self.turns.prepare(owner, request)).run(scope, receive, listener)

    def _said(self, asked: _Messages) -> TurnRequest:
        options = {} if asked.model is None else {"model": asked.model}
        return TurnRequest(parse_items(asked.messages, param="messages"), options, store=False)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        return await read_body(scope, receive, limit=self.sizes.body_bytes, seconds=self.times.request_seconds)

    async def _prompt(self, scope: Scope, receive: Receive) -> tuple[str, str]:
        """(prompt, conversation_id or "") of a form. Raises ApiError 422 as these clients know it."""
        body = await self._read(scope, receive)
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        fields = _fields(body, kind)
        if not fields.get("prompt"):
            raise ApiError(422, "the form field 'prompt' is required", param="prompt")
        return fields["prompt"], fields.get("conversation_id", "")

    async def _latest(self, owner: str, history: list[Item]) -> str | None:
        """The latest conversation, if `history` is the whole of it."""
        if history:
            latest = await self._stored(self.store.list_conversations(owner, limit=1))
            for conversation in latest.data:
                said = await self._stored(self.store.history(owner, conversation.id))
                if _messages(said) == _messages(history):
                    return str(conversation.id)
        return None

    @contextlib.asynccontextmanager
    async def _continued(self, owner: str, prompt: str, history: list[Item]) -> AsyncIterator[str]:
        """The conversation that `history` is the whole of, if it is the latest one; else a new one that begins so."""
        latest = await self._latest(owner, history)
        if latest is not None:
            yield latest
            return
        async with self._begun(owner, prompt, history, id=_conversation_of(str(uuid.uuid4()))) as new:
            yield new

    @contextlib.asynccontextmanager
    async def _begun(self, owner: str, prompt: str, items: list[Item], *, id: str) -> AsyncIterator[str]:  # noqa: A002
        """A new conversation that begins with `items`; without a trace where the block fails and adds nothing to it."""
        title = prompt.strip()[:_TITLE_CHARACTERS]
        await self._stored(self.store.create_conversation(owner, id, metadata={"title": title}, items=items))
        try:
            yield id
        except (ApiError, ClientGone):
            if len(await self._stored(self.store.history(owner, id))) == len(items):
                await self._stored(self.store.delete_conversation(owner, id))
            raise

    async def _stored(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except StoreError as error:
            raise stored.api_error(error) from error


def create_routes(compat: Compat) -> list[BareRoute]:
    def route(path: str, handler: ASGIApp, summary: str, *kinds: str, **more: Any) -> BareRoute:
        return BareRoute(path, handler, summary=summary, tag="older clients", answer="See docs", kinds=kinds, **more)

    def form_route(path: str, handler: ASGIApp, summary: str, kind: str, **fields: Any) -> BareRoute:
        form = form_body({**_PROMPT, **fields}, required=("prompt",))
        return route(path, _with_detail(handler), summary, kind, body=form, errors=DETAILS)

    message_query = {"parameters": [{"name": "message", "in": "query", "required": True, "schema": {"type": "string"}}]}
    prompt = json_body(_PROMPT, required=("prompt",))
    message = json_body({"message": {"type": "string"}}, required=("message",))
    messages = json_body(_MESSAGES, required=("messages",))
    return [
        form_route("/v1/code/generate", compat.generate, "Generate from a form", JSON),
        form_route(
            "/v1/code/chat_stream",
            compat.code_chat,
            "Chat by forms, streamed as text",
            EVENTS,
            conversation_id={"type": "string"},
        ),
        route("/chat/new/message/", compat.new_message, "Say something", JSON, EVENTS, body=prompt),
        route(
            "/chat/stream",
            compat.chat_stream,
            "Say something, for EventSource",
            EVENTS,
            body=message_query,
            method="GET",
        ),
        route("/chat/stream", compat.chat_stream, "Continue messages, streamed", EVENTS, body=messages),
        route("/stream", compat.stream, "Continue messages, streamed with an end mark", EVENTS, body=messages),
        route("/chat", compat.chat, "Say something, answered whole", JSON, body=message),
    ]


def create_router(store: Store, table: RoutingTable) -> APIRouter:
    router = APIRouter(tags=["older clients"])

    @router.get("/chat/get/messages/", summary="The messages of your latest conversation")
    async def get_messages(request: Request) -> dict[str, Any]:
        owner = caller_of(request.scope).owner
        latest = (await store.list_conversations(owner, limit=1)).data
        items = await store.history(owner, latest[0].id) if latest else []
        return {"messages": _messages(items)}

    @router.get("/health", summary="Whether a model can answer", responses=_UNHEALTHY)
    async def health() -> JSONResponse:
        if any(backend.ready for backend in table.backends):
            return JSONResponse({"status": "healthy", "backend": "connected"})
        return JSONResponse({"status": "unhealthy", "backend": "disconnected"}, 503)

    return router


def _with_detail(handler: ASGIApp) -> ASGIApp:
    """`handler`, with errors as these clients know them: `{"detail": "<why>"}`."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await handler(scope, receive, send)
        except ApiError as error:
            await JSONResponse({"detail": error.message}, error.status, error.headers)(scope, receive, send)

    return call


def _fields(body: bytes, kind: bytes) -> dict[str, str]:
    if kind.lower().startswith(b"multipart/form-data"):
        form = Form.parse(body, kind)
        return {name: (form.field(name) or b"").decode("utf-8", "replace") for name in form.places}
    try:
        return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace"), errors="replace").items()}
    except ValueError as error:
        raise ApiError(400, f"the request body is not a form: {error}", code="invalid_form") from None


def _conversation_of(given: str) -> str:
    """The id of the conversation that these clients know by a UUID. Raises ApiError 404 for what is none."""
    try:
        return f"conv_{uuid.UUID(given).hex}"
    except ValueError:
        raise ApiError(
            404, "there is no conversation with this conversation_id", code="conversation_not_found"
        ) from None


def _messages(items: list[Item]) -> list[dict[str, str]]:
    return [{"role": item["role"], "content": text_of(item)} for item in items if item["type"] == "message"]


def _data(payload: Mapping[str, Any]) -> bytes:
    return sse.event(msgspec.json.encode(payload))


def _named(payload: Mapping[str, Any]) -> bytes:
    return sse.named_event(b"message", msgspec.json.encode(payload))


async def _send_events(send: Send, events: bytes, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *headers]})
    await send({"type": "http.response.body", "body": events})
