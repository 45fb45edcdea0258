"""The kinds that the server knows: their names in paths, their types, and what of them has paths of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kube.judge import Judge
from tests.kube.shapes import Shape, built_in

Manifest = dict[str, Any]
"""An object as JSON has it. One that came out of the store is never changed: copy it first."""


@dataclass(frozen=True)
class Resource:
    """One kind. Two are equal when they have the same group and plural, whatever became of its definition since."""

    group: str
    plural: str
    version: str = field(compare=False)
    kind: str = field(compare=False)
    shape: Shape = field(compare=False, repr=False)
    namespaced: bool = field(compare=False, default=True)
    short_names: tuple[str, ...] = field(compare=False, default=())
    categories: tuple[str, ...] = field(compare=False, default=())
    subresources: frozenset[str] = field(compare=False, default=frozenset({"status"}))
    generation: bool = field(compare=False, default=False)
    """Whether metadata.generation counts the changes of what is wanted."""
    custom: Mapping[str, Any] | None = field(compare=False, repr=False, default=None)
    """The version of the CustomResourceDefinition that it comes from; None for a kind of Kubernetes itself."""
    judge: Judge | None = field(compare=False, repr=False, default=None)
    """What fills and judges custom resources."""
    singular_name: str = field(compare=False, default="")

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.singular_name or self.kind.lower()

    @property
    def qualified(self) -> str:
        """The name in messages: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_NONE = frozenset[str]()
_STATUS = frozenset({"status"})
_WORKLOAD = frozenset({"status", "scale"})


def built_in_resources() -> list[Resource]:
    """The kinds of Kubernetes that a control plane for models may meet."""
    core, apps, rbac = "io.k8s.api.core.v1", "apps", "rbac.authorization.k8s.io"
    extensions = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
    kind = _built_in
    return [
        kind("", "Namespace", "namespaces", "ns", package=core, namespaced=False),
        kind("", "Node", "nodes", "no", package=core, namespaced=False),
        kind("", "Pod", "pods", "po", package=core, parts=frozenset({"status", "eviction"}), categories=("all",)),
        kind("", "Service", "services", "svc", package=core, categories=("all",)),
        kind("", "ConfigMap", "configmaps", "cm", package=core, parts=_NONE),
        kind("", "Secret", "secrets", package=core, parts=_NONE),
        kind("", "Event", "events", "ev", package=core, parts=_NONE),
        kind("", "ServiceAccount", "serviceaccounts", "sa", package=core, parts=_NONE),
        kind("", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", package=core),
        kind("", "PersistentVolume", "persistentvolumes", "pv", package=core, namespaced=False),
        kind("", "Endpoints", "endpoints", "ep", package=core, parts=_NONE),
        kind("", "ResourceQuota", "resourcequotas", "quota", package=core),
        kind(apps, "Deployment", "deployments", "deploy", parts=_WORKLOAD, generation=True, categories=("all",)),
        kind(apps, "ReplicaSet", "replicasets", "rs", parts=_WORKLOAD, generation=True, categories=("all",)),
        kind(apps, "StatefulSet", "statefulsets", "sts", parts=_WORKLOAD, generation=True, categories=("all",)),
        kind(apps, "ControllerRevision", "controllerrevisions", parts=_NONE),
        kind("events.k8s.io", "Event", "events", "ev", parts=_NONE),
        kind("coordination.k8s.io", "Lease", "leases", parts=_NONE),
        kind("policy", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", generation=True),
        kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", "netpol", parts=_NONE, generation=True),
        kind("discovery.k8s.io", "EndpointSlice", "endpointslices", parts=_NONE),
        kind(rbac, "Role", "roles", parts=_NONE),
        kind(rbac, "RoleBinding", "rolebindings", parts=_NONE),
        kind(rbac, "ClusterRole", "clusterroles", parts=_NONE, namespaced=False),
        kind(rbac, "ClusterRoleBinding", "clusterrolebindings", parts=_NONE, namespaced=False),
        kind("storage.k8s.io", "StorageClass", "storageclasses", "sc", parts=_NONE, namespaced=False),
        kind("scheduling.k8s.io", "PriorityClass", "priorityclasses", "pc", parts=_NONE, namespaced=False),
        kind(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "crd",
            package=extensions,
            generation=True,
            namespaced=False,
        ),
    ]


def _built_in(
    group: str,
    kind: str,
    plural: str,
    short: str = "",
    *,
    package: str = "",
    parts: frozenset[str] = _STATUS,
    namespaced: bool = True,
    generation: bool = False,
    categories: tuple[str, ...] = (),
) -> Resource:
    package = package or f"io.k8s.api.{group.partition('.')[0]}.v1"
    return Resource(
        group=group,
        plural=plural,
        version="v1",
        kind=kind,
        shape=built_in(f"{package}.{kind}"),
        namespaced=namespaced,
        short_names=(short,) if short else (),
        categories=categories,
        subresources=parts,
        generation=generation,
    )
