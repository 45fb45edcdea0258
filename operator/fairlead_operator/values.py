"""From a Model and the installation's settings to the values of `charts/model`. Pure.

What makes a new pod and what does not is decided here and in the chart: an engine's Model file holds only what the
engine itself does, so that scaling, limits, fallbacks and routing never restart one. Defaults are left out of the
file: to spell one out changes nothing. The LoRA adapters of a Standalone engine come and go while it runs, and are in a
list of their own.
"""

import re
from typing import Any

import yaml

from fairlead_operator.errors import SpecError
from fairlead_operator.settings import OperatorSettings, ResourceProfile
from fairlead_serve.model import MAX_GPUS_OF_A_NODE, Model, Part

CLAIMS_DIRECTORY = "/var/lib/fairlead/claims"
"""Where the chart mounts the claims of pvc://, one folder each."""

# What of a specification the engine reads. Everything else is the gateway's, the chart's or the operator's.
_ENGINE_FIELDS = frozenset(
    {"model", "engine", "parallelism", "cluster", "lora", "startup_timeout_seconds", "drain_timeout_seconds"}
)
_OF_THE_POD = {"model": {"access_secret_ref"}, "engine": {"image", "env", "env_from"}}
# The gateway alone bounds requests, and its bounds may change while an engine runs. The widest that a Model may have.
_NO_LIMITS = {"maxOngoing": 100_000, "maxQueued": 100_000}
_OWN_MACHINE = ResourceProfile(gpus_per_node=MAX_GPUS_OF_A_NODE)


def chart_values(model: Model, settings: OperatorSettings) -> dict[str, Any]:
    """The values with which `charts/model`, released under the Model's name, renders its workload.

    Raises SpecError when the Model names a resource profile or needs an image that the settings do not have.
    """
    if model.spec.upstream is not None:
        return {"cluster": ""}
    profile = _profile(model, settings)
    pod_gpus = gpus_per_pod(model, profile)
    return {
        "model": engine_file(model),
        "adapters": adapters(model),
        "cluster": model.spec.cluster,
        "startupTimeoutSeconds": model.spec.startup_timeout_seconds,
        "drainTimeoutSeconds": model.spec.drain_timeout_seconds,
        **_size(model),
        **_container(model, settings),
        "resources": _resources(model, profile, pod_gpus),
        "sharedMemory": _shared_memory(model, pod_gpus),
        **_placement(model, profile),
        **_storage(model),
        **_surroundings(settings),
        "disruption": {"minAvailable": _min_available(model)},
        "ray": _ray(model, settings, pods=max(1, model.gpus_per_engine // pod_gpus) if pod_gpus else 1),
    }


def progress_deadline(model: Model) -> int:
    """Seconds without progress after which an update has failed: no fewer than an engine may take to start."""
    return max(model.spec.rollout_strategy.progress_deadline_seconds, model.spec.startup_timeout_seconds)


def engine_file(model: Model) -> str:
    """The Model file of one engine, as YAML. Two Models with the same file need no other engine."""
    spec = model.spec.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, include=set(_ENGINE_FIELDS), exclude=_OF_THE_POD
    )
    if not spec.get("engine"):
        spec.pop("engine", None)
    spec["model"]["uri"] = _mounted(model.spec.model.uri)
    if "lora" in spec and model.spec.cluster == "Standalone":
        spec["lora"].pop("adapters", None)
    for adapter in spec.get("lora", {}).get("adapters", ()):
        adapter["uri"] = _mounted(adapter["uri"])
    document = {
        "apiVersion": model.api_version,
        "kind": model.kind,
        "metadata": {"name": model.name},
        "spec": {**spec, "limits": _NO_LIMITS},
    }
    # libyaml's: a tenth of the time, for every Model that is rendered.
    return yaml.dump(document, Dumper=yaml.CSafeDumper, allow_unicode=True, width=120)


def adapters(model: Model) -> list[dict[str, str]]:
    """The adapters, as name and uri each, that the engines of a Standalone Model should have loaded."""
    lora = model.spec.lora
    if lora is None or model.spec.cluster != "Standalone":
        return []
    return [{"name": adapter.name, "uri": _mounted(adapter.uri)} for adapter in lora.adapters]


def gpus_per_pod(model: Model, profile: ResourceProfile | None) -> int:
    """GPUs of one pod: all of a Standalone engine's; with KubeRay as many of a stage's as a machine has."""
    given = model.spec.resources.gpus if model.spec.resources else None
    if model.gpus_per_engine == 0 or model.spec.cluster == "Standalone":
        return model.gpus_per_engine
    if given:
        return given
    most = (profile or _OWN_MACHINE).gpus_per_node
    tensor = model.spec.parallelism.tensor
    return next(count for count in range(min(most, tensor), 0, -1) if tensor % count == 0)


def _profile(model: Model, settings: OperatorSettings) -> ResourceProfile | None:
    name = model.spec.resource_profile
    if not name:
        return None
    profile = settings.resource_profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(settings.resource_profiles)) or "none"
        message = f"there is no profile {name} in the operator's settings (there: {known})"
        raise SpecError("UnknownResourceProfile", "spec.resourceProfile", message)
    if model.spec.cluster == "Standalone" and model.gpus_per_engine > profile.gpus_per_node:
        message = f"a machine of {name} has {profile.gpus_per_node} GPUs; more need cluster: KubeRay"
        raise SpecError("TooManyGPUs", "spec.parallelism.tensor", message)
    return profile


def _size(model: Model) -> dict[str, Any]:
    rollout = model.spec.rollout_strategy
    return {
        # Where there is scaling, the number is the autoscaler's.
        "replicas": None if model.spec.scaling is not None else _fixed_replicas(model),
        "suspend": model.spec.suspend,
        "rollout": {
            "maxSurge": rollout.max_surge,
            "maxUnavailable": rollout.max_unavailable,
            "progressDeadlineSeconds": progress_deadline(model),
        },
    }


def _fixed_replicas(model: Model) -> int:
    return 1 if model.spec.replicas is None else model.spec.replicas


def _container(model: Model, settings: OperatorSettings) -> dict[str, Any]:
    engine, source = model.engine, model.spec.model
    image = engine.image or (settings.images.cuda if engine.device == "cuda" else settings.images.cpu)
    if not image:
        message = f"missing, and the operator's settings have none for device {engine.device}; name one"
        raise SpecError("UnknownImage", "spec.engine.image", message)
    secret = _plain(source.access_secret_ref)
    return {
        "image": image,
        "imagePullPolicy": settings.images.pull_policy,
        "imagePullSecrets": [{"name": name} for name in settings.images.pull_secrets],
        "env": [_plain(variable) for variable in engine.env],
        "envFrom": [_plain(source) for source in engine.env_from],
        "internalToken": settings.internal_token.model_dump(),
        "hfToken": secret if source.scheme == "hf" else {},
        "s3Credentials": secret if source.scheme == "s3" else {},
        "runAsUser": settings.run_as_user,
    }


def _resources(model: Model, profile: ResourceProfile | None, gpus: int) -> dict[str, Any]:
    if model.spec.resources is not None:
        requests, limits = dict(model.spec.resources.requests), dict(model.spec.resources.limits)
    elif profile is not None:
        requests, limits = (
            {name: times(quantity, gpus or 1) for name, quantity in amounts.items()}
            for amounts in (profile.requests, profile.limits)
        )
    else:
        requests, limits = {}, {}
    # A device that was asked for under another name, such as a part of a GPU, is as good.
    if gpus and not any("/" in name for name in limits):
        limits[profile.gpu if profile else "nvidia.com/gpu"] = str(gpus)
    return {"requests": requests, "limits": limits}


def times(quantity: str, factor: int) -> str:
    """`factor` times a Kubernetes quantity without decimals: 2 times `64Gi` is `128Gi`."""
    number = re.match(r"[0-9]+", quantity)
    if number is None:
        raise ValueError(f"{quantity} does not begin with a number")
    return f"{int(number[0]) * factor}{quantity[number.end() :]}"


def _shared_memory(model: Model, gpus: int) -> str:
    # Ray's smallest object store is 80 MiB, and vLLM's queue between the processes of an engine 240 MiB; NCCL wants
    # some for every pair of devices. Only what is used counts.
    devices = gpus or model.spec.parallelism.tensor
    return "1Gi" if devices == 1 else f"{1 + devices}Gi"


def _placement(model: Model, profile: ResourceProfile | None) -> dict[str, Any]:
    template = model.spec.pod_template
    machine = profile or _OWN_MACHINE
    return {
        "podLabels": template.labels,
        "podAnnotations": template.annotations,
        "nodeSelector": {**machine.node_selector, **template.node_selector},
        "tolerations": [*machine.tolerations, *template.tolerations],
        "affinity": template.affinity,
        "runtimeClassName": template.runtime_class_name or machine.runtime_class_name,
        "priorityClassName": model.spec.priority_class_name,
    }


def _storage(model: Model) -> dict[str, Any]:
    uris = [model.spec.model.uri, *(adapter.uri for adapter in (model.spec.lora.adapters if model.spec.lora else ()))]
    claims = sorted({_claim(uri) for uri in uris if uri.startswith("pvc://")})
    cache = model.spec.cache
    return {"claims": claims, "cache": {"enabled": False} if cache is None else {"enabled": True, **_all_of(cache)}}


def _surroundings(settings: OperatorSettings) -> dict[str, Any]:
    return {
        "service": {"headless": settings.headless_services},
        "podMonitor": settings.monitoring.model_dump(),
        "networkPolicy": settings.access.model_dump(mode="json"),
    }


def _min_available(model: Model) -> int:
    # Where there may be one engine only, its node could never be drained.
    fewest = model.spec.scaling.min_replicas if model.spec.scaling else _fixed_replicas(model)
    return model.spec.disruption.min_available if fewest > 1 else 0


def _ray(model: Model, settings: OperatorSettings, *, pods: int) -> dict[str, Any]:
    if model.spec.cluster != "KubeRay":
        return {}
    ray, scaling = settings.ray, model.spec.scaling
    return {
        "version": ray.version,
        "podsPerEngine": pods,
        "scaling": {} if scaling is None else _all_of(scaling, without="cold_start"),
        "redis": {
            "address": ray.redis_address,
            "passwordSecret": ray.redis_password.model_dump() if ray.redis_password else {},
        },
        "head": {
            "resources": ray.head.model_dump(),
            "nodeSelector": ray.head_node_selector,
            "tolerations": [*ray.head_tolerations],
        },
    }


def _plain(part: Part | None) -> dict[str, Any]:
    return {} if part is None else part.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _all_of(part: Part, *, without: str = "") -> dict[str, Any]:
    return part.model_dump(mode="json", by_alias=True, exclude={without})


def _claim(uri: str) -> str:
    return uri.removeprefix("pvc://").partition("/")[0]


def _mounted(uri: str) -> str:
    """Where the engine finds `uri`: a claim is a directory for it."""
    return f"file://{CLAIMS_DIRECTORY}/{uri.removeprefix('pvc://')}" if uri.startswith("pvc://") else uri
