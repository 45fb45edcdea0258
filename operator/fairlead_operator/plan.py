"""From what a Model asks for and what there is to what is to be done. Pure: every rule is a case of a table test."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fairlead_operator.conditions import SpecReason, WorkloadReason
from fairlead_operator.drift import differences
from fairlead_operator.fields import Fields, part
from fairlead_operator.observed import Observed, Problem, Wanted
from fairlead_operator.ownership import applied_hash, identity, is_owned, owner_of, stamped
from fairlead_operator.pods import PodFailure, engine_status, is_ready, revision_of, worst
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


# Who tells of engines as a whole, by what these run in.
_TELLERS = {"Deployment": {"Deployment"}, "RayService": {"RayService", "RayCluster"}}
_NEVER_RAN = frozenset({WorkloadReason.IMAGE_PULL_ERROR, WorkloadReason.CONTAINER_START_ERROR})

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
    live, other = _live(wanted, seen)
    workload = workload_of(live, other, seen.of_kind("Pod"), seen.of_kind("RayCluster"))
    if wanted is None:
        return Plan(workload=workload, problems=seen.problems)
    rollout = _rollout(wanted, seen, workload, now)
    beside = other if rollout is not None and other is not None and _serves_on(other, wanted, rollout) else None
    objects, kept = _fitted(list(_objects(wanted, seen, rollout)), seen)
    problems = [*seen.problems, *_conflicts(objects, seen), *kept]
    if any(problem.blocks for problem in problems):
        return Plan(workload=workload, rollout=rollout, problems=problems)
    apply, drifted = _to_apply(objects, seen)
    return Plan(
        handed_over=list(_handed_over(wanted, objects, live)),
        apply=apply,
        delete=[
            *_to_remake(objects, seen),
            *_superfluous(objects, seen, rollout, beside),
            *_outdated(objects, live, seen),
        ],
        sizes=[*_within_bounds(wanted, live), *_of_ray_clusters(wanted, seen)],
        drifted=drifted,
        rollout=rollout,
        workload=workload,
        problems=problems,
    )


def _live(wanted: Wanted | None, seen: Observed) -> tuple[Manifest | None, Manifest | None]:
    """The workload that is there of the wanted kind, and that of the other kind; where none is wanted, in any order."""
    there = {one["kind"]: one for one in seen.workloads}
    live = there.pop(_workload_kind(wanted) or next(iter(there), ""), None)
    return live, next(iter(there.values()), None)


def _workload_kind(wanted: Wanted | None) -> str:
    objects = wanted.objects if wanted is not None else ()
    return next((manifest["kind"] for manifest in objects if manifest["kind"] in WORKLOADS), "")


def _serves_on(other: Manifest, wanted: Wanted, rollout: Rollout) -> bool:
    """Whether a workload of the other kind stays: where there is room for both, until the new one has come up, and
    in the place of a new one that failed.
    """
    spec = wanted.model.spec
    if spec.suspend:
        return False
    has_room = spec.rollout_strategy.max_surge > 0
    return rollout.target.kind == other["kind"] or (has_room and rollout.state != "Complete")


def _rollout(wanted: Wanted, seen: Observed, workload: Workload, now: datetime) -> Rollout | None:
    if not _workload_kind(wanted):
        return None
    strategy = wanted.model.spec.rollout_strategy
    policy = Policy(
        rollback=strategy.on_failure == "Rollback",
        deadline_seconds=progress_deadline(wanted.model),
        attempt=(seen.model["metadata"].get("annotations") or {}).get(RETRY, ""),
    )
    known = [recorded(manifest) for manifest in seen.of_kind("ControllerRevision") if is_owned(manifest, seen.model)]
    health = _health(seen, wanted)
    return decide((wanted.revision, wanted.objects), known, workload, health, policy, now=now)


def _health(seen: Observed, wanted: Wanted) -> Health:
    """How the engines that are wanted are. The pods of a RayService do not say of which revision: all of them count."""
    kind = _workload_kind(wanted)
    mark = "" if kind == "RayService" else wanted.revision
    pods = [pod for pod in seen.pods if revision_of(pod) == mark]
    names = {pod["metadata"]["name"] for pod in pods}
    failures = [one for one in seen.failures if one.pod in names or one.told_by in _TELLERS[kind]]
    # After attempts of its own.
    given_up = next((one for one in failures if one.told_by == "RayService"), None)
    failure = given_up or worst(failures)
    said = f"{failure.reason}: {failure.message}" if failure else ""
    if given_up is not None:
        return Health(said, RESTARTS)
    if any(map(is_ready, pods)):
        return Health(said)
    return Health(said, max(map(_restarts, pods), default=0), _is_stuck(failures, seen, names))


def _is_stuck(failures: Iterable[PodFailure], seen: Observed, names: Collection[str]) -> bool:
    """Whether engines, the pods called `names`, do not come to run, for a reason that those of before do not have."""
    before = {pod["metadata"]["name"] for pod in seen.pods} - set(names)
    shared = {one.reason for one in seen.failures if one.pod in before}
    return any(
        one.reason in _NEVER_RAN - shared
        and not one.passing
        # Where there are some, it is others that the API server refuses.
        and (one.pod or not names)
        for one in failures
    )


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


def _handed_over(wanted: Wanted, objects: Sequence[Manifest], live: Manifest | None) -> Iterator[Manifest]:
    scaling = wanted.model.spec.scaling
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
            # What is in a claim may be wanted.
            use = f"use it by spec.cache.claimName: {name}" if kind == "PersistentVolumeClaim" else "delete it"
            message = (
                f"the {kind} {name} is there already and belongs to {owner_of(other)}; "
                f"{use}, or give the Model another name"
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


def _superfluous(
    objects: Sequence[Manifest], seen: Observed, rollout: Rollout | None, beside: Manifest | None
) -> list[Manifest]:
    wanted = {identity(manifest) for manifest in objects}
    # An engine of before that starts anew reads its file again, and its weights.
    in_use = set(_mounted([pod.get("spec", {}) for pod in seen.of_kind("Pod")]))
    if beside is not None:
        in_use |= {identity(beside), *_mounted([part(beside, "spec", "template", "spec")], optional=True)}
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


def _mounted(specs: Iterable[Fields], *, optional: bool = False) -> Iterator[tuple[str, str]]:
    """Kind and name of what pods of these specifications mount: what they cannot start without, or `optional` too."""
    for spec in specs:
        for volume in spec.get("volumes") or ():
            if "configMap" in volume and (optional or not volume["configMap"].get("optional")):
                yield "ConfigMap", volume["configMap"].get("name", "")
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def _outdated(objects: Sequence[Manifest], live: Manifest | None, seen: Observed) -> list[Manifest]:
    services = [manifest for manifest in objects if manifest["kind"] == "RayService"]
    # Only once KubeRay has been told of the new pods, or it would make the old ones again.
    if not services or live is None or any(_changed(services[0], live, seen)):
        return []
    return outdated_clusters(services[0], seen.of_kind("RayCluster"))


def _within_bounds(wanted: Wanted, live: Manifest | None) -> Iterator[Size]:
    """Where the number of engines is an autoscaler's, only its bounds are kept."""
    scaling = wanted.model.spec.scaling
    if scaling is None or wanted.model.spec.suspend or live is None or live["kind"] != "Deployment":
        return
    replicas = int(live["spec"].get("replicas", 1))
    bounded = min(max(replicas, scaling.min_replicas), scaling.max_replicas)
    if bounded != replicas:
        yield Size(live, {"replicas": bounded})


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
