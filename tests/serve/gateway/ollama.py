"""A stand-in for Ollama: its /v1/chat/completions, with what it adds to OpenAI's form and what it leaves out.

Written from github.com/ollama/ollama, openai/openai.go and middleware/openai.go. It sends no usage unless it is asked
to, repeats the role in every delta, calls thoughts `reasoning`, writes `<` as Go does, and ends a stream that fails
after its first chunk like any other, but for the reason and the [DONE].
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.serve.gateway.upstream import DONE, END_OF_CHUNKS, Exchange, Request
from tests.serve.gateway.world import CHAT

MODEL = "qwen2.5:7b"
CREATED = 1_700_000_000
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}


class Ollama:
    """A script that streams `text` after `thinking`, and calls `call` (a function's name and its arguments) at the end.

    `hold` is waited for before the last piece of the text; `lost`: generation fails there.
    """

    def __init__(
        self,
        *text: str,
        thinking: Sequence[str] = (),
        call: tuple[str, Mapping[str, Any]] | None = None,
        finish: str = "stop",
        hold: asyncio.Event | None = None,
        lost: bool = False,
    ) -> None:
        self._text = text
        self._thinking = thinking
        self._call = call
        self._finish = "tool_calls" if call is not None else finish
        self._hold = hold
        self._lost = lost

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        body = request.json
        if request.path != CHAT:
            await exchange.answer(b"404 page not found", status=404, headers={"content-type": "text/plain"})
        elif not body.get("messages"):
            await fail(exchange, 400, "[] is too short - 'messages'")
        elif body["model"] != MODEL:
            await fail(exchange, 404, f"model '{body['model']}' not found")
        elif body.get("stream"):
            await self._stream(exchange, usage=(body.get("stream_options") or {}).get("include_usage", False))
        else:
            choice = {"index": 0, "message": self._message(), "finish_reason": self._finish}
            await exchange.answer(_encoded({**_document("chat.completion", choice), "usage": self._usage()}))

    async def _stream(self, exchange: Exchange, *, usage: bool) -> None:
        await exchange.send(_HEAD)
        for piece in self._thinking:
            await exchange.chunks(_chunk({"content": "", "reasoning": piece}))
        for number, piece in enumerate(self._text, start=1):
            if number == len(self._text) and self._hold is not None:
                await self._hold.wait()
            if number == len(self._text) and self._lost:
                await exchange.chunks(_chunk({"content": ""}))
                return await exchange.send(END_OF_CHUNKS)
            await exchange.chunks(_chunk({"content": piece}))
        if self._call is not None:
            await exchange.chunks(_chunk({"content": "", "tool_calls": self._calls()}))
        await exchange.chunks(_chunk({"content": ""}, finish=self._finish))
        if usage:
            await exchange.chunks(_event({**_document("chat.completion.chunk"), "usage": self._usage()}))
        await exchange.chunks(DONE)
        return await exchange.send(END_OF_CHUNKS)

    def _message(self) -> Mapping[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        if self._thinking:
            message["reasoning"] = "".join(self._thinking)
        return {**message, "tool_calls": self._calls()} if self._call is not None else message

    def _calls(self) -> Any:
        assert self._call is not None
        function = {"name": self._call[0], "arguments": json.dumps(self._call[1])}
        return [{"id": "call_7x1", "index": 0, "type": "function", "function": function}]

    def _usage(self) -> Mapping[str, int]:
        made = len(self._text) + len(self._thinking)
        return {"prompt_tokens": 10, "completion_tokens": made, "total_tokens": 10 + made}


async def fail(exchange: Exchange, status: int, message: str) -> None:
    """An error as Ollama words it."""
    error = {"message": message, "type": _ERROR_TYPES.get(status, "api_error"), "param": None, "code": None}
    await exchange.answer({"error": error}, status=status)


def _document(kind: str, *choices: Any) -> dict[str, Any]:
    known = {"id": "chatcmpl-417", "object": kind, "created": CREATED, "model": MODEL}
    return {**known, "system_fingerprint": "fp_ollama", "choices": list(choices)}


def _chunk(delta: Mapping[str, Any], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
    return _event(_document("chat.completion.chunk", choice))


def _event(document: Any) -> bytes:
    return b"data: " + _encoded(document) + b"\n\n"


def _encoded(document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text.encode()
