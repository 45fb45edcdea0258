"""What a Model's status says, from what there is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairlead_operator.conditions import SpecReason, WorkloadReason
from fairlead_operator.engines import EngineStatus
from fairlead_operator.observed import Observed, Problem, Wanted
from fairlead_operator.ownership import identity
from fairlead_operator.plan import make_plan
from fairlead_operator.pods import PodFailure
from fairlead_operator.render import Manifest
from fairlead_operator.status import Links, status_of, transitions
from fairlead_serve.model import ModelStatus
from tests.charts.workload import model, workload
from tests.operator.test_plan import LIVE, applied, as_stored, of_kind, wanted

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINKS = Links(gateway="http://gateway.fairlead.svc/")
UPSTREAM: dict[str, Any] = {"model": {}, "upstream": {"url": "http://h/v1"}}


class Case:
    """One Model in the cluster and what there is of it."""

    def __init__(self, *, now: datetime = NOW, before: Manifest | None = None, **spec: Any) -> None:
        self.model = model(**spec)
        self.now = now
        self.live = {**LIVE, "status": before or {}}
        self.children: list[Manifest] = []
        self.seen: dict[str, Any] = {}

    @property
    def wanted(self) -> Wanted:
        return wanted(self.model)

    def with_engines(self, ready: int = 1, desired: int = 1) -> "Case":
        """All applied; of the engines so many answer."""
        self.children = applied(self.model)
        deployment = of_kind(self.children, "Deployment")
        self.children.remove(deployment)
        counts = {"replicas": desired, "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": desired}
        self.children.append(as_stored({**deployment, "spec": {**deployment["spec"], "replicas": desired}}, **counts))
        self.children += [self.pod(f"m-{number}", ready=number < ready) for number in range(desired)]
        return self

    def pod(self, name: str, *, ready: bool, revision: str = "", said: str = "") -> Manifest:
        labels = {"fairlead.dev/revision": revision or workload(self.model).revision}
        status: Manifest = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
        ended = {"exitCode": 1, "message": said, "finishedAt": "2026-01-01T00:00:00Z"}
        last = {"lastState": {"terminated": ended}} if said else {}
        status["containerStatuses"] = [{"name": "engine", "restartCount": 0, **last}]
        return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}

    def status(self, asked: Wanted | None = None, *, unreadable: bool = False) -> Manifest:
        seen = Observed(model=self.live, children=self.children, **self.seen)
        what = None if unreadable else (asked or self.wanted)
        return status_of(what, seen, make_plan(what, seen, now=self.now), LINKS, now=self.now)

    def condition(self, kind: str, **options: Any) -> Manifest:
        return condition(self.status(**options), kind)


def condition(status: Manifest, kind: str) -> Manifest:
    (found,) = [one for one in status["conditions"] if one["type"] == kind]
    return dict(found)


def says(found: Manifest) -> tuple[str, str]:
    return found["status"], found["reason"]


def test_a_status_fits_the_resource() -> None:
    for case in (Case(), Case().with_engines(), Case(**UPSTREAM), Case(suspend=True), Case(cache={}).with_engines(0)):
        ModelStatus.model_validate(case.status())


def test_every_condition_is_there_from_the_first_moment() -> None:
    assert [one["type"] for one in Case().status()["conditions"]] == [
        "Ready", "SpecValid", "ModelCached", "WorkloadReady", "Progressing", "ScalingReady", "Suspended",
    ]  # fmt: skip


def test_a_model_that_serves() -> None:
    status = Case(replicas=2).with_engines(2, 2).status()
    assert (status["phase"], status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (
        "Serving",
        2,
        2,
        2,
    )
    assert says(condition(status, "Ready")) == ("True", "Ready")
    assert says(condition(status, "WorkloadReady")) == ("True", "Ready")
    assert says(condition(status, "ModelCached")) == ("True", "Cached")
    assert says(condition(status, "Progressing")) == ("False", "RolloutComplete")
    assert says(condition(status, "ScalingReady")) == ("True", "Fixed")
    assert status["currentRevision"] == status["updatedRevision"] == workload(model()).revision
    assert status["url"] == "http://gateway.fairlead.svc/v1"
    assert status["endpoint"] == "http://m.models.svc:8000"
    assert status["selector"] == "fairlead.dev/model=m"


def test_empty_fields_are_left_out_and_counts_are_not() -> None:
    status = Case().status()
    assert not {"download", "lastFailure", "adapters", "currentRevision"} & status.keys()
    assert (status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (0, 0, 1)


REASONS = [
    (WorkloadReason.UNSCHEDULABLE, "needs 1 more nvidia.com/gpu", "Pending"),
    (WorkloadReason.IMAGE_PULL_ERROR, "no such image", "Failed"),
    (WorkloadReason.CONTAINER_OOM_KILLED, "out of memory", "Failed"),
    (WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF, "exit status 1", "Failed"),
    (WorkloadReason.CONTAINER_START_ERROR, "cannot start", "Failed"),
    (WorkloadReason.POD_EVICTED, "evicted", "Failed"),
]


@pytest.mark.parametrize(("reason", "message", "phase"), REASONS, ids=str)
def test_a_pod_that_fails_is_the_reason(reason: WorkloadReason, message: str, phase: str) -> None:
    case = Case().with_engines(0)
    case.children[-1]["status"]["containerStatuses"] = []
    case.seen["failures"] = [PodFailure(reason, message, "m-0", 1, "2026-01-01T00:00:00Z")]
    status = case.status()
    assert says(condition(status, "WorkloadReady")) == says(condition(status, "Ready")) == ("False", reason)
    assert message in condition(status, "WorkloadReady")["message"]
    assert "pod m-0" in condition(status, "Ready")["message"]
    assert status["phase"] == phase
    assert status["lastFailure"] == {
        "reason": reason, "message": message, "pod": "m-0", "exitCode": 1, "time": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def test_the_last_failure_is_kept_after_the_engine_has_recovered() -> None:
    failure = {"reason": "ContainerOOMKilled", "message": "x", "pod": "m-0", "time": "2026-01-01T00:00:00Z"}
    case = Case(before={"lastFailure": failure}).with_engines()
    assert case.status()["lastFailure"] == failure
    older = PodFailure(WorkloadReason.POD_EVICTED, "y", "m-0", None, "2025-01-01T00:00:00Z")
    newer = PodFailure(WorkloadReason.POD_EVICTED, "y", "m-0", None, "2027-01-01T00:00:00Z")
    case.seen["failures"] = [older]
    assert case.status()["lastFailure"]["reason"] == "ContainerOOMKilled"
    case.seen["failures"] = [older, newer]
    assert case.status()["lastFailure"]["reason"] == "PodEvicted"


def test_one_engine_that_answers_is_enough_to_be_ready_and_not_for_the_workload() -> None:
    status = Case(replicas=2).with_engines(1, 2).status()
    assert says(condition(status, "Ready")) == ("True", "Ready")
    assert says(condition(status, "WorkloadReady")) == ("False", "NotEnoughReady")
    assert status["phase"] in ("Degraded", "Serving", "Updating")
    assert "1 of 2 engines answer" in condition(status, "WorkloadReady")["message"]


def test_a_download_is_told_in_bytes() -> None:
    case = Case().with_engines(0)
    case.seen["engines"] = {"m-0": EngineStatus("Downloading", done=1024**3, total=4 * 1024**3, per_second=2 * 1024**2)}
    status = case.status()
    assert status["phase"] == "Caching"
    assert status["download"] == {"bytesDone": 1024**3, "bytesTotal": 4 * 1024**3, "bytesPerSecond": 2 * 1024**2}
    assert says(condition(status, "ModelCached")) == ("False", "Downloading")
    assert says(condition(status, "WorkloadReady")) == ("False", "Downloading")
    words = "1.0 GiB of 4.0 GiB fetched (25 %), 2.0 MiB a second"
    assert words in condition(status, "WorkloadReady")["message"]


def test_loading_comes_after_downloading() -> None:
    case = Case().with_engines(0)
    case.seen["engines"] = {"m-0": EngineStatus("Loading", cached=True)}
    status = case.status()
    assert status["phase"] == "Starting"
    assert says(condition(status, "ModelCached")) == ("True", "Cached")
    assert says(condition(status, "WorkloadReady")) == ("False", "Loading")


@pytest.mark.parametrize("reason", ["AuthFailed", "NotFound", "DiskFull", "DownloadFailed"])
def test_weights_that_cannot_be_had_are_said_in_the_engines_own_words(reason: str) -> None:
    case = Case().with_engines(0)
    case.children[-1] = case.pod("m-0", ready=False, said=f"{reason}: the hub says no")
    found = case.condition("ModelCached")
    assert says(found) == ("False", reason)
    assert found["message"] == "the hub says no"


def claim_event(message: str) -> Manifest:
    about = {"kind": "PersistentVolumeClaim", "name": "m-cache"}
    return {"involvedObject": about, "reason": "ProvisioningFailed", "message": message}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('storageclass.storage.k8s.io "fast" not found', "StorageClassNotFound"),
        ("no persistent volumes available for this claim and no storage class is set", "StorageClassNotFound"),
        ("failed to provision volume: quota", "ClaimPending"),
    ],
)
def test_a_claim_without_a_volume_says_why(message: str, reason: str) -> None:
    case = Case(cache={}).with_engines(0)
    case.seen["warnings"] = [claim_event(message)]
    found = case.condition("ModelCached")
    assert says(found) == ("False", reason)
    assert message in found["message"]


def test_a_claim_that_waits_for_its_first_pod_is_no_failure() -> None:
    assert says(Case(cache={}).with_engines(0).condition("ModelCached")) == ("Unknown", "Unknown")


def test_what_was_cached_stays_so_while_nothing_contradicts_it() -> None:
    before = Case().with_engines().status()
    later = Case(before=before, now=NOW + timedelta(hours=1), suspend=True)
    assert later.condition("ModelCached") == condition(before, "ModelCached")


def problem(*, blocks: bool = True) -> Problem:
    return Problem(SpecReason.UNKNOWN_RESOURCE_PROFILE, "spec.resourceProfile: there is no profile x", blocks=blocks)


def test_a_specification_that_the_cluster_cannot_have_is_the_reason() -> None:
    case = Case()
    case.seen["problems"] = [problem()]
    status = case.status(unreadable=True)
    assert says(condition(status, "SpecValid")) == ("False", "UnknownResourceProfile")
    assert says(condition(status, "Ready")) == ("False", "UnknownResourceProfile")
    assert says(condition(status, "Progressing")) == ("False", "Blocked")
    assert status["phase"] == "Failed"


def test_engines_of_before_keep_serving_while_the_change_is_refused() -> None:
    case = Case().with_engines()
    case.seen["problems"] = [problem()]
    status = case.status(unreadable=True)
    assert says(condition(status, "Ready")) == ("True", "Ready")
    assert "the last change is not applied" in condition(status, "Ready")["message"]
    assert status["phase"] == "Degraded"


def test_a_problem_that_does_not_block_is_said_and_nothing_else() -> None:
    case = Case().with_engines()
    case.seen["problems"] = [problem(blocks=False)]
    status = case.status()
    assert condition(status, "SpecValid")["status"] == "False"
    assert (condition(status, "Ready")["status"], status["phase"]) == ("True", "Serving")


def test_a_model_that_no_request_comes_to_is_not_ready_though_its_engines_are() -> None:
    hiding = Problem(SpecReason.NAME_TAKEN, "the name m belongs to an older Model", blocks=False, hides=True)
    for case, phase in ((Case().with_engines(), "Degraded"), (Case(**UPSTREAM), "Failed")):
        case.seen["problems"] = [problem(blocks=False), hiding]
        status = case.status()
        assert says(condition(status, "Ready")) == ("False", "NameTaken")
        assert condition(status, "WorkloadReady")["status"] == "True"
        assert status["phase"] == phase


def test_of_a_specification_that_was_never_read_nothing_is_made_up() -> None:
    case = Case()
    case.seen["problems"] = [problem()]
    status = case.status(unreadable=True)
    assert [one["type"] for one in status["conditions"]] == [one["type"] for one in Case().status()["conditions"]]
    assert says(condition(status, "WorkloadReady")) == ("False", "Starting")
    assert condition(status, "WorkloadReady")["message"] == "nothing was started yet"
    assert says(condition(status, "ScalingReady")) == says(condition(status, "Suspended")) == ("Unknown", "Unknown")


def test_engines_of_before_that_start_anew_during_a_move_were_started() -> None:
    moving = Case(cluster="KubeRay", rolloutStrategy={"maxSurge": 1})
    moving.children = Case().with_engines(0).children
    assert moving.condition("WorkloadReady")["message"] == "0 of 1 engines answer; pods are being started"


def test_of_a_specification_that_can_be_read_no_more_what_held_before_stays() -> None:
    before = Case(suspend=True).with_engines(0, 0).status()
    case = Case(before=before, suspend=True).with_engines(0, 0)
    case.seen["problems"] = [problem()]
    assert says(case.condition("Suspended", unreadable=True)) == ("True", "Suspended")


@pytest.mark.parametrize("started", [False, True])
def test_what_was_before_goes_on_only_where_there_was_something(*, started: bool) -> None:
    case = Case().with_engines() if started else Case()
    case.seen["problems"] = [problem()]
    goes_on = "; what was there before goes on" if started else ""
    assert case.condition("Progressing")["message"] == f"nothing is applied until SpecValid is True{goes_on}"


def test_a_suspended_model_is_neither_ready_nor_failed() -> None:
    status = Case(suspend=True).with_engines(0, 0).status()
    assert status["phase"] == "Suspended"
    assert says(condition(status, "Suspended")) == ("True", "Suspended")
    assert says(condition(status, "Ready")) == ("False", "Suspended")
    assert status["desiredReplicas"] == 0


def test_a_model_without_engines_by_its_size_is_idle() -> None:
    for case in (Case(replicas=0), Case(replicas=0).with_engines(0, 0)):
        status = case.status()
        assert (status["phase"], says(condition(status, "Ready"))) == ("Idle", ("False", "Idle"))
        assert says(condition(status, "Progressing")) == ("False", "RolloutComplete")


def test_before_the_first_engine_of_an_idle_model_no_revision_is_said_to_run() -> None:
    found = Case(replicas=0).condition("Progressing")
    assert found["message"] == f"no engine is wanted now; the next ones will be revision {workload(model()).revision}"


def test_one_engine_answers_and_two_answer() -> None:
    said = [Case(replicas=count).with_engines(count, count).condition("Ready")["message"] for count in (1, 2)]
    assert said == ["1 engine answers", "2 engines answer"]
    leaving = Case(suspend=True).with_engines(0, 1)
    assert leaving.condition("Suspended")["message"] == "spec.suspend is true; 1 engine is left"


def test_an_upstream_is_ready_at_once() -> None:
    status = Case(**UPSTREAM).status()
    assert status["phase"] == "Serving"
    assert says(condition(status, "Ready")) == ("True", "Ready")
    assert not {"endpoint", "selector", "currentRevision"} & status.keys()


def test_of_an_upstream_that_cannot_be_asked_nobody_says_that_it_answers() -> None:
    case = Case(**UPSTREAM)
    case.seen["problems"] = [Problem(SpecReason.SECRET_NOT_FOUND, "spec.upstream.apiKeySecretRef: x")]
    status = case.status()
    assert says(condition(status, "Ready")) == ("False", "SecretNotFound")
    assert condition(status, "WorkloadReady")["message"] == "no engine is needed: spec.upstream is set"


def updating(*, failures: Sequence[PodFailure] = ()) -> Case:
    """An engine of before serves, and the next one is on its way."""
    before, case = model(), Case(engine={"maxModelLen": 1024})
    children = {identity(child): child for child in applied(before)}
    seen = Observed(model=LIVE, children=list(children.values()))
    for manifest in make_plan(case.wanted, seen, now=NOW).apply:
        children[identity(manifest)] = as_stored(manifest, replicas=2, updatedReplicas=1)
    old = case.pod("m-1", ready=True, revision=workload(before).revision)
    case.children = [*children.values(), old, case.pod("m-2", ready=False)]
    case.seen["failures"] = failures
    return case


def test_an_update_says_how_far_it_is() -> None:
    status = updating().status()
    found = condition(status, "Progressing")
    assert says(found) == ("True", "RolloutInProgress")
    assert found["message"] == f"0 of 1 engines are revision {updating().wanted.revision}; 1 of before serves meanwhile"
    assert status["phase"] == "Updating"
    assert status["currentRevision"] == workload(model()).revision
    assert status["updatedRevision"] == updating().wanted.revision


def test_an_update_that_waits_for_a_gpu_is_blocked() -> None:
    words = "needs 1 nvidia.com/gpu, 0 free"
    case = updating(failures=[PodFailure(WorkloadReason.UNSCHEDULABLE, words, "m-2")])
    found = case.condition("Progressing")
    assert says(found) == ("True", "Blocked")
    assert found["message"] == f"blocked: {words}; 1 of before serves meanwhile"


def test_what_was_rolled_back_says_why_and_how_to_try_again() -> None:
    case = updating(failures=[PodFailure(WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF, "exit status 1", "m-2", 1)])
    case.children[-1]["status"]["containerStatuses"][0]["restartCount"] = 3
    case.children.pop(-2)
    status = case.status()
    found = condition(status, "Progressing")
    assert says(found) == ("False", "RolledBack")
    assert "ContainerCrashLoopBackOff: exit status 1" in found["message"]
    assert "kubectl annotate model m fairlead.dev/retry=1 --overwrite" in found["message"]
    assert status["updatedRevision"] == status["currentRevision"] == workload(model()).revision


LORA = {"adapters": [{"name": "sql", "uri": "hf://org/sql"}, {"name": "chat", "uri": "hf://org/chat"}]}


def told(**states: str) -> EngineStatus:
    adapters = [{"name": name, "uri": "", "state": state, "message": ""} for name, state in states.items()]
    return EngineStatus("Ready", cached=True, adapters=adapters)


def test_an_adapter_is_loaded_once_every_engine_has_it() -> None:
    case = Case(lora=LORA, replicas=2).with_engines(2, 2)
    case.seen["engines"] = {"m-0": told(sql="Loaded", chat="Loaded"), "m-1": told(sql="Loading", chat="Loaded")}
    assert case.status()["adapters"] == [{"name": "sql", "state": "Loading"}, {"name": "chat", "state": "Loaded"}]


def test_an_adapter_that_one_engine_cannot_load_has_failed() -> None:
    case = Case(lora=LORA).with_engines()
    failed = {"name": "sql", "uri": "", "state": "Failed", "message": "rank 64 is above maxRank"}
    case.seen["engines"] = {"m-0": EngineStatus("Ready", adapters=[failed])}
    assert case.status()["adapters"] == [
        {"name": "sql", "state": "Failed", "message": "rank 64 is above maxRank"},
        {"name": "chat", "state": "Pending"},
    ]


def test_nothing_changes_in_a_status_when_nothing_has_changed() -> None:
    for case in (Case(), Case().with_engines(), updating()):
        before = case.status()
        again = Case(now=NOW + timedelta(hours=1), before=before)
        again.model, again.children, again.seen = case.model, case.children, case.seen
        assert again.status() == before


def events(before: Manifest, after: Manifest) -> list[tuple[str, str]]:
    return [(kind, reason) for kind, reason, _ in transitions(before, after)]


def test_a_person_is_told_of_what_happened_and_not_of_what_is() -> None:
    starting = Case().status()
    serving = Case().with_engines().status()
    assert events(starting, serving) == [("Normal", "Ready"), ("Normal", "RolloutComplete")]
    assert events(serving, serving) == []
    case = Case().with_engines(0)
    case.seen["failures"] = [PodFailure(WorkloadReason.CONTAINER_OOM_KILLED, "x", "m-0")]
    assert ("Warning", "ContainerOOMKilled") in events(serving, case.status())
    assert events({}, Case(**UPSTREAM).status()) == [("Normal", "Ready")]
    assert events({}, starting) == [("Normal", "RolloutInProgress")]
