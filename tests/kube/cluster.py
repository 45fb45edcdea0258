"""A cluster as tests see it: everything goes over the API, so that the server may be the stand-in or a real one."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kubernetes
import pytest
import urllib3
import yaml

from tests.kube.resources import Manifest
from tests.kube.server import KubeServer

MANAGER = "fairlead-tests"
SECONDS = 20.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ApiError(Exception):
    """An answer of failure; `status` is its body."""

    def __init__(self, code: int, status: Manifest) -> None:
        super().__init__(f"{code} {status.get('reason', '')}: {status.get('message', '')}")
        self.code = code
        self.status = status


def kubectl_command() -> str:
    """Where the real kubectl is. Skips the test where there is none."""
    return shutil.which("kubectl") or pytest.skip("there is no kubectl on this machine")


class KubeCluster:
    """One namespace of a cluster, and what belongs to no namespace.

    Kinds are given as they stand in paths: `v1/pods`, `apps/v1/deployments`, `fairlead.dev/v1alpha1/models`.
    """

    def __init__(
        self, client: kubernetes.client.ApiClient, kubeconfig: Path, namespace: str, *, server: KubeServer | None = None
    ) -> None:
        self.client = client
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.server = server
        """The stand-in; None where the cluster is a real one."""
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def apply(
        self, document: Manifest | str, *, manager: str = MANAGER, force: bool = True, subresource: str = ""
    ) -> list[Manifest]:
        """Apply one object, or the YAML of several, on the server's side; returns what is stored."""
        manifests = list(yaml.safe_load_all(document)) if isinstance(document, str) else [document]
        query = {"fieldManager": manager, "force": str(force).lower()}
        return [
            self.call("PATCH", self._place(manifest, subresource), manifest, query=query, content_type=_APPLY)
            for manifest in manifests
            if manifest
        ]

    def create(self, manifest: Manifest) -> Manifest:
        kind = self._kind(manifest)
        return self.call("POST", self.path(kind), manifest)

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object as it is, None when there is none of that name."""
        try:
            return self.call("GET", self.path(kind, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: str, selector: str = "") -> list[Manifest]:
        items: list[Manifest] = self.call("GET", self.path(kind), query={"labelSelector": selector})["items"]
        return items

    def patch(self, kind: str, name: str, patch: Manifest, *, subresource: str = "") -> Manifest:
        """A merge patch."""
        return self.call("PATCH", self.path(kind, name, subresource), patch, content_type=_MERGE)

    def delete(self, kind: str, name: str, **options: Any) -> None:
        """Delete an object; `options` are those of DeleteOptions."""
        self.call("DELETE", self.path(kind, name), options or None)

    def wait_until(
        self, kind: str, name: str, holds: Callable[[Manifest | None], bool], *, seconds: float = SECONDS
    ) -> Manifest | None:
        """The object in the first state in which `holds` is true of it; it is asked again at every change.

        `holds` is given None while there is no such object. Fails after `seconds`, with the last state.
        """
        deadline = time.monotonic() + seconds
        last: Manifest | None = None
        for last in self._states(kind, name, deadline):
            if holds(last):
                return last
        shown = "there is none" if last is None else yaml.safe_dump({**last, "metadata": last["metadata"]["name"]})
        raise AssertionError(f"{kind} {name} did not become so in {seconds} s; at the end:\n{shown}")

    def wait_gone(self, kind: str, name: str, *, seconds: float = SECONDS) -> None:
        """Returns when there is no such object."""
        self.wait_until(kind, name, lambda found: found is None, seconds=seconds)

    def kubectl(self, *arguments: str, text: str = "", seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl in this namespace with `text` as its input. Skips the test where there is none."""
        cache = self.kubeconfig.parent / "kubectl-cache"
        return subprocess.run(
            [kubectl_command(), "--cache-dir", str(cache), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )

    def path(self, kind: str, name: str = "", subresource: str = "") -> str:
        """Where an object is, or all of a kind for an empty name."""
        version, _, plural = kind.rpartition("/")
        _, namespaced = self._known(version, plural)
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        within = f"/namespaces/{self.namespace}" if namespaced else ""
        return "/".join(filter(None, (f"{root}{within}/{plural}", name, subresource)))

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        """One request. Raises ApiError."""
        response = self._send(method, path, body, query or {}, content_type)
        answer: Manifest = json.loads(response.read())
        if response.status >= 400:
            raise ApiError(response.status, answer)
        return answer

    def _send(
        self, method: str, path: str, body: Any, query: Mapping[str, str], content_type: str, seconds: float = SECONDS
    ) -> urllib3.BaseHTTPResponse:
        wanted = {name: value for name, value in query.items() if value}
        headers = {"Accept": "application/json", "Content-Type": content_type}
        method, url, headers, *_ = self.client.param_serialize(
            method, f"{path}?{urlencode(wanted)}", header_params=headers, auth_settings=["BearerToken"]
        )
        payload = None if body is None else json.dumps(body).encode()
        pool: urllib3.PoolManager = self.client.rest_client.pool_manager
        return pool.request(method, url, body=payload, headers=headers, preload_content=False, timeout=seconds)

    def _states(self, kind: str, name: str, deadline: float) -> Iterator[Manifest | None]:
        """The object now, and after every change until the deadline. A watch that breaks is begun anew."""
        selector = {"fieldSelector": f"metadata.name={name}"}
        while (left := deadline - time.monotonic()) > 0:
            listed = self.call("GET", self.path(kind), query=selector)
            yield next(iter(listed["items"]), None)
            query = {
                **selector,
                "watch": "true",
                "resourceVersion": listed["metadata"]["resourceVersion"],
                "timeoutSeconds": str(max(1, int(left))),
            }
            for event in self._events(kind, query, left):
                if event["type"] == "ERROR":
                    break
                yield None if event["type"] == "DELETED" else event["object"]

    def _events(self, kind: str, query: Mapping[str, str], seconds: float) -> Iterator[Manifest]:
        rest = b""
        response = self._send("GET", self.path(kind), None, query, "application/json", seconds)
        try:
            for piece in response.stream(None):
                *lines, rest = (rest + piece).split(b"\n")
                yield from map(json.loads, lines)
        except urllib3.exceptions.HTTPError:
            return
        finally:
            response.close()

    def _place(self, manifest: Manifest, subresource: str) -> str:
        return self.path(self._kind(manifest), manifest["metadata"]["name"], subresource)

    def _kind(self, manifest: Manifest) -> str:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        for found in self.call("GET", root)["resources"]:
            if found["kind"] == kind and "/" not in found["name"]:
                return f"{version}/{found['name']}"
        raise AssertionError(f"the cluster knows no {kind} of {version}")

    def _known(self, version: str, plural: str) -> tuple[str, bool]:
        if (version, plural) not in self._kinds:
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for found in self.call("GET", root)["resources"]:
                self._kinds[version, found["name"]] = found["kind"], found["namespaced"]
        return self._kinds[version, plural]
