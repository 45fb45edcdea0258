"""From a chart and its values to the objects that go to the API server.

In process, with the Helm SDK. Where its library cannot be loaded (it has builds for few platforms), the `helm` command
does the same, a hundred times slower. Deterministic: the same values give the same objects in the same order.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import helm_python
import yaml

from fairlead_operator.errors import RenderError

Manifest = dict[str, Any]
"""One object of the Kubernetes API, as plain values."""

# What a pod needs goes before it, and everything before what starts pods: a name that is taken is found by then.
_ORDER = (
    "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "Service", "PodDisruptionBudget",
    "PodMonitor", "Deployment", "RayService",
)  # fmt: skip
_COMMAND_SECONDS = 60
_SCHEMA = "values.schema.json"


class Chart(Protocol):
    """A chart that can be rendered."""

    def manifests(self, values: Mapping[str, Any], *, name: str, namespace: str) -> list[Manifest]:
        """The objects of a release called `name`, in no certain order. Raises RenderError."""


class LoadedChart:
    """A chart in memory, rendered by the Helm SDK. May be shared between threads."""

    def __init__(self, path: Path, *, checks_values: bool = True) -> None:
        """`checks_values`: hold them against the chart's schema at every render, which is half of its time.

        Raises RenderError when `path` holds no chart, and HelmLibraryError when there is no Helm to load it.
        """
        try:
            if checks_values:
                self._chart = helm_python.Chart.load(path)
            else:
                with tempfile.TemporaryDirectory() as directory:
                    bare = shutil.copytree(path, Path(directory) / path.name, ignore=lambda *_: {_SCHEMA})
                    self._chart = helm_python.Chart.load(bare)
        except (helm_python.HelmChartLoadError, OSError) as error:
            raise RenderError(f"{path} holds no chart: {getattr(error, 'detail', error)}") from error

    def manifests(self, values: Mapping[str, Any], *, name: str, namespace: str) -> list[Manifest]:
        try:
            rendered = self._chart.render(dict(values), name=name, namespace=namespace)
            # Helm's own parser: what a word or a number is in YAML, not all parsers agree upon.
            texts = [text for path, text in rendered.items() if path.endswith(".yaml") and text.strip()]
            return [helm_python.values_from_yaml(text) for text in texts]
        except helm_python.HelmError as error:
            raise RenderError(_sentence(error.detail)) from error


class ChartByCommand:
    """A chart on disk, rendered by the `helm` command."""

    def __init__(self, path: Path, command: str) -> None:
        self._path = path
        self._command = command

    def manifests(self, values: Mapping[str, Any], *, name: str, namespace: str) -> list[Manifest]:
        command = [self._command, "template", name, str(self._path), "--namespace", namespace, "--values", "-"]
        try:
            done = subprocess.run(  # noqa: S603 - no shell, and the values go through standard input
                command, input=json.dumps(values), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
            )
        except subprocess.CalledProcessError as error:
            raise RenderError(_sentence(error.stderr)) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RenderError(f"the helm command did not render {self._path}: {error}") from error
        return [document for document in yaml.safe_load_all(done.stdout) if document]


def open_chart(path: Path) -> Chart:
    """The chart at `path`, rendered in process where that is possible, for values that are right by their making.

    Raises RenderError when there is no chart, or neither the library of the Helm SDK nor the `helm` command.
    """
    try:
        return LoadedChart(path, checks_values=False)
    except helm_python.HelmLibraryError as error:
        command = shutil.which("helm")
        if command is None:
            message = f"the Helm SDK cannot be loaded ({error.detail}), and there is no helm command; install either"
            raise RenderError(message) from error
        return ChartByCommand(path, command)


def render(chart: Chart, values: Mapping[str, Any], *, name: str, namespace: str) -> list[Manifest]:
    """The objects of a release called `name`, those first that others need. Raises RenderError."""
    return sorted(chart.manifests(values, name=name, namespace=namespace), key=_place)


def revision(manifests: list[Manifest]) -> str:
    """Sixteen hexadecimal digits that change when the engines have to; the same for a Model without engines.

    The hash of the pod templates and, with KubeRay, of the application that runs in the pods, without its scaling.
    """
    parts = [part for manifest in manifests for part in _engine_parts(manifest)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _engine_parts(manifest: Manifest) -> list[Any]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Deployment":
        return [spec["template"]]
    if manifest["kind"] == "RayService":
        cluster = spec["rayClusterConfig"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        applications = yaml.safe_load(spec["serveConfigV2"])["applications"]
        return [[group["template"] for group in groups], [application["args"] for application in applications]]
    return []


def _place(manifest: Manifest) -> tuple[int, str, str]:
    kind = manifest["kind"]
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER), kind, manifest["metadata"]["name"]


def _sentence(detail: str) -> str:
    """What a chart says by `fail`, without the template and the line it says it in; else all of `detail`."""
    said = re.search(r"execution error at \([^)]*\): (.*)", detail)
    return said[1].strip() if said else detail.strip()
