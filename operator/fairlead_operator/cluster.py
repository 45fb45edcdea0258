"""The cluster as a reconciler sees it: what there is, from caches, and what is to be, in single writes.

Every method may be called by several threads, and those that ask the API server raise ClusterError.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from fairlead_operator.api import FIELD_MANAGER, Api
from fairlead_operator.caches import Caches
from fairlead_operator.errors import ClusterError, Conflict, NotAllowed
from fairlead_operator.kinds import NODE, POD, SECRET, Key, Kind, kind_of
from fairlead_operator.recorder import Recorder
from fairlead_serve.api_server import Manifest

__all__ = ["Cluster", "Key"]

_logger = logging.getLogger(__name__)
# As long as a list of all nodes and pods is good for: many Models may ask for it at once.
_SURVEY_SECONDS = 5.0
# From the API server's own cache, and without the pods that hold nothing any more.
_ANY_VERSION = {"resourceVersion": "0"}
_RUNNING = {**_ANY_VERSION, "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}

Survey = tuple[list[Manifest], list[Manifest]]
"""Nodes, and pods that have not ended."""


class Cluster:
    """What the operator knows of the cluster and does to it."""

    def __init__(
        self, api: Api, caches: Caches, recorder: Recorder, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._caches = caches
        self._recorder = recorder
        self._clock = clock
        self._survey_lock = threading.Lock()
        self._survey: tuple[float, Survey | None] | None = None

    def model(self, key: Key) -> Manifest | None:
        """One Model, as of the last that was heard."""
        return self._caches.model(key)

    def knows(self, manifest: Manifest) -> bool:
        """Whether the cluster has the kind of `manifest`."""
        return self._caches.knows(kind_of(manifest))

    def children(self, key: Key) -> list[Manifest]:
        """Every object and pod with the label of the Model, whoever made it."""
        return self._caches.children(key)

    def warnings(self, key: Key, about: Sequence[Manifest]) -> list[Manifest]:
        """Events of Kubernetes about what is amiss with some objects of the Model, newest last."""
        return self._caches.warnings(key, about)

    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Manifest | None:
        """An object as it is now; None where there is none. `namespace` is empty for those of the whole cluster."""
        return self._api.get(Kind(api_version, kind), namespace, name)

    def apply(self, manifest: Manifest, *, dry_run: bool = False, manager: str = FIELD_MANAGER) -> Manifest:
        """Own the fields of `manifest`, whoever had them before, and give up those that were applied and are not in it.

        `manager`: in whose name; what two of them own stays as long as one does. Returns the object as it is then;
        with `dry_run`, as it would be.
        """
        written = self._api.apply(manifest, dry_run=dry_run, manager=manager)
        if not dry_run:
            self._caches.wrote(written)
        return written

    def delete(self, manifest: Manifest) -> None:
        """Delete this very object and, in the background, what it owns. One that is gone or has a successor is fine."""
        try:
            left = self._api.delete(manifest)
        except Conflict:
            return
        if left is not None and left["kind"] == manifest["kind"]:
            self._caches.wrote(left)

    def resize(self, manifest: Manifest, spec: Mapping[str, object]) -> None:
        """Merge `spec` into that of an object, without owning what is in it. One that is gone is fine.

        Raises Conflict when it has changed since it was looked at.
        """
        metadata = manifest["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": dict(spec)}
        resized = self._api.patch(kind_of(manifest), metadata["namespace"], metadata["name"], patch)
        if resized is not None:
            self._caches.wrote(resized)

    def write_status(self, model: Manifest, status: Mapping[str, object]) -> Manifest:
        """Replace the whole status of `model`. Raises Conflict when it has changed since it was looked at."""
        written = self._api.update({**model, "status": dict(status)}, subresource="status")
        self._caches.wrote(written)
        return written

    def secret_has(self, namespace: str, name: str, key: str) -> bool:
        """Whether there is a Secret with that key; with an empty one, whether there is the Secret."""
        secret = self._api.get(SECRET, namespace, name)
        return secret is not None and (not key or key in (secret.get("data") or {}))

    def nodes_and_pods(self) -> Survey | None:
        """Every node and every pod that has not ended, some seconds old; None where that cannot be had.

        It is told beside the scheduler's own words, and nothing has to wait for it.
        """
        with self._survey_lock:
            now = self._clock()
            if self._survey is None or now - self._survey[0] > _SURVEY_SECONDS:
                before = self._survey[1] if self._survey else None
                self._survey = now, self._look_around(before)
            return self._survey[1]

    def record(self, model: Manifest, *, type: str, reason: str, message: str) -> None:  # noqa: A002 - Kubernetes' word
        """Write an Event about `model`, or count it in the one there is. Never fails."""
        self._recorder.record(model, type=type, reason=reason, message=message)

    def _look_around(self, before: Survey | None) -> Survey | None:
        try:
            return self._api.list(NODE, _ANY_VERSION), self._api.list(POD, _RUNNING)
        except NotAllowed:
            return None
        except ClusterError as error:
            _logger.warning("how many devices are free is not known now: %s", error)
            return before
