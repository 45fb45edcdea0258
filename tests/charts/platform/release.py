"""What `helm install` makes of the platform chart, taken apart for tests."""

from dataclasses import dataclass
from typing import Any

import helm_python
import yaml

from fairlead_operator.render import Manifest
from tests.charts.workload import ROOT

CHART = ROOT / "charts/fairlead"
NAMESPACE = "platform"
# The least that can be installed.
ANONYMOUS: dict[str, Any] = {"gateway": {"allowAnonymous": True}}
# Everything that comes from outside: several of each, with keys, a database and a Redis.
LARGE: dict[str, Any] = {
    "scope": "cluster",
    "imagePullSecrets": [{"name": "registry"}],
    "internalToken": {"existingSecret": "token", "key": "value"},
    "operator": {"replicas": 2, "settings": {"images": {"cuda": "registry/engine:1"}}, "priorityClassName": "high"},
    "gateway": {
        "replicas": 3,
        "keys": {"existingSecret": "keys"},
        "database": {"existingSecret": "database"},
        "limits": {"existingSecret": "redis", "key": "address"},
        "upstreamSecrets": ["openai"],
        "service": {"type": "LoadBalancer", "port": 8443, "annotations": {"a": "b"}},
        "env": [{"name": "PGSSLMODE", "value": "verify-full"}],
    },
}


@dataclass(frozen=True)
class Release:
    """The objects of one release, and what Helm prints."""

    manifests: list[Manifest]
    notes: str

    def __contains__(self, kind_and_name: tuple[str, str]) -> bool:
        return any(_place(manifest) == kind_and_name for manifest in self.manifests)

    def __getitem__(self, kind_and_name: tuple[str, str]) -> Manifest:
        (found,) = [manifest for manifest in self.manifests if _place(manifest) == kind_and_name]
        return found

    def of(self, kind: str) -> list[Manifest]:
        """All objects of a kind."""
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def pod(self, component: str) -> dict[str, Any]:
        """The pod template of `operator` or `gateway`."""
        (found,) = [
            manifest["spec"]["template"]
            for manifest in self.of("Deployment")
            if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == component
        ]
        return dict(found)

    def container(self, component: str) -> dict[str, Any]:
        (container,) = self.pod(component)["spec"]["containers"]
        return dict(container)

    def environment(self, component: str) -> dict[str, Any]:
        """The variables of a component: their values, or where they come from."""
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in self.container(component)["env"]}

    def settings(self, component: str) -> str:
        """The settings file of a component."""
        (found,) = [
            manifest["data"]
            for manifest in self.of("ConfigMap")
            if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == component
        ]
        return str(found[f"{component}.yaml"])


def _place(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def merged(*several: dict[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm lays them over each other."""
    result: dict[str, Any] = {}
    for values in several:
        for key, value in values.items():
            inner = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if inner else value
    return result


_CHART = helm_python.Chart.load(CHART)


def release(
    values: dict[str, Any] = ANONYMOUS, *, name: str = "fairlead", namespace: str = NAMESPACE, models: bool = False
) -> Release:
    """A release of the chart; `models`: with the CRD. Raises HelmRenderError and HelmValuesError."""
    rendered = _CHART.render(merged({"crds": {"install": models}}, values), name=name, namespace=namespace)
    files = [text for path, text in rendered.items() if path.endswith(".yaml")]
    manifests = [manifest for text in files for manifest in yaml.safe_load_all(text) if manifest]
    return Release(manifests, rendered["fairlead/templates/NOTES.txt"])
