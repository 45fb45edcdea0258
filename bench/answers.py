"""The answers of the synthetic upstream: what it sends and what has to arrive. Pure, no I/O.

They have the form and size of vLLM 0.32's: `chat.completion.chunk` events of about 200 bytes, one token each. Every
token says its own number, so that a lost or repeated one shows.
"""

import json
from functools import cache

MODEL = "synthetic"
_ID = "chatcmpl-8f0c5c1e6f0a4b0fa4a1c3f1d2e3b4a5"
_CREATED = 1_750_000_000
DONE = b"data: [DONE]\n\n"


def request_body(*, tokens: int, stream: bool) -> bytes:
    """The JSON of a chat request for `tokens` tokens."""
    return json.dumps(
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Write a function that merges two sorted lists, and explain it."},
            ],
            "max_tokens": tokens,
            "temperature": 0.7,
            "stream": stream,
        }
    ).encode()


@cache
def events(tokens: int) -> tuple[bytes, ...]:
    """The server-sent events of a stream of `tokens` tokens: one each, and `[DONE]` with the last."""
    all_but_last = [_event(token(number), finish=None) for number in range(tokens - 1)]
    return (*all_but_last, _event(token(tokens - 1), finish="length") + DONE)


@cache
def stream_body(tokens: int) -> bytes:
    """All events of a stream, as they have to arrive."""
    return b"".join(events(tokens))


@cache
def whole_body() -> bytes:
    """The answer to a request without `stream`."""
    return _encode(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "".join(token(number) for number in range(32)),
                        "refusal": None,
                        "annotations": None,
                        "audio": None,
                        "function_call": None,
                        "tool_calls": [],
                        "reasoning": None,
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                    "stop_reason": None,
                    "token_ids": None,
                }
            ],
            "service_tier": None,
            "system_fingerprint": None,
            "usage": {"prompt_tokens": 31, "total_tokens": 63, "completion_tokens": 32, "prompt_tokens_details": None},
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }
    )


def token(number: int) -> str:
    """The text of the token with this number."""
    return f" word{number:05}"


def contents(body: bytes) -> list[str]:
    """The tokens in a received stream; comments are passed over. Raises ValueError for what is no event stream."""
    found: list[str] = []
    for event in body.split(b"\n\n"):
        if not event or event.startswith(b":") or event == DONE.rstrip():
            continue
        if not event.startswith(b"data: "):
            raise ValueError(f"not an event: {event[:100]!r}")
        chunk = json.loads(event[6:])
        found += [choice["delta"]["content"] for choice in chunk.get("choices", ()) if choice["delta"].get("content")]
    return found


def difference(body: bytes, tokens: int) -> str | None:
    """What is wrong with a received stream that was to have `tokens` tokens, in words; None where nothing is."""
    if body == stream_body(tokens):
        return None
    try:
        got = contents(body)
    except (ValueError, KeyError, TypeError) as error:
        return f"it holds something else than tokens: {error}"
    if got != [token(number) for number in range(tokens)]:
        return f"{len(got)} tokens came of {tokens}, or out of order; it ends with {body[-120:]!r}"
    return None if body.endswith(DONE) else f"all {tokens} tokens came, but no [DONE]"


def _event(content: str, *, finish: str | None) -> bytes:
    choice = {
        "index": 0,
        "delta": {"content": content},
        "logprobs": None,
        "finish_reason": finish,
        "token_ids": None,
    }
    chunk = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": MODEL,
        "choices": [choice],
    }
    return b"data: " + _encode(chunk) + b"\n\n"


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
