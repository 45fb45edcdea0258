"""`/v1/conversations`: what was said, kept for as long as nobody deletes it."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request

from fairlead_serve.conversations import Conversation, Store
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import caller_of
from fairlead_serve.gateway.inbound import decode, read_body
from fairlead_serve.gateway.items import new_id, parse_items
from fairlead_serve.gateway.lists import After, Limit, Order, list_object
from fairlead_serve.gateway.metadata import parse_metadata
from fairlead_serve.gateway.openapi import json_body
from fairlead_serve.settings import Sizes, Times

_PATH = "/v1/conversations"
_MAX_ITEMS = 20  # OpenAI's bound on one call
_METADATA = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_ITEMS = {"type": "array", "items": {"type": "object"}, "maxItems": _MAX_ITEMS}
ConversationId = Annotated[str, Path(max_length=100)]
ItemId = Annotated[str, Path(max_length=100)]


class _Body(msgspec.Struct):
    metadata: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    items: list[Any] | None = None


_decoder = msgspec.json.Decoder(_Body)


def create_router(store: Store, times: Times, sizes: Sizes) -> APIRouter:
    router = APIRouter(tags=["conversations"])

    async def body_of(request: Request) -> _Body:
        seconds = times.request_seconds
        body = await read_body(request.scope, request.receive, limit=sizes.body_bytes, seconds=seconds)
        return decode(body, _decoder) if body.strip() else _Body()

    @router.get(_PATH, summary="List your conversations, the last used first")
    async def list_conversations(
        request: Request, after: After = None, limit: Limit = 20, order: Order = "desc"
    ) -> dict[str, Any]:
        page = await store.list_conversations(caller_of(request.scope).owner, after=after, limit=limit, order=order)
        return list_object([_object(one) for one in page.data], has_more=page.has_more)

    @router.post(
        _PATH, summary="Begin a conversation", openapi_extra=json_body({"metadata": _METADATA, "items": _ITEMS})
    )
    async def create_conversation(request: Request) -> dict[str, Any]:
        body = await body_of(request)
        items = parse_items(_few(body.items), param="items")
        metadata = parse_metadata(body.metadata or None)
        owner = caller_of(request.scope).owner
        return _object(await store.create_conversation(owner, new_id("conv"), metadata=metadata, items=items))

    @router.get(_PATH + "/{conversation_id}", summary="Get a conversation")
    async def get_conversation(request: Request, conversation_id: ConversationId) -> dict[str, Any]:
        return _object(await store.get_conversation(caller_of(request.scope).owner, conversation_id))

    @router.post(
        _PATH + "/{conversation_id}",
        summary="Give a conversation other metadata",
        openapi_extra=json_body({"metadata": _METADATA}, required=("metadata",)),
    )
    async def update_conversation(request: Request, conversation_id: ConversationId) -> dict[str, Any]:
        given = (await body_of(request)).metadata
        if given is msgspec.UNSET:
            raise ApiError(400, "the field 'metadata' is missing", param="metadata")
        metadata = parse_metadata(given)
        owner = caller_of(request.scope).owner
        return _object(await store.update_conversation(owner, conversation_id, metadata=metadata))

    @router.delete(_PATH + "/{conversation_id}", summary="Delete a conversation and all that was said in it")
    async def delete_conversation(request: Request, conversation_id: ConversationId) -> dict[str, Any]:
        await store.delete_conversation(caller_of(request.scope).owner, conversation_id)
        return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}

    @router.get(_PATH + "/{conversation_id}/items", summary="List the items of a conversation")
    async def list_items(
        request: Request,
        conversation_id: ConversationId,
        after: After = None,
        limit: Limit = 20,
        order: Order = "desc",
    ) -> dict[str, Any]:
        owner = caller_of(request.scope).owner
        page = await store.list_items(owner, conversation_id, after=after, limit=limit, order=order)
        return list_object(page.data, has_more=page.has_more)

    @router.post(
        _PATH + "/{conversation_id}/items",
        summary="Add items to a conversation",
        openapi_extra=json_body({"items": _ITEMS}, required=("items",)),
    )
    async def add_items(request: Request, conversation_id: ConversationId) -> dict[str, Any]:
        body = await body_of(request)
        if body.items is None:
            raise ApiError(400, "the field 'items' is missing", param="items")
        items = parse_items(_few(body.items), param="items")
        await store.add_items(caller_of(request.scope).owner, conversation_id, items)
        return list_object(items, has_more=False)

    @router.get(_PATH + "/{conversation_id}/items/{item_id}", summary="Get an item of a conversation")
    async def get_item(request: Request, conversation_id: ConversationId, item_id: ItemId) -> dict[str, Any]:
        return await store.get_item(caller_of(request.scope).owner, conversation_id, item_id)

    @router.delete(_PATH + "/{conversation_id}/items/{item_id}", summary="Delete an item of a conversation")
    async def delete_item(request: Request, conversation_id: ConversationId, item_id: ItemId) -> dict[str, Any]:
        owner = caller_of(request.scope).owner
        await store.delete_item(owner, conversation_id, item_id)
        return _object(await store.get_conversation(owner, conversation_id))

    return router


def _object(conversation: Conversation) -> dict[str, Any]:
    """OpenAI's conversation object."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_at,
        "metadata": conversation.metadata,
    }


def _few(items: list[Any] | None) -> list[Any]:
    if items is not None and len(items) > _MAX_ITEMS:
        raise ApiError(400, f"at most {_MAX_ITEMS} items can be added at once; send the rest after", param="items")
    return items or []
