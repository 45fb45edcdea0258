"""Objects for the tests of the server."""

from typing import Any

from tests.kube.resources import Manifest


def config_map(name: str = "a", **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def container(**more: Any) -> Manifest:
    return {"name": "engine", "image": "registry/engine:1", **more}


def deployment(*containers: Manifest, **spec: Any) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "m", "labels": {"app": "m"}},
        "spec": {
            "selector": {"matchLabels": {"app": "m"}},
            "template": {
                "metadata": {"labels": {"app": "m"}},
                "spec": {"containers": list(containers) or [container()]},
            },
            **spec,
        },
    }
