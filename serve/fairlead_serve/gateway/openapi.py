"""What the OpenAPI document says that FastAPI cannot see: bodies that routes read themselves, streams, errors."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

JSON = "application/json"
EVENTS = "text/event-stream"


class ErrorObject(BaseModel):
    """Why a request was not answered."""

    message: str = Field(description="A sentence for a person.")
    type: str = Field(description="One of OpenAI's types of errors.")
    param: str | None = Field(description="The field of the request at fault.")
    code: str | None = Field(description="A constant that programs may compare.")


class Error(BaseModel):
    """OpenAI's form of an error."""

    error: ErrorObject


class Detail(BaseModel):
    """The form of an error that older clients know."""

    detail: str


# Any status but those that a route names: each can also be refused for its key, its limits or its size.
ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": Error, "description": "Why there is no answer"}}
DETAILS: dict[int | str, dict[str, Any]] = {"default": {"model": Detail, "description": "Why there is no answer"}}


def answers(*kinds: str, description: str = "Successful Response") -> dict[int | str, dict[str, Any]]:
    """An answer of one of these content types."""
    return {200: {"description": description, "content": {kind: {} for kind in kinds}}}


def json_body(properties: Mapping[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON body with these fields, and others that are passed on."""
    return _body(JSON, {**_object(properties, required), "additionalProperties": True})


def form_body(properties: Mapping[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same for an HTML form."""
    return _body("application/x-www-form-urlencoded", _object(properties, required))


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), **({"required": list(required)} if required else {})}


def _body(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": dict(schema)}}}}
