"""The status of a Model: what is, in words that a person can act on and constants that programs compare. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead_operator.conditions import (
    MODEL_CACHED,
    PROGRESSING,
    READY,
    SCALING_READY,
    SPEC_VALID,
    SUSPENDED,
    WORKLOAD_READY,
    Aspect,
    CacheReason,
    Conditions,
    R,
    RolloutReason,
    ScalingReason,
    SpecReason,
    SuspendedReason,
    WorkloadReason,
)
from fairlead_operator.observed import Observed, Problem, Wanted
from fairlead_operator.plan import Plan
from fairlead_operator.pods import PodFailure, engine_status, engine_verdict, is_over, is_ready, revision_of, worst
from fairlead_operator.render import Manifest
from fairlead_operator.revisions import RETRY, last_good
from fairlead_operator.words import counted, quoted
from fairlead_operator.workload import Workload
from fairlead_serve.informer import MODEL_LABEL
from fairlead_serve.model import ModelSpec

_HTTP_PORT = 8000
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Links:
    """What of the installation stands in a status: the URL of the gateway, without a path."""

    gateway: str = ""


def status_of(wanted: Wanted | None, seen: Observed, plan: Plan, links: Links, *, now: datetime) -> Manifest:
    """The whole status, as the API has it, without empty fields."""
    return _Status(wanted, seen, plan, links, now).manifest()


class _Status:
    """One status in the making."""

    def __init__(self, wanted: Wanted | None, seen: Observed, plan: Plan, links: Links, now: datetime) -> None:
        self._wanted, self._seen, self._plan, self._links = wanted, seen, plan, links
        self._previous: Mapping[str, Any] = seen.model.get("status") or {}
        self._generation = int(seen.model["metadata"].get("generation", 0))
        self._conditions = Conditions(self._previous.get("conditions") or (), generation=self._generation, now=now)
        self._workload: Workload = plan.workload
        self._ready_pods = [pod for pod in seen.pods if is_ready(pod)]
        # The heads of Ray clusters too: without one there are no engines.
        live = [pod for pod in seen.of_kind("Pod") if not is_over(pod)]
        there = {"", *(pod["metadata"]["name"] for pod in (*live, *seen.pods))}
        self._failure = worst(failure for failure in seen.failures if failure.pod in there)

    @property
    def _spec(self) -> ModelSpec | None:
        return self._wanted.model.spec if self._wanted else None

    @property
    def _is_upstream(self) -> bool:
        return self._spec is not None and self._spec.upstream is not None

    @property
    def _is_suspended(self) -> bool:
        return self._spec is not None and self._spec.suspend

    @property
    def _has_workload(self) -> bool:
        return bool(self._workload.revision or self._workload.beside)

    @property
    def _desired(self) -> int:
        """Engines that there should be; before there is a workload, as many as it will have."""
        if self._is_upstream or self._is_suspended:
            return 0
        if self._workload.revision or self._spec is None:
            return self._workload.desired
        if self._spec.scaling is not None:
            return max(1, self._spec.scaling.min_replicas)
        return 1 if self._spec.replicas is None else self._spec.replicas

    def manifest(self) -> Manifest:
        self._spec_valid()
        self._model_cached()
        self._workload_ready()
        self._progressing()
        self._scaling_ready()
        self._suspended()
        self._ready()
        status = {
            "observedGeneration": self._generation,
            "phase": self._phase(),
            "replicas": self._workload.replicas,
            "readyReplicas": self._workload.ready,
            "desiredReplicas": self._desired,
            **self._addresses(),
            **self._revisions(),
            "download": self._download(),
            "lastFailure": self._last_failure(),
            "adapters": self._adapters(),
            "conditions": self._conditions.manifests(),
        }
        return {name: value for name, value in status.items() if value not in (None, "", [], {})}

    # Conditions, each from what is observed and those before it.

    def _spec_valid(self) -> None:
        problem = self._problem
        if problem is None:
            self._conditions.set(SPEC_VALID, "True", SpecReason.VALID, "the cluster has what the Model asks for")
        else:
            self._conditions.set(SPEC_VALID, "False", problem.reason, problem.message)

    @property
    def _problem(self) -> Problem | None:
        return next(iter(sorted(self._plan.problems, key=lambda problem: not problem.blocks)), None)

    @property
    def _hiding(self) -> Problem | None:
        return next((problem for problem in self._plan.problems if problem.hides), None)

    def _model_cached(self) -> None:
        if self._is_upstream:
            self._conditions.set(MODEL_CACHED, "True", CacheReason.UPSTREAM, "the upstream has the weights")
            return
        verdict = self._weights_verdict()
        claim = _claim_problem(self._seen)
        engines = self._seen.engines.values()
        loading = next((engine for engine in engines if engine.phase == "Downloading"), None)
        if self._ready_pods or any(engine.cached for engine in engines):
            self._conditions.set(MODEL_CACHED, "True", CacheReason.CACHED, "the weights are complete")
        elif verdict is not None:
            self._conditions.set(MODEL_CACHED, "False", CacheReason(verdict[0]), verdict[1])
        elif claim is not None:
            self._conditions.set(MODEL_CACHED, "False", *claim)
        elif loading is not None:
            self._conditions.set(MODEL_CACHED, "False", CacheReason.DOWNLOADING, self._download_words())
        elif self._conditions.get(MODEL_CACHED) is None:
            self._conditions.set(MODEL_CACHED, "Unknown", CacheReason.UNKNOWN, "no engine has looked for them yet")

    def _weights_verdict(self) -> tuple[str, str] | None:
        verdicts = [verdict for pod in self._seen.pods if (verdict := engine_verdict(pod)) is not None]
        return next((verdict for verdict in verdicts if verdict[0] in set(CacheReason)), None)

    def _workload_ready(self) -> None:
        ready, desired = self._workload.ready, self._desired
        answer = f"{ready} of {desired} engines answer"
        if self._is_upstream:
            self._say_workload("True", WorkloadReason.UPSTREAM, "no engine is needed: spec.upstream is set")
        elif self._is_suspended:
            self._say_workload("False", WorkloadReason.SUSPENDED, "spec.suspend is true; set it to false for engines")
        elif self._spec is None and not self._has_workload:
            self._say_workload("False", WorkloadReason.STARTING, "nothing was started yet")
        elif desired == 0:
            self._say_workload("False", WorkloadReason.IDLE, "no engine is wanted now")
        elif ready >= desired:
            self._say_workload("True", WorkloadReason.READY, answer)
        elif self._failure is not None:
            failure = self._failure
            said = f"{answer}; {f'pod {failure.pod}: ' if failure.pod else ''}{failure.message}"
            self._say_workload("False", WorkloadReason(failure.reason), said)
        else:
            self._say_workload("False", *self._on_the_way(answer))

    def _on_the_way(self, answer: str) -> tuple[WorkloadReason, str]:
        phases = {engine.phase for engine in self._seen.engines.values()}
        if "Downloading" in phases:
            return WorkloadReason.DOWNLOADING, f"{answer}; {self._download_words()}"
        if "Loading" in phases:
            return WorkloadReason.LOADING, f"{answer}; an engine is loading its weights"
        if self._workload.ready:
            return WorkloadReason.NOT_ENOUGH_READY, answer
        what = "pods are being started" if self._has_workload else "nothing was started yet"
        return WorkloadReason.STARTING, f"{answer}; {what}"

    def _say_workload(self, status: Any, reason: WorkloadReason, message: str) -> None:
        self._conditions.set(WORKLOAD_READY, status, reason, message)

    def _progressing(self) -> None:
        if self._is_upstream:
            self._conditions.set(PROGRESSING, "False", RolloutReason.ROLLOUT_COMPLETE, "there is nothing to roll out")
        elif self._is_suspended:
            self._conditions.set(PROGRESSING, "False", RolloutReason.SUSPENDED, "nothing is rolled out meanwhile")
        elif self._problem is not None and self._problem.blocks:
            before = "; what was there before goes on" if self._has_workload else ""
            message = f"nothing is applied until SpecValid is True{before}"
            self._conditions.set(PROGRESSING, "False", RolloutReason.BLOCKED, message)
        elif self._plan.rollout is not None:
            self._conditions.set(PROGRESSING, *self._rollout_words())

    def _rollout_words(self) -> tuple[Any, RolloutReason, str]:
        rollout = self._plan.rollout
        if rollout is None:
            raise AssertionError("asked only where there is a rollout")
        name = self._wanted.revision if self._wanted else ""
        match rollout.state:
            case "Complete":
                return "False", RolloutReason.ROLLOUT_COMPLETE, f"every engine is revision {name}"
            case "RolledBack":
                message = (
                    f"revision {name} failed ({rollout.why}); the engines are revision {rollout.target.name} again; "
                    f"change the spec, or try once more: kubectl annotate model {self._seen.name} {RETRY}=1 --overwrite"
                )
                return "False", RolloutReason.ROLLED_BACK, message
            case "Failed":
                return "False", RolloutReason.PROGRESS_DEADLINE_EXCEEDED, f"revision {name}: {rollout.why}"
            case _ if self._desired == 0:
                message = f"no engine is wanted now; the next ones will be revision {name}"
                return "False", RolloutReason.ROLLOUT_COMPLETE, message
            case _:
                return self._under_way(name)

    def _under_way(self, name: str) -> tuple[Any, RolloutReason, str]:
        # Those of a RayService bear none.
        mark = "" if self._spec is not None and self._spec.cluster == "KubeRay" else name
        new = [pod for pod in self._ready_pods if revision_of(pod) == mark]
        old = len(self._ready_pods) - len(new)
        serving = f"; {old} of before {'serves' if old == 1 else 'serve'} meanwhile" if old else ""
        if self._failure is not None and self._failure.reason == WorkloadReason.UNSCHEDULABLE:
            return "True", RolloutReason.BLOCKED, f"blocked: {self._failure.message}{serving}"
        done = f"{len(new)} of {self._desired} engines are revision {name}{serving}"
        return "True", RolloutReason.ROLLOUT_IN_PROGRESS, done

    def _scaling_ready(self) -> None:
        spec = self._spec
        if spec is None:
            self._say_unread(SCALING_READY, ScalingReason.UNKNOWN)
        elif self._is_upstream:
            self._conditions.set(SCALING_READY, "True", ScalingReason.UPSTREAM, "there are no engines to scale")
        elif spec.suspend:
            self._conditions.set(SCALING_READY, "False", ScalingReason.SUSPENDED, "spec.suspend is true")
        elif spec.scaling is None:
            self._conditions.set(SCALING_READY, "True", ScalingReason.FIXED, f"{self._desired}, as spec.replicas says")
        elif spec.cluster == "KubeRay":
            bounds = f"Ray keeps {spec.scaling.min_replicas} to {spec.scaling.max_replicas} engines, as the load needs"
            self._conditions.set(SCALING_READY, "True", ScalingReason.AUTOSCALED, bounds)
        else:
            bounds = f"kept between {spec.scaling.min_replicas} and {spec.scaling.max_replicas}"
            message = f"{counted(self._desired, 'engine')}, {bounds}; their number does not follow the load"
            self._conditions.set(SCALING_READY, "False", ScalingReason.NOT_AUTOSCALED, message)

    def _suspended(self) -> None:
        if self._spec is None:
            self._say_unread(SUSPENDED, SuspendedReason.UNKNOWN)
        elif self._is_suspended:
            left = self._workload.replicas
            message = f"spec.suspend is true; {counted(left, 'engine')} {'is' if left == 1 else 'are'} left"
            self._conditions.set(SUSPENDED, "True", SuspendedReason.SUSPENDED, message)
        else:
            self._conditions.set(SUSPENDED, "False", SuspendedReason.NOT_SUSPENDED, "spec.suspend is false")

    def _say_unread(self, aspect: Aspect[R], unknown: R) -> None:
        """Of a specification that cannot be read what held before stays."""
        if self._conditions.get(aspect) is None:
            self._conditions.set(aspect, "Unknown", unknown, "nothing is known of this until SpecValid is True")

    def _ready(self) -> None:
        """Whether requests are answered: as long as engines of before are ready, a change that failed is no matter."""
        problem, serving = self._problem, self._workload.ready
        blocking = problem if problem is not None and problem.blocks else None
        if self._hiding is not None:
            self._conditions.set(READY, "False", self._hiding.reason, self._hiding.message)
        elif self._is_upstream and blocking is None:
            self._conditions.set(READY, "True", WorkloadReason.READY, "the gateway passes requests to the upstream")
        elif serving and not self._is_suspended:
            but = f"; but the last change is not applied: {blocking.message}" if blocking else ""
            answer = f"{counted(serving, 'engine')} {'answers' if serving == 1 else 'answer'}"
            self._conditions.set(READY, "True", WorkloadReason.READY, f"{answer}{but}")
        elif blocking is not None:
            self._conditions.set(READY, "False", blocking.reason, blocking.message)
        else:
            cause = self._conditions.get(WORKLOAD_READY) or {}
            reason = WorkloadReason(cause.get("reason", WorkloadReason.STARTING.value))
            self._conditions.set(READY, "False", reason, str(cause.get("message", "")))

    # The rest of the status.

    def _phase(self) -> str:
        """For people only, so that the first of these that holds is good enough."""
        ready, desired = self._workload.ready, self._desired
        blocked = self._problem is not None and self._problem.blocks
        hidden = self._hiding is not None
        phases = {engine.phase for engine in self._seen.engines.values()}
        failed = self._failure is not None and self._failure.reason != WorkloadReason.UNSCHEDULABLE
        cases = (
            (self._is_suspended, "Suspended"),
            (self._is_upstream, "Failed" if blocked or hidden else "Serving"),
            (blocked, "Degraded" if ready else "Failed"),
            (desired == 0, "Idle"),
            (ready and self._is_updating, "Updating"),
            (ready, "Serving" if ready >= desired and not (self._rollout_failed or hidden) else "Degraded"),
            (failed, "Failed"),
            ("Downloading" in phases, "Caching"),
            (phases or any(map(engine_status, self._seen.pods)), "Starting"),
        )
        return next((phase for holds, phase in cases if holds), "Pending")

    @property
    def _is_updating(self) -> bool:
        """Whether engines are being replaced, and not started for the first time."""
        rollout = self._plan.rollout
        return rollout is not None and rollout.state == "Running" and last_good(rollout.revisions) is not None

    @property
    def _rollout_failed(self) -> bool:
        return self._plan.rollout is not None and self._plan.rollout.state in ("RolledBack", "Failed")

    def _addresses(self) -> Manifest:
        has_engines = self._wanted is not None and bool(self._wanted.objects)
        namespace = self._seen.model["metadata"]["namespace"]
        return {
            "url": f"{self._links.gateway.rstrip('/')}/v1" if self._links.gateway else "",
            "endpoint": f"http://{self._seen.name}.{namespace}.svc:{_HTTP_PORT}" if has_engines else "",
            "selector": f"{MODEL_LABEL}={self._seen.name}" if has_engines else "",
        }

    def _revisions(self) -> Manifest:
        rollout = self._plan.rollout
        if rollout is None:
            return {}
        good = last_good(rollout.revisions)
        current = rollout.target if rollout.state in ("Complete", "RolledBack") else good
        return {"currentRevision": current.name if current else "", "updatedRevision": rollout.target.name}

    def _download(self) -> Manifest | None:
        loading = [engine for engine in self._seen.engines.values() if engine.phase == "Downloading" and engine.total]
        if not loading:
            return None
        # Engines that share a volume fetch once; the one furthest on tells when the first will be ready.
        most = max(loading, key=lambda engine: engine.done)
        return {"bytesDone": most.done, "bytesTotal": most.total, "bytesPerSecond": most.per_second}

    def _download_words(self) -> str:
        download = self._download()
        if download is None:
            return "an engine is fetching its weights"
        done, total = download["bytesDone"], download["bytesTotal"]
        return (
            f"{_bytes(done)} of {_bytes(total)} fetched ({100 * done // total} %), "
            f"{_bytes(download['bytesPerSecond'])} a second"
        )

    def _last_failure(self) -> Manifest | None:
        """The latest, kept after the engine has recovered."""
        before = self._previous.get("lastFailure")
        latest = max(self._seen.failures, key=lambda failure: failure.time or "", default=None)
        if latest is None or (before and (latest.time or "") < str(before.get("time", ""))):
            return before
        return _failure_manifest(latest)

    def _adapters(self) -> list[Manifest]:
        spec = self._spec
        lora = spec.lora if spec else None
        if lora is None or spec is None:
            return []
        if spec.cluster == "KubeRay":
            state = "Loaded" if self._workload.ready else "Pending"
            return [{"name": adapter.name, "state": state} for adapter in lora.adapters]
        return [_adapter(adapter.name, list(self._told_of(adapter.name))) for adapter in lora.adapters]

    def _told_of(self, name: str) -> Iterator[Mapping[str, str]]:
        """What each engine that answers says of an adapter."""
        for pod in self._ready_pods:
            engine = self._seen.engines.get(pod["metadata"]["name"])
            there = engine.adapters if engine else ()
            yield next((one for one in there if one["name"] == name), {"state": "Pending"})


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What a person should see in `kubectl describe`: type (Normal or Warning), reason and message of each event."""
    known = {condition["type"]: condition for condition in before.get("conditions") or ()}
    for condition in after.get("conditions") or ():
        old = known.get(condition["type"], {})
        if (old.get("status"), old.get("reason")) == (condition["status"], condition["reason"]):
            continue
        if not old and condition["reason"] == RolloutReason.ROLLOUT_COMPLETE:
            continue
        kind = _event_type(condition)
        if kind:
            yield kind, condition["reason"], condition["message"]


_QUIET = frozenset({"Starting", "Downloading", "Loading", "NotEnoughReady", "Idle", "Suspended", "Unknown"})
_GOOD = frozenset({"Upstream", "Valid", "Cached", "Fixed", "Autoscaled", "NotSuspended", "NotAutoscaled"})


def _event_type(condition: Mapping[str, Any]) -> str:
    """Ready repeats what others say when it is False, and what is as it should be is no news."""
    kind, reason = condition["type"], condition["reason"]
    if kind == READY.name:
        return "Normal" if condition["status"] == "True" else ""
    if kind == PROGRESSING.name:
        return "Normal" if reason in ("RolloutInProgress", "RolloutComplete", "Suspended") else "Warning"
    if kind == SUSPENDED.name or reason in _GOOD or reason in _QUIET or condition["status"] == "True":
        return ""
    return "Warning"


def _claim_problem(seen: Observed) -> tuple[CacheReason, str] | None:
    """Why the claim of the cache has no volume. One that waits for its first pod is as it should be."""
    for claim in seen.of_kind("PersistentVolumeClaim"):
        if claim.get("status", {}).get("phase") == "Bound":
            continue
        name = claim["metadata"]["name"]
        for warning in reversed(seen.warnings):
            about = warning.get("involvedObject", {})
            if (about.get("kind"), about.get("name")) != ("PersistentVolumeClaim", name):
                continue
            said = str(warning.get("message", ""))
            if "storageclass" in said.lower() or "storage class" in said.lower():
                reason = CacheReason.STORAGE_CLASS_NOT_FOUND
                return reason, f"the claim {name} has no volume: {said}; set spec.cache.storageClassName"
            return CacheReason.CLAIM_PENDING, f"the claim {name} has no volume: {said}"
    return None


def _adapter(name: str, told: Sequence[Mapping[str, str]]) -> Manifest:
    """The worst that any engine says of it, and Loaded only where all have it."""
    states = [one["state"] for one in told]
    state = next((one for one in ("Failed", "Pending", "Loading", "Loaded") if one in states), "Pending")
    message = next((one.get("message", "") for one in told if one["state"] == state), "")
    return {"name": name, "state": state, **({"message": quoted(message, 1024)} if message else {})}


def _failure_manifest(failure: PodFailure) -> Manifest:
    given = {
        "reason": failure.reason,
        "message": failure.message,
        "pod": failure.pod,
        "exitCode": failure.exit_code,
        "time": failure.time,
    }
    return {name: value for name, value in given.items() if value not in (None, "")}


def _bytes(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"
