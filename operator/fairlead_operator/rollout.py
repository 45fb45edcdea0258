"""Which revision of a Model its engines should be, and how the way there goes. Pure.

A revision is good once all its engines have answered. One that fails is remembered as such, so that a start of the
operator, or anything else, does not try it again: only another revision or another retry annotation does, or that
there is nothing left to go back to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from fairlead_operator.conditions import timestamp
from fairlead_operator.fields import moment
from fairlead_operator.render import Manifest
from fairlead_operator.revisions import Revision, first_attempt, kept, last_good
from fairlead_operator.workload import Workload

# A container that ended this often was not unlucky. It is known within two minutes, long before the deadline that a
# load of weights needs.
RESTARTS = 3
# The kubelet has tried five times by then, since it waits 10 s at first and twice as long each time. A name that is
# wrong stays wrong; a registry that is restarted, or an image that is pushed a moment later, is there again.
_STUCK = timedelta(minutes=5)

State = Literal["Complete", "Running", "Failed", "RolledBack"]


@dataclass(frozen=True)
class Policy:
    """What the Model says of rollouts: its `rolloutStrategy`, and the value of its retry annotation."""

    rollback: bool
    deadline_seconds: int
    attempt: str


@dataclass(frozen=True)
class Health:
    """What is known of the engines of the revision on its way.

    `failure` says, as `Reason: sentence`, what is worst about them, empty where nothing is; `restarts` is the most that
    one of them has started anew without any of them being ready. `stuck`: the container of one cannot even be made,
    none is ready, and those of before do not fare as badly.
    """

    failure: str = ""
    restarts: int = 0
    stuck: bool = False


@dataclass(frozen=True)
class Rollout:
    """`target` is the revision to apply; `revisions` are the ones to keep, changed where it is now known how they went.

    `why` is the sentence of a state that is not well, empty otherwise.
    """

    target: Revision
    revisions: tuple[Revision, ...]
    state: State
    why: str = ""


def decide(
    wanted: tuple[str, Sequence[Manifest]],
    known: Sequence[Revision],
    workload: Workload,
    health: Health,
    policy: Policy,
    *,
    now: datetime,
) -> Rollout:
    """`wanted`: the revision that the Model asks for and the objects rendered for it; `known`: those on record."""
    name, objects = wanted
    current = _on_record(name, objects, known, policy)
    others = [revision for revision in known if revision.name != name]
    # What ran in a Deployment does not run in a RayService, but it may still do so beside it.
    beside = last_good(revision for revision in others if revision.name == workload.beside)
    good = beside or last_good(revision for revision in others if revision.kind == current.kind)
    on_its_way = workload.revision == name
    if not on_its_way and (workload.revision or workload.beside) and current.outcome == "Good":
        # Come back to: it is the newest again, and whether it is still good has to be shown anew.
        current = replace(current, number=max(revision.number for revision in known) + 1, outcome="", began="")
    if current.outcome == "Failed" and good is None:
        # It was judged while there was a way back. Another failure is not remembered, so this happens once.
        current = _untried(current)
    if not current.outcome:
        current = _on_the_clock(current, workload, health, policy, now, on_its_way=on_its_way)
    if on_its_way and workload.complete and current.outcome != "Failed":
        # Without any engine nothing was shown.
        return _result(current.judged("Good") if workload.desired else current, others, "Complete")
    if on_its_way and not current.outcome and workload.desired:
        why = _verdict(current, workload, health, policy, now)
        if why and policy.rollback and good is not None:
            current = current.judged("Failed", why)
        elif why:
            return _result(current, others, "Failed", why)
    if current.outcome == "Failed" and good is not None:
        return _failed(current, others, good, policy, workload)
    # An engine that is lost, or one more that is wanted, is no update.
    is_there = on_its_way and current.outcome == "Good" and workload.updated
    return _result(current, others, "Complete" if is_there else "Running")


def seconds_left(rollout: Rollout, deadline_seconds: int, *, now: datetime) -> float:
    """Until the deadline of what is on its way; 0 where nothing is, where none is kept, and once it has passed."""
    began = moment(rollout.target.began)
    if began is None or rollout.state != "Running":
        return 0.0
    return max(0.0, (began + timedelta(seconds=deadline_seconds) - now).total_seconds())


def _on_record(name: str, objects: Sequence[Manifest], known: Sequence[Revision], policy: Policy) -> Revision:
    found = next((revision for revision in known if revision.name == name), None)
    if found is None:
        return first_attempt(name, objects, known)
    if found.outcome == "Failed" and policy.attempt not in ("", found.attempt):
        return replace(_untried(found), attempt=policy.attempt)
    return found


def _untried(revision: Revision) -> Revision:
    return replace(revision.judged(""), began="", stuck="")


def _on_the_clock(
    current: Revision, workload: Workload, health: Health, policy: Policy, now: datetime, *, on_its_way: bool
) -> Revision:
    """With the times since when it is tried, and is stuck; without, as long as no engine is wanted."""
    if not on_its_way:
        return replace(current, attempt=policy.attempt, began=timestamp(now), stuck="")
    if not workload.desired:
        return replace(current, began="", stuck="")
    stuck = (current.stuck or timestamp(now)) if health.stuck else ""
    return replace(current, began=current.began or timestamp(now), stuck=stuck)


def _failed(
    current: Revision, others: Sequence[Revision], good: Revision, policy: Policy, workload: Workload
) -> Rollout:
    # Who no longer wants to go back has not asked for the failed engines in the place of good ones.
    is_back = good.name in (workload.revision, workload.beside)
    if not (policy.rollback or is_back):
        return _result(current, others, "Failed", current.failure)
    rollout = _result(current, others, "RolledBack", current.failure)
    return replace(rollout, target=good)


def _verdict(current: Revision, workload: Workload, health: Health, policy: Policy, now: datetime) -> str:
    """Why the revision on its way has failed; empty as long as it has not."""
    stuck = moment(current.stuck)
    if health.failure and (health.restarts >= RESTARTS or (stuck is not None and now - stuck >= _STUCK)):
        return health.failure
    overdue = workload.overdue or _overdue(current, workload, policy, now)
    if not overdue:
        return ""
    return health.failure or f"ProgressDeadlineExceeded: {overdue}"


def _overdue(current: Revision, workload: Workload, policy: Policy, now: datetime) -> str:
    """Where the cluster keeps no deadline: of a RayService, and of a Deployment that was suspended on its way."""
    began, settled = moment(current.began), moment(workload.settled)
    if began is None or now - began < timedelta(seconds=policy.deadline_seconds):
        return ""
    # What has settled since it began was complete once, and has only lost an engine.
    if current.kind == "Deployment" and (settled is None or settled > began):
        return ""
    return f"not all engines answered within {policy.deadline_seconds} s"


def _result(current: Revision, others: Sequence[Revision], state: State, why: str = "") -> Rollout:
    revisions = kept([*others, current], current.name)
    return Rollout(current, tuple(revisions), state, why)
