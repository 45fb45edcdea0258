"""Which revision the engines should be: every case of going forward, failing, going back and trying again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fairlead_operator.conditions import timestamp
from fairlead_operator.revisions import Revision, manifest_of, revision_of
from fairlead_operator.rollout import Health, Policy, Rollout, decide, seconds_left
from fairlead_operator.workload import Workload
from tests.charts.workload import KUBERAY, model, workload
from tests.charts.workload import Workload as Rendered

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OBJECTS = workload(model()).manifests
RAY = workload(model(**KUBERAY)).manifests
POLICY = Policy(rollback=True, deadline_seconds=600, attempt="")
HEALTHY = Health()
CRASHES = Health("ContainerCrashLoopBackOff: exit status 1", restarts=3)


def revision(name: str, number: int = 1, objects: Sequence[Any] = OBJECTS, **fields: Any) -> Revision:
    made = decide((name, objects), (), Workload(), Health(), POLICY, now=NOW).target
    return replace(made, number=number, **fields)


GOOD = revision("a", outcome="Good")


def on(name: str, **fields: Any) -> Workload:
    """Engines on their way to a revision."""
    return Workload(revision=name, desired=1, replicas=1, **fields)


def there(name: str) -> Workload:
    return on(name, ready=1, updated=True, complete=True)


def decided(
    name: str,
    known: Sequence[Revision],
    engines: Workload,
    health: Health = HEALTHY,
    policy: Policy = POLICY,
    objects: Sequence[Any] = OBJECTS,
    now: datetime = NOW,
) -> Rollout:
    return decide((name, objects), known, engines, health, policy, now=now)


def known_after(rollout: Rollout) -> dict[str, str]:
    return {one.name: one.outcome for one in rollout.revisions}


def test_a_first_revision_is_recorded_before_anything_runs() -> None:
    rollout = decided("a", (), Workload())
    assert (rollout.state, rollout.target.name, known_after(rollout)) == ("Running", "a", {"a": ""})


def test_a_revision_is_good_once_all_its_engines_answer() -> None:
    rollout = decided("a", [revision("a")], there("a"))
    assert (rollout.state, known_after(rollout)) == ("Complete", {"a": "Good"})


def test_no_engine_shows_nothing() -> None:
    idle = Workload(revision="a", updated=True, complete=True)
    rollout = decided("a", [revision("a")], idle)
    assert (rollout.state, known_after(rollout)) == ("Complete", {"a": ""})


def test_the_last_good_revision_is_kept_while_the_next_is_on_its_way() -> None:
    rollout = decided("b", [GOOD], there("a"))
    assert (rollout.state, rollout.target.name) == ("Running", "b")
    assert known_after(rollout) == {"a": "Good", "b": ""}


def test_an_engine_that_crashes_again_and_again_ends_the_update() -> None:
    rollout = decided("b", [GOOD, revision("b", 2)], on("b"), CRASHES)
    assert (rollout.state, rollout.target.name) == ("RolledBack", "a")
    assert rollout.why == "ContainerCrashLoopBackOff: exit status 1"
    assert known_after(rollout) == {"a": "Good", "b": "Failed"}


def test_a_few_restarts_are_bad_luck() -> None:
    rollout = decided("b", [GOOD, revision("b", 2)], on("b"), replace(CRASHES, restarts=2))
    assert rollout.state == "Running"


STUCK = Health("ImagePullError: no such image", stuck=True)


def test_engines_that_cannot_be_made_end_the_update_after_five_minutes() -> None:
    known: Sequence[Revision] = [GOOD, revision("b", 2)]
    for seconds, state in ((0, "Running"), (299, "Running"), (300, "RolledBack")):
        rollout = decided("b", known, on("b"), STUCK, now=NOW + timedelta(seconds=seconds))
        assert rollout.state == state
        known = rollout.revisions
    assert (rollout.target.name, rollout.why) == ("a", STUCK.failure)


def test_five_minutes_count_from_the_last_time_that_engines_could_be_made() -> None:
    known: Sequence[Revision] = [GOOD, revision("b", 2)]
    steps = ((0, STUCK, on("b")), (200, HEALTHY, on("b")), (250, STUCK, on("b")), (400, STUCK, on("b")))
    away = replace(on("b"), desired=0, replicas=0)
    for seconds, health, engines in (*steps, (500, STUCK, away), (505, STUCK, on("b")), (800, STUCK, on("b"))):
        rollout = decided("b", known, engines, health, now=NOW + timedelta(seconds=seconds))
        assert rollout.state == "Running"
        known = rollout.revisions
    assert decided("b", known, on("b"), STUCK, now=NOW + timedelta(seconds=805)).state == "RolledBack"


def test_another_attempt_at_engines_that_could_not_be_made_has_its_five_minutes() -> None:
    early = decided("b", [GOOD, revision("b", 2)], on("b"), STUCK).revisions
    failed = decided("b", early, on("b"), STUCK, now=NOW + timedelta(seconds=300)).revisions
    again, later = replace(POLICY, attempt="2"), NOW + timedelta(seconds=900)
    retried = decided("b", failed, there("a"), policy=again, now=later).revisions
    assert decided("b", retried, on("b"), STUCK, policy=again, now=later).state == "Running"


def test_the_deadline_of_the_cluster_ends_the_update() -> None:
    overdue = on("b", overdue='ReplicaSet "b" has timed out progressing.')
    rollout = decided("b", [GOOD, revision("b", 2)], overdue)
    assert (rollout.state, rollout.target.name) == ("RolledBack", "a")
    assert "timed out progressing" in rollout.why
    unschedulable = decided("b", [GOOD, revision("b", 2)], overdue, Health("Unschedulable: needs 1 more GPU"))
    assert unschedulable.why == "Unschedulable: needs 1 more GPU"


def test_a_ray_service_has_the_deadline_that_the_operator_keeps() -> None:
    known = [revision("a", objects=RAY, outcome="Good"), revision("b", 2, objects=RAY)]
    for seconds, state in ((599, "Running"), (600, "RolledBack")):
        rollout = decided("b", known, on("b"), objects=RAY, now=NOW + timedelta(seconds=seconds))
        assert rollout.state == state


def test_a_failed_revision_stays_failed_whatever_happens() -> None:
    known = [GOOD, revision("b", 2, outcome="Failed", failure="x")]
    for engines in (there("a"), on("b"), there("b"), Workload()):
        rollout = decided("b", known, engines)
        assert (rollout.state, rollout.target.name, rollout.why) == ("RolledBack", "a", "x")


def test_another_retry_annotation_tries_it_again() -> None:
    known = [GOOD, revision("b", 2, outcome="Failed", failure="x")]
    again = replace(POLICY, attempt="2")
    rollout = decided("b", known, there("a"), policy=again)
    assert (rollout.state, rollout.target.name, rollout.target.attempt) == ("Running", "b", "2")
    failed = decided("b", rollout.revisions, on("b"), CRASHES, policy=again)
    assert (failed.state, failed.target.name) == ("RolledBack", "a")


def test_a_new_attempt_has_the_whole_deadline_again() -> None:
    known = [revision("a", objects=RAY, outcome="Good"), revision("b", 2, objects=RAY, outcome="Failed")]
    again, later = replace(POLICY, attempt="2"), NOW + timedelta(days=1)
    rollout = decided("b", known, there("a"), policy=again, objects=RAY, now=later)
    assert decided("b", rollout.revisions, on("b"), policy=again, objects=RAY, now=later).state == "Running"


def test_a_retry_of_what_is_still_on_its_way_begins_anew_and_only_once() -> None:
    good = revision("a", objects=RAY, outcome="Good")
    tried: dict[str, Any] = {"outcome": "Failed", "attempt": "1", "began": timestamp(NOW), "stuck": timestamp(NOW)}
    again, later = replace(POLICY, attempt="2"), NOW + timedelta(days=1)
    known = [good, revision("b", 2, objects=RAY, **tried)]
    retried = decided("b", known, on("b"), STUCK, policy=again, objects=RAY, now=later)
    assert (retried.state, retried.target.name) == ("Running", "b")
    for _ in range(2):
        retried = decided("b", retried.revisions, on("b"), CRASHES, policy=again, objects=RAY, now=later)
        assert (retried.state, retried.target.name) == ("RolledBack", "a")


def test_what_failed_is_tried_once_more_where_the_way_back_is_gone() -> None:
    known = [GOOD, revision("b", 2, objects=RAY, outcome="Failed", failure="x", began=timestamp(NOW))]
    beside = decided("b", known, Workload(beside="a"), objects=RAY)
    assert (beside.state, beside.target.name) == ("RolledBack", "a")
    later = NOW + timedelta(days=1)
    fresh = decided("b", beside.revisions, Workload(), objects=RAY, now=later)
    assert (fresh.state, fresh.target.name) == ("Running", "b")
    assert (fresh.target.outcome, fresh.target.failure, fresh.target.began) == ("", "", timestamp(later))
    came_up = decided("b", fresh.revisions, there("b"), objects=RAY, now=later)
    assert (came_up.state, known_after(came_up)) == ("Complete", {"a": "Good", "b": "Good"})
    overdue = fresh
    for seconds in (600, 601, 10_000):
        overdue = decided("b", overdue.revisions, on("b"), objects=RAY, now=later + timedelta(seconds=seconds))
        assert (overdue.state, overdue.target) == ("Failed", fresh.target), "there is no third attempt"


def test_what_came_up_after_all_is_good_where_the_way_back_is_gone() -> None:
    known = [GOOD, revision("b", 2, objects=RAY, outcome="Failed", failure="x")]
    rollout = decided("b", known, there("b"), objects=RAY)
    assert (rollout.state, known_after(rollout)) == ("Complete", {"a": "Good", "b": "Good"})


def test_the_time_that_is_left_is_that_of_what_is_on_its_way() -> None:
    rollout = decided("b", [GOOD], there("a"))
    for seconds, left in ((0, 600), (599, 1), (600, 0), (9000, 0)):
        assert seconds_left(rollout, 600, now=NOW + timedelta(seconds=seconds)) == left
    assert not seconds_left(replace(rollout, state="RolledBack"), 600, now=NOW)
    assert not seconds_left(decided("b", rollout.revisions, Workload(revision="b")), 600, now=NOW), "none is wanted"


def test_hold_leaves_what_failed_for_inspection() -> None:
    hold = replace(POLICY, rollback=False)
    rollout = decided("b", [GOOD, revision("b", 2)], on("b"), CRASHES, policy=hold)
    assert (rollout.state, rollout.target.name, rollout.why) == ("Failed", "b", CRASHES.failure)
    assert decided("b", rollout.revisions, there("b"), policy=hold).state == "Complete"


def test_without_a_good_revision_there_is_nothing_to_go_back_to() -> None:
    rollout = decided("a", [revision("a")], on("a"), CRASHES)
    assert (rollout.state, rollout.target.name) == ("Failed", "a")
    other = decided("b", [revision("a", objects=RAY, outcome="Good"), revision("b", 2)], on("b"), CRASHES)
    assert other.state == "Failed", "what ran in a RayService does not run in a Deployment"


def test_an_engine_that_is_lost_is_no_update() -> None:
    rollout = decided("a", [GOOD], on("a", updated=True), CRASHES)
    assert (rollout.state, rollout.target.name) == ("Complete", "a")


def test_going_back_by_hand_is_an_update_until_the_engines_are_there() -> None:
    known = [GOOD, revision("b", 2)]
    assert decided("a", known, on("b")).state == "Running"
    assert decided("a", known, on("a")).state == "Running"
    assert decided("a", known, there("a")).state == "Complete"


def test_old_revisions_are_forgotten() -> None:
    known = [revision(name, number, outcome="Good") for number, name in enumerate("abcd", start=1)]
    assert list(known_after(decided("e", known, there("d")))) == ["d", "e"]


def test_the_way_back_leads_to_the_revision_that_served_last() -> None:
    known = [GOOD, revision("b", 2, outcome="Good")]
    back = decided("a", known, there("b"))
    assert (back.state, back.target.name) == ("Running", "a")
    again = decided("a", back.revisions, there("a"))
    failed = decided("c", [*again.revisions, revision("c", 9)], on("c"), CRASHES)
    assert (failed.state, failed.target.name) == ("RolledBack", "a")


def test_a_revision_that_is_come_back_to_has_to_show_again_that_it_is_good() -> None:
    back = decided("a", [GOOD, revision("b", 2, outcome="Good")], there("b"))
    failed = decided("a", back.revisions, on("a", updated=True), CRASHES)
    assert (failed.state, failed.target.name) == ("RolledBack", "b")


def test_who_no_longer_wants_to_go_back_keeps_the_engines_that_serve() -> None:
    known = [GOOD, revision("b", 2, outcome="Failed", failure="x")]
    hold = replace(POLICY, rollback=False)
    assert decided("b", known, there("a"), policy=hold).target.name == "a"
    assert decided("b", known, on("b"), policy=hold).target.name == "b"


def test_time_without_a_wanted_engine_does_not_count() -> None:
    known = [revision("a", objects=RAY, outcome="Good"), revision("b", 2, objects=RAY)]
    late = NOW + timedelta(days=1)
    suspended = decided("b", known, Workload(revision="b", updated=True), objects=RAY, now=late)
    assert suspended.state != "RolledBack"
    resumed = decided("b", suspended.revisions, on("b"), objects=RAY, now=late)
    assert resumed.state == "Running"
    overdue = decided("b", resumed.revisions, on("b"), objects=RAY, now=late + timedelta(seconds=600))
    assert overdue.state == "RolledBack"


def test_a_deployment_that_was_suspended_on_its_way_has_the_deadline_that_the_operator_keeps() -> None:
    known = [GOOD, revision("b", 2)]
    late = NOW + timedelta(days=1)
    suspended = decided("b", known, Workload(revision="b", updated=True, complete=True, settled=timestamp(late)))
    resumed = decided("b", suspended.revisions, on("b", settled=timestamp(late)), now=late + timedelta(seconds=5))
    for seconds, state in ((604, "Running"), (605, "RolledBack")):
        now = late + timedelta(seconds=seconds)
        rollout = decided("b", resumed.revisions, on("b", settled=timestamp(late)), now=now)
        assert rollout.state == state
    assert rollout.why == "ProgressDeadlineExceeded: not all engines answered within 600 s"


def test_a_deployment_is_left_to_its_own_deadline_as_long_as_it_has_one() -> None:
    late = NOW + timedelta(days=1)
    assert decided("b", [GOOD, revision("b", 2)], on("b"), now=late).state == "Running"


def test_an_update_that_came_through_unseen_has_not_failed_when_an_engine_is_lost() -> None:
    came_through = on("b", settled=timestamp(NOW + timedelta(seconds=60)))
    rollout = decided("b", [GOOD, revision("b", 2)], came_through, now=NOW + timedelta(days=1))
    assert rollout.state == "Running"


def test_the_last_good_revision_of_each_kind_of_workload_is_kept() -> None:
    known = [GOOD, revision("r", 2, objects=RAY, outcome="Good")]
    assert set(known_after(decided("b", known, there("r")))) == {"a", "b", "r"}


def test_taking_the_retry_annotation_away_tries_nothing() -> None:
    known = [GOOD, revision("b", 2, outcome="Failed", failure="x", attempt="1")]
    assert decided("b", known, there("a")).state == "RolledBack"


def test_a_record_is_read_as_it_was_written() -> None:
    for objects in (OBJECTS, RAY):
        made = revision("a", 3, objects, outcome="Failed", failure="x: y", attempt="1", stuck=timestamp(NOW))
        assert revision_of(manifest_of(made, "m")) == made


def test_going_back_changes_the_engines_and_nothing_around_them() -> None:
    for kind in ({}, KUBERAY):
        old = workload(model(**kind, engine={"maxModelLen": 1024}))
        new = workload(model(**kind, engine={"maxModelLen": 2048, "image": "e:2"}, replicas=3, drainTimeoutSeconds=9))
        made = Rendered(revision("a", objects=old.manifests).within(new.manifests))
        assert made.pod == old.pod
        assert made["ConfigMap"] == old["ConfigMap"]
        assert made.revision == old.revision
        assert made["NetworkPolicy"] == new["NetworkPolicy"]
    assert made.application["deployments"] == new.application["deployments"]
