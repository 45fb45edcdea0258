"""The API keys of upstreams, read from the Secrets that Models name and read again now and then."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from fairlead_serve.api_server import Answer, ApiServer, Unreachable

_logger = logging.getLogger(__name__)
# A changed Secret is used, and a missing one found, within these many seconds. Reading by name takes no right to list.
_SECONDS = 60.0
_MISSING_SECONDS = 5.0


@dataclass(frozen=True)
class SecretKey:
    """One key of one Secret."""

    namespace: str
    name: str
    key: str

    def __str__(self) -> str:
        return f"Secret {self.namespace}/{self.name}"


@dataclass(frozen=True)
class ApiKey:
    """What was found: a key, or why there is none."""

    value: str = field(default="", repr=False)
    problem: str = "the API key of its upstream has not been read yet"


class UpstreamKeys:
    """Follows the Secrets that it is told of. One task each: there are as many as Models with such an upstream."""

    def __init__(self, server: ApiServer, changed: Callable[[], None]) -> None:
        """`changed` is called, on the event loop, whenever what was found is another."""
        self._server = server
        self._changed = changed
        self._found: dict[SecretKey, ApiKey] = {}
        self._tasks: dict[SecretKey, asyncio.Task[None]] = {}

    def get(self, secret: SecretKey) -> ApiKey:
        """What is known of a Secret that is followed."""
        return self._found.get(secret, ApiKey())

    def follow(self, secrets: AbstractSet[SecretKey]) -> None:
        """Follow these, and no others from now on."""
        for secret in self._tasks.keys() - secrets:
            self._tasks.pop(secret).cancel()
            self._found.pop(secret, None)
        for secret in secrets - self._tasks.keys():
            self._tasks[secret] = asyncio.create_task(self._watch(secret), name=f"follow {secret}")

    async def stop(self) -> None:
        """Follow none."""
        tasks = tuple(self._tasks.values())
        self.follow(set())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, secret: SecretKey) -> None:
        while True:
            before = self.get(secret)
            found = await asyncio.to_thread(self._read, secret, before)
            if found != before:
                self._found[secret] = found
                if found.problem:
                    _logger.warning("an upstream is not served: %s", found.problem)
                self._changed()
            await asyncio.sleep(_MISSING_SECONDS if found.problem else _SECONDS)

    def _read(self, secret: SecretKey, before: ApiKey) -> ApiKey:
        try:
            answer = self._server.request("GET", f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}")
            return _api_key(secret, answer)
        except Unreachable:
            if not before.problem:
                return before  # what was true a moment ago serves better than nothing
            return ApiKey(problem=f"the {secret} cannot be read now; it is tried again")


def _api_key(secret: SecretKey, answer: Answer) -> ApiKey:
    """Raises Unreachable where the API server is busy, or its answer is not about the Secret."""
    if answer.status == 404:
        return ApiKey(problem=f"there is no {secret} with the API key of its upstream; make it")
    if answer.status == 403:
        return ApiKey(problem=f"the gateway may not read the {secret} with the API key of its upstream; allow it to")
    if answer.status != 200:
        raise Unreachable(answer.sentence)
    encoded = (answer.json().get("data") or {}).get(secret.key)
    if encoded is None:
        return ApiKey(problem=f"the {secret} has no key {secret.key}, which is to be the API key of its upstream")
    try:
        # Files and Secrets tend to end with a newline, which a header must not have.
        value = base64.b64decode(encoded).decode("ascii").strip()
    except (binascii.Error, UnicodeDecodeError):
        value = ""
    if not value or not value.isprintable():
        return ApiKey(problem=f"the key {secret.key} of the {secret} holds nothing that an API key can be")
    return ApiKey(value, problem="")
