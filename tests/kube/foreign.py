"""Custom kinds of others that the operator writes: Ray's and Prometheus's."""

import json
from pathlib import Path
from typing import Any

from tests.kube.resources import Manifest

_SCHEMAS = Path(__file__).parents[2].parent / "shared/crds"
_OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_KINDS = (
    ("ray.io", "v1", "RayService", "rayservices"),
    ("ray.io", "v1", "RayCluster", "rayclusters"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
)


def definitions() -> list[Manifest]:
    """Their CustomResourceDefinitions; a kind whose schema is not at hand takes anything."""
    return [definition(*kind) for kind in _KINDS]


def definition(group: str, version: str, kind: str, plural: str) -> Manifest:
    """One CustomResourceDefinition with a status of its own."""
    file = _SCHEMAS / f"{group}_{version}_{kind}.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else _OPEN
    served = {"name": version, "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{**served, "schema": {"openAPIV3Schema": schema}}],
        },
    }
