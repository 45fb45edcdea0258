"""Who calls: keys that are looked up, followed while they change, and asked for where they are needed."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve.asgi import Message, Receive, Scope, Send
from fairlead_serve.errors import ApiError, ConfigurationError
from fairlead_serve.gateway.auth import ANONYMOUS, Authentication, Caller, KeyRing, caller_of, require_model
from fairlead_serve.keys import KeyFile
from tests.serve.gateway.world import until

CHAT = "/v1/chat/completions"
Headers = Sequence[tuple[bytes, bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def file(path: Path) -> KeyFile:
    return KeyFile(path)


def put(path: Path, text: str | None) -> None:
    """`text` as the content of the file; None: no file."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


def replace_in(path: Path, old: str, new: str) -> None:
    put(path, path.read_text().replace(old, new))


def rename(path: Path, other: Path) -> None:
    path.rename(other)


class Behind:
    """What stands behind the authentication, and remembers whom it served."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)


class Asked:
    """One request through the authentication: `scope` as it got behind it, or the answer instead."""

    def __init__(self, scope: Scope | None, sent: Sequence[Message]) -> None:
        self.scope = scope
        self.status = sent[0]["status"] if sent else 0
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]} if sent else {}
        self.error: dict[str, Any] = json.loads(sent[1]["body"])["error"] if sent else {}


async def ask(ring: KeyRing | None, path: str = CHAT, *, method: str = "POST", headers: Headers = ()) -> Asked:
    behind = Behind()
    sent: list[Message] = []

    async def receive() -> Message:
        pytest.fail("nothing is read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await Authentication(behind, ring)(scope, receive, send)
    return Asked(behind.scopes[0] if behind.scopes else None, sent)


def bearer(secret: str) -> Headers:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + secret.encode())]


async def test_a_key_stands_for_its_caller(file: KeyFile, path: Path) -> None:
    key, secret = file.create(
        "laptop", models=["a", "b"], requests_per_minute=1, tokens_per_minute=2, concurrent_requests=3
    )
    asked = await ask(KeyRing(path), headers=bearer(secret))
    assert asked.scope is not None
    assert caller_of(asked.scope) == Caller(key.id, "laptop", ("a", "b"), 1, 2, 3)


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer %s"),
        (b"authorization", b"bearer %s"),
        (b"authorization", b"BEARER  %s "),
        (b"x-api-key", b"%s"),
        (b"x-api-key", b" %s "),
    ],
)
async def test_a_key_comes_as_openai_s_clients_send_it_or_as_anthropic_s(
    file: KeyFile, path: Path, header: tuple[bytes, bytes]
) -> None:
    key, secret = file.create("laptop")
    asked = await ask(KeyRing(path), "/v1/messages", headers=[(header[0], header[1] % secret.encode())])
    assert asked.scope is not None
    assert caller_of(asked.scope).owner == key.id


async def test_a_key_beside_another_kind_of_authorization_is_found(file: KeyFile, path: Path) -> None:
    _, secret = file.create("laptop")
    headers = [(b"authorization", b"Basic dXNlcjpwYXNz"), (b"x-api-key", secret.encode())]
    assert (await ask(KeyRing(path), headers=headers)).scope is not None


@pytest.mark.parametrize(
    "headers", [[], [(b"authorization", b"Bearer")], [(b"authorization", b"Bearer ")], [(b"authorization", b"Basic x")]]
)
async def test_who_brings_no_key_is_told_how_to(file: KeyFile, path: Path, headers: Headers) -> None:
    file.create("laptop")
    asked = await ask(KeyRing(path), headers=headers)
    assert (asked.scope, asked.status) == (None, 401)
    assert (asked.error["type"], asked.error["code"]) == ("authentication_error", "missing_api_key")
    assert "authorization: Bearer flk-" in asked.error["message"]
    assert asked.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("secret", [b"flk-wrong", b"sk-123", "flk-größe".encode("latin-1"), b"x" * 100_000, b"\0"])
async def test_a_wrong_key_is_refused_and_not_quoted(file: KeyFile, path: Path, secret: bytes) -> None:
    file.create("laptop")
    asked = await ask(KeyRing(path), headers=[(b"authorization", b"Bearer " + secret)])
    assert (asked.scope, asked.status, asked.error["code"]) == (None, 401, "invalid_api_key")
    assert asked.headers["www-authenticate"].startswith("Bearer")
    assert secret.decode("latin-1") not in json.dumps(asked.error, ensure_ascii=False)


async def test_a_hash_is_no_key(file: KeyFile, path: Path) -> None:
    key, _ = file.create("laptop")
    ring = KeyRing(path)
    for stolen in (key.hash, key.hash.removeprefix("sha256:"), key.prefix, key.id):
        assert (await ask(ring, headers=bearer(stolen))).status == 401


async def test_a_page_that_uses_event_source_is_told_to_use_fetch(file: KeyFile, path: Path) -> None:
    file.create("laptop")
    ring = KeyRing(path)
    assert "fetch" in (await ask(ring, "/chat/stream", method="GET")).error["message"]
    assert "fetch" not in (await ask(ring, "/chat/stream")).error["message"]


OPEN = ("/", "/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", "/internal/load", "/page/page.css")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("open_path", OPEN)
async def test_what_everybody_may_see_needs_no_key_and_has_no_caller(
    file: KeyFile, path: Path, open_path: str, method: str
) -> None:
    file.create("laptop")
    asked = await ask(KeyRing(path), open_path, method=method)
    assert asked.scope is not None
    with pytest.raises(KeyError):
        caller_of(asked.scope)


@pytest.mark.parametrize(
    ("method", "closed"),
    [
        *(("POST", path) for path in (*OPEN, CHAT, "/v1/responses", "/chat", "/stream", "/page/markdown")),
        *(("GET", path) for path in ("/v1/models", "/v1/conversations", "/chat/get/messages/", "/no/such", "/page")),
        *(("GET", path) for path in ("//", "/livez/", "/METRICS", "/docs/../v1/models", "/v1/page/x", "")),
        ("DELETE", "/v1/responses/resp_1"),
        ("OPTIONS", "/"),
    ],
)
async def test_everything_else_needs_one(file: KeyFile, path: Path, method: str, closed: str) -> None:
    file.create("laptop")
    assert (await ask(KeyRing(path), closed, method=method)).status == 401


async def test_without_keys_everybody_may_do_everything() -> None:
    for open_path in (CHAT, "/livez"):
        asked = await ask(None, open_path, headers=bearer("anything"))
        assert asked.scope is not None
        assert caller_of(asked.scope) is ANONYMOUS
    assert ANONYMOUS.unlimited
    assert ANONYMOUS.may_use("any/model")


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_passes_without_a_caller(kind: str) -> None:
    behind = Behind()

    async def nothing(*_: Any) -> Any:
        pytest.fail("nothing is said")

    await Authentication(behind, None)({"type": kind}, nothing, nothing)
    assert behind.scopes == [{"type": kind}]


@pytest.mark.parametrize(
    ("globs", "model", "allowed"),
    [
        (["*"], "anything/at all", True),
        (["qwen"], "qwen", True),
        (["qwen"], "qwen-2", False),
        (["qwen"], "my-qwen", False),
        (["qwen-*", "tiny"], "qwen-2", True),
        (["qwen-*", "tiny"], "tiny", True),
        (["qwen-*", "tiny"], "tiny-2", False),
        (["Qwen*"], "qwen", False),
        (["m[12]", "?"], "m2", True),
        (["a.b"], "aXb", False),
        (["a|b"], "a", False),
        (["qwen"], "qwen\n", False),
    ],
)
def test_models_are_allowed_by_globs(globs: list[str], model: str, allowed: bool) -> None:
    caller = Caller("key_1", "laptop", tuple(globs))
    assert caller.may_use(model) is allowed
    if allowed:
        require_model(caller, model)
        return
    with pytest.raises(ApiError) as refusal:
        require_model(caller, model)
    error = refusal.value
    assert (error.status, error.type, error.code, error.param) == (
        403,
        "permission_error",
        "model_not_allowed",
        "model",
    )
    assert repr(model) in error.message
    assert error.message.endswith(", ".join(globs))


def test_a_long_model_name_is_quoted_in_part() -> None:
    with pytest.raises(ApiError) as refusal:
        require_model(Caller("key_1", "laptop", ("a",)), "x" * 10_000)
    assert len(refusal.value.message) < 300


async def test_a_new_key_is_taken_and_a_revoked_one_refused_at_the_next_look(file: KeyFile, path: Path) -> None:
    _, first = file.create("first")
    ring = KeyRing(path)
    _, second = file.create("second")
    assert (await ask(ring, headers=bearer(second))).status == 401
    await ring.look()
    assert (await ask(ring, headers=bearer(second))).scope is not None
    file.revoke("first")
    await ring.look()
    assert (await ask(ring, headers=bearer(first))).error["code"] == "invalid_api_key"
    assert (await ask(ring, headers=bearer(second))).scope is not None


async def test_the_file_is_watched_until_the_end(file: KeyFile, path: Path) -> None:
    file.create("first")
    ring = KeyRing(path, seconds=0.001)
    ring.start()
    _, second = file.create("second")
    await until(lambda: ring.find(second.encode()) is not None)
    await ring.stop()
    _, third = file.create("third")
    assert ring.find(third.encode()) is None


async def test_stopping_what_was_never_started_is_nothing(file: KeyFile, path: Path) -> None:
    file.create("first")
    await KeyRing(path).stop()


async def test_a_mounted_secret_is_followed_when_its_link_is_swapped(tmp_path: Path) -> None:
    """As the kubelet does it: the file is a link into `..data`, which is a link to a folder that is replaced."""

    def publish(folder: str, name: str) -> str:
        (tmp_path / folder).mkdir()
        _, secret = KeyFile(tmp_path / folder / "keys.yaml").create(name)
        (tmp_path / "..data_tmp").symlink_to(folder)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        return secret

    first = publish("..1", "laptop")
    path = tmp_path / "keys.yaml"
    path.symlink_to("..data/keys.yaml")
    ring = KeyRing(path)
    second = publish("..2", "laptop")
    # Same size and same time: nothing but the link tells.
    state = (tmp_path / "..1" / "keys.yaml").stat()
    os.utime(tmp_path / "..2" / "keys.yaml", ns=(state.st_atime_ns, state.st_mtime_ns))
    await ring.look()
    assert ring.find(first.encode()) is None
    assert ring.find(second.encode()) is not None


async def test_a_caller_whose_key_stays_is_the_same_object(file: KeyFile, path: Path) -> None:
    _, first = file.create("first")
    ring = KeyRing(path)
    before = ring.find(first.encode())
    file.create("second")
    await ring.look()
    assert ring.find(first.encode()) is before


async def test_changed_limits_hold_for_the_same_owner(file: KeyFile, path: Path) -> None:
    key, secret = file.create("laptop", requests_per_minute=1)
    ring = KeyRing(path)
    replace_in(path, "requestsPerMinute: 1", "requestsPerMinute: 22")
    await ring.look()
    caller = ring.find(secret.encode())
    assert caller is not None
    assert (caller.owner, caller.requests_per_minute) == (key.id, 22)


async def test_a_file_that_broke_keeps_the_keys_and_is_complained_of_once(
    file: KeyFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = file.create("laptop")
    ring = KeyRing(path)
    for broken, why in (("keys: [", "is not YAML"), (None, "cannot be read: No such file")):
        caplog.clear()
        put(path, broken)
        for _ in range(3):
            await ring.look()
        assert ring.find(secret.encode()) is not None
        (record,) = caplog.records
        assert (record.levelno, why in record.getMessage()) == (logging.WARNING, True)
    caplog.set_level(logging.INFO)
    caplog.clear()
    put(path, "keys: []")
    await ring.look()
    assert [record.getMessage() for record in caplog.records] == ["the keys were read again; there are 0"]
    assert ring.find(secret.encode()) is None


async def test_a_file_that_is_back_unchanged_is_good_again(
    file: KeyFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.create("laptop")
    ring = KeyRing(path)
    for _ in range(2):
        caplog.clear()
        rename(path, path.with_name("away"))
        await ring.look()
        assert len(caplog.records) == 1
        rename(path.with_name("away"), path)
        await ring.look()


def test_a_wrong_file_is_an_error_at_the_start(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyRing(path)
    path.write_text("keys: [{name: one}]")
    with pytest.raises(ConfigurationError, match=r"keys\.0\.hash: Field required"):
        KeyRing(path)


async def test_no_key_is_ever_logged(file: KeyFile, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, good = file.create("laptop", models=["a"])
    _, revoked = file.create("old")
    ring = KeyRing(path)
    file.revoke("old")
    await ring.look()
    errors = [
        (await ask(ring, where, headers=headers)).error
        for secret in (good, revoked, "flk-madeup")
        for headers in (bearer(secret), [(b"x-api-key", secret.encode())], [(b"authorization", secret.encode())])
        for where in (CHAT, "/chat/stream", "/livez")
    ]
    for text in (f"keys: [{good}]", f"keys: {good}", f"keys: [{good}", f"keys: [{{hash: {good}, id: {good}}}]"):
        put(path, text)
        await ring.look()
    everything = caplog.text + json.dumps(errors) + repr(ring.find(good.encode()))
    assert caplog.records
    for secret in (good, revoked, "flk-madeup"):
        assert secret.removeprefix("flk-") not in everything
