"""What a user wants: all settings of a Model, and the rules that span them."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from fairlead_serve import shapes
from fairlead_serve.errors import Problem
from fairlead_serve.model.engine import EngineSpec, Lora, Parallelism
from fairlead_serve.model.fields import SET, OptionalObjectName, Seconds, Several
from fairlead_serve.model.part import Part
from fairlead_serve.model.pods import Cache, PodTemplate, Resources
from fairlead_serve.model.rollout import Disruption, RolloutStrategy
from fairlead_serve.model.scaling import Scaling
from fairlead_serve.model.source import ModelSource, Upstream
from fairlead_serve.model.traffic import Limits, Routing

MAX_GPUS_OF_A_NODE = 16
"""The largest machines sold have sixteen GPUs; a Standalone engine lives on one machine."""


class ModelSpec(Part):
    """What is wanted."""

    model: ModelSource = Field(
        default_factory=ModelSource, description="Which weights, and under which names clients ask for them."
    )
    engine: EngineSpec | None = Field(
        default=None, description="How vLLM runs the model. Absent: with every default. Excludes upstream."
    )
    resource_profile: str = Field(
        default="",
        pattern=shapes.OPTIONAL_LABEL.pattern,
        max_length=63,
        description=(
            "A profile of the operator's settings: node labels, tolerations and resources of one "
            "kind of machine. Empty: none. Excludes resources."
        ),
    )
    resources: Resources | None = Field(
        default=None, description="What one pod of the engine asks for. Excludes resourceProfile."
    )
    parallelism: Parallelism = Field(
        default_factory=Parallelism,
        description="Over how many devices one engine is split: tensor times pipeline.",
    )
    cluster: Literal["Standalone", "KubeRay"] = Field(
        default="Standalone",
        description=(
            "Standalone: one pod is one engine. KubeRay: engines may span machines; the KubeRay "
            "operator must be installed."
        ),
    )
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="A fixed number of engines. Absent: one, or what scaling says. Excludes scaling.",
    )
    scaling: Scaling | None = Field(
        default=None, description="How the number of engines follows the load. Excludes replicas."
    )
    routing: Routing = Field(default_factory=Routing, description="Which engine gets a request.")
    rollout_strategy: RolloutStrategy = Field(
        default_factory=RolloutStrategy, description="How engines are replaced when the Model changes."
    )
    cache: Cache | None = Field(
        default=None,
        description="A volume that keeps the weights between starts. Absent: each pod fetches them anew.",
    )
    lora: Lora | None = Field(default=None, description="LoRA adapters on top of the model. Absent: none.")
    upstream: Upstream | None = Field(
        default=None,
        description="Another OpenAI-compatible server that answers; no engine is started. Excludes engine.",
    )
    fallback: Several[Annotated[str, Field(pattern=shapes.LABEL.pattern, max_length=40)]] = Field(
        default=(),
        max_length=8,
        description=(
            "Models (by resource name) that answer, in this order, when this one has no ready "
            "engine, is full or fails before the first byte. Their own fallbacks are not "
            "followed. None by default."
        ),
        json_schema_extra=SET,
    )
    limits: Limits = Field(default_factory=Limits, description=("How much the gateway lets through to this model."))
    startup_timeout_seconds: int = Field(
        default=3600,
        ge=10,
        le=604_800,
        description=(
            "Seconds an engine may take to fetch, load and answer before it is restarted; an hour"
            " covers large weights over a slow line."
        ),
    )
    drain_timeout_seconds: Seconds = Field(
        default=120,
        description=("Seconds an engine that is to stop may go on with its requests; longer than most answers take."),
    )
    suspend: bool = Field(
        default=False, description=("Stop all engines but keep the Model, its cache and its settings.")
    )
    priority_class_name: OptionalObjectName = Field(
        default="", description="Priority class of the pods. Empty: the cluster's default."
    )
    disruption: Disruption = Field(
        default_factory=Disruption, description=("What a drain of nodes must leave running.")
    )
    pod_template: PodTemplate = Field(
        default_factory=PodTemplate, description="What Kubernetes should do with the engines' pods."
    )

    @property
    def most_replicas(self) -> int:
        """Most engines there can be while it is not suspended."""
        if self.scaling is not None:
            return self.scaling.max_replicas
        return 1 if self.replicas is None else self.replicas

    def broken_rules(self) -> Iterator[Problem]:
        if self.upstream is not None:
            return _upstream_rules(self)
        return chain(_source_rules(self), _size_rules(self), _device_rules(self))


WITH_UPSTREAM = frozenset({"model", "upstream", "engine", "fallback", "limits", "suspend"})
"""The fields that a Model with an upstream may give, or that have a rule of their own; all others need an engine."""


def _upstream_rules(spec: ModelSpec) -> Iterator[Problem]:
    if spec.engine is not None:
        yield Problem("engine", "engine and upstream exclude each other; keep one")
    source = ModelSource.model_fields
    for name in ("uri", "revision", "access_secret_ref"):
        if getattr(spec.model, name) != source[name].default:
            message = "an upstream has its own weights; remove it (only name and aliases make sense here)"
            yield Problem(f"model.{to_camel(name)}", message)
    for name, field in ModelSpec.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name not in WITH_UPSTREAM and getattr(spec, name) != default:
            yield Problem(to_camel(name), "has no meaning with upstream, which starts no engine; remove it")


def _source_rules(spec: ModelSpec) -> Iterator[Problem]:
    scheme = spec.model.scheme
    if not scheme:
        yield Problem("model.uri", "missing; say where the weights are, such as hf://organisation/model")
    if spec.cache is not None and scheme in ("pvc", "file"):
        yield Problem("cache", f"{scheme}:// weights are used where they are and never cached; remove it")


def _size_rules(spec: ModelSpec) -> Iterator[Problem]:
    if spec.replicas is not None and spec.scaling is not None:
        yield Problem("scaling", "replicas and scaling exclude each other; keep one")
    if spec.resources is not None and spec.resource_profile:
        yield Problem("resources", "resources and resourceProfile exclude each other; keep one")
    most = spec.most_replicas
    if spec.disruption.min_available > max(most, 1):
        yield Problem("disruption.minAvailable", f"is above the {most} engines there can be; lower it")
    if spec.scaling and spec.scaling.target_ongoing_requests > spec.limits.max_ongoing:
        message = f"the gateway lets no more than limits.maxOngoing ({spec.limits.max_ongoing}) through; lower it"
        yield Problem("scaling.targetOngoingRequests", message)
    one_pod = spec.cache is not None and "ReadWriteOncePod" in spec.cache.access_modes
    if one_pod and (most > 1 or spec.rollout_strategy.max_surge > 0):
        message = "ReadWriteOncePod lets one pod use the cache, and there may be more; use ReadWriteMany"
        yield Problem("cache.accessModes", message)


def _device_rules(spec: ModelSpec) -> Iterator[Problem]:
    engine, parallel = spec.engine or EngineSpec(), spec.parallelism
    if parallel.pipeline > 1 and spec.cluster != "KubeRay":
        yield Problem("parallelism.pipeline", "more than 1 spans machines and needs cluster: KubeRay")
    if parallel.tensor > MAX_GPUS_OF_A_NODE and spec.cluster != "KubeRay":
        message = f"no machine has more than {MAX_GPUS_OF_A_NODE} GPUs; more need cluster: KubeRay"
        yield Problem("parallelism.tensor", message)
    if engine.device == "cpu" and parallel.pipeline > 1:
        yield Problem("parallelism.pipeline", "more than 1 needs GPUs, and engine.device is cpu; set it to 1")
    gpus = spec.resources.gpus if spec.resources else None
    if gpus is None:
        return
    if engine.device == "cpu" and gpus > 0:
        yield Problem("resources", "asks for GPUs, but engine.device is cpu; remove nvidia.com/gpu")
    wanted = parallel.tensor * parallel.pipeline
    if engine.device == "cuda" and spec.cluster == "Standalone" and gpus != wanted:
        message = f"GPUs of the pod: {gpus}; of its engine (tensor times pipeline): {wanted}; make them equal"
        yield Problem("resources", message)
    if engine.device == "cuda" and spec.cluster == "KubeRay" and (gpus == 0 or wanted % gpus):
        message = f"pods of {gpus} GPUs cannot add up to the {wanted} of an engine (tensor times pipeline)"
        yield Problem("resources", message)
