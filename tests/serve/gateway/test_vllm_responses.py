"""The script that stands for vLLM says what vLLM says."""

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.serve.gateway.event_source import events_of
from tests.serve.gateway.vllm_responses import CREATED, events

REQUEST = {"model": "m", "input": "hi", "store": False, "stream": True, "max_output_tokens": 5}
REASONING, TEXT = ["Hm, ", "世界."], ["Hel", "lö"]

# vLLM's own functions, without an engine: what its server does between them is in `responses_stream_generator`.
# Importing vLLM changes the process that does it: a process of its own looks.
LOOK = """
import json, sys
from vllm.entrypoints.openai.responses import streaming_events as made
from vllm.entrypoints.openai.responses.protocol import (
    InputTokensDetails, OutputTokensDetails, ResponseCompletedEvent, ResponseCreatedEvent, ResponseInProgressEvent,
    ResponsesRequest, ResponsesResponse, ResponseUsage,
)
given = json.loads(sys.argv[1])
request = ResponsesRequest(**given["request"])
sampling = request.to_sampling_params(request.max_output_tokens, {})

def response(status, output, usage=None):
    return ResponsesResponse.from_request(
        request, sampling, model_name="m", created_time=given["created"], output=output, status=status, usage=usage
    )

begun = response("in_progress", []).model_dump(mode="json", by_alias=True)
state = made.SimpleStreamingState()
events = [
    ResponseCreatedEvent(type="response.created", sequence_number=-1, response=begun),
    ResponseInProgressEvent(type="response.in_progress", sequence_number=-1, response=begun),
    *made.emit_simple_reasoning_open(state),
    *(event for piece in given["reasoning"] for event in made.emit_simple_reasoning_delta(state, piece)),
    *made.emit_simple_reasoning_done(state),
    *made.emit_simple_content_open(state),
    *(event for piece in given["text"] for event in made.emit_simple_content_delta(state, piece)),
    *made.emit_simple_content_done(state),
]
tokens = len(given["reasoning"]) + len(given["text"])
usage = ResponseUsage(
    input_tokens=10, output_tokens=tokens, total_tokens=10 + tokens,
    input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
    output_tokens_details=OutputTokensDetails(),
)
output = [event.item for event in events if event.type == "response.output_item.done"]
whole = response(given["status"], output, usage)
events.append(ResponseCompletedEvent(type="response.completed", sequence_number=-1, response=whole))
for number, event in enumerate(events):
    event.sequence_number = number
    print(event.type, event.model_dump_json(indent=None, by_alias=True))
"""


def without_ids(document: Any) -> Any:
    """`document` with its random ids replaced by what kind they are."""
    if isinstance(document, dict):
        ids = {"id", "item_id"}
        return {key: value.split("_")[0] if key in ids else without_ids(value) for key, value in document.items()}
    return [without_ids(one) for one in document] if isinstance(document, list) else document


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="compares with an installed vLLM")
def test_the_script_sends_the_events_of_vllm_field_by_field() -> None:
    given = {"request": REQUEST, "created": CREATED, "reasoning": REASONING, "text": TEXT, "status": "incomplete"}
    command = [sys.executable, "-c", LOOK, json.dumps(given)]
    looked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert looked.returncode == 0, looked.stderr
    lines = [line.partition(" ") for line in looked.stdout.splitlines() if line.startswith("response.")]
    theirs = [(kind, without_ids(json.loads(data))) for kind, _, data in lines]
    stream = b"".join(events(REQUEST, TEXT, reasoning=REASONING, cut=True))
    assert [(event.type, without_ids(json.loads(event.data))) for event in events_of(stream)] == theirs
