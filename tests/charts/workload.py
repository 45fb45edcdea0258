"""The workload of a Model as the operator renders it, taken apart for tests."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fairlead_operator.render import LoadedChart, Manifest, render, revision
from fairlead_operator.settings import OperatorSettings
from fairlead_operator.values import chart_values
from fairlead_serve.model import Model, load, parse

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/model"
CPU = {"device": "cpu"}
KUBERAY = {"cluster": "KubeRay"}

SETTINGS = OperatorSettings.model_validate(
    {
        "images": {"cuda": "registry/engine:1-cuda", "cpu": "registry/engine:1-cpu", "pullSecrets": ["registry"]},
        "resourceProfiles": {
            "nvidia-l4": {
                "gpusPerNode": 4,
                "requests": {"cpu": "4", "memory": "16Gi"},
                "limits": {"memory": "32Gi"},
                "nodeSelector": {"gpu": "l4"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            },
            "nvidia-h100": {"requests": {"cpu": "8", "memory": "64Gi"}, "runtimeClassName": "nvidia"},
        },
        "access": {"prometheus": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    }
)


@dataclass(frozen=True)
class Workload:
    """What is rendered for one Model."""

    manifests: list[Manifest]

    def __contains__(self, kind: str) -> bool:
        return any(manifest["kind"] == kind for manifest in self.manifests)

    def __getitem__(self, kind: str) -> Manifest:
        (found,) = [manifest for manifest in self.manifests if manifest["kind"] == kind]
        return found

    @property
    def kinds(self) -> list[str]:
        return [manifest["kind"] for manifest in self.manifests]

    @cached_property
    def pod(self) -> dict[str, Any]:
        """The template of the engines' pods."""
        if "Deployment" in self:
            return dict(self["Deployment"]["spec"]["template"])
        (group,) = self["RayService"]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        return dict(group["template"])

    @property
    def head(self) -> dict[str, Any]:
        """The template of the Ray cluster's head."""
        return dict(self["RayService"]["spec"]["rayClusterConfig"]["headGroupSpec"]["template"])

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.pod["spec"]["containers"]
        return dict(container)

    @property
    def environment(self) -> dict[str, Any]:
        """The variables of the engine: their values, or where they come from."""
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in self.container["env"]}

    @property
    def application(self) -> dict[str, Any]:
        """The Ray Serve application of a RayService."""
        (application,) = yaml.safe_load(self["RayService"]["spec"]["serveConfigV2"])["applications"]
        return dict(application)

    @property
    def revision(self) -> str:
        return revision(self.manifests)


def model(name: str = "m", /, **spec: Any) -> Model:
    """A Model on one GPU, with what is given in its spec (camelCase)."""
    document = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"model": {"uri": "hf://org/model"}, **spec},
    }
    return parse(document, source="test")


def samples() -> list[Model]:
    """The Models that the project shows."""
    return [sample for path in sorted((ROOT / "configs/models").glob("*.yaml")) for sample in load(path)]


_CHART = LoadedChart(CHART)


def workload(of: Model, settings: OperatorSettings = SETTINGS) -> Workload:
    """What the operator applies for a Model."""
    return Workload(render(_CHART, chart_values(of, settings), name=of.name, namespace="models"))


def by_hand(values: dict[str, Any], *, name: str = "m") -> Workload:
    """What `helm install` makes of values that somebody wrote. Raises RenderError."""
    return Workload(render(_CHART, values, name=name, namespace="models"))
