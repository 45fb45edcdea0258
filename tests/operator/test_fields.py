"""Reading what may not be there."""

from datetime import UTC, datetime

from fairlead_operator.fields import condition, items, moment, name_of, part, text

POD = {
    "metadata": {"name": "m", "labels": None},
    "spec": {"containers": [{"name": "engine"}], "volumes": None},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


def test_what_is_there_is_read() -> None:
    assert name_of(POD) == text(POD, "metadata", "name") == "m"
    assert items(POD, "spec", "containers") == [{"name": "engine"}]
    assert condition(POD, "Ready") == {"type": "Ready", "status": "True"}


def test_what_is_left_out_or_null_is_empty() -> None:
    assert part(POD, "metadata", "labels") == part(POD, "spec", "affinity", "nodeAffinity") == {}
    assert items(POD, "spec", "volumes") == items({}, "spec", "containers") == []
    assert text(POD, "metadata", "labels", "a") == name_of({}) == ""
    assert condition(POD, "PodScheduled") == condition({}, "Ready") == {}


def test_a_time_of_either_precision_is_read() -> None:
    assert moment("2026-03-01T12:00:00Z") == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment("2026-03-01T12:00:00.500000Z") == datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
    assert moment(None) is moment("") is None
