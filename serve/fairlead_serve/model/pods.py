"""What Kubernetes should do with the engines' pods, and their volume."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from fairlead_serve.errors import Problem
from fairlead_serve.model.fields import Annotations, Labels, Opaque, OptionalObjectName, Quantities, Quantity, Several
from fairlead_serve.model.part import Part


class PodTemplate(Part):
    """What Kubernetes should do with the engines' pods."""

    node_selector: Labels = Field(default_factory=dict, description="Labels a node must have; none by default.")
    tolerations: Several[Opaque] = Field(
        default=(), max_length=64, description="Taints of nodes to put up with; none by default."
    )
    affinity: Opaque = Field(
        default_factory=dict, description="Affinity as in a pod, passed on as it is; none by default."
    )
    runtime_class_name: OptionalObjectName = Field(
        default="", description="Runtime class of the pods, such as nvidia. Empty: the cluster's default."
    )
    labels: Labels = Field(default_factory=dict, description="More labels for the pods; none by default.")
    annotations: Annotations = Field(
        default_factory=dict, description="More annotations for the pods; none by default."
    )

    def broken_rules(self) -> Iterator[Problem]:
        for field, names in (("labels", self.labels), ("annotations", self.annotations)):
            for name in names:
                if name.startswith("fairlead.dev/"):
                    yield Problem(f"{field}.{name}", "fairlead.dev/ is the operator's; choose another")


class Resources(Part):
    """What one pod of the engine asks for, as in Kubernetes."""

    requests: Quantities = Field(
        default_factory=dict,
        description="What the scheduler sets aside for a pod, such as cpu and memory; empty by default.",
    )
    limits: Quantities = Field(
        default_factory=dict,
        description="What a pod may use at most, such as nvidia.com/gpu; empty by default.",
    )

    @property
    def gpus(self) -> int | None:
        """GPUs of one pod, or None where they are not given (the parallelism then says how many)."""
        given = self.limits.get("nvidia.com/gpu") or self.requests.get("nvidia.com/gpu")
        return int(given) if given is not None and given.isdigit() else None

    def broken_rules(self) -> Iterator[Problem]:
        gpu = "nvidia.com/gpu"
        for field, amounts in (("requests", self.requests), ("limits", self.limits)):
            if not amounts.get(gpu, "0").isdigit():
                yield Problem(f"{field}.{gpu}", "GPUs come whole; give a whole number")
        if gpu in self.requests and self.requests[gpu] != self.limits.get(gpu):
            yield Problem(f"requests.{gpu}", "must equal the limit; Kubernetes refuses anything else")


class Cache(Part):
    """The volume that keeps the weights between starts."""

    size: Quantity = Field(
        default="50Gi",
        description="Size of the claim; 50Gi holds weights of about 20 billion parameters in 16 bits.",
    )
    storage_class_name: OptionalObjectName = Field(
        default="", description="Storage class of the claim. Empty: the cluster's default class."
    )
    access_modes: Several[Literal["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"]] = Field(
        default=("ReadWriteOnce",),
        min_length=1,
        max_length=4,
        description=("Access modes of the claim. ReadWriteOnce works everywhere but keeps all engines on one node."),
    )
    claim_name: OptionalObjectName = Field(
        default="",
        description="An existing claim to use instead of making one. Empty: the operator makes one.",
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description=("Whether the claim outlives the Model; kept by default, since fetching the weights took long."),
    )

    def broken_rules(self) -> Iterator[Problem]:
        if not self.claim_name and set(self.access_modes) == {"ReadOnlyMany"}:
            yield Problem("accessModes", "nobody could write the weights; add ReadWriteOnce or ReadWriteMany")
        if self.claim_name and self.deletion_policy == "Delete":
            yield Problem("deletionPolicy", "a claim given by claimName is yours and never deleted; use Retain")
