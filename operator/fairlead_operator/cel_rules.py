"""What fields of a Model taken together must obey, in CEL, for the API server to check before anything is stored.

They say what `broken_rules` of the same part says in `fairlead_serve.model`, in as nearly the same words as can be
without values. Only the standard functions of CEL are used. Two kinds of rule are missing here on purpose: names that
occur twice in one list are refused by the list's type (map or set), and what needs vLLM's table of arguments or a look
at the cluster is told in the condition SpecValid.

Rules run after defaulting, so a field with a default is always there; any other may be absent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from fairlead_serve.model import (
    MAX_GPUS_OF_A_NODE,
    WITH_UPSTREAM,
    Adapter,
    Cache,
    EngineSpec,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    LabelKey,
    Metadata,
    Model,
    ModelSource,
    ModelSpec,
    Part,
    PodTemplate,
    Resources,
    RolloutStrategy,
    Scaling,
    Upstream,
)


@dataclass(frozen=True)
class Rule:
    """One entry of `x-kubernetes-validations`.

    `expression` is CEL over `self`, true where all is well; `message` says what to change; `place` is the field that is
    blamed, from where the rule stands (empty: the whole part).
    """

    expression: str
    message: str
    place: str = ""
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"] = (
        "FieldValueInvalid"
    )

    def extension(self) -> dict[str, str]:
        """The entry as the CRD has it."""
        place = {"fieldPath": self.place} if self.place else {}
        # FieldValueInvalid is what the API server takes where nothing is said.
        reason = {"reason": self.reason} if self.reason != "FieldValueInvalid" else {}
        return {"rule": self.expression, "message": self.message, **place, **reason}


_NO_EFFECT = "has no meaning with upstream, which starts no engine; remove it"
_OWN_WEIGHTS = "an upstream has its own weights; remove it (only name and aliases make sense here)"


def _uri_rules(schemes: Sequence[str], wanted: str) -> tuple[Rule, ...]:
    # The schema's pattern says the same and more, but no person reads a regular expression in an error.
    known = " || ".join(f"self.uri.startsWith('{scheme}')" for scheme in schemes)
    return (
        Rule(f"!has(self.uri) || self.uri == '' || {known}", f"expected {wanted}", ".uri"),
        Rule(
            "!has(self.uri) || !self.uri.matches('(^|/)[.][.](/|$)')",
            'a path must not contain ".."',
            ".uri",
        ),
        Rule(
            "!has(self.uri) || !self.uri.startsWith('hf://') || !self.uri.matches('[.][.]|--')",
            'the Hub allows no repository with ".." or "--" in its name',
            ".uri",
        ),
    )


_SOURCE = (
    *_uri_rules(
        ("hf://", "pvc://", "file:///", "s3://", "tiny://"),
        "hf://organisation/model, pvc://claim/path, file:///path, s3://bucket/prefix, tiny://chat or tiny://embed",
    ),
    Rule(
        "!has(self.uri) || self.uri == '' || self.uri.startsWith('hf://') || self.revision == 'main'",
        "only hf:// repositories have revisions; remove it",
        ".revision",
        "FieldValueForbidden",
    ),
    Rule(
        "!has(self.accessSecretRef) || !has(self.uri) || self.uri == '' || self.uri.startsWith('hf://')"
        " || self.uri.startsWith('s3://')",
        "only hf:// and s3:// take credentials; remove it",
        ".accessSecretRef",
        "FieldValueForbidden",
    ),
)
_ADAPTER = _uri_rules(
    ("hf://", "pvc://", "file:///", "s3://"),
    "hf://organisation/adapter, pvc://claim/path, file:///path or s3://bucket/prefix",
)
_ENV_VAR_SOURCE = (
    Rule(
        "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].exists_one(given, given)",
        "give exactly one of secretKeyRef, configMapKeyRef and fieldRef",
    ),
)
_ENV_VAR = (
    Rule("!has(self.value) || !has(self.valueFrom)", "value and valueFrom exclude each other; keep one"),
    Rule(
        "self.name != 'VLLM_API_KEY'",
        "the gateway holds the keys; make one with `fairlead key create`",
        ".name",
        "FieldValueForbidden",
    ),
)
_ENV_FROM_SOURCE = (
    Rule("has(self.configMapRef) != has(self.secretRef)", "give exactly one of configMapRef and secretRef"),
)
_ENGINE = (
    Rule(
        "self.device != 'cpu' || self.gpuMemoryUtilization == '0.90'",
        "is of GPUs; with device: cpu size the KV cache by args.kv_cache_memory_bytes",
        ".gpuMemoryUtilization",
        "FieldValueForbidden",
    ),
)
_SCALING = (Rule("self.minReplicas <= self.maxReplicas", "is above maxReplicas; lower it", ".minReplicas"),)
_ROLLOUT = (
    Rule(
        "self.maxSurge > 0 || self.maxUnavailable > 0",
        "maxSurge and maxUnavailable are both 0, so no engine could be replaced; set one to 1",
    ),
)
_OWN_CLAIM = "has(self.claimName) && self.claimName != ''"
_CACHE = (
    Rule(
        f"({_OWN_CLAIM}) || self.accessModes.exists(mode, mode != 'ReadOnlyMany')",
        "nobody could write the weights; add ReadWriteOnce or ReadWriteMany",
        ".accessModes",
    ),
    Rule(
        f"!({_OWN_CLAIM}) || self.deletionPolicy != 'Delete'",
        "a claim given by claimName is yours and never deleted; use Retain",
        ".deletionPolicy",
    ),
)
_PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_UPSTREAM = (
    Rule(
        "!self.url.matches('^https?://[^/]*@')",
        "must not hold a user name or a password; use apiKeySecretRef",
        ".url",
        "FieldValueForbidden",
    ),
    Rule(
        rf"self.url.matches(r'^https?://([^/]*@)?([^/\s:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:({_PORT})?)?(/|$)')",
        "expected http://host:port/v1 or https://host/v1",
        ".url",
    ),
)
_KEY = TypeAdapter(LabelKey).json_schema()


def _key_rules(*fields: str) -> Iterator[Rule]:
    # A structural schema says nothing of the keys of a map.
    for field in fields:
        yield Rule(
            f"!has(self.{field}) || self.{field}.all(key, key.size() <= {_KEY['maxLength']} &&"
            f" key.matches(r'{_KEY['pattern']}'))",
            "expected names with an optional prefix, such as example.com/team",
            f".{field}",
        )


_POD_TEMPLATE = (
    *_key_rules("nodeSelector", "labels", "annotations"),
    *(
        Rule(
            f"!has(self.{field}) || self.{field}.all(key, !key.startsWith('fairlead.dev/'))",
            "names that begin with fairlead.dev/ are the operator's; choose others",
            f".{field}",
            "FieldValueForbidden",
        )
        for field in ("labels", "annotations")
    ),
)


def _has_gpus(amounts: str) -> str:
    return f"has({amounts}) && 'nvidia.com/gpu' in {amounts}"


def _gpus(amounts: str) -> str:
    return f"{amounts}['nvidia.com/gpu']"


def _is_whole(amounts: str) -> str:
    # Eighteen digits always fit the integers of CEL.
    return f"(type({_gpus(amounts)}) == int || {_gpus(amounts)}.matches('^[0-9]{{1,18}}$'))"


_REQUESTS, _LIMITS = "self.requests", "self.limits"
_RESOURCES = (
    *_key_rules("requests", "limits"),
    *(
        Rule(
            f"!({_has_gpus(amounts)}) || {_is_whole(amounts)}",
            "GPUs come whole; give nvidia.com/gpu a whole number",
            place,
        )
        for amounts, place in ((_REQUESTS, ".requests"), (_LIMITS, ".limits"))
    ),
    Rule(
        f"!({_has_gpus(_REQUESTS)}) || !{_is_whole(_REQUESTS)} || ({_has_gpus(_LIMITS)} && {_is_whole(_LIMITS)}"
        f" && int({_gpus(_REQUESTS)}) == int({_gpus(_LIMITS)}))",
        "nvidia.com/gpu must equal the limit; Kubernetes refuses anything else",
        ".requests",
    ),
)


def _upstream_rules() -> Iterator[Rule]:
    yield Rule(
        "!has(self.upstream) || !has(self.engine)",
        "engine and upstream exclude each other; keep one",
        ".engine",
        "FieldValueForbidden",
    )
    for name in ("uri", "revision", "access_secret_ref"):
        place, default = _place(ModelSource, name)
        unchanged = _is_default(f"self.model{place}", default)
        yield Rule(f"!has(self.upstream) || {unchanged}", _OWN_WEIGHTS, f".model{place}", "FieldValueForbidden")
    for name in ModelSpec.model_fields:
        if name not in WITH_UPSTREAM:
            place, default = _place(ModelSpec, name)
            unchanged = _is_default(f"self{place}", default)
            yield Rule(f"!has(self.upstream) || {unchanged}", _NO_EFFECT, place, "FieldValueForbidden")


def _place(part: type[BaseModel], name: str) -> tuple[str, Any]:
    field = part.model_fields[name]
    return f".{field.alias}", field.get_default(call_default_factory=True)


def _is_default(path: str, default: Any) -> str:
    """CEL that is true while nothing but the default stands at `path`."""
    if default is None:
        return f"!has({path})"
    if default == "":
        return f"(!has({path}) || {path} == '')"
    if isinstance(default, BaseModel):
        fields = dict(_place(type(default), name) for name in type(default).model_fields)
        # A part that is empty by default (podTemplate) is never filled in: it is there only when it was given.
        if not any(fields.values()):
            return f"!has({path})"
        return " && ".join(_is_default(f"{path}{place}", value) for place, value in fields.items())
    return f"{path} == {_literal(default)}"


def _literal(value: bool | int | str) -> str:  # noqa: FBT001 - any scalar of a default
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


_MOST = "(has(self.scaling) ? self.scaling.maxReplicas : has(self.replicas) ? self.replicas : 1)"
_ON_CPU = "(has(self.engine) && self.engine.device == 'cpu')"
_KUBERAY = "self.cluster == 'KubeRay'"
_WANTED = "self.parallelism.tensor * self.parallelism.pipeline"
_POD = "self.resources.limits"
_POD_HAS_GPUS = f"(has(self.resources) && {_has_gpus(_POD)} && {_is_whole(_POD)})"

_SPEC = (
    *_upstream_rules(),
    Rule(
        "has(self.upstream) || (has(self.model.uri) && self.model.uri != '')",
        "missing; say where the weights are, such as hf://organisation/model",
        ".model.uri",
        "FieldValueRequired",
    ),
    Rule(
        "!has(self.cache) || !has(self.model.uri)"
        " || !(self.model.uri.startsWith('pvc://') || self.model.uri.startsWith('file://'))",
        "pvc:// and file:// weights are used where they are and never cached; remove it",
        ".cache",
        "FieldValueForbidden",
    ),
    Rule(
        "!has(self.replicas) || !has(self.scaling)",
        "replicas and scaling exclude each other; keep one",
        ".scaling",
        "FieldValueForbidden",
    ),
    Rule(
        "!has(self.resources) || !has(self.resourceProfile) || self.resourceProfile == ''",
        "resources and resourceProfile exclude each other; keep one",
        ".resources",
        "FieldValueForbidden",
    ),
    Rule(
        f"self.disruption.minAvailable <= 1 || self.disruption.minAvailable <= {_MOST}",
        "is above the engines there can be; lower it",
        ".disruption.minAvailable",
    ),
    Rule(
        "!has(self.scaling) || self.scaling.targetOngoingRequests <= self.limits.maxOngoing",
        "the gateway lets no more than limits.maxOngoing through; lower it",
        ".scaling.targetOngoingRequests",
    ),
    Rule(
        "!has(self.cache) || !('ReadWriteOncePod' in self.cache.accessModes)"
        f" || ({_MOST} <= 1 && self.rolloutStrategy.maxSurge == 0)",
        "ReadWriteOncePod lets one pod use the cache, and there may be more; use ReadWriteMany",
        ".cache.accessModes",
    ),
    Rule(
        f"self.parallelism.pipeline == 1 || {_KUBERAY}",
        "more than 1 spans machines and needs cluster: KubeRay",
        ".parallelism.pipeline",
    ),
    Rule(
        f"self.parallelism.tensor <= {MAX_GPUS_OF_A_NODE} || {_KUBERAY}",
        f"no machine has more than {MAX_GPUS_OF_A_NODE} GPUs; more need cluster: KubeRay",
        ".parallelism.tensor",
    ),
    Rule(
        f"self.parallelism.pipeline == 1 || !{_ON_CPU}",
        "more than 1 needs GPUs, and engine.device is cpu; set it to 1",
        ".parallelism.pipeline",
    ),
    Rule(
        f"!{_POD_HAS_GPUS} || !{_ON_CPU} || int({_gpus(_POD)}) == 0",
        "asks for GPUs, but engine.device is cpu; remove nvidia.com/gpu",
        ".resources",
    ),
    Rule(
        f"!{_POD_HAS_GPUS} || {_ON_CPU} || {_KUBERAY} || int({_gpus(_POD)}) == {_WANTED}",
        "the GPUs of the pod differ from those of its engine (tensor times pipeline); make them equal",
        ".resources",
    ),
    Rule(
        f"!{_POD_HAS_GPUS} || {_ON_CPU} || !({_KUBERAY})"
        f" || (int({_gpus(_POD)}) > 0 && ({_WANTED}) % int({_gpus(_POD)}) == 0)",
        "the GPUs of its pods cannot add up to those of an engine (tensor times pipeline)",
        ".resources",
    ),
)

_NAME = Metadata.model_json_schema()["properties"]["name"]
_SERVED_NAME = "(has(self.spec.model.name) && self.spec.model.name != '' ? self.spec.model.name : self.metadata.name)"
_ALIASES, _ADAPTERS = "self.spec.model.aliases", "self.spec.lora.adapters"
_TWICE = "among name, aliases and adapters; names must differ"
_MODEL = (
    Rule(
        f"self.metadata.name.size() <= {_NAME['maxLength']}",
        f"must be at most {_NAME['maxLength']} characters, which leaves room for suffixes",
        ".metadata.name",
    ),
    Rule(
        f"self.metadata.name.matches(r'{_NAME['pattern']}')",
        "expected lower-case letters, digits and hyphens, beginning with a letter and not ending in a hyphen",
        ".metadata.name",
    ),
    Rule(
        f"!has({_ALIASES}) || !({_SERVED_NAME} in {_ALIASES})",
        f"the name of the Model is given twice {_TWICE}",
        ".spec.model",
        "FieldValueDuplicate",
    ),
    Rule(
        f"!has(self.spec.lora) || !has({_ADAPTERS})"
        f" || {_ADAPTERS}.all(adapter, adapter.name != {_SERVED_NAME}"
        f" && (!has({_ALIASES}) || !(adapter.name in {_ALIASES})))",
        f"the name of an adapter is given twice {_TWICE}",
        ".spec.model",
        "FieldValueDuplicate",
    ),
    Rule(
        "!has(self.spec.fallback) || !(self.metadata.name in self.spec.fallback)",
        "a Model cannot be its own fallback; remove its name",
        ".spec.fallback",
        "FieldValueForbidden",
    ),
)

RULES: Mapping[type[Part], Sequence[Rule]] = MappingProxyType(
    {
        Model: _MODEL,
        ModelSpec: _SPEC,
        ModelSource: _SOURCE,
        EngineSpec: _ENGINE,
        EnvVar: _ENV_VAR,
        EnvVarSource: _ENV_VAR_SOURCE,
        EnvFromSource: _ENV_FROM_SOURCE,
        Resources: _RESOURCES,
        Scaling: _SCALING,
        RolloutStrategy: _ROLLOUT,
        Cache: _CACHE,
        Adapter: _ADAPTER,
        Upstream: _UPSTREAM,
        PodTemplate: _POD_TEMPLATE,
    }
)
"""The rules by the part they stand at."""
