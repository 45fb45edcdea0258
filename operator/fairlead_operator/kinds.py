"""The kinds of objects around a Model, and where the API has them. No I/O."""

from dataclasses import dataclass, field

from fairlead_serve.api_server import Manifest
from fairlead_serve.informer import MODEL_LABEL
from fairlead_serve.model import API_VERSION, KIND


@dataclass(frozen=True, order=True)
class Key:
    """Which Model."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Kind:
    """One kind of object, as an API version and a name."""

    api_version: str
    name: str
    optional: bool = field(default=False, compare=False)
    """The cluster need not know it."""


DEPLOYMENT = Kind("apps/v1", "Deployment")
MODEL = Kind(API_VERSION, KIND)
EVENT = Kind("v1", "Event")
NODE = Kind("v1", "Node")
POD = Kind("v1", "Pod")
SECRET = Kind("v1", "Secret")
LEASE = Kind("coordination.k8s.io/v1", "Lease")

CHILDREN = (
    Kind("v1", "ServiceAccount"),
    Kind("v1", "ConfigMap"),
    Kind("v1", "PersistentVolumeClaim"),
    Kind("networking.k8s.io/v1", "NetworkPolicy"),
    Kind("v1", "Service"),
    Kind("policy/v1", "PodDisruptionBudget"),
    DEPLOYMENT,
    Kind("apps/v1", "ControllerRevision"),
    POD,
    Kind("ray.io/v1", "RayService", optional=True),
    Kind("ray.io/v1", "RayCluster", optional=True),
    Kind("monitoring.coreos.com/v1", "PodMonitor", optional=True),
)
"""What carries the label of a Model. ReplicaSets are not among them: a Deployment tells what they have to tell."""


def plural(kind: str) -> str:
    """The kind's name in paths: `networkpolicies` for `NetworkPolicy`. Good for every kind of Kubernetes met here."""
    name = kind.lower()
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith("s") else f"{name}s"


def path_of(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of all objects of a kind, of those of a namespace, of one, or of a part of one."""
    root = f"/apis/{kind.api_version}" if "/" in kind.api_version else f"/api/{kind.api_version}"
    within = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, (f"{root}{within}", plural(kind.name), name, subresource)))


def kind_of(manifest: Manifest) -> Kind:
    """The kind of an object."""
    return Kind(manifest["apiVersion"], manifest["kind"])


def model_key(model: Manifest) -> Key:
    """What a Model is called."""
    return Key(model["metadata"]["namespace"], model["metadata"]["name"])


def key_of(manifest: Manifest) -> Key | None:
    """The Model that an object is, or belongs to by its label."""
    metadata = manifest["metadata"]
    if manifest["kind"] == KIND:
        return model_key(manifest)
    name = (metadata.get("labels") or {}).get(MODEL_LABEL)
    return Key(metadata["namespace"], name) if name else None
