"""Store: weights by URI, fetched once per machine or claim.

Synchronous, and safe to call from several threads and processes at once; the progress callback is called
from whichever thread has something to report, never by two at a time.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fairlead_serve.engine.weights.cache import Entry, Shelf
from fairlead_serve.engine.weights.disk import Disk, free_bytes
from fairlead_serve.engine.weights.hub import PUBLIC_HUB, HubRepository
from fairlead_serve.engine.weights.listing import Listing, Source
from fairlead_serve.engine.weights.patience import Patience
from fairlead_serve.engine.weights.progress import Progress, Report
from fairlead_serve.engine.weights.transfer import Transfer
from fairlead_serve.engine.weights.uri import (
    ClaimPlace,
    HubPlace,
    LocalPlace,
    Place,
    S3Place,
    TinyPlace,
    parse,
)
from fairlead_serve.errors import WeightsError, WeightsNotFound, WeightsUnavailable

_log = logging.getLogger(__name__)

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MODEL_FILES = ("config.json", "params.json", "adapter_config.json")


class TinyMaker(Protocol):
    """Makes the tiny models; `fairlead_serve.tiny.make` is one."""

    def make(self, name: str, target: Path, progress: Callable[[int, int], None]) -> None:
        """Make a model in the empty directory `target`; `progress` gets steps done and steps in all."""

    def recipe_digest(self, name: str) -> str:
        """A word that changes when the recipe does."""


class WeightsStore:
    """Gives engines their weights.

    `root` is the cache directory; it is made when first needed, and only read where everything is there.
    `hub_endpoint` is the hub or a mirror of it (None: the public hub), `s3_endpoint` an S3 other than AWS.
    `claims` is the directory under which claims are mounted by name; None refuses `pvc://`.
    `patience` says how often to try again; `parallel` files are fetched at once; `timeout_s` bounds every
    connect and every wait for the next bytes. `free` and `tiny` stand in for the file system and the trainer
    in tests.
    """

    def __init__(
        self,
        root: Path,
        *,
        hub_endpoint: str | None = None,
        s3_endpoint: str | None = None,
        claims: Path | None = None,
        patience: Patience | None = None,
        parallel: int = 4,
        timeout_s: float = 30.0,
        free: Callable[[Path], int] = free_bytes,
        tiny: TinyMaker | None = None,
    ) -> None:
        self._root = root
        self._hub_endpoint = hub_endpoint or PUBLIC_HUB
        self._s3_endpoint = s3_endpoint
        self._claims = claims
        self._patience = patience or Patience()
        self._parallel = parallel
        self._timeout_s = timeout_s
        self._disk = Disk(root, free)
        self._tiny = tiny

    def fetch(self, uri: str, *, revision: str | None = None, token: str | None = None, progress: Report) -> Path:
        """The complete local directory of weights that `uri` names.

        `revision` (a branch, tag or commit; None: "main") and `token` are for the hub only.

        Raises:
            WeightsNotFound: the repository, revision, bucket, directory or tiny model is not there.
            WeightsForbidden: the source wants credentials, or refuses those it got.
            WeightsUnavailable: the source broke off too often, or does not answer and what this revision
                last meant is not here either.
            DiskFull: there is no room; what arrived stays, and the next fetch continues it.
            WeightsError: the URI or the cache directory cannot be used.
        """
        place = parse(uri)
        match place:
            case LocalPlace() | ClaimPlace():
                directory = self._given(place, uri)
                progress(Progress("Cached", 0, 0))
                return directory
            case TinyPlace():
                return self._made(place, uri, progress)
            case HubPlace() | S3Place():
                return self._fetched(place, uri, revision or DEFAULT_REVISION, token, progress)

    def lookup(self, uri: str, revision: str | None = None) -> Path | None:
        """Where the weights lie, if all of them are here already; asks nobody.

        For a branch or a tag this is what it meant when it was last fetched.

        Raises:
            WeightsError: `uri` is not a weights URI.
        """
        place = parse(uri)
        match place:
            case LocalPlace() | ClaimPlace():
                try:
                    return self._given(place, uri)
                except WeightsError:
                    return None
            case TinyPlace():
                entry: Entry | None = self._shelf(place).entry(self._maker().recipe_digest(place.name))
            case HubPlace() | S3Place():
                entry = self._known(place, revision or DEFAULT_REVISION)
        return entry.directory if entry is not None and entry.size() is not None else None

    def _given(self, place: LocalPlace | ClaimPlace, uri: str) -> Path:
        directory = place.path if isinstance(place, LocalPlace) else self._mounted(place, uri)
        if not directory.is_dir():
            raise WeightsNotFound(f"{uri}: there is no directory {directory}; check spec.model.uri.")
        if not any((directory / name).is_file() for name in _MODEL_FILES):
            raise WeightsNotFound(f"{uri}: {directory} is not a model, it holds neither {' nor '.join(_MODEL_FILES)}.")
        return directory

    def _mounted(self, place: ClaimPlace, uri: str) -> Path:
        if self._claims is None:
            raise WeightsError(f"{uri}: no claims are mounted here; pvc:// works in a cluster, use file:// instead.")
        return self._claims / place.claim / place.path

    def _made(self, place: TinyPlace, uri: str, progress: Report) -> Path:
        maker = self._maker()
        entry = self._shelf(place).entry(maker.recipe_digest(place.name))

        def make() -> None:
            target = entry.clear_partial()
            maker.make(place.name, target, lambda done, total: progress(Progress("Making", done, total)))
            entry.publish(uri)

        return self._completed(entry, make, progress)

    def _fetched(self, place: HubPlace | S3Place, uri: str, revision: str, token: str | None, progress: Report) -> Path:
        known = self._known(place, revision)
        fallback = None if known is None or known.size() is None else known
        if fallback is not None and _is_commit(place, revision):
            return _cached(fallback, progress)
        source = self._source(place, revision, token)
        # With something to fall back on, one failure is enough.
        patience = self._patience if fallback is None else replace(self._patience, attempts=1)
        try:
            listing = patience.call(source.listing)
        except WeightsUnavailable as error:
            if fallback is None:
                raise
            _log.warning("Using the weights fetched before: %s", error)
            return _cached(fallback, progress)
        shelf = self._shelf(place)
        entry = shelf.entry(listing.version)
        directory = self._completed(entry, lambda: self._transfer(source, listing, entry, uri, progress), progress)
        shelf.remember(self._name(place, revision), listing.version)
        return directory

    def _completed(self, entry: Entry, fill: Callable[[], None], progress: Report) -> Path:
        """The entry's directory, after `fill` where it is not whole, by one process at a time."""
        if entry.size() is None:
            waiting = Progress("Waiting", 0, None)
            with self._disk.translated(lambda: None), entry.locked(lambda: progress(waiting)):
                if entry.size() is None:
                    fill()
                    return entry.directory
        return _cached(entry, progress)

    def _transfer(self, source: Source, listing: Listing, entry: Entry, uri: str, progress: Report) -> None:
        transfer = Transfer(
            source,
            listing,
            entry.open_partial(),
            patience=self._patience,
            parallel=self._parallel,
            report=progress,
        )
        self._disk.require(transfer.missing())
        with self._disk.translated(transfer.missing):
            transfer.run()
        entry.publish(uri, {file.path: file.size for file in listing.files})

    def _source(self, place: HubPlace | S3Place, revision: str, token: str | None) -> Source:
        if isinstance(place, HubPlace):
            return HubRepository(
                place.repo, revision, endpoint=self._hub_endpoint, token=token, timeout_s=self._timeout_s
            )
        # boto3 takes a third of a second to import, and most engines never need it.
        from fairlead_serve.engine.weights.s3 import S3Prefix  # noqa: PLC0415

        return S3Prefix(
            place.bucket,
            place.prefix,
            endpoint=self._s3_endpoint,
            timeout_s=self._timeout_s,
            parallel=self._parallel,
        )

    def _maker(self) -> TinyMaker:
        if self._tiny is not None:
            return self._tiny
        # The trainer imports torch.
        from fairlead_serve.tiny import make  # noqa: PLC0415

        return make

    def _known(self, place: HubPlace | S3Place, revision: str) -> Entry | None:
        shelf = self._shelf(place)
        pinned = revision if _is_commit(place, revision) else None
        version = pinned or shelf.recall(self._name(place, revision))
        return None if version is None else shelf.entry(version)

    def _name(self, place: HubPlace | S3Place, revision: str) -> str:
        """What a version is remembered by: two prefixes, and two S3 servers, may share a shelf."""
        return revision if isinstance(place, HubPlace) else f"{self._s3_endpoint or ''} {place.prefix}"

    def _shelf(self, place: HubPlace | S3Place | TinyPlace) -> Shelf:
        match place:
            case HubPlace():
                return Shelf(self._root / "hf" / place.shelf)
            case S3Place():
                return Shelf(self._root / "s3" / place.shelf)
            case TinyPlace():
                return Shelf(self._root / "tiny" / place.name)


def _is_commit(place: Place, revision: str) -> bool:
    return isinstance(place, HubPlace) and _COMMIT.fullmatch(revision) is not None


def _cached(entry: Entry, progress: Report) -> Path:
    size = entry.size()
    progress(Progress("Cached", size or 0, size))
    return entry.directory
