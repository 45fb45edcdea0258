"""Models for tests: good ones, and one for everything that can be wrong."""

from pathlib import Path
from typing import Any

import yaml

HF = {"uri": "hf://org/model"}
UPSTREAM = {"url": "http://h/v1"}
GPU = "nvidia.com/gpu"
FILES = sorted((Path(__file__).parents[2] / "configs/models").glob("*.yaml"))


def model(name: str = "m", /, **spec: Any) -> dict[str, Any]:
    """A Model with what is given in its spec; good as long as that is."""
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"model": HF, **spec},
    }


def upstream(**spec: Any) -> dict[str, Any]:
    """A Model with an upstream."""
    return model(**{"model": {}, "upstream": UPSTREAM, **spec})


def files() -> dict[str, dict[str, Any]]:
    """The samples of the project, by name."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    (model("a" * 41), "metadata.name", "must be at most 40 characters"),
    (model("7b"), "metadata.name", "expected lower-case letters, digits and hyphens, beginning with a letter"),
    (model(model={**HF, "aliases": ["m"]}), "spec.model", "the name of the Model is given twice"),
    (model(model={**HF, "name": "x", "aliases": ["x"]}), "spec.model", "the name of the Model is given twice"),
    (
        model(lora={"adapters": [{"name": "m", "uri": "hf://a/b"}]}),
        "spec.model",
        "the name of an adapter is given twice",
    ),
    (
        model(model={**HF, "aliases": ["a"]}, lora={"adapters": [{"name": "a", "uri": "hf://a/b"}]}),
        "spec.model",
        "the name of an adapter is given twice",
    ),
    (model(fallback=["m"]), "spec.fallback", "a Model cannot be its own fallback"),
    (model(fallback=["a", "a"]), "spec.fallback[1]", "Duplicate value"),
    (model(model={**HF, "aliases": ["a", "a"]}), "spec.model.aliases[1]", "Duplicate value"),
    (model(lora={"adapters": [{"name": "a", "uri": "hf://a/b"}] * 2}), "spec.lora.adapters[1]", "Duplicate value"),
    (model(engine={"env": [{"name": "A", "value": "x"}] * 2}), "spec.engine.env[1]", "Duplicate value"),
    (model(model={}), "spec.model.uri", "missing; say where the weights are"),
    (model(model={"uri": "gs://b/m"}), "spec.model.uri", "expected hf://organisation/model, pvc://claim/path"),
    (model(model={"uri": "pvc://claim/../other"}), "spec.model.uri", 'a path must not contain ".."'),
    (model(model={"uri": "hf://a/b--c"}), "spec.model.uri", "the Hub allows no repository"),
    (
        model(model={"uri": "s3://b/m", "revision": "v2"}),
        "spec.model.revision",
        "only hf:// repositories have revisions",
    ),
    (
        model(model={"uri": "tiny://chat", "accessSecretRef": {"name": "a", "key": "b"}}),
        "spec.model.accessSecretRef",
        "only hf:// and s3:// take credentials",
    ),
    (model(model={"uri": "pvc://claim/m"}, cache={}), "spec.cache", "are used where they are and never cached"),
    (model(model={"uri": "file:///m"}, cache={}), "spec.cache", "are used where they are and never cached"),
    (
        model(lora={"adapters": [{"name": "a", "uri": "tiny://chat"}]}),
        "spec.lora.adapters[0].uri",
        "expected hf://organisation/adapter",
    ),
    (model(lora={"adapters": [{"name": "a", "uri": "s3://b/../c"}]}), "spec.lora.adapters[0].uri", "a path must not"),
    (model(lora={"adapters": [{"name": "a", "uri": "hf://a/b--c"}]}), "spec.lora.adapters[0].uri", "the Hub allows"),
    (
        model(engine={"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "y"}}}]}),
        "spec.engine.env[0]",
        "value and valueFrom exclude each other",
    ),
    (
        model(engine={"env": [{"name": "A", "valueFrom": {}}]}),
        "spec.engine.env[0].valueFrom",
        "give exactly one of secretKeyRef, configMapKeyRef and fieldRef",
    ),
    (
        model(engine={"env": [{"name": "VLLM_API_KEY", "value": "x"}]}),
        "spec.engine.env[0].name",
        "the gateway holds the keys",
    ),
    (model(engine={"envFrom": [{"prefix": "A_"}]}), "spec.engine.envFrom[0]", "give exactly one of configMapRef"),
    (
        model(engine={"device": "cpu", "gpuMemoryUtilization": "0.5"}),
        "spec.engine.gpuMemoryUtilization",
        "is of GPUs; with device: cpu",
    ),
    (model(replicas=1, scaling={"maxReplicas": 2}), "spec.scaling", "replicas and scaling exclude each other"),
    (model(scaling={"minReplicas": 2, "maxReplicas": 1}), "spec.scaling.minReplicas", "is above maxReplicas"),
    (
        model(scaling={"maxReplicas": 2, "targetOngoingRequests": 300}),
        "spec.scaling.targetOngoingRequests",
        "the gateway lets no more than limits.maxOngoing through",
    ),
    (model(resources={}, resourceProfile="l4"), "spec.resources", "resources and resourceProfile exclude each other"),
    (model(rolloutStrategy={"maxSurge": 0, "maxUnavailable": 0}), "spec.rolloutStrategy", "are both 0"),
    (model(disruption={"minAvailable": 2}), "spec.disruption.minAvailable", "is above the engines there can be"),
    (
        model(cache={"accessModes": ["ReadWriteOncePod"]}, replicas=2),
        "spec.cache.accessModes",
        "ReadWriteOncePod lets one pod use the cache",
    ),
    (
        model(cache={"accessModes": ["ReadWriteOncePod"]}, rolloutStrategy={"maxSurge": 1}),
        "spec.cache.accessModes",
        "ReadWriteOncePod lets one pod use the cache",
    ),
    (model(cache={"accessModes": ["ReadOnlyMany"]}), "spec.cache.accessModes", "nobody could write the weights"),
    (
        model(cache={"claimName": "mine", "deletionPolicy": "Delete"}),
        "spec.cache.deletionPolicy",
        "a claim given by claimName is yours",
    ),
    (model(parallelism={"pipeline": 2}), "spec.parallelism.pipeline", "needs cluster: KubeRay"),
    (model(parallelism={"tensor": 32}), "spec.parallelism.tensor", "no machine has more than 16 GPUs"),
    (
        model(parallelism={"pipeline": 2}, cluster="KubeRay", engine={"device": "cpu"}),
        "spec.parallelism.pipeline",
        "more than 1 needs GPUs",
    ),
    (
        model(engine={"device": "cpu"}, resources={"limits": {GPU: 1}}),
        "spec.resources",
        "asks for GPUs, but engine.device is cpu",
    ),
    (model(resources={"limits": {GPU: 2}}), "spec.resources", "the GPUs of the pod differ"),
    (model(resources={"limits": {GPU: "2"}}), "spec.resources", "the GPUs of the pod differ"),
    (model(resources={"limits": {GPU: 0}}), "spec.resources", "the GPUs of the pod differ"),
    (
        model(resources={"limits": {GPU: 3}}, parallelism={"tensor": 4}, cluster="KubeRay"),
        "spec.resources",
        "the GPUs of its pods cannot add up",
    ),
    (model(resources={"limits": {GPU: 0}}, cluster="KubeRay"), "spec.resources", "the GPUs of its pods cannot add up"),
    (model(resources={"limits": {GPU: "500m"}}), "spec.resources.limits", "GPUs come whole"),
    (
        model(resources={"requests": {GPU: "500m"}, "limits": {GPU: 1}}),
        "spec.resources.requests",
        "GPUs come whole",
    ),
    (model(resources={"requests": {GPU: 1}}), "spec.resources.requests", "nvidia.com/gpu must equal the limit"),
    (
        model(resources={"requests": {GPU: 2}, "limits": {GPU: 1}}),
        "spec.resources.requests",
        "nvidia.com/gpu must equal the limit",
    ),
    (model(resources={"requests": {"a b": 1}}), "spec.resources.requests", "expected names with an optional prefix"),
    (model(resources={"limits": {"a b": 1}}), "spec.resources.limits", "expected names with an optional prefix"),
    (
        model(podTemplate={"nodeSelector": {"a b": "c"}}),
        "spec.podTemplate.nodeSelector",
        "expected names with an optional prefix",
    ),
    (model(podTemplate={"labels": {"-": "x"}}), "spec.podTemplate.labels", "expected names with an optional prefix"),
    (
        model(podTemplate={"annotations": {"a" * 318: "x"}}),
        "spec.podTemplate.annotations",
        "expected names with an optional prefix",
    ),
    (
        model(podTemplate={"labels": {"fairlead.dev/x": "y"}}),
        "spec.podTemplate.labels",
        "fairlead.dev/ are the operator's",
    ),
    (
        model(podTemplate={"annotations": {"fairlead.dev/x": "y"}}),
        "spec.podTemplate.annotations",
        "fairlead.dev/ are the operator's",
    ),
    (upstream(model=HF), "spec.model.uri", "an upstream has its own weights"),
    (upstream(model={"revision": "v2"}), "spec.model.revision", "an upstream has its own weights"),
    (
        upstream(model={"accessSecretRef": {"name": "a", "key": "b"}}),
        "spec.model.accessSecretRef",
        "an upstream has its own weights",
    ),
    (upstream(engine={}), "spec.engine", "engine and upstream exclude each other"),
    *(
        (upstream(**{field: value}), f"spec.{field}", "has no meaning with upstream")
        for field, value in (
            ("resourceProfile", "l4"),
            ("resources", {}),
            ("parallelism", {"tensor": 2}),
            ("cluster", "KubeRay"),
            ("replicas", 1),
            ("scaling", {"maxReplicas": 1}),
            ("routing", {"strategy": "LeastLoad"}),
            ("rolloutStrategy", {"onFailure": "Hold"}),
            ("cache", {}),
            ("lora", {}),
            ("startupTimeoutSeconds", 60),
            ("drainTimeoutSeconds", 60),
            ("priorityClassName", "high"),
            ("disruption", {"minAvailable": 0}),
            ("podTemplate", {"runtimeClassName": "nvidia"}),
        )
    ),
    *(
        (upstream(upstream={"url": url}), "spec.upstream.url", "expected http://host:port/v1")
        for url in ("http://:80/v1", "http://h:x/v1", "http://h:0/v1", "http://h:65536/v1", "http://[::1/v1")
    ),
    *(
        (upstream(upstream={"url": url}), "spec.upstream.url", "must not hold a user name or a password")
        for url in ("http://me@h/v1", "https://me:word@h:443/v1")
    ),
]
"""A Model, the place that is blamed, and what is said."""
