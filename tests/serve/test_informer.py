"""The informer: true to the server through every way in which a watch ends."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fairlead_serve.informer import Informer, Timing
from tests.serve.scripted_api import (
    PATH,
    ScriptedApi,
    Step,
    answer,
    event,
    listing,
    refusal,
    refuse,
    thing,
    torn,
    watch,
)

QUICK = Timing(watch=30, grace=5, first_pause=0.01, longest_pause=0.02)
# No test waits that long unless it fails.
PATIENCE_SECONDS = 10


class Followed:
    """An informer of a scripted server, and what it told."""

    def __init__(self, api: ScriptedApi, timing: Timing, label_selector: str, *, optional: bool) -> None:
        self.api = api
        self.changes: list[tuple[int, int]] = []
        self._changed = threading.Condition()
        self.informer = Informer(
            api.client(),
            PATH,
            label_selector=label_selector,
            optional=optional,
            on_change=self._on_change,
            timing=timing,
        )

    def _on_change(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        with self._changed:
            self.changes.append((version(old), version(new)))
            self._changed.notify_all()

    def wait_for_changes(self, count: int) -> list[tuple[int, int]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.changes) >= count, PATIENCE_SECONDS), self.changes
            return list(self.changes)

    def names(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.informer.all())


def version(manifest: dict[str, Any] | None) -> int:
    return int(manifest["metadata"]["resourceVersion"]) if manifest else 0


@contextlib.contextmanager
def following(
    *steps: Step, timing: Timing = QUICK, label_selector: str = "", optional: bool = False
) -> Iterator[Followed]:
    with ScriptedApi(*steps) as api:
        followed = Followed(api, timing, label_selector, optional=optional)
        followed.informer.start()
        try:
            yield followed
        finally:
            followed.informer.stop()
            assert not followed.informer.alive


def test_what_is_listed_and_what_is_watched_is_known_and_told() -> None:
    events = (
        event("ADDED", thing("b", 11)),
        event("MODIFIED", thing("a", 12)),
        event("DELETED", thing("b", 13)),
    )
    with following(listing(10, thing("a", 5)), watch(*events)) as followed:
        assert followed.wait_for_changes(4) == [(0, 5), (0, 11), (5, 12), (11, 0)]
        assert followed.names() == ["a"]
        assert version(followed.informer.get("ns", "a")) == 12
        assert followed.informer.synced


def test_the_watch_begins_where_the_list_ended_and_asks_for_bookmarks() -> None:
    with following(listing(10), label_selector="fairlead.dev/model") as followed:
        listed, watched = followed.api.wait_for_requests(2)
        assert listed == {"labelSelector": "fairlead.dev/model", "limit": "500"}
        assert watched["resourceVersion"] == "10"
        assert (watched["watch"], watched["allowWatchBookmarks"]) == ("true", "true")
        assert 22 <= int(watched["timeoutSeconds"]) <= 38
        assert watched["labelSelector"] == "fairlead.dev/model"


def test_an_object_that_is_nested_too_deeply_hides_no_other() -> None:
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    deep = thing("deep", 5, spec={"name": "x", "args": nested})
    events = (
        event("MODIFIED", {**deep, "metadata": {**deep["metadata"], "resourceVersion": "11"}}),
        event("ADDED", thing("b", 12)),
    )
    with following(listing(10, deep, thing("a", 6)), watch(*events)) as followed:
        followed.wait_for_changes(4)
        assert followed.names() == ["a", "b", "deep"]
        found = followed.informer.get("ns", "deep")
        assert found is not None
        assert found["spec"]["name"] == "x"


def test_a_line_that_is_no_json_is_told_and_not_taken_for_an_end(caplog: pytest.LogCaptureFixture) -> None:
    with following(listing(10), watch(b"<html>\n"), watch(event("ADDED", thing("a", 11)))) as followed:
        followed.wait_for_changes(1)
    assert "not JSON" in caplog.text


def test_items_of_a_list_get_the_kind_that_only_the_list_has() -> None:
    with following(listing(10, thing("a", 5))) as followed:
        followed.wait_for_changes(1)
        [item] = followed.informer.all()
        assert (item["apiVersion"], item["kind"]) == ("v1", "Thing")


def test_a_long_list_is_read_page_by_page() -> None:
    with following(listing(10, thing("a", 5), more="next"), listing(10, thing("b", 6))) as followed:
        assert followed.wait_for_changes(2) == [(0, 5), (0, 6)]
        assert followed.api.requests[1]["continue"] == "next"


def test_a_list_whose_next_page_has_expired_is_read_at_once() -> None:
    steps = (listing(10, thing("a", 5), more="next"), refuse(410), listing(11, thing("b", 6)))
    with following(*steps) as followed:
        assert followed.wait_for_changes(1) == [(0, 6)]
        assert "limit" not in followed.api.requests[2]


def test_managed_fields_are_not_kept() -> None:
    one = thing("a", 5)
    one["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    with following(listing(10, one), watch(event("MODIFIED", {**one, "spec": 1}))) as followed:
        followed.wait_for_changes(1)
        assert all("managedFields" not in item["metadata"] for item in followed.informer.all())


def test_a_watch_that_ends_goes_on_from_the_last_event_without_another_list() -> None:
    steps = (listing(10), watch(event("ADDED", thing("a", 11)), end=True), watch(event("ADDED", thing("b", 12))))
    with following(*steps) as followed:
        assert followed.wait_for_changes(2) == [(0, 11), (0, 12)]
        assert followed.api.requests[2]["resourceVersion"] == "11"


def test_a_watch_that_ends_goes_on_from_the_last_bookmark() -> None:
    bookmark = event("BOOKMARK", {"kind": "Thing", "metadata": {"resourceVersion": "40"}})
    with following(listing(10), watch(bookmark, end=True)) as followed:
        assert followed.api.wait_for_requests(3)[2]["resourceVersion"] == "40"
        assert followed.changes == []


def test_a_watch_that_breaks_off_within_a_line_loses_nothing() -> None:
    line = event("ADDED", thing("a", 11))
    with following(listing(10), torn(line), watch(line)) as followed:
        assert followed.wait_for_changes(1) == [(0, 11)]
        assert followed.api.requests[2]["resourceVersion"] == "10"


@pytest.mark.parametrize(
    "expired", [refuse(410), watch(event("ERROR", refusal(410, "too old resource version")))], ids=["answer", "event"]
)
def test_when_the_history_is_gone_a_new_list_tells_what_was_missed(expired: Step) -> None:
    before = listing(10, thing("gone", 5), thing("same", 6), thing("changed", 7))
    after = listing(20, thing("same", 6), thing("changed", 15), thing("new", 16))
    with following(before, expired, after) as followed:
        assert followed.wait_for_changes(6)[3:] == [(5, 0), (7, 15), (0, 16)]
        assert followed.names() == ["changed", "new", "same"]
        assert followed.api.wait_for_requests(4)[3]["resourceVersion"] == "20"


def test_a_version_that_the_server_has_yet_to_reach_leads_to_a_new_list() -> None:
    with following(listing(90, thing("a", 80)), refuse(504), listing(10, thing("a", 5))) as followed:
        assert followed.wait_for_changes(2) == [(0, 80), (80, 5)]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_and_not_for_a_list(status: int) -> None:
    with following(listing(10), refuse(status), watch(event("ADDED", thing("a", 11)))) as followed:
        followed.wait_for_changes(1)
        assert [request.get("watch") for request in followed.api.requests] == [None, "true", "true"]


def test_a_watch_that_breaks_off_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    line = event("ADDED", thing("a", 11))
    with caplog.at_level(logging.INFO), following(listing(10), torn(line), torn(line), watch(line)) as followed:
        followed.wait_for_changes(1)
    assert not caplog.records


def test_a_silent_connection_is_given_up() -> None:
    timing = Timing(watch=1, grace=0.1, first_pause=0.01, longest_pause=0.02)
    with following(listing(10), watch(), watch(event("ADDED", thing("a", 11))), timing=timing) as followed:
        assert followed.wait_for_changes(1) == [(0, 11)]
        assert followed.api.requests[2]["resourceVersion"] == "10"


def test_a_server_that_refuses_is_named_once_and_asked_on(caplog: pytest.LogCaptureFixture) -> None:
    refused = refuse(403, "things is forbidden")
    with caplog.at_level(logging.INFO), following(refused, refused, refused, listing(10, thing("a", 5))) as followed:
        followed.wait_for_changes(1)
        followed.api.wait_for_requests(5)
        until(lambda: followed.informer.failure is None)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("fairlead")]
    assert messages == [
        f"{PATH} cannot be followed, and what is known of it may be old: things is forbidden",
        f"{PATH} is followed again",
    ]


def test_until_the_first_list_nothing_is_known_and_the_reason_is() -> None:
    with following(*[refuse(403, "things is forbidden")] * 1000) as followed:
        followed.api.wait_for_requests(3)
        assert not followed.informer.wait_synced(0)
        assert followed.informer.failure == "things is forbidden"


@pytest.mark.parametrize("document", [{"kind": "Page"}, {"kind": "ThingList", "items": []}])
def test_an_answer_that_is_no_list_does_not_empty_the_cache(document: dict[str, Any]) -> None:
    steps = (listing(10, thing("a", 5)), refuse(410), *[answer(200, document)] * 1000)
    with following(*steps) as followed:
        followed.api.wait_for_requests(4)
        assert followed.names() == ["a"]


def test_a_kind_that_the_cluster_learns_later_is_followed_from_then_on() -> None:
    timing = Timing(watch=30, grace=5, absent=0.01)
    steps = (refuse(404), refuse(404), listing(10, thing("a", 5)))
    with following(*steps, timing=timing, optional=True) as followed:
        assert followed.wait_for_changes(1) == [(0, 5)]


def test_a_kind_that_the_cluster_does_not_know_is_no_failure() -> None:
    with following(refuse(404), optional=True) as followed:
        assert followed.informer.wait_synced(PATIENCE_SECONDS)
        assert (followed.informer.failure, followed.names()) == (None, [])


def test_objects_are_found_by_their_model() -> None:
    events = (event("MODIFIED", thing("a", 11, model="n")), event("DELETED", thing("b", 12, model="m")))
    with following(listing(10, thing("a", 5, model="m"), thing("b", 6, model="m")), watch(*events)) as followed:
        followed.wait_for_changes(4)
        assert followed.informer.by_index("ns/m") == []
        assert [one["metadata"]["name"] for one in followed.informer.by_index("ns/n")] == ["a"]


def test_a_write_of_ones_own_is_known_before_the_watch_tells_of_it_and_told_then() -> None:
    go = threading.Event()
    events = (event("MODIFIED", thing("a", 11)), event("ADDED", thing("end", 12)))
    with following(listing(10, thing("a", 5)), watch(*events, after=go)) as followed:
        followed.wait_for_changes(1)
        followed.informer.wrote(thing("a", 11))
        assert version(followed.informer.get("ns", "a")) == 11
        go.set()
        assert followed.wait_for_changes(3) == [(0, 5), (5, 11), (0, 12)]


def test_a_write_of_somebody_else_before_ones_own_is_told() -> None:
    go = threading.Event()
    events = (event("MODIFIED", thing("a", 11)), event("MODIFIED", thing("a", 12)), event("ADDED", thing("end", 13)))
    with following(listing(10, thing("a", 5)), watch(*events, after=go)) as followed:
        followed.wait_for_changes(1)
        followed.informer.wrote(thing("a", 12))
        go.set()
        assert followed.wait_for_changes(4) == [(0, 5), (5, 12), (12, 12), (0, 13)]


def test_an_old_answer_to_a_write_does_not_bring_back_what_is_gone() -> None:
    with following(listing(10, thing("a", 5)), watch(event("DELETED", thing("a", 12)))) as followed:
        followed.wait_for_changes(2)
        followed.informer.wrote(thing("a", 11))
        assert followed.names() == []


def test_a_new_list_that_is_older_than_ones_own_write_keeps_the_write() -> None:
    go = threading.Event()

    def expire_later(exchange: Any) -> None:
        go.wait(PATIENCE_SECONDS)
        refuse(410)(exchange)

    with following(listing(10), expire_later, listing(11, thing("other", 11))) as followed:
        followed.api.wait_for_requests(2)
        followed.informer.wrote(thing("a", 12))
        go.set()
        followed.wait_for_changes(1)
        assert followed.names() == ["a", "other"]


def test_one_that_was_deleted_before_ones_own_write_made_it_anew_is_there() -> None:
    go = threading.Event()
    events = (event("DELETED", thing("a", 11)), event("ADDED", thing("end", 13)))
    with following(listing(10, thing("a", 5)), watch(*events, after=go)) as followed:
        followed.wait_for_changes(1)
        followed.informer.wrote(thing("a", 12))
        go.set()
        assert followed.wait_for_changes(3) == [(0, 5), (5, 12), (0, 13)]
        assert followed.names() == ["a", "end"]


def test_what_is_handed_out_is_a_copy() -> None:
    with following(listing(10, thing("a", 5))) as followed:
        followed.wait_for_changes(1)
        followed.informer.all()[0]["metadata"]["name"] = "changed"
        assert followed.names() == ["a"]


def test_the_time_of_the_last_word_goes_on_while_the_server_speaks() -> None:
    bookmarks = (event("BOOKMARK", {"kind": "Thing", "metadata": {"resourceVersion": "40"}}),) * 2
    with following(listing(10, thing("a", 5)), watch(*bookmarks)) as followed:
        listed = followed.informer.last_contact
        until(lambda: followed.informer.last_contact > listed)


def until(condition: Callable[[], bool]) -> None:
    """Give way to other threads until `condition` holds."""
    pause = threading.Event()
    for _ in range(PATIENCE_SECONDS * 1000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never came to hold")
