"""What clients write short is kept whole."""

from typing import Any

import pytest
from openai.types.conversations import ConversationItem
from pydantic import TypeAdapter

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.items import for_engine, message, parse_items, text_of

_conversation_item: TypeAdapter[Any] = TypeAdapter(ConversationItem)


def test_a_text_is_one_message_of_the_user() -> None:
    [item] = parse_items("Hé 你好", param="input")
    assert item["role"] == "user"
    assert item["content"] == [{"type": "input_text", "text": "Hé 你好"}]
    assert text_of(item) == "Hé 你好"


def test_messages_without_a_type_are_messages() -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Yes?"}]
    items = parse_items(said, param="input")
    assert [item["type"] for item in items] == ["message", "message"]
    assert items[1]["content"] == [{"type": "output_text", "text": "Yes?", "annotations": [], "logprobs": []}]


def test_parts_get_the_type_that_their_role_has() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_image", "image_url": "data:,"}]
    [user] = parse_items([{"role": "user", "content": parts}], param="input")
    assert user["content"] == [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:,"}]
    [assistant] = parse_items([{"role": "assistant", "content": [{"type": "input_text", "text": "b"}]}], param="input")
    assert assistant["content"][0]["type"] == "output_text"


def test_every_item_gets_an_id_of_its_own_whatever_the_client_sent() -> None:
    sent = {"type": "message", "role": "user", "content": "x", "id": "msg_mine"}
    ids = {item["id"] for item in parse_items([sent, sent], param="input")}
    assert len(ids) == 2
    assert "msg_mine" not in ids


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "x"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
    ],
)
def test_what_is_kept_is_what_the_official_client_reads(item: dict[str, Any]) -> None:
    [whole] = parse_items([item], param="items")
    read = _conversation_item.validate_python(whole)
    assert read.id == whole["id"]
    assert read.type == whole["type"]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (7, "input"),
        ([7], "input[0]"),
        ([{}], "input[0].type"),
        ([{"role": "user", "content": "x"}, {"role": "nobody", "content": "x"}], "input[1].role"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text"),
        ([{"role": "user", "content": ["x"]}], "input[0].content[0]"),
        ([{"type": "function_call", "call_id": "c"}], "input[0].name"),
        ([{"type": "function_call_output"}], "input[0].call_id"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0]"),
    ],
)
def test_what_is_no_item_is_refused_and_the_place_named(value: Any, place: str) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_items(value, param="input")
    assert refusal.value.status == 400
    assert refusal.value.param == place
    assert place in refusal.value.message


def test_an_engine_sees_no_ids_of_what_users_said_and_keeps_those_of_the_model() -> None:
    items = [message("user", "a"), message("assistant", "b")]
    user, assistant = for_engine(items)
    assert set(user) == {"type", "role", "content"}
    assert assistant["id"] == items[1]["id"]
