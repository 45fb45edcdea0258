"""What vLLM 0.32 sends for POST /v1/responses: its events with all their fields, and the ways in which they end.

Written from vllm/entrypoints/openai/responses/ (`streaming_events.py`, `serving.py`, `protocol.py`).
"""

import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.serve.gateway.upstream import END_OF_CHUNKS, Exchange, Request

RESPONSES = "/v1/responses"
CREATED = 1_700_000_000


def events(
    request: Any,
    text: Sequence[str],
    *,
    reasoning: Sequence[str] = (),
    calls: Mapping[str, Sequence[str]] = {},
    cut: bool = False,
) -> Iterator[bytes]:
    """The stream that answers the body `request`, one delta for each piece. `cut`: by `max_output_tokens`.

    `calls`: the pieces of the arguments of each function that is called, by its name.
    """
    writer = _Writer(request)
    yield writer.event("response.created", response=writer.response("in_progress"))
    yield writer.event("response.in_progress", response=writer.response("in_progress"))
    if reasoning:
        yield from writer.reasoning(reasoning)
    if text:
        yield from writer.message(text)
    for name, arguments in calls.items():
        yield from writer.call(name, arguments)
    # Whatever the status, the type of the last event is this one.
    usage = _usage(len(text) + len(reasoning))
    yield writer.event(
        "response.completed", response=writer.response("incomplete" if cut else "completed", usage=usage)
    )


class Answering:
    """A script that streams `text`, after `reasoning` and before `calls`.

    `hold` is waited for before the last piece of the text, by the first request alone.
    `lost`: the stream breaks off there, as it does when the engine fails (vLLM then closes the connection).
    `left` counts the gateway's leaving in the hold.
    """

    def __init__(
        self,
        *text: str,
        reasoning: Sequence[str] = (),
        calls: Mapping[str, Sequence[str]] = {},
        cut: bool = False,
        hold: asyncio.Event | None = None,
        lost: bool = False,
    ) -> None:
        self._text = text
        self._reasoning = reasoning
        self._calls = calls
        self._cut = cut
        self._hold = hold
        self._lost = lost
        self.left = 0

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        assert request.path == RESPONSES
        await exchange.begin_stream()
        deltas = 0
        stream = events(request.json, self._text, reasoning=self._reasoning, calls=self._calls, cut=self._cut)
        for event in stream:
            deltas += event.startswith(b"event: response.output_text.delta\n")
            if deltas == len(self._text) and await self._stops(exchange):
                return
            await exchange.chunks(event)
        await exchange.send(END_OF_CHUNKS)

    async def _stops(self, exchange: Exchange) -> bool:
        if self._lost:
            await exchange.close()
            return True
        hold, self._hold = self._hold, None
        if hold is None:
            return False
        opened, gone = asyncio.create_task(hold.wait()), asyncio.create_task(exchange.gone())
        await asyncio.wait({opened, gone}, return_when="FIRST_COMPLETED")
        self.left += gone.done()
        opened.cancel()
        gone.cancel()
        await asyncio.wait({opened, gone})
        return bool(self.left)


class _Writer:
    """Builds the events of one response, and its output as they go."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._sequence = 0
        self._output: list[Any] = []

    def event(self, kind: str, **fields: Any) -> bytes:
        document = {**fields, "sequence_number": self._sequence, "type": kind}
        self._sequence += 1
        data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return f"event: {kind}\ndata: {data}\n\n".encode()

    def reasoning(self, pieces: Sequence[str]) -> Iterator[bytes]:
        item: dict[str, Any] = {
            "id": self._id("rs"),
            "summary": [],
            "type": "reasoning",
            "content": None,
            "encrypted_content": None,
        }
        yield self._added({**item, "status": "in_progress"})
        part = {"text": "", "type": "reasoning_text"}
        yield self._of(item, "response.content_part.added", part=part)
        for piece in pieces:
            yield self._of(item, "response.reasoning_text.delta", delta=piece)
        whole = {**part, "text": "".join(pieces)}
        yield self._of(item, "response.reasoning_text.done", text=whole["text"])
        yield self._of(item, "response.content_part.done", part=whole)
        yield self._done({**item, "content": [whole], "status": "completed"})

    def message(self, pieces: Sequence[str]) -> Iterator[bytes]:
        item: dict[str, Any] = {
            "id": self._id("msg"),
            "content": [],
            "role": "assistant",
            "type": "message",
            "phase": None,
        }
        yield self._added({**item, "status": "in_progress"})
        part = {"annotations": [], "text": "", "type": "output_text"}
        yield self._of(item, "response.content_part.added", part={**part, "logprobs": []})
        for piece in pieces:
            yield self._of(item, "response.output_text.delta", delta=piece, logprobs=[])
        whole = {**part, "text": "".join(pieces), "logprobs": None}
        yield self._of(item, "response.output_text.done", text=whole["text"], logprobs=[])
        yield self._of(item, "response.content_part.done", part=whole)
        yield self._done({**item, "content": [whole], "status": "completed"})

    def call(self, name: str, pieces: Sequence[str]) -> Iterator[bytes]:
        arguments = "".join(pieces)
        item: dict[str, Any] = {
            "id": self._id("fc"),
            "call_id": self._id("call"),
            "name": name,
            "type": "function_call",
            "namespace": None,
        }
        yield self._added({**item, "arguments": "", "status": "in_progress"})
        place = {"item_id": item["id"], "output_index": len(self._output)}
        for piece in pieces:
            yield self.event("response.function_call_arguments.delta", delta=piece, **place)
        yield self.event("response.function_call_arguments.done", arguments=arguments, name=name, **place)
        yield self._done({**item, "arguments": arguments, "status": "completed"})

    def response(self, status: str, *, usage: Any = None) -> Any:
        """The response object, as far as it is."""
        request = self._request
        return {
            "id": "resp_0123456789abcdef",
            "created_at": CREATED,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": request.get("instructions"),
            "metadata": None,
            "model": request.get("model") or "model",
            "object": "response",
            "output": list(self._output),
            "parallel_tool_calls": True,
            "temperature": request.get("temperature", 1.0),
            "tool_choice": "none",
            "tools": [],
            "top_p": request.get("top_p", 1.0),
            "background": False,
            "max_output_tokens": request.get("max_output_tokens", 2000),
            "max_tool_calls": None,
            "previous_response_id": None,
            "prompt": None,
            "reasoning": None,
            "service_tier": "auto",
            "status": status,
            "text": None,
            "top_logprobs": None,
            "truncation": "disabled",
            "usage": usage,
            "user": None,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(8)}"

    def _added(self, item: Any) -> bytes:
        return self.event("response.output_item.added", item=item, output_index=len(self._output))

    def _of(self, item: Any, kind: str, **fields: Any) -> bytes:
        return self.event(kind, content_index=0, item_id=item["id"], output_index=len(self._output), **fields)

    def _done(self, item: Any) -> bytes:
        event = self.event("response.output_item.done", item=item, output_index=len(self._output))
        self._output.append(item)
        return event


def _usage(tokens: int) -> Any:
    turns: dict[str, Any] = {"input_tokens_per_turn": [], "cached_tokens_per_turn": []}
    return {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, **turns},
        "output_tokens": tokens,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": 10 + tokens,
    }
