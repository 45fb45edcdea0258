"""What Kubernetes lets nobody change of an object that is there. Pure."""

from collections.abc import Iterator
from typing import Any

from fairlead_operator.quantities import number
from fairlead_operator.render import Manifest

_REMEDY = "delete the claim once nothing uses it, or name another by spec.cache.claimName"


def fitted(manifest: Manifest, live: Manifest | None) -> tuple[Manifest, list[str]]:
    """`manifest` as it can be applied over `live`, and a sentence for each thing that stays as it is.

    A claim keeps its class and its modes, and never shrinks: refused as a whole, it would hold up all that comes after.
    """
    if live is None or manifest["kind"] != "PersistentVolumeClaim":
        return manifest, []
    wanted, there = manifest["spec"], live["spec"]
    kept: dict[str, Any] = {}
    sentences = list(_differing(manifest["metadata"]["name"], wanted, there, kept))
    return {**manifest, "spec": {**wanted, **kept}}, sentences


def _differing(name: str, wanted: Manifest, there: Manifest, kept: dict[str, Any]) -> Iterator[str]:
    for field, place in (
        ("accessModes", "spec.cache.accessModes"),
        ("storageClassName", "spec.cache.storageClassName"),
    ):
        if field in wanted and field in there and wanted[field] != there[field]:
            kept[field] = there[field]
            yield f"{place}: the claim {name} has {_shown(there[field])} for good; {_REMEDY}"
    size, larger = (one.get("resources", {}).get("requests", {}).get("storage", "0") for one in (wanted, there))
    if number(size) < number(larger):
        # Somebody let it grow by hand: that does no harm, and cannot be taken back.
        kept["resources"] = {"requests": {"storage": larger}}


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def needs_another(manifest: Manifest, live: Manifest | None) -> bool:
    """Whether `live` has to go before `manifest` can be: a Service is with a virtual address, or without, for life."""
    if live is None or manifest["kind"] != "Service":
        return False
    headless, is_headless = (one["spec"].get("clusterIP") == "None" for one in (manifest, live))
    return headless is not is_headless
