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

    def __call__(self, namespace: str) -> Manifest | None:
        """The Secret to apply in `namespace`; None where there is nothing to do, or no token to give."""
        if namespace == self.home or not self.token:
            return None
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.place.name, "namespace": namespace, "labels": dict(MANAGED_BY)},
            "type": "Opaque",
            "data": {self.place.key: base64.b64encode(self.token.encode()).decode()},
        }
