"""KubeRay's controllers of RayServices and RayClusters, after version 1.7 and as far as engines meet them.

A change of the cluster's template makes a second cluster with upgradeStrategy NewCluster, and nothing at all with None
until the RayCluster is deleted. A change of only `replicas` never reaches a RayCluster that is there: KubeRay leaves it
to whoever scales that. A change of serveConfigV2 is made in place.
"""

import copy
import hashlib
import json
from functools import partial
from typing import Any

import yaml

from fairlead_operator.render import Manifest
from tests.kube.simulation import pod_status
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, stamp
from tests.kube.simulation.objects import (
    Key,
    annotations_of,
    controller_of,
    is_deleted,
    key_of,
    labels_of,
    letters,
    owner_reference,
    pod_from,
    uid_of,
    without_zeros,
)
from tests.kube.simulation.quota import FAILURE, Quotas, is_refused, makes_room
from tests.kube.simulation.script import Script
from tests.kube.simulation.work import Work

HASH = "ray.io/hash-without-replicas-and-workers-to-delete"
_DELETION_DELAY_SECONDS = 60
_HOW_MANY = ("replicas", "minReplicas", "maxReplicas", "scaleStrategy")
Status = dict[str, Any]


class RayServices:
    """Keeps, of each RayService, the cluster that serves and at most one that is to take its place."""

    def __init__(self, api: Api, work: Work, clock: Clock, script: Script) -> None:
        self._api = api
        self._work = work
        self._clock = clock
        self._script = script

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "rayservices" and event != "DELETED":
            self._work.add(self._sync, key_of(manifest))
        elif plural == "rayclusters":
            owner = controller_of(manifest)
            if owner is not None and owner["kind"] == "RayService":
                self._work.add(self._sync, (manifest["metadata"]["namespace"], owner["name"]))

    def look_again(self) -> None:
        """The script has changed."""
        for service in self._api.all("rayservices"):
            self._work.add(self._sync, key_of(service))

    def _sync(self, key: Key) -> None:
        service = self._api.get("rayservices", key)
        if service is None or is_deleted(service):
            return
        clusters = {one["metadata"]["name"]: one for one in self._api.owned("rayclusters", uid_of(service))}
        clusters = {name: one for name, one in clusters.items() if not is_deleted(one)}
        if service["spec"].get("suspend"):
            self._suspend(service, clusters)
            return
        status = service.get("status", {})
        active, pending = (
            clusters.get(status.get(name, {}).get("rayClusterName", ""))
            for name in ("activeServiceStatus", "pendingServiceStatus")
        )
        if self._needs_another(service, active, pending):
            self._drop(pending)
            pending = self._create(service)
        if pending is not None and self._serves(service, pending):
            if active is not None:
                delay = service["spec"].get("rayClusterDeletionDelaySeconds", _DELETION_DELAY_SECONDS)
                self._clock.call_later(delay, partial(self._work.add, self._delete, key_of(active)))
            active, pending = pending, None
        self._write(service, active, pending)

    # Clusters

    @staticmethod
    def _needs_another(service: Manifest, active: Manifest | None, pending: Manifest | None) -> bool:
        newest = pending or active
        if newest is None:
            return True
        upgrades = service["spec"].get("upgradeStrategy", {}).get("type", "NewCluster") != "None"
        return upgrades and annotations_of(newest).get(HASH) != cluster_hash(service)

    def _create(self, service: Manifest) -> Manifest:
        namespace, name = key_of(service)
        origin = {"ray.io/originated-from-cr-name": name, "ray.io/originated-from-crd": "RayService"}
        cluster = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {
                "name": f"{name}-{letters()}",
                "namespace": namespace,
                "labels": {**labels_of(service), **origin},
                "annotations": {**annotations_of(service), HASH: cluster_hash(service)},
                "ownerReferences": [owner_reference(service)],
            },
            "spec": _first_size(service["spec"]["rayClusterConfig"]),
        }
        return self._api.create("rayclusters", cluster)

    def _drop(self, cluster: Manifest | None) -> None:
        if cluster is not None:
            self._api.delete("rayclusters", cluster)

    def _delete(self, key: Key) -> None:
        self._drop(self._api.get("rayclusters", key))

    # The status

    def _suspend(self, service: Manifest, clusters: dict[str, Manifest]) -> None:
        for cluster in clusters.values():
            self._drop(cluster)
        conditions = {
            "Suspended": ("True", "SuspendComplete", "RayService is suspended"),
            "Suspending": ("False", "SuspendComplete", "RayService is suspended"),
            "Ready": ("False", "SuspendComplete", "RayService is suspended"),
            "UpgradeInProgress": ("False", "SuspendComplete", "RayService is suspended"),
        }
        self._write_status(service, {}, conditions)

    def _write(self, service: Manifest, active: Manifest | None, pending: Manifest | None) -> None:
        endpoints = 0 if active is None else len(self._engines(active))
        was_ready = any(
            one["type"] == "Ready" and one["reason"] in ("NonZeroServeEndpoints", "ZeroServeEndpoints")
            for one in service.get("status", {}).get("conditions", ())
        )
        if endpoints:
            ready = ("True", "NonZeroServeEndpoints", "Number of serve endpoints is greater than 0")
        elif was_ready:
            ready = ("False", "ZeroServeEndpoints", "Number of serve endpoints dropped to 0")
        else:
            ready = ("False", "Initializing", "RayService is initializing")
        if active and pending:
            upgrade = ("True", "BothActivePendingClustersExist", "Both active and pending Ray clusters exist")
        elif active:
            upgrade = ("False", "NoPendingCluster", "Active Ray cluster exists and no pending Ray cluster")
        else:
            upgrade = ("False", "Initializing", "RayService is initializing")
        status = {
            "serviceStatus": "Running" if endpoints else "NotRunning",
            "numServeEndpoints": endpoints,
            "activeServiceStatus": self._service_status(service, active),
            "pendingServiceStatus": self._service_status(service, pending),
        }
        self._write_status(service, status, {"Ready": ready, "UpgradeInProgress": upgrade})

    def _write_status(self, service: Manifest, status: Status, conditions: dict[str, tuple[str, str, str]]) -> None:
        generation = service["metadata"].get("generation", 1)
        known = {one["type"]: one for one in service.get("status", {}).get("conditions", ())}
        at = stamp(self._clock.now())
        written = [
            _condition(known.get(name), name, *words, generation=generation, at=at)
            for name, words in conditions.items()
        ]
        new = {"observedGeneration": generation, "conditions": written, **without_zeros(status)}
        old = {name: value for name, value in service.get("status", {}).items() if name != "lastUpdateTime"}
        if new != old:
            self._api.write_status("rayservices", service, {**new, "lastUpdateTime": at})

    def _service_status(self, service: Manifest, cluster: Manifest | None) -> Status:
        if cluster is None:
            return {}
        applications = self._applications(service, cluster)
        status = cluster.get("status", {})
        parts = {"applicationStatuses": applications, "rayClusterStatus": status}
        return {"rayClusterName": cluster["metadata"]["name"], **without_zeros(parts)}

    def _applications(self, service: Manifest, cluster: Manifest) -> Status:
        """Ray Serve's applications, as the dashboard of the cluster's head tells them; nothing while it is silent."""
        if not self._pods(cluster, "head"):
            return {}
        status, message = self._script.application_of(service) or ("RUNNING", "")
        if not self._engines(cluster) and status == "RUNNING":
            status = "DEPLOYING"
        health = {"RUNNING": "HEALTHY", "DEPLOYING": "UPDATING"}.get(status, "UNHEALTHY")
        config = yaml.safe_load(service["spec"].get("serveConfigV2", "")) or {}
        return {
            application["name"]: {
                "status": status,
                "message": message,
                "serveDeploymentStatuses": {
                    deployment["name"]: {"status": health, "message": message}
                    for deployment in application.get("deployments", ())
                },
            }
            for application in config.get("applications", ())
        }

    def _serves(self, service: Manifest, cluster: Manifest) -> bool:
        applications = self._applications(service, cluster)
        return bool(applications) and all(one["status"] == "RUNNING" for one in applications.values())

    def _engines(self, cluster: Manifest) -> list[Manifest]:
        return self._pods(cluster, "worker")

    def _pods(self, cluster: Manifest, kind: str) -> list[Manifest]:
        """The pods of this kind that are ready."""
        pods = self._api.owned("pods", uid_of(cluster))
        return [
            pod
            for pod in pods
            if labels_of(pod).get("ray.io/node-type") == kind and pod_status.is_ready(pod) and not is_deleted(pod)
        ]


class RayClusters:
    """A head, and the workers of each group."""

    def __init__(self, api: Api, work: Work, clock: Clock) -> None:
        self._api = api
        self._work = work
        self._clock = clock
        self._quotas = Quotas(api)

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "rayclusters" and event != "DELETED":
            self._work.add(self._sync, key_of(manifest))
        elif plural == "pods":
            owner = controller_of(manifest)
            if owner is not None and owner["kind"] == "RayCluster":
                self._work.add(self._sync, (manifest["metadata"]["namespace"], owner["name"]))
        if makes_room(event, plural):
            for one in filter(is_refused, self._api.all("rayclusters")):
                self._work.add(self._sync, key_of(one))

    def _sync(self, key: Key) -> None:
        cluster = self._api.get("rayclusters", key)
        if cluster is None or is_deleted(cluster):
            return
        name = cluster["metadata"]["name"]
        spec = cluster["spec"]
        refused = self._keep(cluster, "headgroup", spec["headGroupSpec"]["template"], 1, name=f"{name}-head")
        wanted = 0
        for group in spec.get("workerGroupSpecs", ()):
            count = _size(group) * group.get("numOfHosts", 1)
            # After the first that the API server does not take it gives up.
            refused = refused or self._keep(cluster, group["groupName"], group["template"], count)
            wanted += count
        # With another name for the pod each time; one is enough.
        conditions = cluster.get("status", {}).get("conditions", ())
        said = next((one["message"] for one in conditions if one["type"] == FAILURE), refused)
        self._write_status(cluster, wanted, refused and said)

    def _keep(self, cluster: Manifest, group: str, template: Manifest, count: int, *, name: str = "") -> str:
        """As many pods of a group as are wanted; those that are over are replaced. Returns why one cannot be made."""
        pods = [pod for pod in self._pods(cluster) if labels_of(pod)["ray.io/group"] == group]
        for pod in pods:
            if pod_status.is_ended(pod):
                self._api.delete("pods", pod)
        live = [pod for pod in pods if not pod_status.is_ended(pod)]
        for pod in live[count:]:
            self._api.delete("pods", pod)
        if name and any(key_of(pod)[1] == name for pod in self._api.owned("pods", uid_of(cluster))):
            return ""  # the one before has not left yet
        for _ in range(count - len(live)):
            prefix = f"{cluster['metadata']['name']}-{group}-worker-"
            pod = pod_from(_labelled(cluster, template, group), cluster, prefix=prefix, name=name)
            refused = self._quotas.refusal(pod)
            if refused:
                return f"FailedCreate{'Head' if name else 'Worker'}Pod\n{refused}"
            self._api.create("pods", pod)
        return ""

    def _pods(self, cluster: Manifest) -> list[Manifest]:
        return [pod for pod in self._api.owned("pods", uid_of(cluster)) if not is_deleted(pod)]

    def _write_status(self, cluster: Manifest, wanted: int, refused: str) -> None:
        pods = self._pods(cluster)
        heads = [pod for pod in pods if labels_of(pod)["ray.io/node-type"] == "head"]
        workers = [pod for pod in pods if labels_of(pod)["ray.io/node-type"] == "worker"]
        ready = [pod for pod in workers if pod_status.is_ready(pod)]
        head = heads[0] if heads else None
        is_up = head is not None and pod_status.is_ready(head)
        known = cluster.get("status", {})
        provisioned = known.get("state") == "ready" or (is_up and len(ready) >= wanted)
        at, generation = stamp(self._clock.now()), cluster["metadata"].get("generation", 1)
        conditions = {
            "HeadPodReady": ("True", "HeadPodRunningAndReady", "") if is_up else ("False", "ContainersNotReady", ""),
            "RayClusterProvisioned": ("True", "AllPodRunningAndReadyFirstTime", "All Ray Pods are ready")
            if provisioned
            else ("False", "RayClusterPodsProvisioning", "RayCluster Pods are being provisioned for first time"),
            **({FAILURE: ("True", refused.partition("\n")[0], refused)} if refused else {}),
        }
        before = {one["type"]: one for one in known.get("conditions", ())}
        new = without_zeros(
            {
                "state": "ready" if provisioned else "",
                "observedGeneration": generation,
                "desiredWorkerReplicas": wanted,
                "availableWorkerReplicas": len(workers),
                "readyWorkerReplicas": len(ready),
                "head": _head(cluster, head),
                "conditions": [
                    _condition(before.get(name), name, *words, generation=generation, at=at)
                    for name, words in conditions.items()
                ],
            }
        )
        if new != {name: value for name, value in known.items() if name != "lastUpdateTime"}:
            self._api.write_status("rayclusters", cluster, {**new, "lastUpdateTime": at})


def _size(group: Manifest) -> int:
    least: int = group.get("minReplicas", 0)
    wanted: int = max(group.get("replicas", least), least)
    return min(wanted, int(group.get("maxReplicas", wanted)))


def _first_size(config: Manifest) -> Manifest:
    """The template of a cluster as it begins: Ray's autoscaler makes room for the one engine that is always wanted."""
    if not config.get("enableInTreeAutoscaling"):
        return config
    groups = [{**group, "replicas": max(1, _size(group))} for group in config.get("workerGroupSpecs", ())]
    return {**config, "workerGroupSpecs": groups}


def cluster_hash(service: Manifest) -> str:
    """What tells one template of a cluster from another: all of it but how many workers there are."""
    config = copy.deepcopy(service["spec"]["rayClusterConfig"])
    for group in config.get("workerGroupSpecs", ()):
        for name in _HOW_MANY:
            group.pop(name, None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:40]


def _labelled(cluster: Manifest, template: Manifest, group: str) -> Manifest:
    metadata = template.get("metadata") or {}
    name = cluster["metadata"]["name"]
    kind = "head" if group == "headgroup" else "worker"
    own = {
        "ray.io/cluster": name,
        "ray.io/group": group,
        "ray.io/identifier": f"{name}-{kind}",
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": kind,
        **({"ray.io/serve": "true"} if kind == "worker" else {}),
    }
    usual = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator"}
    return {**template, "metadata": {**metadata, "labels": {**usual, **(metadata.get("labels") or {}), **own}}}


def _head(cluster: Manifest, pod: Manifest | None) -> Status:
    if pod is None or "podIP" not in pod.get("status", {}):
        return {}
    ip = pod["status"]["podIP"]
    service = f"{cluster['metadata']['name']}-head-svc"
    return {"podIP": ip, "podName": pod["metadata"]["name"], "serviceIP": ip, "serviceName": service}


def _condition(
    known: Status | None, name: str, status: str, reason: str, message: str, *, generation: int, at: str
) -> Status:
    since = known["lastTransitionTime"] if known is not None and known["status"] == status else at
    said = {"type": name, "status": status, "reason": reason, "message": message}
    return {**said, "lastTransitionTime": since, "observedGeneration": generation}
