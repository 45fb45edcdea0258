"""Who serves a model, within which bounds, and what is known of its readiness."""

import asyncio
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.admission import Admission
from fairlead_serve.gateway.balancing import Balancer, Endpoint, LeastLoad, PrefixHash
from fairlead_serve.gateway.upstream import Headers
from fairlead_serve.settings import ServedModel


@dataclass(eq=False)
class Backend:
    """One Model: its names, its endpoints, its bounds. All of them may change while requests are under way.

    `key` is what the Model is called where it comes from, `namespace/name` in a cluster. `fallbacks` answer, in this
    order, when this one cannot. `ready`: an endpoint is, and nothing is refused. `removed`: its Model is no more.
    """

    settings: ServedModel
    headers: Headers
    created: int
    urls: InitVar[Iterable[str]] = ()
    key: str = ""
    fallbacks: Sequence["Backend"] = ()
    admission: Admission = field(init=False)
    balancer: Balancer = field(init=False)
    ready: bool = field(default=False, init=False)
    cold: int = 0
    last_request: float = 0.0
    tasks: tuple[str, ...] = ()
    removed: bool = field(default=False, init=False)
    _refusal: Callable[[], ApiError] | None = None
    # Set while there is nothing to wait for.
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    # Those that requests are at, too: one that comes back has them still.
    _known: weakref.WeakValueDictionary[str, Endpoint] = field(default_factory=weakref.WeakValueDictionary)

    def __post_init__(self, urls: Iterable[str]) -> None:
        settings = self.settings
        self.admission = Admission(settings.name, max_ongoing=settings.max_ongoing, max_queued=settings.max_queued)
        self.balancer = self._balancer([])
        # Nothing tells whether somebody else's server is ready but a request; a failed one is tried anew.
        self.serve_at(urls, ready=not self.is_engine)

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
        """What it is asked for by, its adapters apart."""
        return (self.settings.name, *self.settings.aliases)

    @property
    def adapters(self) -> Iterable[str]:
        """Names of its LoRA adapters. An engine that is new may not have them yet."""
        return (adapter.name for adapter in self.settings.adapters)

    @property
    def resource(self) -> str:
        """The name that its engines always know it by, that of its Model in the cluster; empty elsewhere."""
        return self.key.partition("/")[2] if self.is_engine else ""

    @property
    def refused(self) -> bool:
        """Whether requests are refused, whatever its endpoints are."""
        return self._refusal is not None

    def called(self, asked: str | None) -> str:
        """What logs and answers call it when it was asked for as `asked`: an adapter's own name, or the model's."""
        return asked if asked and self.settings.adapters and asked in self.adapters else self.name

    @property
    def waiting(self) -> int:
        """Requests that wait: for a place, or for an endpoint to become ready."""
        return self.admission.queued + self.cold

    def change(self, settings: ServedModel, headers: Headers, created: int) -> None:
        """Go by other settings from now on. Requests under way, counts, endpoints and their readiness stay."""
        by_prefix = self.by_prefix
        self.settings, self.headers, self.created = settings, headers, created
        self.admission.resize(settings.name, max_ongoing=settings.max_ongoing, max_queued=settings.max_queued)
        if self.by_prefix is not by_prefix:
            self.balancer = self._balancer(self.balancer.endpoints)

    def serve_at(self, urls: Iterable[str], *, ready: bool) -> list[Endpoint]:
        """Send requests to these base URLs and no others from now on; those under way go on where they are.

        What is known of a URL that stays is kept. `ready`: what to think of a new one. Gives the endpoints that are
        no more. Raises ValueError for what is no URL.
        """
        before = {endpoint.url: endpoint for endpoint in self.balancer.endpoints}
        after = {url: before.get(url) or self._endpoint(url, ready=ready) for url in urls}
        self.balancer.endpoints[:] = after.values()
        self._settle()
        return [endpoint for url, endpoint in before.items() if url not in after]

    def refuse(self, why: str) -> None:
        """Answer 503 with this reason from now on, also who waits already; "": serve as usual."""
        self._refusal = partial(self._not_served, why) if why else None
        self._settle()

    def remove(self) -> None:
        """There is no such model any more: who waits for an endpoint is told so. What is being answered goes on."""
        self.removed = True
        self._refusal = self._deleted
        self._settle()

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
        self._settle()

    async def became_ready(self) -> None:
        """Wait, for as long as it takes, until an endpoint is ready, or requests are refused."""
        await self._settled.wait()

    async def wait_ready(self) -> None:
        """Wait, within the bounds of `coldStart`, until an endpoint is ready.

        Raises ApiError 503; 404 when the Model is deleted meanwhile.
        """
        if self.ready:
            return
        self.raise_refusal()
        bounds = self.settings.cold_start
        if self.cold >= bounds.max_queued:
            raise self.unavailable(f"{bounds.max_queued} requests are waiting for it already")
        self.cold += 1
        try:
            async with asyncio.timeout(bounds.timeout_seconds):
                # An endpoint may have gone again before this task has its turn.
                while not self.ready:
                    await self._settled.wait()
                    self.raise_refusal()
        except TimeoutError:
            raise self.unavailable(f"none became ready within {bounds.timeout_seconds:g} s") from None
        finally:
            self.cold -= 1

    def raise_refusal(self) -> None:
        """Raises ApiError where requests are refused."""
        if self._refusal is not None:
            raise self._refusal()

    def _not_served(self, why: str) -> ApiError:
        return ApiError(
            503,
            f"the model {self.name} is not served now: {why}",
            code="engine_unavailable",
            headers={"retry-after": "5"},
        )

    def _deleted(self) -> ApiError:
        return ApiError(404, f"the model {self.name} was deleted", code="model_not_found", param="model")

    def _balancer(self, endpoints: list[Endpoint]) -> Balancer:
        for endpoint in endpoints:
            endpoint.last_used = 0  # turns are counted anew
        return PrefixHash(endpoints) if self.by_prefix else LeastLoad(endpoints)

    def _endpoint(self, url: str, *, ready: bool) -> Endpoint:
        endpoint = self._known.get(url)
        if endpoint is None:
            endpoint = self._known[url] = Endpoint.at(url)
        endpoint.ready = ready
        return endpoint

    def _settle(self) -> None:
        self.ready = self._refusal is None and any(endpoint.ready for endpoint in self.balancer.endpoints)
        if self.ready or self._refusal is not None:
            self._settled.set()
        else:
            self._settled.clear()

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
