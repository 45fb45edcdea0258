"""The cluster as a reconciler sees it: what there is, from caches, and what is to be, in single writes.

Every method may be called by several threads, and those that ask the API server raise ClusterError.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from fairlead_operator.api import FIELD_MANAGER, Api
from fairlead_operator.caches import Caches
from fairlead_operator.capacity import of_holder, of_node
from fairlead_operator.errors import ClusterError, Conflict, NotAllowed
from fairlead_operator.kinds import NODE, POD, SECRET, Key, Kind, kind_of, model_key
from fairlead_operator.recorder import Recorder
from fairlead_serve.api_server import Manifest
from fairlead_serve.names import Loss

__all__ = ["Cluster", "Key"]

_logger = logging.getLogger(__name__)
# As long as a list of all nodes and pods is good for: many Models may ask for it at once.
_SURVEY_SECONDS = 5.0
# Without those that hold nothing any more.
_RUNNING = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}

Survey = tuple[Sequence[Manifest], Sequence[Manifest]]
"""Nodes, and pods on them that hold devices, each with what `capacity` reads."""


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

    def lost_names(self, key: Key) -> Sequence[Loss]:
        """The names that a Model wants and older ones have, as of the last that was heard."""
        return self._caches.lost_names(key)

    def children(self, key: Key) -> list[Manifest]:
        """Every object and pod with the label of the Model, whoever made it."""
        return self._caches.children(key)

    def warnings(self, key: Key, about: Sequence[Manifest]) -> list[Manifest]:
        """Events of Kubernetes about what is amiss with some objects of the Model, newest last."""
        return self._caches.warnings(key, about)

    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Manifest | None:
        """An object as it is now; None where there is none. `namespace` is empty for those of the whole cluster."""
        return self._api.get(Kind(api_version, kind), namespace, name)

    def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> Manifest:
        """Own the fields of `manifest`, whoever had them before, and give up those that were applied and are not in it.

        `manager`: in whose name; what two of them own stays as long as one does. Returns the object as it is then.
        """
        written = self._api.apply(manifest, manager=manager)
        self._caches.wrote(written)
        return written

    def make(self, manifest: Manifest) -> Manifest:
        """As `apply`, where there is no object of that name. Conflict: there is one, and it was left alone."""
        written = self._api.apply(manifest, anew=True)
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

    def write_status(self, model: Manifest, status: Mapping[str, object]) -> Manifest | None:
        """Replace the whole status of `model`; None where it is gone by now.

        Raises Conflict when it has changed since it was looked at.
        """
        self._caches.says(model_key(model), status)
        written = self._api.update_status({**model, "status": dict(status)})
        if written is not None:
            self._caches.wrote(written)
        return written

    def keep_status(self, model: Manifest) -> None:
        """The status of `model` is right as it is: who changes it calls for a reconcile, as after `write_status`."""
        self._caches.says(model_key(model), model.get("status"))

    def secret_keys(self, namespace: str, name: str) -> Collection[str] | None:
        """The keys of a Secret; None where there is no such Secret."""
        secret = self._api.get(SECRET, namespace, name)
        return None if secret is None else frozenset(secret.get("data") or ())

    def nodes_and_pods(self) -> Survey | None:
        """Every node and every pod that holds a device, some seconds old; None where that cannot be had.

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
            return self._api.list(NODE, {}, of_node), self._api.list(POD, _RUNNING, of_holder)
        except NotAllowed:
            return None
        except ClusterError as error:
            _logger.warning("how many devices are free is not known now: %s", error)
            return before
