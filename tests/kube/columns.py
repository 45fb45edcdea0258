"""What `kubectl get` shows of each kind (k8s.io/kubernetes/pkg/printers/internalversion)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.kube import jsonpath
from tests.kube.resources import Manifest, Resource

Cell = Callable[[Manifest], Any]

_NONE = "<none>"
_UNSET = "<unset>"


@dataclass(frozen=True)
class Column:
    """One column; those with a priority above 0 show with `-o wide` only."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


def columns(resource: Resource) -> list[Column]:
    """The columns of a kind, the name first."""
    if resource.custom is not None:
        given = resource.custom.get("additionalPrinterColumns")
        return [_NAME, *(map(_custom, given) if given else [_AGE])]
    found = _COLUMNS.get(resource.qualified, [_AGE])
    return found if _LAST_NAME in found else [_NAME, *found]


def age(since: str | None, *, now: datetime | None = None) -> str:
    """The time since, as people read it (k8s.io/apimachinery/pkg/util/duration)."""
    if not since:
        return "<unknown>"
    then = datetime.fromisoformat(since)
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _custom(column: Manifest) -> Column:
    date = column["type"] == "date"
    return Column(
        column["name"],
        partial(_custom_cell, jsonpath.compiled(column["jsonPath"]), date),
        column["type"],
        column.get("priority", 0),
        column.get("format", ""),
        column.get("description", ""),
    )


def _custom_cell(path: jsonpath.Path, date: bool, manifest: Manifest) -> Any:
    found = path(manifest)
    if not found:
        return None
    return age(found[0]) if date else found[0]


def _at(manifest: Manifest, path: str, default: Any = None) -> Any:
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return default if value is None else value


def _field(name: str, path: str, default: Any = "", *, kind: str = "string", priority: int = 0) -> Column:
    return Column(name, lambda manifest: _at(manifest, path, default), kind, priority)


def _joined(values: Iterable[Any], separator: str = ",") -> str:
    return separator.join(str(value) for value in values) or _NONE


def _pairs(pairs: Manifest) -> str:
    return _joined(f"{key}={value}" for key, value in sorted(pairs.items()))


def _containers(manifest: Manifest, field: str) -> str:
    return _joined(one.get(field, "") for one in _at(manifest, "spec.template.spec.containers", []))


def _pod_status(manifest: Manifest) -> str:
    """The one word for a pod: its most telling reason."""
    status = manifest.get("status", {})
    word = status.get("reason") or status.get("phase", "")
    for container in reversed(status.get("containerStatuses", [])):
        state = container.get("state", {})
        ended = state.get("terminated")
        if reason := state.get("waiting", {}).get("reason"):
            word = reason
        elif ended is not None:
            word = ended.get("reason") or f"ExitCode:{ended.get('exitCode', 0)}"
    if "deletionTimestamp" in manifest["metadata"]:
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _pod_ready(manifest: Manifest) -> str:
    found = _at(manifest, "status.containerStatuses", [])
    return f"{sum(bool(one.get('ready')) for one in found)}/{len(_at(manifest, 'spec.containers', []))}"


def _pod_restarts(manifest: Manifest) -> str:
    found = _at(manifest, "status.containerStatuses", [])
    last = [_at(one, "lastState.terminated.finishedAt") for one in found]
    count = sum(one.get("restartCount", 0) for one in found)
    return f"{count} ({age(max(filter(None, last)))} ago)" if count and any(last) else str(count)


def _ready_of_desired(manifest: Manifest) -> str:
    return f"{_at(manifest, 'status.readyReplicas', 0)}/{_at(manifest, 'spec.replicas', 0)}"


def _selector(manifest: Manifest) -> str:
    return _pairs(_at(manifest, "spec.selector.matchLabels", {}))


def _service_ports(manifest: Manifest) -> str:
    return _joined(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in _at(manifest, "spec.ports", []))


def _keys(manifest: Manifest) -> int:
    return len(manifest.get("data", {})) + len(manifest.get("binaryData", {}))


def _access_modes(manifest: Manifest) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return ",".join(short.get(mode, mode) for mode in _at(manifest, "spec.accessModes", []))


def _node_status(manifest: Manifest) -> str:
    conditions = {one["type"]: one["status"] for one in _at(manifest, "status.conditions", [])}
    word = "Ready" if conditions.get("Ready") == "True" else "NotReady" if "Ready" in conditions else "Unknown"
    return word + (",SchedulingDisabled" if _at(manifest, "spec.unschedulable") else "")


def _last_seen(manifest: Manifest) -> str:
    return age(manifest.get("lastTimestamp") or manifest.get("eventTime") or manifest["metadata"]["creationTimestamp"])


def _involved(manifest: Manifest) -> str:
    involved = manifest.get("involvedObject", {})
    return f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"


def _owner(manifest: Manifest) -> str:
    owner = next((one for one in _at(manifest, "metadata.ownerReferences", []) if one.get("controller")), None)
    if owner is None:
        return _NONE
    group = owner["apiVersion"].rpartition("/")[0]
    return f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"


_NAME = Column("Name", lambda manifest: manifest["metadata"]["name"], format="name")
_LAST_NAME = replace(_NAME, priority=1)
_AGE = Column("Age", lambda manifest: age(manifest["metadata"].get("creationTimestamp")))
_IMAGES = [
    Column("Containers", lambda manifest: _containers(manifest, "name"), priority=1),
    Column("Images", lambda manifest: _containers(manifest, "image"), priority=1),
    Column("Selector", _selector, priority=1),
]
_COLUMNS: dict[str, list[Column]] = {
    "pods": [
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        _AGE,
        _field("IP", "status.podIP", _NONE, priority=1),
        _field("Node", "spec.nodeName", _NONE, priority=1),
        _field("Nominated Node", "status.nominatedNodeName", _NONE, priority=1),
        Column("Readiness Gates", lambda manifest: _NONE, priority=1),
    ],
    "deployments.apps": [
        Column("Ready", _ready_of_desired),
        _field("Up-to-date", "status.updatedReplicas", 0, kind="integer"),
        _field("Available", "status.availableReplicas", 0, kind="integer"),
        _AGE,
        *_IMAGES,
    ],
    "replicasets.apps": [
        _field("Desired", "spec.replicas", 0, kind="integer"),
        _field("Current", "status.replicas", 0, kind="integer"),
        _field("Ready", "status.readyReplicas", 0, kind="integer"),
        _AGE,
        *_IMAGES,
    ],
    "statefulsets.apps": [Column("Ready", _ready_of_desired), _AGE, *_IMAGES[:2]],
    "controllerrevisions.apps": [
        Column("Controller", _owner),
        _field("Revision", "revision", 0, kind="integer"),
        _AGE,
    ],
    "services": [
        _field("Type", "spec.type"),
        _field("Cluster-IP", "spec.clusterIP", _NONE),
        Column("External-IP", lambda manifest: _NONE),
        Column("Port(s)", _service_ports),
        _AGE,
        Column("Selector", lambda manifest: _pairs(_at(manifest, "spec.selector", {})), priority=1),
    ],
    "configmaps": [Column("Data", _keys, "integer"), _AGE],
    "secrets": [_field("Type", "type"), Column("Data", _keys, "integer"), _AGE],
    "serviceaccounts": [Column("Secrets", lambda manifest: len(manifest.get("secrets", [])), "integer"), _AGE],
    "namespaces": [_field("Status", "status.phase"), _AGE],
    "nodes": [
        Column("Status", _node_status),
        Column("Roles", lambda manifest: _NONE),
        _AGE,
        _field("Version", "status.nodeInfo.kubeletVersion"),
    ],
    "events": [
        Column("Last Seen", _last_seen),
        _field("Type", "type"),
        _field("Reason", "reason"),
        Column("Object", _involved),
        _field("Subobject", "involvedObject.fieldPath", priority=1),
        _field("Source", "source.component", priority=1),
        _field("Message", "message"),
        Column("First Seen", lambda manifest: age(manifest.get("firstTimestamp")), priority=1),
        _field("Count", "count", 1, priority=1),
        _LAST_NAME,
    ],
    "persistentvolumeclaims": [
        _field("Status", "status.phase"),
        _field("Volume", "spec.volumeName"),
        _field("Capacity", "status.capacity.storage"),
        Column("Access Modes", _access_modes),
        _field("StorageClass", "spec.storageClassName"),
        _field("VolumeAttributesClass", "spec.volumeAttributesClassName", _UNSET),
        _AGE,
        _field("VolumeMode", "spec.volumeMode", priority=1),
    ],
    "poddisruptionbudgets.policy": [
        _field("Min Available", "spec.minAvailable", "N/A"),
        _field("Max Unavailable", "spec.maxUnavailable", "N/A"),
        _field("Allowed Disruptions", "status.disruptionsAllowed", 0, kind="integer"),
        _AGE,
    ],
    "networkpolicies.networking.k8s.io": [
        Column("Pod-Selector", lambda manifest: _pairs(_at(manifest, "spec.podSelector.matchLabels", {}))),
        _AGE,
    ],
    "leases.coordination.k8s.io": [_field("Holder", "spec.holderIdentity"), _AGE],
    "storageclasses.storage.k8s.io": [
        _field("Provisioner", "provisioner"),
        _field("ReclaimPolicy", "reclaimPolicy"),
        _field("VolumeBindingMode", "volumeBindingMode"),
        Column("AllowVolumeExpansion", lambda manifest: bool(manifest.get("allowVolumeExpansion")), "boolean"),
        _AGE,
    ],
    "customresourcedefinitions.apiextensions.k8s.io": [
        Column("Created At", lambda manifest: manifest["metadata"]["creationTimestamp"])
    ],
}
