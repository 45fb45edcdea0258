"""Wrong requests of every kind: none breaks the gateway, and each is answered in a documented form."""

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import CheckFunction
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fairlead_serve.keys import KeyFile
from tests.serve.gateway.client import Answer, Client
from tests.serve.gateway.event_source import events_of
from tests.serve.gateway.mutation import FORM, Mutator
from tests.serve.gateway.upstream import Exchange, Request, event, vllm_error
from tests.serve.gateway.vllm_responses import RESPONSES, Answering
from tests.serve.gateway.world import CHAT, Running, World, backend

CONVERSATIONS = "/v1/conversations"
BODIES_VARIABLE = "FAIRLEAD_TEST_FUZZ_BODIES"
"""How many bodies a route gets, where 1000 are not enough."""
SEED = 20251121
# Begins a new conversation: one that grows without end makes every turn longer.
PACE = 25
# What another key said.
SECRET = "the-other-tenants-secret"
END = b'data: {"id": "chatcmpl-1", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
MESSAGE = {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]}
REASONING = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]}
PICTURE = {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}
SAID = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
OPTIONS = {
    "instructions": "be brief",
    "temperature": 0.5,
    "max_output_tokens": 10,
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    "reasoning": {"effort": "low"},
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
}
# Right bodies; CONVERSATION, RESPONSE and UUID stand for ids of what there is.
JSON_BODIES: dict[str, list[Any]] = {
    RESPONSES: [
        {"model": "model", "input": "hi", "store": True, "stream": True, "metadata": {"a": "b"}, **OPTIONS},
        {"model": "hosted", "input": [MESSAGE, CALL, OUTPUT, *SAID, REASONING, PICTURE], **OPTIONS},
        {"model": "hosted", "input": "hi", "conversation": "CONVERSATION", "stream": True},
        {"input": "go on", "previous_response_id": "RESPONSE", "background": False, "store": False},
        {"input": [MESSAGE], "conversation": {"id": "CONVERSATION"}, "background": True},
    ],
    CONVERSATIONS: [{"metadata": {"k": "v"}, "items": [MESSAGE, *SAID, CALL, REASONING]}],
    f"{CONVERSATIONS}/CONVERSATION": [{"metadata": {"k": "v"}}],
    f"{CONVERSATIONS}/CONVERSATION/items": [{"items": [MESSAGE, *SAID, CALL, OUTPUT, PICTURE]}],
    "/chat/new/message/": [
        {"prompt": "hi", "max_tokens": 5, "temperature": 0.5, "top_p": 1, "history": SAID, "stream": False},
        {"prompt": "hi", "history": SAID, "stream": True},
        {"prompt": "hi"},
    ],
    "/chat/stream": [{"messages": SAID}],
    "/stream": [{"messages": SAID, "model": "hosted"}],
    "/chat": [{"message": "hi", "temperature": 0.1}],
    CHAT: [{"model": "hosted", "messages": SAID, "stream": True}],
}
FORMS = {
    "/v1/code/generate": {"prompt": "hi"},
    "/v1/code/chat_stream": {"prompt": "hi", "conversation_id": "UUID"},
}
# These write nothing, and most of what they read is the upstream's to judge.
STATELESS = {"/chat/stream", "/stream", "/chat", CHAT, "/v1/code/generate"}


class Agreeable:
    """A script that has an answer to everything that is JSON."""

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        try:
            request.json  # noqa: B018 - whether it is JSON at all
        except (ValueError, RecursionError):
            await exchange.answer(vllm_error("this is not JSON", 400), status=400)
            return
        if request.path == RESPONSES:
            await Answering("Hello ", "you")(exchange, request)
        elif request.path == CHAT:
            await exchange.stream(event("Hello "), event("you"), END)
        else:
            await exchange.answer({"object": "list", "data": []})


class Tenant:
    """One key's client of a gateway, on a connection that is made again where the gateway closes it."""

    def __init__(self, world: World, gateway: Running, secret: str) -> None:
        self.key = {"authorization": f"Bearer {secret}"}
        self._world = world
        self._gateway = gateway
        self._client: Client | None = None

    @property
    def url(self) -> str:
        return self._gateway.url

    async def post(self, path: str, body: Any, *, kind: str = "application/json") -> Answer:
        return await self._ask("POST", path, body, {"content-type": kind})

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path, None, {})

    async def ids(self) -> dict[str, str]:
        """A new conversation and a new response, and a conversation of older clients, by what bodies call them."""
        conversation = (await self.post(CONVERSATIONS, {"items": [MESSAGE]})).json["id"]
        response = (await self.post(RESPONSES, {"input": "hi"})).json["id"]
        code = await self.post("/v1/code/chat_stream", b"prompt=hi", kind=FORM)
        first, _, _ = code.body.decode().partition("\n")
        return {"CONVERSATION": conversation, "RESPONSE": response, "UUID": first.removeprefix("conversation_id:")}

    async def everything(self) -> int:
        """Read all that is stored; how many conversations that is."""
        seen, after = 0, ""
        while True:
            page = await self.get(f"{CONVERSATIONS}?limit=100{after}")
            assert page.status == 200
            for one in page.json["data"]:
                assert (await self.get(f"{CONVERSATIONS}/{one['id']}/items?limit=100")).status == 200
            seen += len(page.json["data"])
            if not page.json["has_more"]:
                return seen
            after = f"&after={page.json['last_id']}"

    async def _ask(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        if self._client is None:
            self._client = await self._world.client(self._gateway)
        await self._client.request(method, path, body, headers={**self.key, **headers})
        answer = await self._client.answer()
        if answer.header("connection") == "close":
            self._client = None
        return answer


async def tenants(world: World, folder: Path) -> tuple[Tenant, Tenant]:
    """Two keys of a gateway before an engine and a server of somebody else."""
    file = KeyFile(folder / "keys.yaml")
    secrets = [file.create(name)[1] for name in ("alice", "bob")]
    upstream = await world.upstream(Agreeable())
    gateway = await world.gateway(
        backend(upstream.url, kind="engine"),
        backend(upstream.url, name="hosted"),
        default_model="model",
        key_file=folder / "keys.yaml",
    )
    alice, bob = (Tenant(world, gateway, secret) for secret in secrets)
    return alice, bob


def check(route: str, answer: Answer) -> None:
    """Fails where nobody may be answered so, whatever was asked."""
    assert answer.status < 500
    assert b"Traceback" not in answer.body
    assert SECRET.encode() not in answer.body
    if answer.status >= 400:
        if route.startswith("/v1/code/"):
            assert list(answer.json) == ["detail"]
        else:
            assert answer.error["type"]
    elif (answer.header("content-type") or "").startswith("text/event-stream"):
        if route != "/v1/code/chat_stream":  # bare text
            documents = [json.loads(one.data) for one in events_of(answer.body) if one.data != "[DONE]"]
            assert not [one for one in documents if "error" in one or one.get("type") == "response.failed"]
    else:
        assert isinstance(answer.json, dict)


def filled(right: Any, ids: Mapping[str, str]) -> Any:
    text = json.dumps(right)
    for name, value in ids.items():
        text = text.replace(name, value)
    return json.loads(text)


@pytest.mark.parametrize("route", [*JSON_BODIES, *FORMS])
async def test_no_body_breaks_a_route(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    alice, bob = await tenants(world, tmp_path)
    others = await alice.ids()
    await alice.post(
        f"{CONVERSATIONS}/{others['CONVERSATION']}/items", {"items": [{"role": "user", "content": SECRET}]}
    )
    count = int(os.environ.get(BODIES_VARIABLE, "1000"))
    caplog.set_level(logging.ERROR)
    for number in range(count // 4 if route in STATELESS else count):
        if number % PACE == 0:
            ids = await bob.ids()
            mutator = Mutator(SEED + number, [*others.values(), *ids.values(), "model", "hosted", "nobody"])
        if route in FORMS:
            body, kind = mutator.form(filled(FORMS[route], ids))
        else:
            rights = JSON_BODIES[route]
            body, kind = mutator.json(filled(rights[number % len(rights)], ids))
        answer = await bob.post(filled(route, ids), body, kind=kind)
        try:
            check(route, answer)
        except (AssertionError, ValueError) as error:
            error.add_note(f"body {number}, {kind}: {body[:2000]!r}\nanswer {answer.status}: {answer.body[:2000]!r}")
            raise
    assert not caplog.records
    assert await bob.everything() > count // PACE // 4
    turn = await bob.post(RESPONSES, {"input": "hi", "conversation": ids["CONVERSATION"]})
    assert (turn.status, turn.json["status"]) == (200, "completed")


DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        (RESPONSES, {"input": [{"type": "reasoning", "content": DEEP}]}, 400),
        (RESPONSES, {"input": "hi", "tools": [{"type": "function", "parameters": DEEP}]}, 400),
        (
            f"{CONVERSATIONS}/CONVERSATION/items",
            {"items": [{"role": "user", "content": [{"type": "a", "b": DEEP}]}]},
            400,
        ),
        (RESPONSES, {"input": "hi", "model": "hosted", "text": {"format": {"name": "n"}}}, 200),
    ],
)
async def test_what_broke_a_route_once_does_not_again(
    world: World, tmp_path: Path, route: str, body: Any, status: int
) -> None:
    alice, _ = await tenants(world, tmp_path)
    ids = await alice.ids()
    answer = await alice.post(filled(route, ids), body)
    check(route, answer)
    assert answer.status == status
    assert await alice.everything() == 2


# --- what is documented ----------------------------------------------------------------------------------

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# What may be asked for without a key, and needs nothing else instead.
OPEN = {"/", "/page/{name}", "/livez", "/readyz", "/health", "/metrics"}


def ask_everything(
    url: str, headers: Mapping[str, str], known: Mapping[str, str], *, examples: int
) -> set[tuple[str, str, int]]:
    """Ask every documented operation what the document allows; (method, path, status) of all answers.

    `known`: parts of paths that lead to something, by their names; `examples`: how often each operation is asked.
    Fails where an answer is not as documented.
    """
    seen: set[tuple[str, str, int]] = set()
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @given(case=operation.as_strategy(), leading=st.booleans())
        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: "schemathesis.Case[Any]", leading: bool) -> None:
            if leading and case.method != "DELETE":
                case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
            answer = case.call(headers=dict(headers))
            case.validate_response(answer, checks=CHECKS)
            seen.add((case.method, case.path, answer.status_code))

        ask()
    return seen


async def test_every_answer_is_as_the_document_says(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alice, _ = await tenants(world, tmp_path)
    ids = await alice.ids()
    item = (await alice.get(f"{CONVERSATIONS}/{ids['CONVERSATION']}/items")).json["data"][0]["id"]
    known = {"conversation_id": ids["CONVERSATION"], "response_id": ids["RESPONSE"], "item_id": item, "model": "hosted"}
    caplog.set_level(logging.ERROR)
    seen = await asyncio.to_thread(ask_everything, alice.url, alice.key, known, examples=12)
    assert not [record for record in caplog.records if record.name.startswith("fairlead_serve")]
    reached = {path for _, path, status in seen if status == 200}
    assert {f"{CONVERSATIONS}/{{conversation_id}}/items/{{item_id}}", f"{RESPONSES}/{{response_id}}", CHAT} <= reached


async def test_every_answer_is_as_the_document_says_without_a_key(world: World, tmp_path: Path) -> None:
    alice, _ = await tenants(world, tmp_path)
    seen = await asyncio.to_thread(ask_everything, alice.url, {}, {}, examples=4)
    assert {path for _, path, status in seen if status != 401} == OPEN
    assert {path for method, path, status in seen if status == 401} >= {CHAT, RESPONSES, CONVERSATIONS, "/v1/models"}
