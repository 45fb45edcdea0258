"""What the cluster holds of Models and of all that belongs to them, kept by informers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fairlead_operator.kinds import CHILDREN, EVENT, MODEL, Key, Kind, key_of, kind_of, model_key, path_of
from fairlead_operator.names import Names
from fairlead_serve.api_server import Client, Manifest
from fairlead_serve.informer import DEFAULT_TIMING, MODEL_LABEL, Informer, OnChange, Timing, by_model
from fairlead_serve.names import Loss

EVERYWHERE: Sequence[str] = ("",)
"""The namespaces of an operator that follows all of them."""

_ABOUT = "involvedObject"


class Caches:
    """Informers of every kind that a Model has to do with, in every namespace that is followed.

    `on_change` is called on their threads, with the Model of whatever changed.
    """

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str] = EVERYWHERE,
        *,
        on_change: Callable[[Key], None],
        on_wish: Callable[[Key], None] | None = None,
        timing: Timing = DEFAULT_TIMING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_wish` is called instead when what a Model asks for has changed, which somebody waits for."""
        self._on_change = on_change
        self._on_wish = on_wish or on_change
        self._falling_back: dict[Key, frozenset[str]] = {}
        self._names = Names()
        # Of each Model the last two statuses written here: the one before may still be told of meanwhile.
        self._said: dict[Key, tuple[object, ...]] = {}

        def follow(
            kind: Kind, on_change: OnChange, index: Callable[[Manifest], str] = by_model, **selectors: str
        ) -> _Followed:
            return _Followed(
                {
                    namespace: Informer(
                        client,
                        path_of(kind, namespace),
                        **selectors,
                        index=index,
                        optional=kind.optional,
                        on_change=on_change,
                        on_appearance=self._kind_appeared,
                        timing=timing,
                        clock=clock,
                    )
                    for namespace in namespaces
                }
            )

        self._models = follow(MODEL, self._model_changed)
        self._children = {kind: follow(kind, self._child_changed, label_selector=MODEL_LABEL) for kind in CHILDREN}
        self._by_name = {kind.name: followed for kind, followed in self._children.items()}
        # Kubernetes keeps them for an hour, and can select them by no label.
        self._warnings = follow(EVENT, self._warned, _subject, field_selector="type!=Normal")
        # That a claim finds no volume is normal to Kubernetes.
        self._unbound = follow(EVENT, self._warned, _subject, field_selector="reason=FailedBinding")

    def start(self) -> None:
        """Begin to follow the cluster. Once."""
        for informer in self.informers():
            informer.start()

    def stop(self) -> None:
        """Follow it no longer."""
        informers = list(self.informers())
        # All at once: where the server keeps silent, each takes a second.
        with ThreadPoolExecutor(len(informers)) as threads:
            list(threads.map(Informer.stop, informers))

    def informers(self) -> Iterator[Informer]:
        """All there are, for whoever looks after their health."""
        for followed in (self._models, *self._children.values(), self._warnings, self._unbound):
            yield from followed.informers

    @property
    def synced(self) -> bool:
        """Whether everything has been listed once."""
        return all(informer.synced for informer in self.informers())

    def knows(self, kind: Kind) -> bool:
        """Whether the cluster knows a kind; of those that are not followed it is taken for granted."""
        followed = next((one for other, one in self._children.items() if other.name == kind.name), None)
        return followed is None or all(informer.known for informer in followed.informers)

    def model(self, key: Key) -> Manifest | None:
        """One Model."""
        return self._models.get(key.namespace, key.name)

    def models(self) -> list[Manifest]:
        """Every Model."""
        return [model for informer in self._models.informers for model in informer.all()]

    def lost_names(self, key: Key) -> Sequence[Loss]:
        """The names that a Model wants and older ones have."""
        return self._names.losses(key)

    def children(self, key: Key) -> list[Manifest]:
        """Every object and pod with the label of the Model, whoever made it."""
        return [child for followed in self._children.values() for child in followed.by_index(key.namespace, str(key))]

    def warnings(self, key: Key, about: Sequence[Manifest]) -> list[Manifest]:
        """Events of Kubernetes about what is amiss with some objects of the Model, newest last."""
        subjects = [f"{key.namespace}/{one['kind']}/{one['metadata']['name']}" for one in about]
        found = (
            followed.by_index(key.namespace, subject)
            for subject in subjects
            for followed in (self._warnings, self._unbound)
        )
        return sorted((event for events in found for event in events), key=_last_seen)

    def wrote(self, manifest: Manifest) -> None:
        """Take in what the API server returned for a write of our own, so that the next look sees it."""
        kind = kind_of(manifest)
        followed = self._models if kind == MODEL else self._children.get(kind)
        if followed is not None:
            followed.wrote(manifest)

    def says(self, key: Key, status: object) -> None:
        """Take note of a status that is about to be written, or is right: who writes another calls for a reconcile."""
        before = self._said.get(key, ())
        if status not in before[-1:]:
            self._said[key] = (*before[-1:], status)

    def _model_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        manifest = new or old
        if manifest is None:
            return
        key = model_key(manifest)
        self._falling_back.pop(key, None)
        if new is not None and new["spec"].get("fallback"):
            self._falling_back[key] = frozenset(new["spec"]["fallback"])
        for other in self._names.follow(key, new):
            self._on_change(other)
        if new is None:
            self._said.pop(key, None)
        # To look again after each status of our own would be to look for ever while it tells of bytes.
        if _asks_anew(old, new):
            self._on_wish(key)
        elif new is None or new.get("status") not in self._said.get(key, (new.get("status"),)):
            self._on_change(key)
        if old is None or new is None:
            for other, names in tuple(self._falling_back.items()):
                if other.namespace == key.namespace and key.name in names:
                    self._on_change(other)

    def _kind_appeared(self) -> None:
        for model in self.models():
            self._on_change(model_key(model))

    def _child_changed(self, old: Manifest | None, new: Manifest | None) -> None:
        for key in {key_of(manifest) for manifest in (old, new) if manifest is not None}:
            if key is not None:
                self._on_change(key)

    def _warned(self, _old: Manifest | None, new: Manifest | None) -> None:
        if new is None:
            return
        namespace, kind, name = _subject(new).split("/")
        followed = self._by_name.get(kind)
        if followed is not None:
            self._child_changed(followed.get(namespace, name), None)


class _Followed:
    """One kind: an informer for each namespace, or one for all."""

    def __init__(self, informers: Mapping[str, Informer]) -> None:
        """`informers`: by namespace; under the empty name, that of all namespaces."""
        self._informers = informers
        self.informers = tuple(informers.values())

    def get(self, namespace: str, name: str) -> Manifest | None:
        informer = self._of(namespace)
        return informer.get(namespace, name) if informer else None

    def by_index(self, namespace: str, value: str) -> list[Manifest]:
        informer = self._of(namespace)
        return informer.by_index(value) if informer else []

    def wrote(self, manifest: Manifest) -> None:
        informer = self._of(manifest["metadata"]["namespace"])
        if informer is not None:
            informer.wrote(manifest)

    def _of(self, namespace: str) -> Informer | None:
        return self._informers.get(namespace) or self._informers.get("")


def _asks_anew(old: Manifest | None, new: Manifest | None) -> bool:
    """Whether a Model is new, or what it asks for has changed."""
    if old is None or new is None:
        return new is not None
    fields = ("generation", "annotations", "labels", "deletionTimestamp")
    return any(old["metadata"].get(field) != new["metadata"].get(field) for field in fields)


def _subject(event: Manifest) -> str:
    """What an Event is about, as `models/Pod/qwen-1`; of a ReplicaSet, the Deployment it is named after."""
    about = event[_ABOUT]
    kind, name = about.get("kind", ""), about.get("name", "")
    if kind == "ReplicaSet":
        kind, name = "Deployment", name.rpartition("-")[0]
    return f"{about.get('namespace', '')}/{kind}/{name}"


def _last_seen(event: Manifest) -> str:
    """When an Event came last. Its times are in UTC and of one form, so that they compare as text."""
    last = event.get("lastTimestamp") or (event.get("series") or {}).get("lastObservedTime") or event.get("eventTime")
    return str(last or event["metadata"].get("creationTimestamp", ""))
