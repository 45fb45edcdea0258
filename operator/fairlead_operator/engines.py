"""What engines say of themselves before they are ready, and which adapters they have: the status port of their pods.

The form of both is the engine's (`fairlead_serve.engine`); the internal token goes with every request.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import urllib3

from fairlead_operator.render import Manifest
from fairlead_serve.internal import TOKEN_HEADER, TOKEN_VARIABLE

_logger = logging.getLogger(__name__)
STATUS_PORT = 8090
# A pod that does not answer must not hold up the others: it is asked again within seconds.
_TIMEOUT = urllib3.Timeout(connect=0.5, read=1.0)
_MOST_BYTES = 256 * 1024
_REFUSED = 401
_MOST_REFUSING = 1024


@dataclass(frozen=True)
class EngineStatus:
    """One engine: its phase (Starting, Downloading, Loading, Ready, Stopping), bytes of its weights, its adapters."""

    phase: str
    cached: bool = False
    done: int = 0
    total: int = 0
    per_second: int = 0
    adapters: Sequence[Mapping[str, str]] = ()


class Engines(Protocol):
    """The engines of the cluster, each by its pod."""

    def status(self, pod: Manifest) -> EngineStatus | None:
        """What the engine of `pod` says; None when it does not answer."""

    def load(self, pod: Manifest, adapters: Sequence[Mapping[str, str]]) -> EngineStatus | None:
        """Say which adapters the engine of `pod` should have; it goes on with that by itself."""


@dataclass(frozen=True)
class EnginePods:
    """Engines by HTTP. May be shared between threads."""

    token: str
    port: int = STATUS_PORT
    # The pods of which was said that they refuse the token.
    _refusing: set[str] = field(default_factory=set, init=False)
    _pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(num_pools=64, maxsize=2, timeout=_TIMEOUT, retries=False)
    )

    def status(self, pod: Manifest) -> EngineStatus | None:
        return self._ask(pod, "GET", "/status", None)

    def load(self, pod: Manifest, adapters: Sequence[Mapping[str, str]]) -> EngineStatus | None:
        return self._ask(pod, "PUT", "/adapters", {"adapters": [dict(adapter) for adapter in adapters]})

    def _ask(self, pod: Manifest, method: str, path: str, body: Any) -> EngineStatus | None:
        address = pod.get("status", {}).get("podIP")
        if not address:
            return None
        host = f"[{address}]" if ":" in address else address
        try:
            response = self._pool.request(
                method,
                f"http://{host}:{self.port}{path}",
                body=None if body is None else json.dumps(body).encode(),
                headers={TOKEN_HEADER: self.token, "content-type": "application/json"},
                preload_content=False,
            )
            try:
                self._tell_of_refusal(pod, response.status)
                return _read(response.status, response.read(_MOST_BYTES))
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError:
            return None

    def _tell_of_refusal(self, pod: Manifest, status: int) -> None:
        """Log it once when an engine wants another token: nothing else would tell why it says nothing."""
        metadata = pod["metadata"]
        name = f"{metadata.get('namespace', '')}/{metadata['name']}"
        if status != _REFUSED:
            self._refusing.discard(name)
        elif name not in self._refusing:
            if len(self._refusing) >= _MOST_REFUSING:
                # Most of them are gone by now.
                self._refusing.clear()
            self._refusing.add(name)
            _logger.warning(
                "the engine of pod %s refuses the operator's token: it does not say how far it is, and loads no "
                "adapters; %s of the operator must be what the engine read from its Secret when it started",
                name,
                TOKEN_VARIABLE,
            )


def _read(status: int, body: bytes) -> EngineStatus | None:
    if status != 200:
        return None
    try:
        said = json.loads(body)
        download = said.get("download") or {}
        return EngineStatus(
            phase=str(said["phase"]),
            cached=bool(said.get("cached")),
            done=int(download.get("bytesDone") or 0),
            total=int(download.get("bytesTotal") or 0),
            per_second=int(download.get("bytesPerSecond") or 0),
            adapters=tuple(
                {name: str(adapter.get(name, "")) for name in ("name", "uri", "state", "message")}
                for adapter in said.get("adapters") or ()
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Whatever answers there, it is no engine of ours.
        return None
