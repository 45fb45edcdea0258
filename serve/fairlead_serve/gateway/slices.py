"""Where the engines of a Model answer, from the EndpointSlices of its Service. Pure.

What the fields mean: the API reference of `discovery.k8s.io/v1`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from fairlead_serve.internal import engine_path

Manifest = dict[str, Any]

_SERVICE_LABEL = "kubernetes.io/service-name"
_PORT = "http"


def engine_urls(slices: Iterable[Manifest], model: str) -> tuple[str, ...]:
    """Base URLs of the ready engines of the Model `model`, one each, in a stable order.

    An engine may be in several slices: in two for a moment when it is moved, and in one of each family of addresses.
    """
    urls: dict[str, str] = {}
    # IPv4 goes before IPv6, which is no more than a choice.
    for one in sorted(slices, key=lambda one: (one.get("addressType", ""), one["metadata"]["name"])):
        if (one["metadata"].get("labels") or {}).get(_SERVICE_LABEL) == model:
            for identity, authority in _ready_endpoints(one):
                urls.setdefault(identity, f"http://{authority}{engine_path(model)}")
    return tuple(sorted(set(urls.values())))


def what_matters(manifest: Manifest) -> list[tuple[str, str]]:
    """What of an EndpointSlice the gateway goes by."""
    return list(_ready_endpoints(manifest))


def _ready_endpoints(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(what tells an engine from others, `host:port`)."""
    port = next((one.get("port") for one in manifest.get("ports") or () if one.get("name") == _PORT), None)
    if port is None:
        return
    for endpoint in manifest.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        # Absent means ready. Where a Service publishes what is not ready, only `terminating` tells that one leaves.
        if conditions.get("ready") is False or conditions.get("terminating"):
            continue
        address = endpoint["addresses"][0]
        authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        yield (endpoint.get("targetRef") or {}).get("uid") or authority, authority
