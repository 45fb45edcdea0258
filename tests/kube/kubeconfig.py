"""Files for kubectl."""

import base64
from pathlib import Path

import yaml


def write(path: Path, url: str, *, namespace: str, token: str = "", authority: bytes = b"") -> Path:
    """A kubeconfig with one cluster, one user and one context."""
    cluster = {"server": url}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    user = {"token": token} if token else {}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": namespace}}],
        "current-context": "tests",
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    path.chmod(0o600)
    return path


def with_namespace(source: Path, path: Path, namespace: str) -> Path:
    """A copy of a kubeconfig whose current context is in `namespace`."""
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    current = document["current-context"]
    for context in document["contexts"]:
        if context["name"] == current:
            context["context"]["namespace"] = namespace
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    path.chmod(0o600)
    return path
