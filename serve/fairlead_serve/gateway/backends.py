"""Who serves a model: the routing table and what is known of each backend's readiness."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.admission import Admission
from fairlead_serve.gateway.auth import ANONYMOUS, Caller, require_model
from fairlead_serve.gateway.balancing import Balancer, Endpoint, LeastLoad, PrefixHash
from fairlead_serve.gateway.upstream import Headers
from fairlead_serve.settings import BackendSettings


@dataclass
class Backend:
    """One Model: its names, its endpoints, its bounds."""

    settings: BackendSettings
    headers: Headers
    created: int
    admission: Admission = field(init=False)
    balancer: Balancer = field(init=False)
    cold: int = 0
    last_request: float = 0.0
    tasks: tuple[str, ...] = ()
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings = self.settings
        self.admission = Admission(settings.name, max_ongoing=settings.max_ongoing, max_queued=settings.max_queued)
        endpoints = [Endpoint.at(url) for url in settings.endpoints]
        self.balancer = PrefixHash(endpoints) if self.by_prefix else LeastLoad(endpoints)
        if not self.is_engine:
            # Nothing tells whether somebody else's server is ready but a request; a failed one is tried anew.
            for endpoint in self.balancer.endpoints:
                self.mark(endpoint, ready=True)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def is_engine(self) -> bool:
        return self.settings.kind == "engine"

    @property
    def by_prefix(self) -> bool:
        """Whether prompts that begin alike go to the same engine."""
        return self.is_engine and self.settings.strategy == "PrefixHash"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.settings.name, *self.settings.aliases)

    @property
    def waiting(self) -> int:
        """Requests that wait: for a place, or for an endpoint to become ready."""
        return self.admission.queued + self.cold

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def suspect(self, endpoint: Endpoint) -> None:
        """A request failed at `endpoint`: it is not ready until a probe, asked for at once, says so again."""
        if self.is_engine:
            self.mark(endpoint, ready=False)
            endpoint.doubt.set()

    def suspect_all(self) -> None:
        """A stream broke: every endpoint is probed at once, and goes on serving until then."""
        for endpoint in self.balancer.endpoints:
            endpoint.doubt.set()

    def mark(self, endpoint: Endpoint, *, ready: bool) -> None:
        """Note what a contact with `endpoint` showed."""
        endpoint.ready = ready
        if any(one.ready for one in self.balancer.endpoints):
            self._ready.set()
        else:
            self._ready.clear()

    async def became_ready(self) -> None:
        """Wait, for as long as it takes, until an endpoint is ready."""
        await self._ready.wait()

    async def wait_ready(self) -> None:
        """Wait, within the bounds of `coldStart`, until an endpoint is ready. Raises ApiError 503."""
        if self._ready.is_set():
            return
        bounds = self.settings.cold_start
        if self.cold >= bounds.max_queued:
            raise self.unavailable(f"{bounds.max_queued} requests are waiting for it already")
        self.cold += 1
        try:
            async with asyncio.timeout(bounds.timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            raise self.unavailable(f"none became ready within {bounds.timeout_seconds:g} s") from None
        finally:
            self.cold -= 1

    def unavailable(self, why: str) -> ApiError:
        """503 with `retry-after`: nothing serves this model now."""
        return ApiError(
            503,
            f"no engine of the model {self.name} is ready: {why}",
            code="engine_unavailable",
            headers={"retry-after": "5"},
        )

    def unreachable(self, why: str) -> ApiError:
        """502: a server that is not ours, and that nothing here can bring back, gave no answer."""
        return ApiError(502, f"the upstream of {self.name} gave no answer: {why}", code="upstream_unreachable")

    def not_supported(self, path: str) -> ApiError:
        """404: the model cannot do what the route `path` is for."""
        can = f"; it does: {', '.join(self.tasks)}" if self.tasks else ""
        return ApiError(
            404,
            f"the model {self.name} does not support {path}{can}",
            code="model_not_supported",
            param="model",
        )

    @contextlib.contextmanager
    def using(self, endpoint: Endpoint) -> Iterator[None]:
        """Count one request at `endpoint` while the block runs."""
        endpoint.ongoing += 1
        try:
            yield
        finally:
            endpoint.ongoing -= 1


class RoutingTable:
    """Every model name that can be asked for, and its backend."""

    def __init__(self, backends: Sequence[Backend], *, default_model: str = "") -> None:
        """Raises ValueError where two backends claim one name, or the default or a fallback is none of them."""
        self.backends = list(backends)
        self._by_name: dict[str, Backend] = {}
        for backend in backends:
            for name in backend.names:
                if name in self._by_name:
                    message = f"the model name {name!r} is claimed by {self._by_name[name].name} and {backend.name}"
                    raise ValueError(message)
                self._by_name[name] = backend
        if default_model and default_model not in self._by_name:
            message = f"the default model {default_model!r} is none of: {', '.join(self._by_name)}"
            raise ValueError(message)
        self._default = default_model
        for backend in backends:
            for name in backend.settings.fallback:
                if name not in self._by_name or self._by_name[name] is backend:
                    there_are = self._listed(ANONYMOUS)
                    message = f"the fallback {name!r} of {backend.name} is no other model; there are: {there_are}"
                    raise ValueError(message)

    def names(self, caller: Caller = ANONYMOUS) -> Iterable[tuple[str, Backend]]:
        """(name, backend) for every name that `caller` may ask for."""
        return [(name, backend) for name, backend in self._by_name.items() if _may_use(caller, name, backend)]

    def fallbacks(self, backend: Backend) -> Sequence[Backend]:
        """Who answers, in this order, when `backend` cannot."""
        return [self._by_name[name] for name in backend.settings.fallback]

    def find(self, model: str | None, caller: Caller = ANONYMOUS) -> Backend:
        """The backend of `model`; of the default where it is None or empty. Raises ApiError 404, 403 or 400."""
        if not model:
            return self._find_default(caller)
        backend = self._by_name.get(model)
        if backend is None:
            raise ApiError(
                404,
                f"the model {shorten(model)!r} does not exist; there are: {self._listed(caller)}",
                code="model_not_found",
                param="model",
            )
        if not _may_use(caller, model, backend):
            require_model(caller, model)
        return backend

    def _find_default(self, caller: Caller) -> Backend:
        if self._default and _may_use(caller, self._default, self._by_name[self._default]):
            return self._by_name[self._default]
        allowed = [backend for backend in self.backends if _may_use(caller, backend.name, backend)]
        if len(allowed) == 1:
            return allowed[0]
        raise ApiError(
            400,
            f"name a model; there are: {self._listed(caller)}",
            code="model_required",
            param="model",
        )

    def _listed(self, caller: Caller) -> str:
        return ", ".join(sorted(name for name, _ in self.names(caller)))


def _may_use(caller: Caller, name: str, backend: Backend) -> bool:
    """A key for a model is good for all its names, and one for an alias for the model."""
    return caller.may_use(name) or any(map(caller.may_use, backend.names))


def shorten(text: str, limit: int = 100) -> str:
    """`text` cut to `limit` characters, for messages that quote what a client sent."""
    return text if len(text) <= limit else text[:limit] + "…"
