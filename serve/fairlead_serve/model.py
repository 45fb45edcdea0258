"""The Model resource, `fairlead.dev/v1alpha1`: the one definition of what a user writes.

The CRD, its reference page, local mode and the engine pod all come from these types. They say what can be
known from the file alone: shapes, bounds, and combinations that cannot work; what only a cluster can answer
(is there such a Secret?) is the operator's to say. In files names are camelCase, in Python snake_case; values
are immutable, lists are tuples. Optional text is empty rather than absent, so that the CRD needs no nullable
text.

No Ray, no vLLM, and no I/O but in `load` and `load_all`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    Strict,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from fairlead_serve import shapes
from fairlead_serve.documents import read_documents
from fairlead_serve.engine_arguments import argument_problems
from fairlead_serve.errors import ModelFileError, Problem
from fairlead_serve.sentences import kind_of, nearest, problems_of

API_VERSION = "fairlead.dev/v1alpha1"
KIND = "Model"

MAX_GPUS_OF_A_NODE = 16
"""The largest machines sold have sixteen GPUs; a Standalone engine lives on one machine."""


def _usable_path(uri: str) -> str:
    if ".." in uri.split("/"):
        raise PydanticCustomError("path", 'a path must not contain ".."')
    if uri.startswith("hf://") and (".." in uri or "--" in uri):
        raise PydanticCustomError("path", 'the Hub allows no repository with ".." or "--" in its name')
    return uri


def _bare_url(url: str) -> str:
    # The words of the exception would quote the URL, and it may hold a password.
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise PydanticCustomError("url", "expected http://host:port/v1 or https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("url", "must not hold a user name or a password; use apiKeySecretRef")
    return url


def _quantity(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _map_schema(most: int, **value: Any) -> dict[str, Any]:
    """Schema of a map. Said outright, because the API server knows neither `patternProperties` nor `propertyNames`."""
    return {"type": "object", "additionalProperties": value, "maxProperties": most}


_OPAQUE_SCHEMA: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_ANY_SCHEMA: dict[str, Any] = {"nullable": True, "x-kubernetes-preserve-unknown-fields": True}
_QUANTITY_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": shapes.QUANTITY.pattern,
    "maxLength": 32,
    "minimum": 0,
    "x-kubernetes-int-or-string": True,
}

# How server-side apply merges: entries of a map by their key, of a set by their value; atomic is replaced as a whole.
_MAP_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_MAP_BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
_ATOMIC: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}

T = TypeVar("T")
# Strict would refuse a list where a tuple is declared, and files hold lists.
Several = Annotated[tuple[T, ...], Strict(strict=False)]

ObjectName = Annotated[str, Field(pattern=shapes.OBJECT_NAME.pattern, max_length=253)]
OptionalObjectName = Annotated[str, Field(pattern=shapes.OPTIONAL_OBJECT_NAME.pattern, max_length=253)]
DataKey = Annotated[str, Field(pattern=shapes.DATA_KEY.pattern, max_length=253)]
ServedName = Annotated[str, Field(pattern=shapes.SERVED_NAME.pattern, max_length=128)]
WeightsUri = Annotated[str, Field(pattern=shapes.WEIGHTS.pattern, max_length=1024), AfterValidator(_usable_path)]
AdapterUri = Annotated[
    str, Field(pattern=shapes.ADAPTER_WEIGHTS.pattern, max_length=1024), AfterValidator(_usable_path)
]
LabelKey = Annotated[str, Field(pattern=shapes.QUALIFIED_NAME.pattern, max_length=317)]
LabelValue = Annotated[str, Field(pattern=shapes.LABEL_VALUE.pattern, max_length=63)]
Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    Field(pattern=shapes.QUANTITY.pattern, max_length=32),
    WithJsonSchema(_QUANTITY_SCHEMA),
]
"""A Kubernetes quantity; always text in Python."""
Seconds = Annotated[int, Field(ge=0, le=604_800)]
"""Up to a week."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""Up to what every JSON reader holds exactly."""
Opaque = Annotated[dict[str, JsonValue], WithJsonSchema(_OPAQUE_SCHEMA)]
"""An object of the Kubernetes API, passed on as it is."""
Labels = Annotated[
    dict[LabelKey, LabelValue],
    Field(max_length=256),
    WithJsonSchema(_map_schema(256, type="string", pattern=shapes.LABEL_VALUE.pattern, maxLength=63)),
]
Annotations = Annotated[
    dict[LabelKey, Annotated[str, Field(max_length=262_144)]],
    Field(max_length=256),
    WithJsonSchema(_map_schema(256, type="string", maxLength=262_144)),
]
Quantities = Annotated[
    dict[LabelKey, Quantity],
    Field(max_length=32),
    WithJsonSchema(_map_schema(32, **_QUANTITY_SCHEMA)),
]
EngineArgs = Annotated[
    dict[Annotated[str, Field(max_length=64)], JsonValue],
    Field(max_length=128),
    WithJsonSchema(_map_schema(128, **_ANY_SCHEMA)),
]


class Part(BaseModel):
    """A piece of the resource: immutable, no unknown fields, no conversions (`"8"` is not 8)."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        use_attribute_docstrings=False,
    )

    def broken_rules(self) -> Iterable[Problem]:
        """What is wrong with the fields taken together; places are relative to this part."""
        return ()

    @model_validator(mode="after")
    def _refuse_broken_rules(self) -> Self:
        problems = tuple(self.broken_rules())
        if problems:
            raise PydanticCustomError(
                "broken_rules",
                "{sentences}",
                {"sentences": "; ".join(str(problem) for problem in problems), "problems": problems},
            )
        return self


class SecretKeyRef(Part):
    """One key of a Secret in the Model's namespace."""

    model_config = ConfigDict(json_schema_extra=_ATOMIC)

    name: ObjectName = Field(description="Name of the Secret, in the Model's own namespace.")
    key: DataKey = Field(description="Key within the Secret whose value is used.")


class ModelSource(Part):
    """Which weights, and under which names clients ask for them."""

    uri: WeightsUri = Field(
        default="",
        description=(
            "Where the weights are: hf://organisation/model (Hugging Face Hub), pvc://claim/path,"
            " file:///path, s3://bucket/prefix, or tiny://name for the built-in offline "
            "demonstration models. Empty only with an upstream."
        ),
    )
    name: str = Field(
        default="",
        pattern=shapes.OPTIONAL_SERVED_NAME.pattern,
        max_length=128,
        description="The name clients put into `model`. Empty: the name of the resource.",
    )
    aliases: Several[ServedName] = Field(
        default=(),
        max_length=16,
        description="More names clients may use for the same model; none by default.",
        json_schema_extra=_SET,
    )
    revision: str = Field(
        default="main",
        pattern=shapes.REVISION.pattern,
        max_length=128,
        description=(
            "Branch, tag or commit of an hf:// repository. A commit pins the weights; the default"
            " main follows the repository."
        ),
    )
    access_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description=(
            "The token for hf:// or the credentials for s3://. Absent: anonymous, or what the environment offers."
        ),
    )

    @property
    def scheme(self) -> str:
        """`hf`, `pvc`, `file`, `s3`, `tiny`, or empty where there is no uri."""
        return self.uri.partition("://")[0]

    def broken_rules(self) -> Iterator[Problem]:
        if self.uri and self.scheme != "hf" and self.revision != "main":
            yield Problem("revision", "only hf:// repositories have revisions; remove it")
        if self.access_secret_ref and self.scheme in ("pvc", "file", "tiny"):
            yield Problem("accessSecretRef", f"{self.scheme}:// needs no credentials; remove it")


class ConfigMapKeyRef(Part):
    """One key of a ConfigMap in the Model's namespace."""

    model_config = ConfigDict(json_schema_extra=_ATOMIC)

    name: ObjectName = Field(description="Name of the ConfigMap, in the Model's own namespace.")
    key: DataKey = Field(description="Key within the ConfigMap whose value is used.")
    optional: bool = Field(default=False, description="Start even when the key is missing; by default not.")


class SecretKeySelector(SecretKeyRef):
    """One key of a Secret, for an environment variable."""

    optional: bool = Field(default=False, description="Start even when the key is missing; by default not.")


class FieldRef(Part):
    """One field of the pod itself."""

    model_config = ConfigDict(json_schema_extra=_ATOMIC)

    field_path: str = Field(min_length=1, max_length=253, description=("Path within the pod, such as status.podIP."))


class EnvVarSource(Part):
    """Where a variable's value comes from; exactly one."""

    secret_key_ref: SecretKeySelector | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: ConfigMapKeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the engine's pod.")

    def broken_rules(self) -> Iterator[Problem]:
        given = [ref for ref in (self.secret_key_ref, self.config_map_key_ref, self.field_ref) if ref]
        if len(given) != 1:
            yield Problem("", "give exactly one of secretKeyRef, configMapKeyRef and fieldRef")


class EnvVar(Part):
    """An environment variable of the engine."""

    name: str = Field(pattern=shapes.ENV_NAME.pattern, max_length=253, description="Name of the variable.")
    value: str | None = Field(default=None, max_length=32_768, description=("The value itself; absent with valueFrom."))
    value_from: EnvVarSource | None = Field(
        default=None, description=("Where the value comes from; absent with value.")
    )

    def broken_rules(self) -> Iterator[Problem]:
        if self.value is not None and self.value_from is not None:
            yield Problem("", "value and valueFrom exclude each other; keep one")
        if self.name == "VLLM_API_KEY":
            yield Problem("name", "the gateway holds the keys; make one with `fairlead key create`")


class ObjectRef(Part):
    """A ConfigMap or Secret as a whole."""

    model_config = ConfigDict(json_schema_extra=_ATOMIC)

    name: ObjectName = Field(description="Name of the object, in the Model's own namespace.")
    optional: bool = Field(default=False, description="Start even when it is missing; by default not.")


class EnvFromSource(Part):
    """All keys of one ConfigMap or Secret as environment variables."""

    prefix: str = Field(
        default="",
        max_length=253,
        pattern=shapes.WORD.pattern,
        description="Put before every name; empty by default.",
    )
    config_map_ref: ObjectRef | None = Field(default=None, description="The ConfigMap to take all keys of.")
    secret_ref: ObjectRef | None = Field(default=None, description="The Secret to take all keys of.")

    def broken_rules(self) -> Iterator[Problem]:
        if (self.config_map_ref is None) == (self.secret_ref is None):
            yield Problem("", "give exactly one of configMapRef and secretRef")


class EngineSpec(Part):
    """How vLLM runs the model."""

    device: Literal["cuda", "cpu"] = Field(
        default="cuda",
        description=("What the engine computes on. The default is cuda, since a cpu serves real models slowly."),
    )
    image: str = Field(
        default="",
        pattern=shapes.IMAGE.pattern,
        max_length=512,
        description="Container image of the engine. Empty: the operator's default for the device.",
    )
    max_model_len: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description=(
            "Longest prompt plus answer, in tokens. Absent: what the model was trained for; set "
            "it lower when the KV cache does not fit."
        ),
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = Field(
        default="auto", description="Number format of the weights; auto takes the model's own."
    )
    quantization: str = Field(
        default="",
        pattern=shapes.WORD.pattern,
        max_length=64,
        description=("How the weights are quantized, such as awq, gptq or fp8. Empty: as the model's files say."),
    )
    gpu_memory_utilization: str = Field(
        default="0.90",
        pattern=shapes.FRACTION.pattern,
        max_length=8,
        description=(
            "Share of each GPU's memory that weights and KV cache may take, above 0 and up to 1. "
            "Text, because decimals do not survive every JSON round trip; 0.90 leaves room for "
            "CUDA graphs. No effect on cpu."
        ),
    )
    max_num_seqs: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description=("Requests computed in one batch at the same time. Absent: vLLM chooses by the device's memory."),
    )
    args: EngineArgs = Field(
        default_factory=dict,
        description=(
            "Any other vLLM engine or front-end argument by vLLM's name (snake_case). Unknown "
            "names, wrong types and what other fields set are refused before anything starts."
        ),
    )
    env: Several[EnvVar] = Field(
        default=(),
        max_length=128,
        description="Environment variables of the engine; none by default.",
        json_schema_extra=_MAP_BY_NAME,
    )
    env_from: Several[EnvFromSource] = Field(
        default=(),
        max_length=32,
        description="ConfigMaps and Secrets all of whose keys become variables; none by default.",
    )

    def broken_rules(self) -> Iterator[Problem]:
        for problem in argument_problems(self.args):
            yield Problem(f"args.{problem.path}", problem.message)
        for name in _twice(variable.name for variable in self.env):
            yield Problem("env", f"{name} is given twice; keep one")
        if self.device == "cpu" and self.gpu_memory_utilization != "0.90":
            yield Problem(
                "gpuMemoryUtilization",
                "is of GPUs; with device: cpu size the KV cache by args.kv_cache_memory_bytes",
            )


class Parallelism(Part):
    """Over how many devices one engine is split."""

    tensor: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Devices each layer is split over; best kept within one machine. 1: not split.",
    )
    pipeline: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Groups of layers, each on its own `tensor` devices; more than 1 needs cluster: KubeRay.",
    )


class ColdStart(Part):
    """What happens to requests for a model that has no engine yet."""

    max_queued: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description=("Requests that may wait for the first engine; more get 503. 100 keeps the memory bounded."),
    )
    timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description=(
            "Seconds a request waits for the first engine before it gets 503; 600 covers the load"
            " of most weights from a cache."
        ),
    )


class Scaling(Part):
    """How the number of engines follows the load."""

    min_replicas: int = Field(
        default=1, ge=0, le=1000, description="Fewest engines; 0 lets an idle model give its devices back."
    )
    max_replicas: int = Field(
        ge=1, le=1000, description="Most engines. No default: it is the most that the model may cost."
    )
    target_ongoing_requests: int = Field(
        default=16,
        ge=1,
        le=100_000,
        description=(
            "Requests in progress per engine to aim at; more add engines. 16 keeps answers brisk "
            "while batches stay full."
        ),
    )
    scale_up_delay_seconds: Seconds = Field(
        default=5,
        description="Seconds the load must stay high before engines are added; 5 skips single bursts.",
    )
    scale_down_delay_seconds: Seconds = Field(
        default=300,
        description="Seconds the load must stay low before engines are removed; 300 because loading is slow.",
    )
    scale_to_zero_delay_seconds: Seconds = Field(
        default=1800,
        description=(
            "Seconds without a request before the last engine goes, with minReplicas 0; half an "
            "hour, since the next request waits for a load."
        ),
    )
    cold_start: ColdStart = Field(
        default_factory=ColdStart, description="What happens to requests while there is no engine."
    )

    def broken_rules(self) -> Iterator[Problem]:
        if self.min_replicas > self.max_replicas:
            yield Problem("minReplicas", f"is above maxReplicas ({self.max_replicas}); lower it")


class Routing(Part):
    """Which engine gets a request."""

    strategy: Literal["LeastLoad", "PrefixHash"] = Field(
        default="PrefixHash",
        description=(
            "PrefixHash sends equal beginnings to the same engine, so that its prefix cache is "
            "used, within bounds on load; LeastLoad looks at the load only."
        ),
    )


class RolloutStrategy(Part):
    """How engines are replaced when the Model changes."""

    max_surge: int = Field(
        default=0,
        ge=0,
        le=1000,
        description=("Engines started above the wanted number during an update; 0 because spare GPUs are rare."),
    )
    max_unavailable: int = Field(
        default=1, ge=0, le=1000, description="Engines that may be missing during an update; 1 at a time."
    )
    progress_deadline_seconds: int = Field(
        default=1800,
        ge=60,
        le=604_800,
        description=("Seconds without progress after which an update has failed; must exceed the load of the weights."),
    )
    on_failure: Literal["Rollback", "Hold"] = Field(
        default="Rollback",
        description=(
            "What a failed update does: return to the last good revision, or stay as it is for "
            "inspection. The old engines keep serving in both."
        ),
    )

    def broken_rules(self) -> Iterator[Problem]:
        if self.max_surge == 0 and self.max_unavailable == 0:
            yield Problem(
                "",
                "maxSurge and maxUnavailable are both 0, so no engine could be replaced; set one to 1",
            )


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


class Adapter(Part):
    """One LoRA adapter, a model of its own for clients."""

    name: ServedName = Field(description="The name clients put into `model` to use this adapter.")
    uri: AdapterUri = Field(
        description=("Where the adapter's weights are: hf://, pvc://claim/path, file:///path or s3://bucket/prefix.")
    )


class Lora(Part):
    """LoRA adapters on top of the model."""

    max_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = Field(
        default=32, description="Highest rank of any adapter; room for it is reserved. 32 fits most."
    )
    max_adapters: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Adapters used in one batch, each with room in device memory; more adapters take turns.",
    )
    adapters: Several[Adapter] = Field(
        default=(),
        max_length=256,
        description="The adapters to serve; none by default.",
        json_schema_extra=_MAP_BY_NAME,
    )

    def broken_rules(self) -> Iterator[Problem]:
        for name in _twice(adapter.name for adapter in self.adapters):
            yield Problem("adapters", f"two adapters are called {name}; names must differ")


class Upstream(Part):
    """Another OpenAI-compatible server that answers instead of engines of our own."""

    url: Annotated[str, AfterValidator(_bare_url)] = Field(
        pattern=shapes.URL.pattern,
        max_length=1024,
        description="Base of its API, up to and including /v1, such as http://ollama:11434/v1.",
    )
    model: str = Field(
        default="",
        pattern=shapes.OPTIONAL_SERVED_NAME.pattern,
        max_length=128,
        description="What the server calls the model. Empty: the name it has here.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Its key, sent as a bearer token. Absent: none is sent."
    )


class Limits(Part):
    """How much the gateway lets through to this model."""

    max_ongoing: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Requests of this model under way at once, as one gateway counts them; 256 is a full batch.",
    )
    max_queued: int = Field(
        default=256,
        ge=0,
        le=100_000,
        description=("Requests that may wait for a place; more get 429 with retry-after. 256 is one batch more."),
    )
    request_timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description=("Seconds a request may take in all before it ends with 504; longer than clients usually wait."),
    )


class Disruption(Part):
    """What a drain of nodes must leave running."""

    min_available: int = Field(
        default=1,
        ge=0,
        le=1000,
        description=(
            "Engines that voluntary disruptions must leave; no effect on a model with one engine,"
            " whose node could never be drained."
        ),
    )


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
        json_schema_extra=_SET,
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
    most = _most_replicas(spec)
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


def _most_replicas(spec: ModelSpec) -> int:
    if spec.scaling is not None:
        return spec.scaling.max_replicas
    return 1 if spec.replicas is None else spec.replicas


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
        return 0 if self.spec.suspend or self.spec.upstream is not None else _most_replicas(self.spec)

    def broken_rules(self) -> Iterator[Problem]:
        for name in _twice((*self.served_names, *self.adapter_names)):
            yield Problem("spec.model", f"the name {name} is given twice among name, aliases and adapters")
        if self.metadata.name in self.spec.fallback:
            yield Problem("spec.fallback", "a Model cannot be its own fallback; remove its name")
        for name in _twice(self.spec.fallback):
            yield Problem("spec.fallback", f"{name} is given twice; keep one")


class Download(Part):
    """How far the weights are."""

    bytes_done: Count = Field(default=0, description="Bytes fetched so far.")
    bytes_total: Count = Field(default=0, description="Bytes to fetch in all; 0 while unknown.")
    bytes_per_second: Count = Field(default=0, description="Bytes fetched per second of late.")


class LastFailure(Part):
    """The latest failure of an engine; kept after it recovers."""

    reason: str = Field(max_length=128, description="A constant, such as ContainerOOMKilled.")
    message: str = Field(default="", max_length=4096, description=("What happened, with the engine's last words."))
    pod: str = Field(default="", max_length=253, description="The pod it happened in.")
    exit_code: int | None = Field(
        default=None, ge=-255, le=255, description="Exit status of the container, where it exited."
    )
    time: str = Field(default="", max_length=40, description="When, in UTC, as 2025-01-31T12:00:00Z.")


class AdapterStatus(Part):
    """One adapter on the engines."""

    name: ServedName = Field(description="Name of the adapter.")
    state: Literal["Pending", "Loading", "Loaded", "Failed"] = Field(description="Where it stands.")
    message: str = Field(default="", max_length=1024, description="Why it failed, where it did.")


class Condition(Part):
    """One aspect of the Model, as Kubernetes conditions are."""

    type: Literal["Ready", "SpecValid", "ModelCached", "WorkloadReady", "Progressing", "ScalingReady", "Suspended"] = (
        Field(description="Which aspect; Ready sums the others up.")
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        max_length=128, pattern=shapes.CONSTANT.pattern, description="A constant that programs may compare."
    )
    message: str = Field(default="", max_length=4096, description="The same for people, and what to do.")
    last_transition_time: str = Field(
        max_length=40,
        description="When the status last changed, in UTC, as 2025-01-31T12:00:00Z.",
        json_schema_extra={"format": "date-time"},
    )
    observed_generation: Count = Field(default=0, description=("Generation of the Model that this was said about."))


class ModelStatus(Part):
    """What is; written by the operator."""

    observed_generation: Count = Field(default=0, description=("Generation of the Model that this status is about."))
    phase: Literal[
        "Pending", "Caching", "Starting", "Serving", "Updating", "Degraded", "Idle", "Suspended", "Failed"
    ] = Field(default="Pending", description="A summary for people; programs read the conditions.")
    replicas: Count = Field(default=0, description="Engines there are.")
    ready_replicas: Count = Field(default=0, description="Engines that answer.")
    desired_replicas: Count = Field(default=0, description="Engines there should be now.")
    selector: str = Field(default="", max_length=512, description="Label selector of the engines' pods.")
    url: str = Field(default="", max_length=1024, description="Where clients reach the model: the gateway.")
    endpoint: str = Field(
        default="",
        max_length=1024,
        description="Where the gateway reaches the engines; empty without engines.",
    )
    current_revision: str = Field(default="", max_length=64, description=("Hash of the pod template that serves now."))
    updated_revision: str = Field(
        default="",
        max_length=64,
        description="Hash of the pod template being rolled out, or the current one.",
    )
    download: Download | None = Field(default=None, description="How far the weights are, while fetching.")
    last_failure: LastFailure | None = Field(default=None, description="The latest failure of an engine.")
    adapters: Several[AdapterStatus] = Field(
        default=(),
        max_length=256,
        description="The LoRA adapters on the engines.",
        json_schema_extra=_MAP_BY_NAME,
    )
    conditions: Several[Condition] = Field(
        default=(),
        max_length=16,
        description="One per type, each with reason and message.",
        json_schema_extra=_MAP_BY_TYPE,
    )


def load(path: Path) -> list[Model]:
    """The Models of a YAML file, in its order; several are separated by `---`.

    Raises ModelFileError with every problem of the file, each with its place.
    """
    documents = read_documents(path)
    models: list[Model] = []
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        prefix = f"document {number}" if len(documents) > 1 else ""
        try:
            models.append(parse(document, source=str(path)))
        except ModelFileError as error:
            problems += [_within(prefix, problem) for problem in error.problems]
    if problems:
        raise ModelFileError(str(path), problems)
    return models


def load_all(paths: Sequence[Path]) -> list[Model]:
    """The Models of several files, to run together on one machine without a cluster.

    Beyond `load`, names must differ among the Models, fallbacks must be among them, and no weights may lie
    where only a cluster can reach them.
    Raises ModelFileError with the problems of all files.
    """
    loaded: list[tuple[Path, Model]] = []
    failures: list[tuple[Path, Problem]] = []
    for path in paths:
        try:
            loaded += [(path, model) for model in load(path)]
        except ModelFileError as error:
            failures += [(path, problem) for problem in error.problems]
    # Only complete knowledge can tell that a name is missing.
    if not failures:
        failures = list(_together(loaded))
    if failures:
        raise _files_error(failures)
    return [model for _, model in loaded]


def parse(document: object, *, source: str) -> Model:
    """One Model from plain values, as YAML or the API server give them (camelCase names only).

    Raises ModelFileError; `source` is what it calls the document.
    """
    if not isinstance(document, Mapping):
        raise ModelFileError(source, [Problem("", f"expected a Model, found {kind_of(document)}")])
    problems = list(_heading_problems(document))
    if problems:
        raise ModelFileError(source, problems)
    problems = list(_metadata_problems(document.get("metadata")))
    try:
        model = Model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        found = problems_of(error, Model, shapes.ALL)
        unknown = [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]
        # Without the unknown fields the rules that span fields can be checked too.
        found += _problems_of(_without(document, unknown)) if unknown else []
        raise ModelFileError(source, list(dict.fromkeys(problems + found))) from None
    if problems:
        raise ModelFileError(source, problems)
    return model


def _problems_of(document: object) -> list[Problem]:
    try:
        Model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        return problems_of(error, Model, shapes.ALL)
    return []


def _heading_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if field not in document:
            yield Problem(field, f"missing; write {field}: {wanted}")
        elif document[field] != wanted:
            found = document[field]
            shown = found if isinstance(found, str) else kind_of(found)
            yield Problem(field, f"expected {wanted}, found {shown}")


# The fields of a live object's metadata, in Kubernetes 1.36.
_KUBERNETES_METADATA = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


def _metadata_problems(metadata: object) -> Iterator[Problem]:
    for name in metadata if isinstance(metadata, Mapping) else ():
        if name not in _KUBERNETES_METADATA:
            hint = nearest(str(name), _KUBERNETES_METADATA) or "labels and annotations take names of your own"
            yield Problem(f"metadata.{name}", f"unknown field; {hint}")


def _without(document: Any, places: Iterable[Sequence[str | int]]) -> Any:
    """A copy of plain values without the fields at `places`."""
    drop = {place[0]: [rest[1:] for rest in places if rest[0] == place[0]] for place in places}
    gone = {step for step, rests in drop.items() if () in [tuple(rest) for rest in rests]}
    if isinstance(document, Mapping):
        return {
            key: _without(value, drop[key]) if key in drop else value
            for key, value in document.items()
            if key not in gone
        }
    return [_without(item, drop[index]) if index in drop else item for index, item in enumerate(document)]


def _within(prefix: str, problem: Problem) -> Problem:
    if not prefix:
        return problem
    return Problem(f"{prefix}: {problem.path}" if problem.path else prefix, problem.message)


def _together(loaded: Sequence[tuple[Path, Model]]) -> Iterator[tuple[Path, Problem]]:
    names: dict[str, Path] = {}
    served: dict[str, str] = {}
    known = {model.name for _, model in loaded}
    for path, model in loaded:
        if model.name in names:
            message = f"{model.name} is also the name of a Model in {names[model.name]}; names must differ"
            yield path, Problem("metadata.name", message)
            continue
        names[model.name] = path
        for name in (*model.served_names, *model.adapter_names):
            if name in served:
                message = f"{model.name} answers to {name}, but so does {served[name]}; names must differ"
                yield path, Problem("spec.model", message)
            served.setdefault(name, model.name)
        for name in model.spec.fallback:
            if name not in known:
                hint = nearest(name, known - {model.name}) or "give its file as well, or remove it"
                yield path, Problem("spec.fallback", f"there is no Model {name}; {hint}")
        if model.spec.model.scheme == "pvc":
            message = "pvc:// weights exist only in a cluster; use file:///path here"
            yield path, Problem("spec.model.uri", message)


def _files_error(failures: Sequence[tuple[Path, Problem]]) -> ModelFileError:
    files = list(dict.fromkeys(path for path, _ in failures))
    if len(files) == 1:
        return ModelFileError(str(files[0]), [problem for _, problem in failures])
    return ModelFileError("Model files", [_within(str(path), problem) for path, problem in failures])


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
