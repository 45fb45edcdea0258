"""One Model as a whole, as it stands in a file or in a cluster."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field

from fairlead_serve import shapes
from fairlead_serve.errors import Problem
from fairlead_serve.model.engine import EngineSpec
from fairlead_serve.model.fields import Annotations, Labels
from fairlead_serve.model.part import Part, twice
from fairlead_serve.model.spec import ModelSpec

API_VERSION = "fairlead.dev/v1alpha1"
KIND = "Model"


class Metadata(Part):
    """The resource's name and labels; what else a live object carries is let through and dropped."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(
        pattern=shapes.LABEL.pattern,
        max_length=40,
        description=(
            "Name of the Model, and of its Service, which is why it begins with a letter; at most"
            " 40 characters leave room for suffixes."
        ),
    )
    namespace: str = Field(
        default="",
        pattern=shapes.OPTIONAL_LABEL.pattern,
        max_length=63,
        description="Namespace of the Model. Empty: the current one; no meaning without a cluster.",
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the resource; none by default.")
    annotations: Annotations = Field(default_factory=dict, description="Annotations of the resource; none by default.")


class Model(Part):
    """One model as a user wants it served."""

    api_version: Literal["fairlead.dev/v1alpha1"] = Field(
        default="fairlead.dev/v1alpha1", description="Version of the API."
    )
    kind: Literal["Model"] = Field(default="Model", description="Kind of the resource.")
    metadata: Metadata = Field(description="Name, namespace, labels and annotations.")
    spec: ModelSpec = Field(description="What is wanted.")
    status: Any = Field(default=None, exclude=True, description="Written by the operator; ignored when read.")

    @property
    def name(self) -> str:
        """Name of the resource; the engine's route, its Service and its place in logs."""
        return self.metadata.name

    @property
    def served_names(self) -> tuple[str, ...]:
        """What clients may put into `model` for the model itself: its name, then its aliases."""
        return (self.spec.model.name or self.metadata.name, *self.spec.model.aliases)

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """What clients may put into `model` for one of its LoRA adapters."""
        return tuple(adapter.name for adapter in self.spec.lora.adapters) if self.spec.lora else ()

    @property
    def engine(self) -> EngineSpec:
        """The engine's settings, also where the file gives none. No meaning with an upstream."""
        return self.spec.engine or EngineSpec()

    @property
    def gpus_per_engine(self) -> int:
        """GPUs of one engine, on all its machines together; 0 on cpu and with an upstream."""
        if self.spec.upstream is not None or self.engine.device == "cpu":
            return 0
        return self.spec.parallelism.tensor * self.spec.parallelism.pipeline

    @property
    def min_replicas(self) -> int:
        """Fewest engines: 0 when suspended or with an upstream."""
        if self.spec.suspend or self.spec.upstream is not None:
            return 0
        if self.spec.scaling is not None:
            return self.spec.scaling.min_replicas
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def max_replicas(self) -> int:
        """Most engines: 0 when suspended or with an upstream."""
        return 0 if self.spec.suspend or self.spec.upstream is not None else self.spec.most_replicas

    def broken_rules(self) -> Iterator[Problem]:
        for name in twice((*self.served_names, *self.adapter_names)):
            yield Problem("spec.model", f"the name {name} is given twice among name, aliases and adapters")
        if self.metadata.name in self.spec.fallback:
            yield Problem("spec.fallback", "a Model cannot be its own fallback; remove its name")
        for name in twice(self.spec.fallback):
            yield Problem("spec.fallback", f"{name} is given twice; keep one")
