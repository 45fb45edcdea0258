"""From what a Model asks for and what there is to what is to be done. Pure: every rule is a case of a table test."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fairlead_operator.conditions import SpecReason
from fairlead_operator.drift import differences
from fairlead_operator.observed import Observed, Problem, Wanted
from fairlead_operator.ownership import applied_hash, identity, is_owned, owner_of, stamped
from fairlead_operator.pods import engine_status, is_ready, revision_of, worst
from fairlead_operator.render import Manifest
from fairlead_operator.revisions import RETRY, WORKLOADS, manifest_of
from fairlead_operator.revisions import revision_of as recorded
from fairlead_operator.rollout import RESTARTS, Health, Policy, Rollout, decide
from fairlead_operator.unchangeable import fitted, needs_another
from fairlead_operator.values import progress_deadline
from fairlead_operator.workload import Workload, outdated_clusters, with_revision, workload_of

# What the operator makes, and so what it may find to be no longer wanted. The rest that bears a Model's label is made
# by others: pods and RayClusters by their controllers.
_OURS = frozenset(
    {
        "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "Service", "PodDisruptionBudget",
        "ControllerRevision", "PodMonitor", *WORKLOADS,
    }
)  # fmt: skip


SCALING_MANAGER = "fairlead-scaling"
"""In whose name the number of engines is kept where it is an autoscaler's."""
_OWNS_REPLICAS = "fairlead.dev/owns-replicas"


@dataclass(frozen=True)
class Size:
    """Another number of engines for an object in the cluster, as what is to be merged into its spec."""

    target: Manifest
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is to be done for one Model, in this order, and what it was made from.

    `handed_over`: numbers of engines that are to stay while the operator gives them up, to be applied in the name of
    `SCALING_MANAGER`. `sizes`: numbers that are not applied, because they are also others' to change. `drifted`: the
    places at which somebody else changed what was applied, as `Deployment spec.replicas`.
    """

    handed_over: Sequence[Manifest] = ()
    apply: Sequence[Manifest] = ()
    delete: Sequence[Manifest] = ()
    sizes: Sequence[Size] = ()
    drifted: Sequence[str] = ()
    rollout: Rollout | None = None
    workload: Workload = field(default_factory=Workload)
    problems: Sequence[Problem] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the cluster is as it should be."""
        return not (self.apply or self.delete or self.sizes or self.handed_over)


def make_plan(wanted: Wanted | None, seen: Observed, *, now: datetime) -> Plan:
    """What to do. `wanted` is None where the specification cannot be rendered: then nothing is touched."""
    workload = workload_of(seen.workload, seen.of_kind("Pod"), seen.of_kind("RayCluster"))
    if wanted is None:
        return Plan(workload=workload, problems=seen.problems)
    rollout = _rollout(wanted, seen, workload, now)
    objects, kept = _fitted(list(_objects(wanted, seen, rollout)), seen)
    problems = [*seen.problems, *_conflicts(objects, seen), *kept]
    if any(problem.blocks for problem in problems):
        return Plan(workload=workload, rollout=rollout, problems=problems)
    apply, drifted = _to_apply(objects, seen)
    return Plan(
        handed_over=list(_handed_over(wanted, objects, seen)),
        apply=apply,
        delete=[*_to_remake(objects, seen), *_superfluous(objects, seen, rollout), *_outdated(objects, seen)],
        sizes=[*_within_bounds(wanted, seen), *_of_ray_clusters(wanted, seen)],
        drifted=drifted,
        rollout=rollout,
        workload=workload,
        problems=problems,
    )


def _rollout(wanted: Wanted, seen: Observed, workload: Workload, now: datetime) -> Rollout | None:
    if not any(manifest["kind"] in WORKLOADS for manifest in wanted.objects):
        return None
    strategy = wanted.model.spec.rollout_strategy
    policy = Policy(
        rollback=strategy.on_failure == "Rollback",
        deadline_seconds=progress_deadline(wanted.model),
        attempt=(seen.model["metadata"].get("annotations") or {}).get(RETRY, ""),
    )
    known = [recorded(manifest) for manifest in seen.of_kind("ControllerRevision") if is_owned(manifest, seen.model)]
    health = _health(seen, wanted.revision)
    return decide((wanted.revision, wanted.objects), known, workload, health, policy, now=now)


def _health(seen: Observed, revision: str) -> Health:
    """How the engines of `revision` are. The pods of a RayService do not say which they are, so all of them count."""
    pods = [pod for pod in seen.pods if revision_of(pod) in ("", revision)]
    names = {pod["metadata"]["name"] for pod in pods}
    # That of no pod is what Ray Serve gave up, after its own attempts.
    failures = [one for one in seen.failures if one.pod in names or not one.pod]
    failure = worst(failures)
    for given_up in (one for one in failures if not one.pod):
        return Health(f"{given_up.reason}: {given_up.message}", RESTARTS)
    unready = 0 if any(map(is_ready, pods)) else max(map(_restarts, pods), default=0)
    return Health(f"{failure.reason}: {failure.message}" if failure else "", unready)


def _restarts(pod: Manifest) -> int:
    return int(engine_status(pod).get("restartCount", 0))


def _objects(wanted: Wanted, seen: Observed, rollout: Rollout | None) -> Iterator[Manifest]:
    """All that should be there, not yet with its owner."""
    if rollout is None:
        yield from wanted.objects
        return
    target = rollout.target
    manifests = wanted.objects if target.name == wanted.revision else target.within(wanted.objects)
    records = [manifest_of(revision, seen.name) for revision in rollout.revisions]
    # The record goes first: a workload without one could not be told from a failed attempt.
    for manifest in (*records, *manifests):
        yield with_revision(manifest, target.name) if manifest["kind"] in WORKLOADS else manifest


def _fitted(manifests: Sequence[Manifest], seen: Observed) -> tuple[list[Manifest], list[Problem]]:
    """`manifests` as they are to be applied, and what of them stays as it is."""
    live = {identity(child): child for child in seen.children}
    made, problems = [], []
    for manifest in manifests:
        fitting, sentences = fitted(_noting_replicas(manifest), live.get(identity(manifest)))
        made.append(stamped(fitting, seen.model))
        problems += [Problem(SpecReason.CACHE_IMMUTABLE, sentence, blocks=False) for sentence in sentences]
    return made, problems


def _noting_replicas(manifest: Manifest) -> Manifest:
    """With a note on a Deployment whose number of engines is ours: giving it up without one more word sets it to 1."""
    if manifest["kind"] != "Deployment" or "replicas" not in manifest["spec"]:
        return manifest
    metadata = manifest["metadata"]
    return {
        **manifest,
        "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), _OWNS_REPLICAS: "true"}},
    }


def _handed_over(wanted: Wanted, objects: Sequence[Manifest], seen: Observed) -> Iterator[Manifest]:
    scaling, live = wanted.model.spec.scaling, seen.workload
    if scaling is None or live is None or live["kind"] != "Deployment":
        return
    replicas = int(live["spec"].get("replicas", 1))
    keeps = any(one["kind"] == "Deployment" and "replicas" in one["spec"] for one in objects)
    if keeps or not replicas or _OWNS_REPLICAS not in (live["metadata"].get("annotations") or {}):
        return
    bounded = min(max(replicas, scaling.min_replicas), scaling.max_replicas)
    place = {name: live["metadata"][name] for name in ("name", "namespace")}
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place, "spec": {"replicas": bounded}}


def _to_remake(objects: Sequence[Manifest], seen: Observed) -> list[Manifest]:
    live = {identity(child): child for child in seen.children}
    return [live[identity(one)] for one in objects if needs_another(one, live.get(identity(one)))]


def _conflicts(objects: Sequence[Manifest], seen: Observed) -> Iterator[Problem]:
    found = {identity(manifest): manifest for manifest in (*seen.children, *seen.strangers)}
    for manifest in objects:
        other = found.get(identity(manifest))
        if other is not None and not is_owned(other, seen.model):
            kind, name = identity(manifest)
            message = (
                f"the {kind} {name} is there already and belongs to {owner_of(other)}; "
                "delete it, or give the Model another name"
            )
            yield Problem(SpecReason.NAME_CONFLICT, message)


def _to_apply(objects: Sequence[Manifest], seen: Observed) -> tuple[list[Manifest], list[str]]:
    found = {identity(manifest): manifest for manifest in seen.children}
    apply, drifted = [], []
    for manifest in objects:
        other = found.get(identity(manifest))
        if needs_another(manifest, other):
            # Made once the one that is there is gone.
            continue
        if other is None or applied_hash(other) != applied_hash(manifest):
            apply.append(manifest)
        elif places := list(_changed(manifest, other, seen)):
            apply.append(manifest)
            drifted += [f"{manifest['kind']} {place}" for place in places]
    return apply, drifted


def _changed(manifest: Manifest, live: Manifest, seen: Observed) -> Iterator[str]:
    """Where somebody changed what was applied; what a webhook made of it at once it would make of it again."""
    rewritten = seen.rewritten.get(live["metadata"].get("uid", ""))
    known = rewritten.places if rewritten and rewritten.applied == applied_hash(manifest) else frozenset()
    return (place for place in differences(manifest, live) if place not in known)


def _superfluous(objects: Sequence[Manifest], seen: Observed, rollout: Rollout | None) -> list[Manifest]:
    wanted = {identity(manifest) for manifest in objects}
    # An engine of before that starts anew reads its file again, and its weights.
    in_use = set(_mounted([pod.get("spec", {}) for pod in seen.of_kind("Pod")]))
    for revision in rollout.revisions if rollout else ():
        mounted = set(_mounted([template["spec"] for template in revision.parts.get("templates", ())]))
        # Files are small; a claim is kept no longer than there may be a way back.
        in_use |= {place for place in mounted if place[0] == "ConfigMap" or (rollout and rollout.state != "Complete")}
    return [
        child
        for child in seen.children
        if child["kind"] in _OURS
        and identity(child) not in wanted
        and _has_owner(child, seen.model)
        and not child["metadata"].get("deletionTimestamp")
        and identity(child) not in in_use
    ]


def _has_owner(manifest: Manifest, model: Manifest) -> bool:
    """Without an owner an object outlives the Model, and so it does what the Model no longer asks for."""
    return bool(manifest["metadata"].get("ownerReferences")) and is_owned(manifest, model)


def _mounted(specs: Iterable[Manifest]) -> Iterator[tuple[str, str]]:
    """Kind and name of what pods of these specifications have mounted."""
    for spec in specs:
        for volume in spec.get("volumes") or ():
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"].get("name", "")
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def _outdated(objects: Sequence[Manifest], seen: Observed) -> list[Manifest]:
    services = [manifest for manifest in objects if manifest["kind"] == "RayService"]
    # Only once KubeRay has been told of the new pods, or it would make the old ones again.
    if not services or seen.workload is None or any(differences(services[0]["spec"], seen.workload["spec"])):
        return []
    return outdated_clusters(services[0], seen.of_kind("RayCluster"))


def _within_bounds(wanted: Wanted, seen: Observed) -> Iterator[Size]:
    """Where the number of engines is an autoscaler's, only its bounds are kept."""
    scaling, workload = wanted.model.spec.scaling, seen.workload
    if scaling is None or wanted.model.spec.suspend or workload is None or workload["kind"] != "Deployment":
        return
    replicas = int(workload["spec"].get("replicas", 1))
    bounded = min(max(replicas, scaling.min_replicas), scaling.max_replicas)
    if bounded != replicas:
        yield Size(workload, {"replicas": bounded})


def _of_ray_clusters(wanted: Wanted, seen: Observed) -> Iterator[Size]:
    """KubeRay leaves the size of a Ray cluster that is there to Ray's autoscaler, and has none where it is fixed."""
    spec = wanted.model.spec
    if spec.cluster != "KubeRay" or spec.scaling is not None or spec.suspend:
        return
    replicas = 1 if spec.replicas is None else spec.replicas
    for cluster in seen.of_kind("RayCluster"):
        groups = cluster["spec"].get("workerGroupSpecs") or []
        if (
            groups
            and int(groups[0].get("replicas", 0)) != replicas
            and not cluster["metadata"].get("deletionTimestamp")
        ):
            bounds = {"replicas": replicas, "minReplicas": replicas, "maxReplicas": max(1, replicas)}
            yield Size(cluster, {"workerGroupSpecs": [{**groups[0], **bounds}, *groups[1:]]})
