"""The Secret with the internal token, for namespaces of Models other than the platform's. Pure."""

import base64
from dataclasses import dataclass

from fairlead_operator.ownership import MANAGED_BY
from fairlead_operator.render import Manifest
from fairlead_operator.settings import SecretKey


@dataclass(frozen=True)
class TokenSecret:
    """Says what the Secret is to be; in `home`, the platform's namespace, it is there already."""

    place: SecretKey
    home: str
    token: str

    def is_missing(self, namespace: str, there: Manifest | None) -> bool:
        """Whether the Secret is to be applied in `namespace`, where `there` is what has its name.

        One that somebody else made is theirs: another platform's, or one's own.
        """
        if namespace == self.home or not self.token:
            return False
        if there is None:
            return True
        labels = there["metadata"].get("labels") or {}
        return MANAGED_BY.items() <= labels.items() and there.get("data") != self.manifest(namespace)["data"]

    def manifest(self, namespace: str) -> Manifest:
        """The Secret for `namespace`."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.place.name, "namespace": namespace, "labels": dict(MANAGED_BY)},
            "type": "Opaque",
            "data": {self.place.key: base64.b64encode(self.token.encode()).decode()},
        }
