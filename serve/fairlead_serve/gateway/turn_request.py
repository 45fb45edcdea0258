"""What a client asks for with POST /v1/responses, checked."""

from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.inbound import decode
from fairlead_serve.gateway.items import Item, parse_items, refuse_deep
from fairlead_serve.gateway.metadata import parse_metadata


class _Format(msgspec.Struct):
    format: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    """The fields that the gateway reads itself. All others are the engine's to judge."""

    input: Any = None
    model: str | None = None
    instructions: str | None = None
    conversation: str | dict[str, Any] | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    text: _Format | None = None
    reasoning: dict[str, Any] | None = None


_checker = msgspec.json.Decoder(_Body)
_decoder = msgspec.json.Decoder(dict[str, Any])

# What the gateway answers for, so that engines stay without state.
_OURS = frozenset(
    {"input", "conversation", "previous_response_id", "store", "stream", "stream_options", "background", "metadata"}
)


@dataclass(frozen=True)
class TurnRequest:
    """One question to a model, `input`, after what `conversation` or `previous` (a response's id) hold.

    `options` is everything else that the engine is told: model, instructions, tools, sampling, ...
    """

    input: list[Item]
    options: dict[str, Any]
    conversation: str | None = None
    previous: str | None = None
    store: bool = True
    stream: bool = False
    background: bool = False
    metadata: dict[str, str] | None = None

    @classmethod
    def parse(cls, body: bytes) -> "TurnRequest":
        """Raises ApiError 400 that names the field."""
        checked = decode(body, _checker)
        whole = decode(body, _decoder)
        if checked.conversation is not None and checked.previous_response_id is not None:
            message = "give either conversation or previous_response_id, not both: each brings its own history"
            raise ApiError(400, message, param="previous_response_id", code="mutually_exclusive_parameters")
        store = checked.store is not False
        if checked.background and not store:
            message = "a response in the background has to be stored to be asked for later; leave store out"
            raise ApiError(400, message, param="background")
        options = {key: value for key, value in whole.items() if key not in _OURS and value is not None}
        for key, value in options.items():
            refuse_deep(value, key)
        return cls(
            input=[] if checked.input is None else parse_items(checked.input, param="input"),
            options=options,
            conversation=_conversation(checked.conversation),
            previous=checked.previous_response_id,
            store=store,
            stream=bool(checked.stream),
            background=bool(checked.background),
            metadata=parse_metadata(checked.metadata),
        )


def _conversation(value: str | dict[str, Any] | None) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
        if not isinstance(value, str):
            message = "the field 'conversation' is wrong: expected an id, or an object with an id"
            raise ApiError(400, message, param="conversation")
    return value
