"""The conditions of a Model."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from fairlead_operator.conditions import (
    ASPECTS,
    LONGEST_MESSAGE,
    MODEL_CACHED,
    READY,
    SPEC_VALID,
    WORKLOAD_READY,
    Aspect,
    CacheReason,
    Conditions,
    SpecReason,
    WorkloadReason,
    timestamp,
)
from fairlead_operator.render import Manifest
from fairlead_serve.model import Condition, ModelStatus

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
CACHED: Manifest = {
    "type": "ModelCached",
    "status": "False",
    "reason": "Downloading",
    "message": "1 GiB of 9 GiB",
    "lastTransitionTime": "2026-03-01T12:00:00Z",
    "observedGeneration": 3,
}


def conditions(*previous: Manifest, now: datetime = NOW, generation: int = 3) -> Conditions:
    return Conditions(previous, generation=generation, now=now)


def test_a_condition_is_as_the_api_has_it() -> None:
    made = conditions()
    made.set(MODEL_CACHED, "False", CacheReason.DOWNLOADING, "1 GiB of 9 GiB")
    assert made.manifests() == [CACHED]


def test_to_say_the_same_again_changes_nothing() -> None:
    made = conditions(CACHED, now=LATER)
    made.set(MODEL_CACHED, "False", CacheReason.DOWNLOADING, "1 GiB of 9 GiB")
    assert made.manifests() == [CACHED]


def test_the_time_stays_while_the_status_does() -> None:
    made = conditions(CACHED, now=LATER, generation=4)
    made.set(MODEL_CACHED, "False", CacheReason.DISK_FULL, "3 GiB are missing")
    assert made.manifests() == [
        {**CACHED, "reason": "DiskFull", "message": "3 GiB are missing", "observedGeneration": 4}
    ]


def test_the_time_moves_with_the_status() -> None:
    made = conditions(CACHED, now=LATER)
    made.set(MODEL_CACHED, "True", CacheReason.CACHED)
    (found,) = made.manifests()
    assert found["lastTransitionTime"] == "2026-03-01T12:05:00Z"


def test_a_status_that_comes_back_within_one_pass_never_left() -> None:
    made = conditions(CACHED, now=LATER)
    made.set(MODEL_CACHED, "True", CacheReason.CACHED)
    made.set(MODEL_CACHED, "False", CacheReason.DOWNLOADING, "1 GiB of 9 GiB")
    assert made.manifests() == [CACHED]


def test_what_is_not_set_anew_and_what_others_wrote_stays() -> None:
    foreign = {"type": "example.com/Audited", "status": "True"}
    made = conditions(foreign, CACHED)
    made.set(SPEC_VALID, "True", SpecReason.VALID)
    assert [one["type"] for one in made.manifests()] == ["SpecValid", "ModelCached", "example.com/Audited"]
    assert made.manifests()[1:] == [CACHED, foreign]


def test_the_order_is_the_same_whatever_is_set_first() -> None:
    made = conditions()
    made.set(WORKLOAD_READY, "False", WorkloadReason.STARTING)
    made.set(READY, "False", WorkloadReason.STARTING)
    assert [one["type"] for one in made.manifests()] == ["Ready", "WorkloadReady"]


def test_a_condition_can_be_read_back() -> None:
    made = conditions(CACHED)
    assert made.get(MODEL_CACHED) == CACHED
    assert made.get(READY) is None


def test_a_message_that_is_too_long_ends_at_a_word() -> None:
    made = conditions()
    made.set(READY, "False", WorkloadReason.STARTING, "word " * LONGEST_MESSAGE)
    (found,) = made.manifests()
    assert LONGEST_MESSAGE - 5 <= len(found["message"]) <= LONGEST_MESSAGE
    assert found["message"].endswith("word…")


def test_a_previous_condition_without_a_time_gets_one() -> None:
    made = conditions({"type": "ModelCached", "status": "False"})
    made.set(MODEL_CACHED, "False", CacheReason.DOWNLOADING, "1 GiB of 9 GiB")
    assert made.manifests() == [CACHED]


def test_the_types_are_those_of_the_resource_in_their_order() -> None:
    types = get_args(Condition.model_fields["type"].annotation)
    assert tuple(aspect.name for aspect in ASPECTS) == types


@pytest.mark.parametrize("aspect", ASPECTS, ids=lambda aspect: aspect.name)
def test_every_reason_makes_a_status_that_the_resource_allows(aspect: Aspect[Any]) -> None:
    for reason in aspect.reasons if aspect is not READY else WorkloadReason:
        made = conditions()
        made.set(aspect, "Unknown", reason, "x" * LONGEST_MESSAGE)
        assert ModelStatus.model_validate({"conditions": made.manifests()}).conditions[0].reason == reason.value


def test_a_time_is_written_in_utc_to_the_second() -> None:
    assert timestamp(NOW.astimezone(timezone(timedelta(hours=2)))) == "2026-03-01T12:00:00Z"
