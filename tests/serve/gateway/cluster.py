"""The small cluster of a test: an API server with Models, the EndpointSlices of their engines, and Secrets."""

import base64
import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import urllib3

from fairlead_operator.crd import custom_resource_definition
from fairlead_serve.api_server import ApiServer, Client
from fairlead_serve.gateway.cluster_source import ClusterSource
from fairlead_serve.gateway.roster import Roster
from fairlead_serve.informer import Informer, Timing
from tests.kube.cluster import KubeCluster
from tests.kube.server import KubeServer
from tests.serve.gateway.upstream import Upstream

NAMESPACE = "models"
TINY = {"model": {"uri": "tiny://chat"}, "engine": {"device": "cpu"}}
_MODELS = "fairlead.dev/v1alpha1/models"
_SLICES = "discovery.k8s.io/v1/endpointslices"
_SECRETS = "v1/secrets"
# A server that is back is found at once, and no test waits for what it does not test.
_TIMING = Timing(first_pause=0.02, longest_pause=0.05)


class Cluster:
    """Changes what a gateway follows in one namespace, through the API as everybody does."""

    def __init__(self, server: KubeServer, namespace: str = NAMESPACE) -> None:
        self.server = server
        self._client = Client(server.url, urllib3.PoolManager(maxsize=8))
        self._kube = KubeCluster(server.client(), Path(), namespace, server=server)
        self._kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    def source(self, *namespaces: str) -> Callable[[Roster], ClusterSource]:
        """What makes the source of a gateway that follows these namespaces, or the one of the test."""
        make_informer = partial(Informer, self._client, timing=_TIMING)
        api = ApiServer(self._client)
        return lambda roster: ClusterSource(roster, api, make_informer, namespaces or (NAMESPACE,))

    def make_model(self, name: str, spec: dict[str, Any] | None = None) -> None:
        document = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Model", "metadata": {"name": name}}
        self._kube.create({**document, "spec": TINY if spec is None else spec})

    def change_model(self, name: str, **spec: Any) -> None:
        self._kube.patch(_MODELS, name, {"spec": spec})

    def say_of_model(self, name: str, **status: Any) -> None:
        """What the operator writes."""
        self._kube.patch(_MODELS, name, {"status": status}, subresource="status")

    def delete_model(self, name: str) -> None:
        self._kube.delete(_MODELS, name)

    def start_engine(self, model: str, engine: Upstream, **conditions: bool) -> None:
        """A pod of `model` is there, ready unless `conditions` say something else."""
        self._kube.create(engine_slice(model, "127.0.0.1", port=engine.port, conditions=conditions))

    def change_engine(self, model: str, engine: Upstream, **conditions: bool) -> None:
        changed = engine_slice(model, "127.0.0.1", port=engine.port, conditions=conditions)
        self._kube.patch(_SLICES, changed["metadata"]["name"], {"endpoints": changed["endpoints"]})

    def stop_engine(self, model: str, engine: Upstream) -> None:
        """The pod is gone."""
        self._kube.delete(_SLICES, f"{model}-{engine.port}")

    def write_secret(self, name: str, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        if self._kube.get(_SECRETS, name) is not None:
            self._kube.patch(_SECRETS, name, {"data": encoded})
        else:
            self._kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})


def install_models(server: KubeServer) -> None:
    """Let the API server know Models: those of this release, with a field that only a newer one has."""
    definition = copy.deepcopy(custom_resource_definition())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["future"] = {"type": "string"}
    KubeCluster(server.client(), Path(), "default", server=server).create(definition)


def engine_slice(
    model: str,
    *addresses: str,
    port: int = 8000,
    name: str = "",
    family: str = "IPv4",
    conditions: Mapping[str, bool | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """The EndpointSlice of some pods of `model`, as the controller writes it. They are ready unless said otherwise."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{model}-{port}",
            "labels": {"fairlead.dev/model": model, "kubernetes.io/service-name": model},
        },
        "addressType": family,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [one], "conditions": {"ready": True, **conditions}} for one in addresses],
    }
