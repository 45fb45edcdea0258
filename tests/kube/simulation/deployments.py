"""The controller of Deployments, after kube-controller-manager 1.32 (pkg/controller/deployment).

Rolling updates, scaling, conditions, the progress deadline, revisions and their history. Without Recreate, pauses and
minReadySeconds.
"""

from functools import partial
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, Timer, seconds_of, stamp
from tests.kube.simulation.objects import (
    Key,
    annotations_of,
    controller_of,
    is_deleted,
    key_of,
    owner_reference,
    uid_of,
    with_metadata,
    with_spec,
)
from tests.kube.simulation.quota import FAILURE
from tests.kube.simulation.rollout import HASH_LABEL, REVISION, Rollout, available_of, revision_of, template_hash
from tests.kube.simulation.work import Work

_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAXIMUM = "deployment.kubernetes.io/max-replicas"
Condition = dict[str, Any]


class Deployments:
    """Keeps, of each Deployment, one replica set for each template that it had."""

    def __init__(self, api: Api, work: Work, clock: Clock) -> None:
        self._api = api
        self._work = work
        self._clock = clock
        self._deadlines: dict[Key, Timer] = {}
        self._hashes: dict[str, tuple[int, str]] = {}

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "deployments" and event != "DELETED":
            self._work.add(self._sync, key_of(manifest))
        elif plural == "replicasets":
            owner = controller_of(manifest)
            if owner is not None and owner["kind"] == "Deployment":
                self._work.add(self._sync, (manifest["metadata"]["namespace"], owner["name"]))

    def _sync(self, key: Key) -> None:
        found = self._api.get("deployments", key)
        if found is None or is_deleted(found):
            return
        rollout = self._rollout(found)
        if rollout.new is None:
            self._create(rollout)
            return
        self._note_revision(rollout, rollout.new)
        if not self._scale(rollout):
            self._roll(rollout)
        # What was just written is told by the replica sets themselves, and leads here again.
        self._write_status(self._rollout(self._latest(key)))

    def _rollout(self, deployment: Manifest) -> Rollout:
        uid, generation = uid_of(deployment), deployment["metadata"]["generation"]
        known = self._hashes.get(uid)
        if known is None or known[0] != generation:
            known = self._hashes[uid] = generation, template_hash(deployment["spec"]["template"])
        return Rollout(deployment, self._api.owned("replicasets", uid), known[1])

    # The replica sets

    def _create(self, rollout: Rollout) -> None:
        deployment, template = rollout.deployment, rollout.template
        labels = {**(template["metadata"].get("labels") or {}), HASH_LABEL: rollout.hash}
        selector = deployment["spec"]["selector"]["matchLabels"]
        self._api.create(
            "replicasets",
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{deployment['metadata']['name']}-{rollout.hash}",
                    "namespace": deployment["metadata"]["namespace"],
                    "labels": labels,
                    "annotations": {**_sizes(rollout), REVISION: str(rollout.next_revision)},
                    "ownerReferences": [owner_reference(deployment)],
                },
                "spec": {
                    "replicas": rollout.size_of_new(),
                    "selector": {"matchLabels": {**selector, HASH_LABEL: rollout.hash}},
                    "template": with_metadata(template, labels=labels),
                },
            },
        )
        if rollout.deadline is None:
            return
        name = f"{deployment['metadata']['name']}-{rollout.hash}"
        condition = self._condition("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        status = deployment.get("status", {})
        conditions = _with(status.get("conditions", []), condition)
        self._api.write_status("deployments", deployment, {**status, "conditions": conditions})

    def _note_revision(self, rollout: Rollout, new: Manifest) -> None:
        """A replica set that is taken up again, as by a rollback, is the newest again."""
        revision = annotations_of(new).get(REVISION, "")
        newest = max(map(revision_of, rollout.old), default=0)
        if int(revision or 0) <= newest:
            revision = str(newest + 1)
            new = self._api.update(
                "replicasets", with_metadata(new, annotations={**annotations_of(new), REVISION: revision})
            )
            rollout.replace(new)
        deployment = self._latest(key_of(rollout.deployment))
        if annotations_of(deployment).get(REVISION) != revision:
            annotations = {**annotations_of(deployment), REVISION: revision}
            self._api.update("deployments", with_metadata(deployment, annotations=annotations))

    def _resize(self, rollout: Rollout, replica_set: Manifest, replicas: int) -> None:
        annotations = {**annotations_of(replica_set), **_sizes(rollout)}
        if replica_set["spec"]["replicas"] != replicas or annotations != annotations_of(replica_set):
            changed = with_metadata(with_spec(replica_set, replicas=replicas), annotations=annotations)
            rollout.replace(self._api.update("replicasets", changed))

    def _scale(self, rollout: Rollout) -> bool:
        """Follow a change of `replicas` while a rollout goes on, each replica set in proportion; whether there was."""
        active = rollout.active
        if all(annotations_of(one).get(_DESIRED) in (None, str(rollout.wanted)) for one in active):
            return False
        if len(active) <= 1:
            for one in active:
                self._resize(rollout, one, rollout.wanted)
            return True
        before = sum(one["spec"]["replicas"] for one in active)
        add = (rollout.wanted + rollout.surge if rollout.wanted else 0) - before
        largest_first = sorted(active, key=lambda one: -one["spec"]["replicas"])
        left = add
        for one in largest_first:
            share = _proportion(one, rollout, left, add)
            self._resize(rollout, one, max(0, one["spec"]["replicas"] + share))
            left -= share
        if left:
            first = rollout.latest(largest_first[0])
            self._resize(rollout, first, max(0, first["spec"]["replicas"] + left))
        return True

    def _roll(self, rollout: Rollout) -> None:
        new = rollout.the_new
        size = rollout.size_of_new()
        if new["spec"]["replicas"] != size:
            self._resize(rollout, new, size)
        else:
            self._shrink_old(rollout)

    def _shrink_old(self, rollout: Rollout) -> None:
        """First what is not available anyway, then as many as may be missing."""
        not_yet = rollout.the_new["spec"]["replicas"] - available_of(rollout.the_new)
        least = rollout.wanted - rollout.unavailable
        may_go = rollout.count - least - not_yet
        if rollout.old_count == 0 or may_go <= 0:
            return
        for one in rollout.old:
            idle = min(may_go, one["spec"]["replicas"] - available_of(one))
            if idle > 0:
                self._resize(rollout, one, one["spec"]["replicas"] - idle)
                may_go -= idle
        spare = sum(map(available_of, rollout.all)) - least
        for one in rollout.old:
            going = min(one["spec"]["replicas"], spare)
            if going > 0:
                self._resize(rollout, one, one["spec"]["replicas"] - going)
                spare -= going

    def _forget(self, rollout: Rollout) -> None:
        """Old replica sets beyond the limit of the history."""
        limit = rollout.deployment["spec"].get("revisionHistoryLimit", 10)
        empty = [
            one for one in rollout.old if not one["spec"]["replicas"] and not one.get("status", {}).get("replicas")
        ]
        for one in sorted(empty, key=revision_of)[: max(0, len(empty) - limit)]:
            self._api.delete("replicasets", one)

    # The status

    def _write_status(self, rollout: Rollout) -> None:
        known = rollout.deployment.get("status", {})
        status = rollout.counts()
        conditions = list(known.get("conditions", []))
        least = rollout.wanted - rollout.unavailable
        if status.get("availableReplicas", 0) >= least:
            words = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            words = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        conditions = _with(conditions, self._condition("Available", *words))
        if rollout.deadline is None:
            conditions = [one for one in conditions if one["type"] != "Progressing"]
        else:
            progress = self._progress(rollout, status)
            conditions = conditions if progress is None else _with(conditions, progress)
        failure = _refusal(rollout)
        if failure is None:
            conditions = [one for one in conditions if one["type"] != FAILURE]
        else:
            words = (failure["status"], failure["reason"], failure["message"])
            conditions = _with(conditions, self._condition(FAILURE, *words))
        self._api.write_status("deployments", rollout.deployment, {**status, "conditions": conditions})
        if rollout.is_complete(status):
            self._forget(rollout)
        self._watch_deadline(rollout, status, conditions)

    def _progress(self, rollout: Rollout, status: dict[str, Any]) -> Condition | None:
        """What is new about the rollout, None for nothing."""
        known = rollout.deployment.get("status", {})
        current = _find(known.get("conditions", []), "Progressing")
        reason = current["reason"] if current else ""
        name = rollout.the_new["metadata"]["name"]
        done = status.get("replicas", 0) == status.get("updatedReplicas", 0)
        if done and reason == "NewReplicaSetAvailable":
            return None
        if rollout.is_complete(status):
            message = f'ReplicaSet "{name}" has successfully progressed.'
            return self._condition("Progressing", "True", "NewReplicaSetAvailable", message)
        if _has_progressed(known, status):
            return self._condition("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        if current is not None and self._is_late(rollout, current):
            message = f'ReplicaSet "{name}" has timed out progressing.'
            return self._condition("Progressing", "False", "ProgressDeadlineExceeded", message)
        if current is None:
            message = f'Found new replica set "{name}"'
            return self._condition("Progressing", "True", "FoundNewReplicaSet", message)
        return None

    def _is_late(self, rollout: Rollout, current: Condition) -> bool:
        if current["reason"] in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
            return bool(current["reason"] == "ProgressDeadlineExceeded")
        assert rollout.deadline is not None  # without one nothing is said about progress
        return self._clock.now() > seconds_of(current["lastUpdateTime"]) + rollout.deadline

    def _watch_deadline(self, rollout: Rollout, status: dict[str, Any], conditions: list[Condition]) -> None:
        """Come back when a rollout that does not go on is late."""
        key = key_of(rollout.deployment)
        if key in self._deadlines:
            self._deadlines.pop(key).cancel()
        current = _find(conditions, "Progressing")
        if rollout.deadline is None or current is None or rollout.is_complete(status) or current["status"] != "True":
            return
        if current["reason"] == "NewReplicaSetAvailable":
            return
        # Times are whole seconds, and it is late only after the last of them.
        wait = seconds_of(current["lastUpdateTime"]) + rollout.deadline - self._clock.now() + 1
        self._deadlines[key] = self._clock.call_later(wait, partial(self._work.add, self._sync, key))

    def _condition(self, name: str, status: str, reason: str, message: str) -> Condition:
        at = stamp(self._clock.now())
        times = {"lastUpdateTime": at, "lastTransitionTime": at}
        return {"type": name, "status": status, **times, "reason": reason, "message": message}

    def _latest(self, key: Key) -> Manifest:
        found = self._api.get("deployments", key)
        assert found is not None  # nothing here deletes one
        return found


def _sizes(rollout: Rollout) -> dict[str, str]:
    return {_DESIRED: str(rollout.wanted), _MAXIMUM: str(rollout.wanted + rollout.surge)}


def _proportion(replica_set: Manifest, rollout: Rollout, left: int, add: int) -> int:
    """The share of one replica set in `add` pods (or fewer ones), of which `left` are to be given."""
    size: int = replica_set["spec"]["replicas"]
    if not size or not left or not add:
        return 0
    if not rollout.wanted:
        return -size
    maximum = int(annotations_of(replica_set).get(_MAXIMUM, 0)) or rollout.count
    share = round(size * (rollout.wanted + rollout.surge) / maximum) - size
    return min(share, left) if add > 0 else max(share, left)


def _refusal(rollout: Rollout) -> Condition | None:
    """Why pods cannot be made, of the new replica set before the others."""
    found = (_find(one.get("status", {}).get("conditions", []), FAILURE) for one in (rollout.the_new, *rollout.all))
    return next(filter(None, found), None)


def _has_progressed(before: dict[str, Any], now: dict[str, Any]) -> bool:
    old_before, old_now = (one.get("replicas", 0) - one.get("updatedReplicas", 0) for one in (before, now))
    more = any(
        now.get(name, 0) > before.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return more or old_now < old_before


def _find(conditions: list[Condition], name: str) -> Condition | None:
    return next((one for one in conditions if one["type"] == name), None)


def _with(conditions: list[Condition], condition: Condition) -> list[Condition]:
    """`conditions` with another one of this type; one that says the same stays as it is."""
    known = _find(conditions, condition["type"])
    if known is not None and known["status"] == condition["status"]:
        # Of these one says with its time when the rollout went on.
        if known["reason"] == condition["reason"] != "ReplicaSetUpdated":
            return conditions
        condition = {**condition, "lastTransitionTime": known["lastTransitionTime"]}
    return [*(one for one in conditions if one["type"] != condition["type"]), condition]
