"""One Model, from what there is to what there should be: observe, plan, execute, say so.

Level-triggered: whatever called for it, a reconcile looks at everything and does what is missing. Ended at any point
and begun anew it does the rest, and where nothing is missing it writes nothing.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from fairlead_operator.capacity import Capacity, device_of, free_gpus
from fairlead_operator.cluster import Cluster, Key
from fairlead_operator.conditions import SPEC_VALID, SpecReason, WorkloadReason
from fairlead_operator.drift import differences
from fairlead_operator.engines import Engines, EngineStatus
from fairlead_operator.errors import ClusterError, Conflict, NotAllowed, Refused
from fairlead_operator.fields import condition
from fairlead_operator.metrics import Metrics
from fairlead_operator.observed import Observed, Problem, Rewritten, Wanted
from fairlead_operator.ownership import applied_hash, identity, is_owned
from fairlead_operator.plan import SCALING_MANAGER, Plan, make_plan
from fairlead_operator.pods import engine_verdict, failure, is_ready, missing_secret, revision_of
from fairlead_operator.references import SecretReference, secrets_of
from fairlead_operator.refusals import refusal
from fairlead_operator.render import Manifest
from fairlead_operator.renderer import Renderer
from fairlead_operator.rollout import seconds_left
from fairlead_operator.status import Links, status_of, transitions
from fairlead_operator.token_secret import TokenSecret
from fairlead_operator.values import progress_deadline
from fairlead_operator.words import quoted
from fairlead_operator.workload import application_failure, engine_pods

_log = logging.getLogger(__name__)

# Pods asked in one reconcile: each may take over a second not to answer, and a few tell how far the others are.
_MOST_LOADING = 2
_MOST_ENGINES = 8

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Waits:
    """Seconds after which to look again at what no watch tells of."""

    outside: float = 10.0
    """What the operator does not follow: Secrets, objects of others, kinds to be installed."""
    loading: float = 3.0
    """Engines that fetch and load: how far they are stands in the status."""
    capacity: float = 30.0
    """Devices that a pod waits for: how many are free does, too."""
    stuck: float = 30.0
    """Engines that cannot be made: for how long that has been so decides over their revision."""
    adapters: float = 60.0
    """Adapters of engines, which forget them when they start anew."""


DEFAULT_WAITS = Waits()
# What an engine can do without, or has already: refused, it holds up nothing else.
_BESIDE = frozenset({"PersistentVolumeClaim", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Service"})
# Problems that end without a change of anything that is followed.
_FROM_OUTSIDE = frozenset({SpecReason.SECRET_NOT_FOUND, SpecReason.NAME_CONFLICT, SpecReason.KUBERAY_NOT_FOUND})


class _Taken(Exception):  # noqa: N818 - named for what happened
    """`stranger`, an object of somebody else, has the name of one that is to be made."""

    def __init__(self, stranger: Manifest) -> None:
        self.stranger = stranger
        super().__init__("/".join(identity(stranger)))


@dataclass(frozen=True)
class Reconciler:
    """Reconciles the Models of one cluster. May be shared between threads, one Model at a time in each.

    `token_secret` says what the internal token's Secret is, which every namespace of Models is given.
    """

    cluster: Cluster
    renderer: Renderer
    engines: Engines
    links: Links
    metrics: Metrics
    clock: Clock
    token_secret: TokenSecret
    waits: Waits = DEFAULT_WAITS
    # What only this process has seen: which namespaces have the token, and what webhooks make of objects.
    _given: set[str] = field(default_factory=set, init=False)
    _rewritten: dict[str, Rewritten] = field(default_factory=dict, init=False)

    def reconcile(self, key: Key) -> float | None:
        """Seconds after which to look again; None when only a change makes that worth while. Raises ClusterError."""
        model = self.cluster.model(key)
        if model is None or model["metadata"].get("deletionTimestamp"):
            # What it owns is the garbage collector's.
            return None
        now = self.clock()
        wanted = self.renderer.wanted(model)
        if isinstance(wanted, Wanted):
            wanted = wanted.where(self.cluster.knows)
        asked = wanted if isinstance(wanted, Wanted) else None
        try:
            seen = self._observe(key, model, wanted, now)
            plan = self._plan(asked, seen, now)
        except NotAllowed as error:
            failed: ClusterError | None = error
            seen = Observed(
                model, self.cluster.children(key), problems=[Problem(SpecReason.REFUSED, quoted(str(error), 1024))]
            )
            plan = make_plan(None, seen, now=now)
        else:
            try:
                failed = self._execute(key, plan, seen)
            except _Taken as taken:
                failed, seen = None, replace(seen, strangers=[taken.stranger])
                plan = make_plan(asked, seen, now=now)
            if failed is not None:
                plan = replace(plan, problems=(Problem(SpecReason.REFUSED, quoted(str(failed), 1024)), *plan.problems))
            seen = self._load_adapters(asked, seen)
        self._say(model, status_of(asked, seen, plan, self.links, now=now))
        if failed is not None:
            raise failed
        return self._again(asked, seen, plan, now)

    # Observe

    def _observe(self, key: Key, model: Manifest, wanted: Wanted | Problem, now: datetime) -> Observed:
        children = self.cluster.children(key)
        warnings = self.cluster.warnings(key, children)
        pods = engine_pods([child for child in children if child["kind"] == "Pod"])
        capacity = self._capacity(pods)
        # Of those that are over, too: the last failure is told after its pod was replaced.
        every_pod = [child for child in children if child["kind"] == "Pod"]
        failures = [failure(pod, warnings, now=now, capacity=capacity) for pod in every_pod]
        failures += [application_failure(child) for child in children if child["kind"] == "RayService"]
        failures += [refusal(child) for child in children if child["kind"] in ("Deployment", "RayCluster")]
        problems = [wanted] if isinstance(wanted, Problem) else list(self._problems(key, wanted))
        problems += self._problems_of(key, pods, warnings, now)
        return Observed(
            model=model,
            children=children,
            strangers=list(self._strangers(model, wanted, children)) if isinstance(wanted, Wanted) else (),
            warnings=warnings,
            failures=[one for one in failures if one is not None],
            engines=self._ask(pods, wanted) if isinstance(wanted, Wanted) else {},
            problems=problems,
            rewritten=self._rewritten,
        )

    def _strangers(self, model: Manifest, wanted: Wanted, children: Sequence[Manifest]) -> Iterator[Manifest]:
        """Objects in the way of those that are to be made. What bears the Model's label is among the children.

        Looked for as long as there was one the last time: else the making of objects tells of it.
        """
        if condition(model, SPEC_VALID.name).get("reason") != SpecReason.NAME_CONFLICT:
            return
        known = {identity(child) for child in children}
        namespace = model["metadata"]["namespace"]
        for manifest in wanted.objects:
            if identity(manifest) in known:
                continue
            kind, name = identity(manifest)
            found = self.cluster.read(manifest["apiVersion"], kind, namespace, name)
            # One of ours that the caches have not heard of yet is no stranger.
            if found is not None and not is_owned(found, model):
                yield found

    def _problems(self, key: Key, wanted: Wanted) -> Iterator[Problem]:
        lost = self.cluster.lost_names(key)
        if lost:
            hides = {loss.name for loss in lost}.issuperset(wanted.model.served_names)
            message = "; ".join(loss.message for loss in lost)
            yield Problem(SpecReason.NAME_TAKEN, message, blocks=False, hides=hides)
        for name in wanted.model.spec.fallback:
            if self.cluster.model(Key(key.namespace, name)) is None:
                message = f"spec.fallback: there is no Model {name} in this namespace; create it, or remove it here"
                yield Problem(SpecReason.UNKNOWN_FALLBACK, message, blocks=False)
        if wanted.model.spec.upstream is not None:
            yield from self._missing_secrets(secrets_of(wanted.model), key.namespace)

    def _problems_of(
        self, key: Key, pods: Sequence[Manifest], warnings: Sequence[Manifest], now: datetime
    ) -> Iterator[Problem]:
        """What only shows once a pod was started."""
        for pod in pods:
            reason, said = engine_verdict(pod) or ("", "")
            if reason == SpecReason.UNKNOWN_ARGUMENT:
                yield Problem(SpecReason.UNKNOWN_ARGUMENT, said, blocks=False)
            missing = missing_secret(pod, warnings, now=now)
            if missing is None:
                continue
            name, secret_key = missing
            if name == self.token_secret.place.name:
                self._given.discard(key.namespace)
                self._give_token(key.namespace)
            what = f"the Secret {name}" + (f" has no key {secret_key}" if secret_key else " is not in this namespace")
            remedy = "add it" if secret_key else "create it"
            message = f"{what}, and pod {pod['metadata']['name']} waits for it; {remedy}"
            yield Problem(SpecReason.SECRET_NOT_FOUND, message, blocks=False)

    def _plan(self, wanted: Wanted | None, seen: Observed, now: datetime) -> Plan:
        """What to do; nothing, where pods would wait for Secrets that are not there."""
        plan = make_plan(wanted, seen, now=now)
        missing = list(self._missing(wanted, seen.model, plan))
        if not missing:
            return plan
        return replace(plan, apply=(), delete=(), sizes=(), problems=(*plan.problems, *missing))

    def _missing(self, wanted: Wanted | None, model: Manifest, plan: Plan) -> Iterator[Problem]:
        """Secrets without which the pods of another revision could not start.

        Nothing else waits for them: not to suspend, not to scale, not the way back.
        """
        rollout = plan.rollout
        if wanted is None or rollout is None or not plan.apply or wanted.model.spec.suspend:
            return
        if rollout.target.name == wanted.revision != plan.workload.revision:
            namespace = model["metadata"]["namespace"]
            self._give_token(namespace)
            yield from self._missing_secrets(secrets_of(wanted.model), namespace)

    def _give_token(self, namespace: str) -> None:
        """See to it, once for each namespace, that engines find the internal token."""
        if namespace in self._given:
            return
        there = self.cluster.read("v1", "Secret", namespace, self.token_secret.place.name)
        if self.token_secret.is_missing(namespace, there):
            self.cluster.apply(self.token_secret.manifest(namespace))
        self._given.add(namespace)

    def _missing_secrets(self, references: Iterator[SecretReference], namespace: str) -> Iterator[Problem]:
        for reference in references:
            lacking = reference.lacking(self.cluster.secret_keys(namespace, reference.name))
            if lacking:
                yield Problem(SpecReason.SECRET_NOT_FOUND, lacking)

    def _capacity(self, pods: Sequence[Manifest]) -> Capacity | None:
        """What is free of the device that a pod waits for."""
        waiting = [pod for pod in pods if not pod.get("spec", {}).get("nodeName") and device_of(pod)]
        if not waiting:
            return None
        everything, device = self.cluster.nodes_and_pods(), device_of(waiting[0])
        if everything is None or device is None:
            return None
        nodes, all_pods = everything
        return free_gpus(nodes, all_pods, device, waiting[0])

    def _ask(self, pods: Sequence[Manifest], wanted: Wanted) -> dict[str, EngineStatus]:
        """What the engines say that are on their way; and all of them, where there may be adapters.

        The pods of Ray clusters have no such port, and bear no revision.
        """
        spec = wanted.model.spec
        if spec.cluster != "Standalone":
            return {}
        running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running" and revision_of(pod)]
        loading = [pod for pod in running if not is_ready(pod)]
        asked = running[:_MOST_ENGINES] if spec.lora is not None else loading[:_MOST_LOADING]
        told = {pod["metadata"]["name"]: self.engines.status(pod) for pod in asked}
        return {name: status for name, status in told.items() if status is not None}

    # Execute

    def _execute(self, key: Key, plan: Plan, seen: Observed) -> ClusterError | None:
        """Do what is planned. What the API server refuses for good is returned, to be said in the status.

        Raises _Taken as soon as an object of somebody else is in the way, before there is a workload.
        """
        for manifest in plan.handed_over:
            self.cluster.apply(manifest, manager=SCALING_MANAGER)
        refused: list[ClusterError] = []
        for manifest in plan.apply:
            try:
                self._apply(manifest, seen)
            except (Refused, NotAllowed) as error:
                refused.append(error)
                if manifest["kind"] not in _BESIDE:
                    return refused[0]
        try:
            for manifest in plan.delete:
                self.cluster.delete(manifest)
            for size in plan.sizes:
                self.cluster.resize(size.target, size.spec)
        except (Refused, NotAllowed) as error:
            refused.append(error)
        for place in plan.drifted:
            self.metrics.drift_corrected(place.partition(" ")[0])
            _log.info("%s: %s was changed by somebody else; put back", key, place)
        if not plan.is_empty:
            made = ", ".join("/".join(identity(manifest)) for manifest in plan.apply)
            gone = ", ".join("/".join(identity(manifest)) for manifest in plan.delete)
            _log.info("%s: applied [%s], deleted [%s]", key, made, gone)
        return refused[0] if refused else None

    def _apply(self, manifest: Manifest, seen: Observed) -> None:
        """Apply, and remember where the API server has made something else of it at once."""
        known = any(identity(child) == identity(manifest) for child in seen.children)
        written = self.cluster.apply(manifest) if known else self._make(manifest, seen.model)
        uid, places = written["metadata"].get("uid", ""), frozenset(differences(manifest, written))
        if places:
            self._rewritten[uid] = Rewritten(applied_hash(manifest), places)
        else:
            self._rewritten.pop(uid, None)

    def _make(self, manifest: Manifest, model: Manifest) -> Manifest:
        """Make an object that the caches do not know of. Raises _Taken."""
        try:
            return self.cluster.make(manifest)
        except Conflict:
            kind, name = identity(manifest)
            there = self.cluster.read(manifest["apiVersion"], kind, model["metadata"]["namespace"], name)
            if there is None:
                raise
            if not is_owned(there, model):
                raise _Taken(there) from None
        # One of ours that the caches have not heard of yet.
        return self.cluster.apply(manifest)

    def _load_adapters(self, wanted: Wanted | None, seen: Observed) -> Observed:
        """Tell every engine that answers which adapters it should have."""
        if wanted is None or not wanted.objects or wanted.model.spec.cluster != "Standalone":
            return seen
        asked = [(one["name"], one["uri"]) for one in wanted.adapters]
        engines = dict(seen.engines)
        for pod in seen.pods:
            name = pod["metadata"]["name"]
            engine = engines.get(name)
            if engine is None or [(one["name"], one["uri"]) for one in engine.adapters] == asked:
                continue
            told = self.engines.load(pod, wanted.adapters)
            if told is not None:
                engines[name] = told
        return replace(seen, engines=engines)

    def _say(self, model: Manifest, status: Manifest) -> None:
        before = model.get("status") or {}
        if status == before:
            self.cluster.keep_status(model)
            return
        if self.cluster.write_status(model, status) is None:
            return
        for kind, reason, message in transitions(before, status):
            self.cluster.record(model, type=kind, reason=reason, message=message)

    def _again(self, wanted: Wanted | None, seen: Observed, plan: Plan, now: datetime) -> float | None:
        waits: list[float] = []
        if any(problem.reason in _FROM_OUTSIDE for problem in plan.problems):
            waits.append(self.waits.outside)
        if any(pod.get("status", {}).get("phase") == "Running" and not is_ready(pod) for pod in seen.pods):
            waits.append(self.waits.loading)
        if any(one.reason == WorkloadReason.UNSCHEDULABLE for one in seen.failures):
            waits.append(self.waits.capacity)
        if plan.rollout is not None and plan.rollout.state == "Running" and plan.rollout.target.stuck:
            waits.append(self.waits.stuck)
        if wanted is not None and plan.rollout is not None:
            # Where nothing changes any more, nothing else tells that the time is over.
            left = seconds_left(plan.rollout, progress_deadline(wanted.model), now=now)
            waits += [left] if left else []
        if wanted is not None and wanted.adapters and seen.pods:
            states = {one["state"] for engine in seen.engines.values() for one in engine.adapters}
            waits.append(self.waits.loading if states & {"Pending", "Loading"} else self.waits.adapters)
        return min(waits, default=None)
