"""Turns: a question with its history, asked of a stateless engine, its answer recorded while it passes.

The engine gets the whole input every time and keeps nothing. The question and its answer reach the conversation in one
transaction, before the client sees that the answer has ended; of a turn that is cut the answer is kept as far as it
came, marked incomplete.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from fairlead_serve.asgi import Message, Receive, Scope
from fairlead_serve.conversations import Store
from fairlead_serve.errors import ApiError, NotStored, StoreError
from fairlead_serve.gateway import sse, stored, translation
from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.chat_events import ChatEvents, chat_request
from fairlead_serve.gateway.exchange import Outlet
from fairlead_serve.gateway.inbound import ClientGone, Inbound
from fairlead_serve.gateway.items import Item, for_engine, new_id
from fairlead_serve.gateway.proxy import Permit, Proxy
from fairlead_serve.gateway.sessions import HEADER as SESSION_HEADER
from fairlead_serve.gateway.transcript import Transcript
from fairlead_serve.gateway.turn_request import TurnRequest
from fairlead_serve.gateway.upstream import Headers

_logger = logging.getLogger(__name__)
_RESPONSES = "/v1/responses"
_CHAT = "/v1/chat/completions"
_JSON = (b"content-type", b"application/json")
# Added to the longest that a request may take: after that a response that is still unfinished has lost its gateway.
_MARGIN_SECONDS = 60
_LAST_WORDS_SECONDS = 5.0
# vLLM's own additions that mean nothing outside it.
_INTERNAL = ("kv_transfer_params", "ec_transfer_params", "input_messages", "output_messages", "metrics")
_FINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

Event = dict[str, Any]
T = TypeVar("T")


class Listener(Protocol):
    """Who gets the events of a turn, in order. What it raises ends the turn."""

    async def begin(self, headers: Headers) -> None:
        """The engine has begun to answer; `headers` are for the client."""

    async def event(self, event: Event) -> None:
        """One event of OpenAI's Responses."""

    async def quiet(self) -> None:
        """Nothing has come for a while: a moment for a sign of life."""


@dataclass(frozen=True)
class Turns:
    """Begins turns. `seconds` tells the longest that one may take now."""

    proxy: Proxy
    store: Store
    seconds: Callable[[], float]
    clock: Callable[[], float] = time.time

    async def prepare(self, owner: str, request: TurnRequest) -> "Turn":
        """Find the history of `request`.

        Raises ApiError 404 where there is none of that name, 409 where it is not whole yet, 503 without a store.
        """
        history: Sequence[Item] = ()
        try:
            if request.conversation is not None:
                history = await self.store.history(owner, request.conversation)
            elif request.previous is not None:
                if not (await self.store.get_response(owner, request.previous)).finished:
                    message = "the previous response is not finished yet; go on from it when it is"
                    raise ApiError(409, message, code="response_unfinished", param="previous_response_id")
                history = await self.store.response_history(owner, request.previous)
        except StoreError as error:
            raise stored.api_error(error) from error
        if not history and not request.input:
            raise ApiError(400, "there is nothing to answer; say something in input", param="input")
        return Turn(self, owner, request, history)


class Turn:
    """One question and its answer. `body` is OpenAI's response object as far as it is known."""

    def __init__(self, turns: Turns, owner: str, request: TurnRequest, history: Sequence[Item]) -> None:
        self._turns = turns
        self._owner = owner
        self._request = request
        self._history = history
        self._transcript = Transcript()
        self._chat = ChatEvents()
        self._sequence = 0
        self._scope: Scope = {}
        self._listener: Listener | None = None
        self._permit: Permit | None = None
        self._final = False
        self.id = new_id("resp")
        self.body = self._skeleton("queued" if request.background else "in_progress")

    async def open(self, caller: Caller) -> Headers:
        """Let the turn of `caller` in, and make the response known to the store, if it is to be kept.

        Gives the headers that tell of the caller's limits. Raises ApiError: of the model and the limits, 400, 403, 404
        and 429, before anything is written; 404 and 503 of the store.
        """
        request = self._request
        permit = self._permit = await self._turns.proxy.permit(caller, request.options.get("model"))
        self.body["model"] = self.body["model"] or permit.backend.name
        if request.store:
            deadline = self._turns.clock() + self._turns.seconds() + _MARGIN_SECONDS
            begin = self._turns.store.begin_response(
                self._owner,
                self.body,
                input=request.input,
                conversation=request.conversation,
                previous=request.previous,
                deadline=deadline,
            )
            try:
                await self._stored(begin)
            except BaseException:
                permit.grant.release()
                raise
        return permit.grant.headers

    async def run(self, scope: Scope, receive: Receive, listener: Listener, *, cut: str = "incomplete") -> Event:
        """Ask the engine and hand its events to `listener`; the whole response object.

        `cut`: the status of the response when `receive` tells that the client left. Raises ApiError and ClientGone;
        what was answered until then is kept.
        """
        self._scope, self._listener = scope, listener
        try:
            outlet = Outlet(self._take, raising=True)
            await self._turns.proxy.forward(scope, receive, self._inbound(scope), outlet, self._permit)
            if not self._final:
                raise translation.engine_lost(self.body["model"])
        except ClientGone:
            await self._cut(cut, None)
            await self._say_end()
            raise
        except ApiError as error:
            if not self._final:  # else only the connection broke, after the last event
                await self._cut("failed", error)
                await self._say_end()
                raise
        finally:
            if self._permit is not None:
                self._permit.grant.release()  # also where it never came to be asked
        return self.body

    def _inbound(self, scope: Scope) -> Inbound:
        items = [*self._history, *self._request.input]
        body = {**self._request.options, "input": for_engine(items), "store": False, "stream": True}
        session = self._request.conversation or (items[0]["id"] if items else self.id)
        traced = [(name, value) for name, value in scope["headers"] if name in {b"traceparent", b"tracestate"}]
        headers = [_JSON, (SESSION_HEADER, session.encode()), *traced]
        model = self._request.options.get("model")

        def as_chat() -> Inbound:
            # Whose conversation it is, is nothing for somebody else's server.
            return Inbound(_CHAT, [_JSON, *traced], msgspec.json.encode(chat_request(body)), model, stream=True)

        return Inbound(_RESPONSES, headers, msgspec.json.encode(body), model, stream=True, elsewhere=as_chat)

    # --- the answer, as it comes -------------------------------------------------------------------

    async def _take(self, message: Message) -> None:
        """One ASGI message of the exchange: the head, or whole events."""
        assert self._listener is not None  # noqa: S101 - for the reader of types
        if message["type"] == "http.response.start":
            await self._listener.begin(_for_client(message["headers"]))
            return
        for _, data in sse.each(message.get("body", b"")):
            if not data:
                await self._listener.quiet()
            elif data == b"[DONE]":
                await self._end_chat()
            else:
                await self._take_data(data)
        if not message.get("more_body"):
            await self._end_chat()

    async def _end_chat(self) -> None:
        """The stream has ended: of a chat completion the last event of the response is made here."""
        if not self._final:
            for event in self._chat.end():
                self._transcript.feed(event)
                await self._pass_on(event)

    async def _take_data(self, data: bytes) -> None:
        try:
            decoded = msgspec.json.decode(data)
            events = self._translated(decoded) if "choices" in decoded else [decoded]
            for event in events:
                self._transcript.feed(event)
        except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, ValueError) as error:
            # Whatever is wrong with an event that a server made up, it is the server's fault.
            _logger.warning("an event of a backend could not be understood", exc_info=True)
            message = "the backend sent an event that could not be understood"
            raise ApiError(502, message, code="upstream_invalid") from error
        for event in events:
            await self._pass_on(event)

    def _translated(self, chunk: Event) -> list[Event]:
        # Clients know the model by our name for it, whatever its server calls it.
        return list(self._chat.feed({**chunk, "model": self._scope["fairlead.model"]}))

    async def _pass_on(self, event: Event) -> None:
        kind = event.get("type")
        if kind == "error":
            raise ApiError(502, str(event.get("message") or "the engine failed"), code="engine_failed")
        if kind in _FINAL:
            event = await self._finish(event["response"])
        elif "response" in event:
            self.body = self._dressed(event["response"])
            event["response"] = self.body
            if self._request.background and kind == "response.created":
                await self._stored(self._turns.store.update_response(self._owner, self.id, self.body))
        await self._emit(event)

    async def _emit(self, event: Event) -> None:
        assert self._listener is not None  # noqa: S101
        event["sequence_number"] = self._sequence
        self._sequence += 1
        await self._listener.event(event)

    async def _finish(self, response: Event) -> Event:
        """The last event, after the turn has been stored."""
        self.body = self._dressed(response)
        # The stream's own items: their ids are those that the client has seen.
        self.body["output"] = self._transcript.output() or response.get("output") or []
        await self._keep(self.body["status"])
        self._final = True
        return {"type": f"response.{self.body['status']}", "response": self.body}

    # --- the end -----------------------------------------------------------------------------------

    async def _cut(self, status: str, error: ApiError | None) -> None:
        """The turn ends before its answer does."""
        if self._final:
            return
        output = self._transcript.output()
        # A new object: who follows the events may not have read the old one yet.
        self.body = {**self.body, "status": status, "output": output}
        if error is not None:
            self.body["error"] = {"code": "server_error", "message": error.message}
        try:
            if self._sequence > 0 or self._request.background:
                # A question without an answer does not get into the conversation: many models take no two in a row.
                await self._keep(status, shown=bool(output) and (self._request.stream or error is None))
            elif self._request.store:
                # The client is told that there is no answer: then there is no response either.
                await self._turns.store.delete_response(self._owner, self.id)
        except (StoreError, ApiError) as failure:
            _logger.warning("a cut turn could not be kept: %s", failure, extra={"fields": {"response": self.id}})

    async def _say_end(self) -> None:
        """The last event of a turn that was cut, for whoever listens."""
        if self._final or (self._sequence == 0 and not self._request.background):
            return
        kind = "failed" if self.body["status"] == "failed" else "incomplete"
        with contextlib.suppress(TimeoutError):  # a client that does not read is not waited for
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._emit({"type": f"response.{kind}", "response": self.body})

    async def _keep(self, status: str, *, shown: bool = True) -> None:
        """Store the turn as it is. `shown`: the client has seen the answer, so that it belongs to the conversation."""
        request, store = self._request, self._turns.store
        if status == "completed":
            self.body["completed_at"] = int(self._turns.clock())
        output = self.body["output"]
        if not shown:
            if request.store:
                await self._stored(store.update_response(self._owner, self.id, self.body))
        elif request.store:
            await self._stored(store.finish_response(self._owner, self.id, self.body, output=output))
        elif request.conversation is not None:
            await self._stored(self._add_turn(request.conversation, [*request.input, *output]))

    async def _add_turn(self, conversation: str, items: Sequence[Item]) -> None:
        with contextlib.suppress(NotStored):  # deleted meanwhile: the answer is whole all the same
            await self._turns.store.add_items(self._owner, conversation, items)

    async def _stored(self, call: Awaitable[T]) -> T:
        try:
            # What the store has begun it ends, whatever becomes of the request.
            return await asyncio.shield(call)
        except StoreError as error:
            raise stored.api_error(error) from error

    def _dressed(self, response: Mapping[str, Any]) -> Event:
        """The engine's object with what the gateway knows better."""
        engine = {key: value for key, value in response.items() if key not in _INTERNAL}
        if usage := engine.get("usage"):
            # The official client's type wants both counts; vLLM 0.32 knows only one.
            counts = {"cached_tokens": 0, "cache_write_tokens": 0, **(usage.get("input_tokens_details") or {})}
            engine["usage"] = {**usage, "input_tokens_details": counts}
        status = engine.get("status") or self.body["status"]
        ours = {key: self.body[key] for key in ("id", "created_at", *self._own())}
        return {"error": None, "completed_at": None, **engine, **ours, "status": status}

    def _own(self) -> Event:
        request = self._request
        return {
            "background": request.background,
            "conversation": {"id": request.conversation} if request.conversation else None,
            "previous_response_id": request.previous,
            "metadata": request.metadata or {},
            "instructions": request.options.get("instructions"),
            "store": request.store,
        }

    def _skeleton(self, status: str) -> Event:
        """The response object before an engine has said anything."""
        options = self._request.options
        return {
            "id": self.id,
            "object": "response",
            "created_at": int(self._turns.clock()),
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": options.get("model") or "",
            "output": [],
            "usage": None,
            "parallel_tool_calls": options.get("parallel_tool_calls", True),
            "tool_choice": options.get("tool_choice", "auto"),
            "tools": options.get("tools", []),
            "temperature": options.get("temperature"),
            "top_p": options.get("top_p"),
            "max_output_tokens": options.get("max_output_tokens"),
            "truncation": options.get("truncation", "disabled"),
            "text": options.get("text") or {"format": {"type": "text"}},
            "reasoning": options.get("reasoning"),
            **self._own(),
        }


_OF_A_STREAM = frozenset({b"content-length", *(name for name, _ in sse.HEADERS)})


def _for_client(headers: Headers) -> Headers:
    """What of an answer's headers is not about its form."""
    return [(name, value) for name, value in headers if name not in _OF_A_STREAM]
