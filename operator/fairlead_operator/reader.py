"""A cluster to look at and to try things on: without caches, without a lease, and without a write that stays."""

from collections.abc import Mapping, Sequence

from fairlead_operator.api import Api
from fairlead_operator.kinds import CHILDREN, Key, Kind
from fairlead_serve.api_server import Manifest
from fairlead_serve.informer import MODEL_LABEL


class Reader:
    """What there is at this moment. Every method asks the API server, and raises ClusterError."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def read(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object; None where there is none."""
        return self._api.get(kind, namespace, name)

    def children(self, key: Key) -> Mapping[Kind, Sequence[Manifest] | None]:
        """Every object and pod with the label of the Model, by kind; None for a kind that the cluster does not know."""
        selector = f"{MODEL_LABEL}={key.name}"
        return {kind: self._api.labelled(kind, key.namespace, selector) for kind in CHILDREN}

    def tried(self, manifest: Manifest) -> Manifest:
        """The object as it would be after an apply."""
        return self._api.apply(manifest, dry_run=True)
