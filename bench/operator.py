"""The operator, with many Models applied at once: how soon each has its workload, and what it costs.

The real command works, as in a pod, on the small API server of the tests, which runs in a process of its own and stands
in for the cluster's, controllers and kubelets included; what is measured is the operator, and the time in which the
server keeps it waiting. Where that is most of the time, the server's own cost tells.
"""

import asyncio
import base64
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import yaml

from bench.errors import BenchError
from bench.figures import percentile
from bench.processes import cpu_seconds, running
from bench.progress import Progress
from fairlead_operator.render import LoadedChart, Manifest, render
from fairlead_operator.settings import Images, OperatorSettings
from fairlead_operator.values import chart_values
from fairlead_serve.api_server import ApiServer, Client, connect
from fairlead_serve.informer import Informer
from fairlead_serve.model import parse

MODELS = 500
_ROOT = Path(__file__).parents[1]
_CHART = _ROOT / "charts" / "model"
_NAMESPACE = "bench"
_PATH = f"/apis/fairlead.dev/v1alpha1/namespaces/{_NAMESPACE}/models"
_SECONDS = 120
_REST_SECONDS = 20
_RENDERS = 200
_SPEC: dict[str, Any] = {"model": {"uri": "tiny://chat"}, "engine": {"device": "cpu"}, "replicas": 2}
# The lease is renewed whether there are Models or not.
_REQUESTS = re.compile(r'^fairlead_operator_api_requests_total\{(?![^}]*resource="leases").*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class OperatorResult:
    """Seconds from the apply of a Model to its Deployment (median, 99th percentile), and what it took.

    `cpu_ms`, `server_cpu_ms`: of the operator and of the API server, for each Model; `requests`: of the operator, for
    each Model; `rest_requests`: in `_REST_SECONDS` in which nothing happens; `memory_mb`, `own_memory_mb`: resident
    with all Models there, and what of it is no file's; `render_ms`: one Model's manifests.
    """

    models: int
    p50: float
    p99: float
    cpu_ms: float
    server_cpu_ms: float
    requests: float
    rest_requests: float
    memory_mb: float
    own_memory_mb: float
    render_ms: float

    def figures(self) -> dict[str, float]:
        """The numbers by the names of the JSON line."""
        return {
            "operator_models": self.models,
            "operator_apply_to_workload_s_p50": self.p50,
            "operator_apply_to_workload_s_p99": self.p99,
            "operator_cpu_ms_per_model": self.cpu_ms,
            "operator_api_server_cpu_ms_per_model": self.server_cpu_ms,
            "operator_requests_per_model": self.requests,
            "operator_rest_requests": self.rest_requests,
            "operator_memory_mb": self.memory_mb,
            "operator_own_memory_mb": self.own_memory_mb,
            "operator_render_ms": self.render_ms,
        }


async def measure(progress: Progress, *, models: int = MODELS) -> OperatorResult:
    """Apply `models` Models at once and watch. Raises BenchError when they do not all get their workload."""
    render_ms = _render_ms()
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as directory:
        kubeconfig, config = Path(directory) / "kubeconfig", Path(directory) / "operator.yaml"
        config.write_text(json.dumps(_settings()), encoding="utf-8")
        progress.say(f"operator: {models} Models at once")
        # With roles it has TLS too.
        server = [sys.executable, "-m", "tests.kube", "--kubeconfig", str(kubeconfig), "--simulate", "--rbac"]
        operator = [sys.executable, "-m", "bench.pod", directory, "run", "--config", str(config)]
        log = Path(directory) / "operator.log"
        async with running("API server", server, ready="listening at ", seconds=_SECONDS) as stand_in:
            client = connect(kubeconfig)
            _prepare(ApiServer(client))
            environment = {**os.environ, "FAIRLEAD_INTERNAL_TOKEN": "bench", **_service_account(kubeconfig)}
            async with running(
                "operator", operator, ready=None, seconds=_SECONDS, environment=environment, output=log
            ) as process:
                pids = process.pid, stand_in.pid
                return await asyncio.to_thread(_measure, client, pids, log, models, render_ms, progress)


def _measure(
    client: Client, pids: tuple[int, int], log: Path, models: int, render_ms: float, progress: Progress
) -> OperatorResult:
    """`pids`: of the operator and of the API server."""
    url, api, pid = _health(log), ApiServer(client), pids[0]
    names = [f"model-{number}" for number in range(models)]
    asked = _requests(url)
    with _deployments(client, models) as seen:
        cpu = [cpu_seconds(one) for one in pids]
        applied = {}
        for name in names:
            applied[name] = time.monotonic()
            _create(api, _PATH, _model(name))
        if not seen.all.wait(_SECONDS):
            raise BenchError(f"only {len(seen.at)} of {models} Models have a workload after {_SECONDS} s")
        waits = [seen.at[name] - applied[name] for name in names]
    _settle(url)
    cpu = [cpu_seconds(one) - before for one, before in zip(pids, cpu, strict=True)]
    progress.say(f"operator: {_REST_SECONDS} s at rest")
    before = _requests(url)
    time.sleep(_REST_SECONDS)
    return OperatorResult(
        models=models,
        p50=percentile(waits, 0.5),
        p99=percentile(waits, 0.99),
        cpu_ms=1000 * cpu[0] / models,
        server_cpu_ms=1000 * cpu[1] / models,
        requests=(before - asked) / models,
        rest_requests=_requests(url) - before,
        memory_mb=psutil.Process(pid).memory_info().rss / 1e6,
        own_memory_mb=psutil.Process(pid).memory_full_info().uss / 1e6,
        render_ms=render_ms,
    )


class _Seen:
    """When each Deployment was first seen."""

    def __init__(self, count: int) -> None:
        self.at: dict[str, float] = {}
        self.all = threading.Event()
        self._count = count

    def __call__(self, old: Manifest | None, new: Manifest | None) -> None:
        if old is None and new is not None:
            self.at[new["metadata"]["name"]] = time.monotonic()
            if len(self.at) == self._count:
                self.all.set()


@contextmanager
def _deployments(client: Client, count: int) -> Iterator[_Seen]:
    seen = _Seen(count)
    path = f"/apis/apps/v1/namespaces/{_NAMESPACE}/deployments"
    informer = Informer(client, path, on_change=seen)
    informer.start()
    try:
        informer.wait_synced(_SECONDS)
        yield seen
    finally:
        informer.stop()


def _prepare(api: ApiServer) -> None:
    _create(api, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fairlead-internal-token"}}
    _create(api, f"/api/v1/namespaces/{_NAMESPACE}/secrets", {**secret, "stringData": {"token": "bench"}})


def _service_account(kubeconfig: Path) -> dict[str, str]:
    """Lay that of the kubeconfig's user beside it, and say what a pod is told of the API server."""
    document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    folder, address = kubeconfig.parent, urlsplit(cluster["server"])
    (folder / "token").write_text(user["token"], encoding="ascii")
    (folder / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    (folder / "namespace").write_text(_NAMESPACE, encoding="utf-8")
    return {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}


def _create(api: ApiServer, path: str, manifest: Manifest) -> None:
    answer = api.request("POST", path, body=manifest)
    if answer.status != 201:
        raise BenchError(f"the API server answers {answer.status}: {answer.sentence}")


def _settle(url: str) -> None:
    """Wait until the operator has asked for nothing during a second."""
    before, after = -1.0, _requests(url)
    while before != after:
        time.sleep(1)
        before, after = after, _requests(url)


def _requests(url: str) -> float:
    """Requests of the operator to the API server so far."""
    text = httpx.get(f"{url}/metrics").text
    return sum(float(value) for value in _REQUESTS.findall(text))


def _health(log: Path) -> str:
    """Where the operator's metrics are, by its log."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if found := re.search(r"https?://[\d.]+:\d+", log.read_text(encoding="utf-8")):
            return found[0]
        time.sleep(0.1)
    raise BenchError(f"the operator did not start:\n{log.read_text(encoding='utf-8')}")


def _render_ms() -> float:
    chart = LoadedChart(_CHART, checks_values=False)
    model, settings = parse(_model("model"), source="bench"), OperatorSettings.model_validate(_settings())
    began = time.perf_counter()
    for _ in range(_RENDERS):
        render(chart, chart_values(model, settings), name=model.name, namespace=_NAMESPACE)
    return 1000 * (time.perf_counter() - began) / _RENDERS


def _settings() -> dict[str, Any]:
    images = Images(cpu="registry/engine:1").model_dump(include={"cpu"})
    return {"chart": str(_CHART), "images": images, "http": {"host": "127.0.0.1", "port": 0}}


def _model(name: str) -> Manifest:
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Model", "metadata": {"name": name}, "spec": _SPEC}
