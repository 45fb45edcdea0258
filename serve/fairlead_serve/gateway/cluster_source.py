"""The Models of a Kubernetes cluster and the pods of their engines, followed while the gateway runs. It only reads.

Two caches a namespace, each kept true by list and watch on a thread of its own: Models, and the EndpointSlices of
their Services. What changes is compared and parsed on those threads; the event loop gets what is new in it a moment
later, everything of that moment at once. While the API server is away the caches stay, and with them the routes.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from fairlead_serve.api_server import ApiServer, Manifest
from fairlead_serve.errors import ModelFileError
from fairlead_serve.gateway import served, slices
from fairlead_serve.gateway.claims import LeftOut, settle
from fairlead_serve.gateway.roster import Entry, Roster
from fairlead_serve.gateway.served import Listing
from fairlead_serve.gateway.upstream_keys import SecretKey, UpstreamKeys
from fairlead_serve.informer import MODEL_LABEL, Informer, OnChange

_logger = logging.getLogger(__name__)
# Changes come in flocks: many Models applied at once, the pods of a rollout.
_GATHER_SECONDS = 0.05
_LOOK_SECONDS = 0.5
_TELL_SECONDS = 10.0


class MakeInformer(Protocol):
    """Makes the cache of what is below one path of the API."""

    def __call__(self, path: str, *, label_selector: str, on_change: OnChange) -> Informer: ...


class ClusterSource:
    """Writes the Models of some namespaces, and where their engines answer, to a roster."""

    def __init__(
        self,
        roster: Roster,
        server: ApiServer,
        make_informer: MakeInformer,
        namespaces: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`namespaces`: whose Models; none: all that there are. `clock` is the informers'."""
        self._roster = roster
        self._clock = clock
        self._keys = UpstreamKeys(server, self._reread_models)
        self._slices: dict[str, Informer] = {}
        self._informers: list[Informer] = []
        for namespace in namespaces or ("",):
            folder = f"namespaces/{namespace}/" if namespace else ""
            models = f"/apis/fairlead.dev/v1alpha1/{folder}models"
            self._informers.append(make_informer(models, label_selector="", on_change=self._on_model))
            path = f"/apis/discovery.k8s.io/v1/{folder}endpointslices"
            self._slices[namespace] = make_informer(path, label_selector=MODEL_LABEL, on_change=self._on_slice)
        self._informers += self._slices.values()
        self._settled = asyncio.Event()
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._contradictions: Sequence[LeftOut] = ()
        self._wake: Callable[[], object] = _nobody
        # Written on the informers' threads and taken on the event loop.
        self._lock = threading.Lock()
        self._listings: dict[str, Listing] = {}
        self._misread: dict[str, LeftOut] = {}
        self._models_changed = False
        self._endpoints_changed: set[str] = set()
        self._gathering = False

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What of the Models is not served as they say, and why."""
        with self._lock:
            return (*self._misread.values(), *self._contradictions)

    @property
    def silence_seconds(self) -> float:
        """For how long the API server has said nothing. It is not silent for a minute as long as it is well."""
        return self._clock() - min(informer.last_contact for informer in self._informers)

    @property
    def alive(self) -> bool:
        """Whether all informers run, and what they tell is applied."""
        ended = self._following is not None and self._following.done()
        return not ended and all(informer.alive for informer in self._informers)

    def start(self) -> None:
        """Begin to write to the roster; needs a running event loop."""
        loop = asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(self._changed.set)
        for informer in self._informers:
            informer.start()
        self._following = asyncio.create_task(self._follow(), name="follow the cluster")
        self._following.add_done_callback(_tell_of_fault)

    async def wait_settled(self) -> None:
        """Wait until every Model there is has been told."""
        await self._settled.wait()

    async def stop(self) -> None:
        """Write no more."""
        self._wake = _nobody
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._keys.stop()
        await asyncio.gather(*(asyncio.to_thread(informer.stop) for informer in self._informers))

    # --- on the event loop -------------------------------------------------------------------------

    async def _follow(self) -> None:
        await self._wait_listed()
        self._apply()
        self._roster.settled()
        self._settled.set()
        _logger.info("the cluster has been listed; Models: %d", len(self._listings))
        while True:
            await self._changed.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._changed.clear()
            self._apply()

    async def _wait_listed(self) -> None:
        began = told = self._clock()
        while waiting := [informer for informer in self._informers if not informer.synced]:
            if self._clock() - told >= _TELL_SECONDS:
                told = self._clock()
                why = waiting[0].failure or "it has not listed everything yet"
                _logger.info("waiting for the cluster for %.0f s: %s: %s", told - began, waiting[0].path, why)
            await asyncio.to_thread(waiting[0].wait_synced, _LOOK_SECONDS)

    def _apply(self) -> None:
        with self._lock:
            listings = list(self._listings.values()) if self._models_changed else None
            keys, self._endpoints_changed = self._endpoints_changed, set()
            self._models_changed = self._gathering = False
        if listings is not None:
            keys.update(self._apply_models(listings))
        for key in keys:
            namespace, _, name = key.partition("/")
            informer = self._slices.get(namespace) or self._slices[""]
            self._roster.set_endpoints(key, slices.engine_urls(informer.by_index(key), name))

    def _apply_models(self, listings: Sequence[Listing]) -> Sequence[str]:
        kept, contradictions = settle(listings)
        for one in contradictions:
            if one not in self._contradictions:
                _logger.warning("the Model %s: %s", one.key, one.message)
        self._contradictions = contradictions
        secrets = {listing.key: secret for listing in kept if (secret := _secret(listing)) is not None}
        self._keys.follow(set(secrets.values()))
        return self._roster.set_models([self._entry(listing, secrets.get(listing.key)) for listing in kept])

    def _entry(self, listing: Listing, secret: SecretKey | None) -> Entry:
        entry = Entry(listing.key, listing.served, listing.fallbacks, listing.upstream, refusal=listing.refusal)
        if secret is None:
            return entry
        found = self._keys.get(secret)
        return replace(entry, api_key=found.value, refusal=entry.refusal or found.problem)

    # --- on the threads of the informers -----------------------------------------------------------

    def _on_model(self, old: Manifest | None, new: Manifest | None) -> None:
        manifest = new or old
        if manifest is None or (old and new and served.what_matters(old) == served.what_matters(new)):
            return
        key = served.key_of(manifest)
        with self._lock:
            before = self._listings.get(key)
        listing, problem = (None, None) if new is None else _read(new, before)
        with self._lock:
            known = self._misread.pop(key, None)
            if listing is not None:
                self._listings[key] = listing
            else:
                self._listings.pop(key, None)
            if problem is not None:
                self._misread[key] = problem
            self._models_changed = True
        if problem is not None and problem != known:
            _logger.warning("the Model %s: %s", key, problem.message)
        self._gather()

    def _on_slice(self, old: Manifest | None, new: Manifest | None) -> None:
        manifest = new or old
        if manifest is None or (old and new and slices.what_matters(old) == slices.what_matters(new)):
            return
        metadata = manifest["metadata"]
        with self._lock:
            self._endpoints_changed.add(f"{metadata['namespace']}/{metadata['labels'][MODEL_LABEL]}")
        self._gather()

    def _reread_models(self) -> None:
        with self._lock:
            self._models_changed = True
        self._gather()

    def _gather(self) -> None:
        with self._lock:
            first, self._gathering = not self._gathering, True
        if first:
            self._wake()


def _nobody() -> None:
    """Who is woken before the start and after the end."""


def _tell_of_fault(following: "asyncio.Task[None]") -> None:
    if not following.cancelled() and (fault := following.exception()) is not None:
        _logger.critical("the cluster is followed no longer, for a fault of the gateway's own", exc_info=fault)


def _read(manifest: Manifest, before: Listing | None) -> tuple[Listing | None, LeftOut | None]:
    """The Model as it is to be served, and what is wrong with it: a wrong one stays as it was."""
    try:
        return served.read_listing(manifest), None
    except ModelFileError as error:
        stays = "it is served as it was before" if before is not None else "it is not served"
        message = f"it cannot be read by this release, so {stays}: {'; '.join(map(str, error.problems))}"
        return before, LeftOut(served.key_of(manifest), "Invalid", message)


def _secret(listing: Listing) -> SecretKey | None:
    if listing.api_key is None:
        return None
    return SecretKey(listing.key.partition("/")[0], listing.api_key.name, listing.api_key.key)
