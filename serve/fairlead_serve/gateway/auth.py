"""Who calls: API keys, looked up on every request, and the callers that they stand for."""

import asyncio
import fnmatch
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fairlead_serve.asgi import ASGIApp, Receive, Scope, Send, send_error
from fairlead_serve.errors import ApiError, ConfigurationError
from fairlead_serve.keys import Key, KeyFile, digest_of

_logger = logging.getLogger(__name__)
CALLER = "fairlead.caller"
"""Where a request's scope holds who sent it."""
# What needs no key: the page and what it is made of, documentation, and what operates the gateway. /internal/load
# has a token of its own.
_OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/health", "/metrics", "/docs", "/openapi.json", "/internal/load"})
_OPEN_FOLDER = "/page/"
_READING = frozenset({"GET", "HEAD"})
# The one route that browsers call with EventSource, which sends no headers.
_EVENT_SOURCE_PATH = "/chat/stream"
# Its clients read `{"detail": ...}` of every failure.
_DETAIL_FOLDER = "/v1/code/"
# Names come from clients and are quoted in messages.
_LONGEST_QUOTED = 100


@dataclass(frozen=True)
class Caller:
    """Who sent a request, what they may use and how much of it.

    `owner` owns what the caller stores, and is what limits are counted by. `models` are globs of model names. Limits
    that are None do not exist.
    """

    owner: str
    name: str
    models: tuple[str, ...] = ("*",)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None

    @classmethod
    def of(cls, key: Key) -> "Caller":
        return cls(
            key.id, key.name, key.models, key.requests_per_minute, key.tokens_per_minute, key.concurrent_requests
        )

    def may_use(self, model: str) -> bool:
        return self._all or self._models.match(model) is not None

    @cached_property
    def unlimited(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests) == (None, None, None)

    @cached_property
    def _all(self) -> bool:
        return "*" in self.models

    @cached_property
    def _models(self) -> re.Pattern[str]:
        return re.compile("|".join(map(fnmatch.translate, self.models)))


ANONYMOUS = Caller("anonymous", "anonymous")
"""Everybody, where there are no keys. No key's id is `anonymous`."""


class KeyRing:
    """The callers of a file of keys, by the keys that they bring. The file is read again when it changes."""

    def __init__(self, path: Path, *, seconds: float = 1.0) -> None:
        """`seconds`: how often it is looked whether the file changed. Raises ConfigurationError."""
        self._path = path
        self._seconds = seconds
        self._file = KeyFile(path)
        # Before the reading: what is written in between counts as a change.
        self._seen = _stamp(path)
        self._callers: dict[bytes, Caller] = {}
        self._take(self._file.load())
        self._problem = ""
        self._watcher: asyncio.Task[None] | None = None

    def find(self, secret: bytes) -> Caller | None:
        """The caller whose key is `secret`.

        A look-up takes a little longer or shorter by how much of the digest fits, which tells nothing: nobody can
        choose a digest without knowing what it is of.
        """
        return self._callers.get(digest_of(secret))

    def start(self) -> None:
        """Begin to watch the file; needs a running event loop."""
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self._path}")

    async def stop(self) -> None:
        """End the watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def look(self) -> None:
        """Read the file again if it changed. While it cannot be used, the keys known before go on being valid."""
        # In a thread: a mounted volume can be slow, and so is reading thousands of keys.
        stamp = await asyncio.to_thread(_stamp, self._path)
        if stamp == self._seen and not self._problem:
            return
        try:
            keys = await asyncio.to_thread(self._file.load)
        except ConfigurationError as error:
            if str(error) != self._problem:
                _logger.warning("the keys stay as they were: %s", error)
            self._problem = str(error)
            return
        self._seen, self._problem = stamp, ""
        self._take(keys)
        _logger.info("the keys were read again; there are %d", len(keys))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()

    def _take(self, keys: tuple[Key, ...]) -> None:
        """Know these keys and no others. A caller whose key did not change stays the same object."""
        known = self._callers
        callers = {key.digest: Caller.of(key) for key in keys}
        self._callers = {
            digest: known[digest] if known.get(digest) == caller else caller for digest, caller in callers.items()
        }


class Authentication:
    """Finds out who calls, for the application behind it, and answers 401 where that cannot be found out.

    `ring` None: there are no keys, and everybody is ANONYMOUS. Paths that need no key have no caller where there are
    keys, so that a route which should have asked for one fails instead of serving everybody.
    """

    def __init__(self, application: ASGIApp, ring: KeyRing | None) -> None:
        self._application = application
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._ring is None:
                scope[CALLER] = ANONYMOUS
            elif not _is_open(scope):
                secret = _secret(scope)
                caller = self._ring.find(secret)
                if caller is None:
                    as_detail = scope["path"].startswith(_DETAIL_FOLDER)
                    await send_error(send, _refusal(scope, secret), as_detail=as_detail)
                    return
                scope[CALLER] = caller
        await self._application(scope, receive, send)


def caller_of(scope: Mapping[str, object]) -> Caller:
    """Who sent the request of `scope`, which has been through Authentication."""
    caller = scope[CALLER]
    assert isinstance(caller, Caller)  # noqa: S101 - only Authentication writes it
    return caller


def require_model(caller: Caller, model: str) -> None:
    """Raises ApiError 403 where `caller` may not use `model`. Only models that it may use are named."""
    if not caller.may_use(model):
        short = model if len(model) <= _LONGEST_QUOTED else model[:_LONGEST_QUOTED] + "…"
        raise ApiError(
            403,
            f"the key {caller.name} may not use the model {short!r}; it may use: {', '.join(caller.models)}",
            code="model_not_allowed",
            param="model",
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Differs when the file was written or another one put in its place. A mounted Secret changes by its link."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] in _READING and (path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER))


def _secret(scope: Scope) -> bytes:
    """The key that a request brings: as OpenAI's clients do, or as Anthropic's; b"" where it brings none."""
    other = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.partition(b" ")
            if scheme.lower() == b"bearer" and (secret := secret.strip()):
                return bytes(secret)
        elif name == b"x-api-key":
            other = value.strip()
    return other


def _refusal(scope: Scope, secret: bytes) -> ApiError:
    """What to say of a request without a key, or with a wrong one, which is never quoted."""
    if secret:
        return ApiError(
            401,
            "this API key is wrong, or has been revoked",
            code="invalid_api_key",
            headers={"www-authenticate": 'Bearer error="invalid_token"'},
        )
    message = "an API key is needed; send it in the header `authorization: Bearer flk-...`"
    if scope["path"] == _EVENT_SOURCE_PATH and scope["method"] == "GET":
        message += "; EventSource cannot send headers, so call this route with fetch"
    return ApiError(401, message, code="missing_api_key", headers={"www-authenticate": "Bearer"})
