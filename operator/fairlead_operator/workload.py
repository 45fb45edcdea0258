"""How far the engines of a Model are, whatever runs them: a Deployment or a RayService. Pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.drift import differences
from fairlead_operator.fields import condition
from fairlead_operator.ownership import REVISION_LABEL
from fairlead_operator.pods import PodFailure, is_leaving, is_over, is_ready, revision_of
from fairlead_operator.render import Manifest
from fairlead_operator.words import last_line

HEAD = "head"
PODS_LABEL = "fairlead.dev/pods"
"""On a RayService and its clusters: the hash of the templates of their pods."""


@dataclass(frozen=True)
class Workload:
    """The workload as the cluster reports it.

    `revision`: what its pods are to be, empty where there is no workload. `desired`, `replicas`, `ready`: engines.
    `updated`: no engine of another revision is left. `complete`: all that is desired runs that revision and answers.
    `overdue`: nothing went on for longer than the deadline, in the cluster's own words; empty as long as something
    does, or where the cluster keeps no deadline. `settled`: since when (RFC 3339) that of a Deployment is not counted,
    because all that was desired was there, be it nothing; empty while it is. `beside`: the revision of what runs in a
    workload of the other kind, whose engines are among `replicas` and `ready`; empty where there is none.
    """

    revision: str = ""
    desired: int = 0
    replicas: int = 0
    ready: int = 0
    updated: bool = False
    complete: bool = False
    overdue: str = ""
    settled: str = ""
    beside: str = ""


def workload_of(
    manifest: Manifest | None, other: Manifest | None, pods: Sequence[Manifest], clusters: Sequence[Manifest]
) -> Workload:
    """Read a Deployment or RayService, and the `other` that serves beside it during a move from one to the other.

    `pods` are the engines' and `clusters` the RayClusters there are.
    """
    workload, leaving = (_read(one, pods, clusters) for one in (manifest, other))
    return replace(
        workload,
        replicas=workload.replicas + leaving.replicas,
        ready=workload.ready + leaving.ready,
        beside=leaving.revision,
    )


def _read(manifest: Manifest | None, pods: Sequence[Manifest], clusters: Sequence[Manifest]) -> Workload:
    if manifest is None:
        return Workload()
    return _deployment(manifest) if manifest["kind"] == "Deployment" else _ray_service(manifest, pods, clusters)


def application_failure(service: Manifest) -> PodFailure | None:
    """What Ray Serve says of the application of a RayService that it gave up; of no pod in particular."""
    status = service.get("status") or {}
    if status.get("observedGeneration", 0) < service["metadata"].get("generation", 0):
        # Said of the configuration before.
        return None
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        applications = (status.get(part) or {}).get("applicationStatuses") or {}
        for application in applications.values():
            if application.get("status") == "DEPLOY_FAILED":
                # That of the deployment is the engine's own; the last line of a traceback is the one for people.
                deployments = (application.get("serveDeploymentStatuses") or {}).values()
                words = [*(str(one.get("message") or "") for one in deployments), str(application.get("message") or "")]
                said = next(filter(None, map(last_line, words)), "it does not say why")
                message = f"Ray Serve gave up: {said}"
                return PodFailure(WorkloadReason.CONTAINER_START_ERROR, message, pod="", told_by=service["kind"])
    return None


def with_revision(manifest: Manifest, revision: str) -> Manifest:
    """`manifest`, a rendered workload, with its revision on it; on the pods too where that makes no others.

    The pods of a RayService bear none, since a change of only the Model file is made on the same pods.
    """
    metadata = manifest["metadata"]
    labels = {**metadata.get("labels", {}), REVISION_LABEL: revision}
    if manifest["kind"] == "RayService":
        # KubeRay hands it on to the clusters that it makes, whatever else becomes of them.
        labels[PODS_LABEL] = _pods_hash(manifest)
    made = {**manifest, "metadata": {**metadata, "labels": labels}}
    if manifest["kind"] == "Deployment":
        spec = manifest["spec"]
        template = spec["template"]
        on_pods = {**template["metadata"].get("labels", {}), REVISION_LABEL: revision}
        marked = {**template, "metadata": {**template["metadata"], "labels": on_pods}}
        made["spec"] = {**spec, "template": marked}
    return made


def outdated_clusters(service: Manifest, clusters: Sequence[Manifest]) -> list[Manifest]:
    """The RayClusters whose pods are not those of `service` (a rendered RayService) and that KubeRay leaves alone."""
    if service["spec"].get("upgradeStrategy", {}).get("type") != "None":
        return []
    return [cluster for cluster in clusters if _has_other_pods(service, cluster) and not is_leaving(cluster)]


def engine_pods(pods: Sequence[Manifest]) -> list[Manifest]:
    """Without those that leave and the heads of Ray clusters; one that is over counts only where there is no other.

    An evicted pod stays for hours, and its controller has long made another.
    """
    engines = [
        pod
        for pod in pods
        if not is_leaving(pod) and (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/component") != HEAD
    ]
    return [pod for pod in engines if not is_over(pod)] or engines


def _deployment(manifest: Manifest) -> Workload:
    spec, status = manifest["spec"], manifest.get("status") or {}
    desired = int(spec.get("replicas", 1))
    seen = status.get("observedGeneration", 0) >= manifest["metadata"].get("generation", 0)
    replicas, updated = int(status.get("replicas", 0)), int(status.get("updatedReplicas", 0))
    available = int(status.get("availableReplicas", 0))
    progressing = condition(manifest, "Progressing")
    overdue = progressing.get("reason") == "ProgressDeadlineExceeded"
    # From here on the controller watches no progress until there are other pods, so that those of a Deployment that
    # was scaled up from nothing could take for ever (pkg/controller/deployment/progress.go).
    settled = progressing.get("reason") == "NewReplicaSetAvailable"
    return Workload(
        revision=(spec["template"]["metadata"].get("labels") or {}).get(REVISION_LABEL, ""),
        desired=desired,
        replicas=replicas,
        ready=int(status.get("readyReplicas", 0)),
        updated=seen and updated == replicas,
        complete=seen and updated == replicas == desired and available >= desired,
        overdue=str(progressing.get("message", "the deadline has passed")) if seen and overdue else "",
        settled=str(progressing.get("lastUpdateTime", "")) if seen and settled else "",
    )


def _ray_service(manifest: Manifest, pods: Sequence[Manifest], clusters: Sequence[Manifest]) -> Workload:
    status = manifest.get("status") or {}
    group = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    hosts = max(1, int(group.get("numOfHosts", 1)))
    # Those with a revision are a Deployment's.
    engines = [pod for pod in engine_pods(pods) if not revision_of(pod)]
    replicas = -(-len(engines) // hosts)
    ready = sum(is_ready(pod) for pod in engines) // hosts
    seen = status.get("observedGeneration", 0) >= manifest["metadata"].get("generation", 0)
    active = (status.get("activeServiceStatus") or {}).get("rayClusterName", "")
    current = [cluster for cluster in clusters if cluster["metadata"]["name"] == active]
    desired = 0 if manifest["spec"].get("suspend") else _workers(manifest, current)
    settled = (
        seen
        and condition(manifest, "Ready").get("status") == "True"
        and condition(manifest, "UpgradeInProgress").get("status") != "True"
        and all(state == "RUNNING" for state in _applications(status))
        and not any(_has_other_pods(manifest, cluster) for cluster in current)
    )
    return Workload(
        revision=(manifest["metadata"].get("labels") or {}).get(REVISION_LABEL, ""),
        desired=desired,
        replicas=replicas,
        ready=ready,
        updated=settled,
        complete=settled and ready >= desired,
    )


def _workers(service: Manifest, clusters: Sequence[Manifest]) -> int:
    """Engines that there should be: where Ray scales, as many as it has asked for in the cluster that serves."""
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][:1]
    if service["spec"]["rayClusterConfig"].get("enableInTreeAutoscaling"):
        there = [cluster["spec"]["workerGroupSpecs"][0].get("replicas", 0) for cluster in clusters]
        return max(int(group.get("minReplicas", 0)), *map(int, there), 0)
    return int(group.get("replicas", 1))


def _applications(status: Mapping[str, Any]) -> Iterator[str]:
    applications = (status.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
    for application in applications.values():
        yield str(application.get("status", ""))


def _has_other_pods(service: Manifest, cluster: Manifest) -> bool:
    wanted, known = ((one["metadata"].get("labels") or {}).get(PODS_LABEL) for one in (service, cluster))
    return known != wanted if known and wanted else any(_other_pods(service, cluster))


def _pods_hash(service: Manifest) -> str:
    wanted = service["spec"]["rayClusterConfig"]
    templates = [group["template"] for group in (wanted["headGroupSpec"], *wanted["workerGroupSpecs"])]
    return hashlib.sha256(json.dumps(templates, sort_keys=True).encode()).hexdigest()[:16]


def _other_pods(service: Manifest, cluster: Manifest) -> Iterator[str]:
    wanted, found = service["spec"]["rayClusterConfig"], cluster["spec"]
    groups = zip(wanted["workerGroupSpecs"], found.get("workerGroupSpecs", ()), strict=False)
    yield from differences(wanted["headGroupSpec"]["template"], found.get("headGroupSpec", {}).get("template"))
    for mine, other in groups:
        yield from differences(mine["template"], other.get("template"))
