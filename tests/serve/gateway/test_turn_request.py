"""What is asked of /v1/responses is checked before anything is begun."""

import json
from typing import Any

import pytest

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.turn_request import TurnRequest


def parsed(**body: Any) -> TurnRequest:
    return TurnRequest.parse(json.dumps(body).encode())


def test_the_engine_is_told_everything_that_is_not_the_gateways() -> None:
    told = {"model": "m", "temperature": 0.5, "user": None}
    request = parsed(input="Hi", store=False, stream=True, conversation="conv_1", metadata={"a": "b"}, **told)
    assert request.options == {"model": "m", "temperature": 0.5}
    assert (request.conversation, request.store, request.stream) == ("conv_1", False, True)
    assert request.metadata == {"a": "b"}


def test_a_conversation_may_be_an_object() -> None:
    assert parsed(input="Hi", conversation={"id": "conv_1"}).conversation == "conv_1"


def test_responses_are_stored_unless_told_otherwise() -> None:
    assert parsed(input="Hi").store
    assert parsed(input="Hi", store=None).store


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": "x", "conversation": 7}, "conversation"),
        ({"input": "x", "conversation": {}}, "conversation"),
        ({"input": "x", "conversation": "c", "previous_response_id": "r"}, "previous_response_id"),
        ({"input": "x", "background": True, "store": False}, "background"),
        ({"input": "x", "metadata": {"a": 1}}, "metadata"),
        ({"input": "x", "metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"input": "x", "tools": {}}, "tools"),
        ({"input": "x", "text": "json"}, "text"),
        ({"input": "x", "model": 7}, "model"),
    ],
)
def test_what_is_wrong_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        parsed(**body)
    assert refusal.value.status == 400
    assert refusal.value.param == param
