"""Watches: every change once and in order, from a place in the past, through everything that cuts them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.kube.cluster import KubeCluster
from tests.kube.samples import config_map
from tests.kube.server import KubeServer

MAPS = "v1/configmaps"


@contextmanager
def watching(cluster: KubeCluster, **query: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a watch on config maps, read as they come."""
    assert cluster.server is not None
    url = cluster.server.url + cluster.path(MAPS)
    with requests.get(url, params={"watch": "true", **query}, stream=True, timeout=20) as response:
        assert response.status_code == 200
        yield (json.loads(line) for line in response.iter_lines(chunk_size=1))


def told(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def version(cluster: KubeCluster) -> str:
    found: str = cluster.call("GET", cluster.path(MAPS))["metadata"]["resourceVersion"]
    return found


def test_a_watch_without_a_past_begins_with_everything_there_is(cluster: KubeCluster, standin: KubeServer) -> None:
    cluster.create(config_map("a"))
    with watching(cluster) as events:
        assert told(next(events)) == ("ADDED", "a")
        cluster.patch(MAPS, "a", {"data": {"x": "1"}})
        cluster.delete(MAPS, "a")
        assert [told(next(events)), told(next(events))] == [("MODIFIED", "a"), ("DELETED", "a")]


def test_a_watch_goes_on_where_a_list_ended(cluster: KubeCluster, standin: KubeServer) -> None:
    cluster.create(config_map("a"))
    seen = version(cluster)
    cluster.create(config_map("b"))
    with watching(cluster, resourceVersion=seen) as events:
        assert told(next(events)) == ("ADDED", "b")


def test_what_stops_matching_is_gone_for_the_watcher(cluster: KubeCluster, standin: KubeServer) -> None:
    with watching(cluster, labelSelector="team=a") as events:
        cluster.create({**config_map("other"), "metadata": {"name": "other", "labels": {"team": "b"}}})
        cluster.create({**config_map("a"), "metadata": {"name": "a", "labels": {"team": "a"}}})
        cluster.patch(MAPS, "a", {"metadata": {"labels": {"team": "b"}}})
        assert [told(next(events)), told(next(events))] == [("ADDED", "a"), ("DELETED", "a")]


def test_who_comes_from_a_forgotten_past_is_told_so(cluster: KubeCluster, standin: KubeServer) -> None:
    seen = version(cluster)
    standin.compact()
    with watching(cluster, resourceVersion=seen) as events:
        event = next(events)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_a_watch_ends_with_its_time_and_a_bookmark_says_where(cluster: KubeCluster, standin: KubeServer) -> None:
    with watching(cluster, timeoutSeconds="1", allowWatchBookmarks="true", resourceVersion=version(cluster)) as events:
        *_, last = events
    assert last["type"] == "BOOKMARK"
    assert last["object"]["metadata"]["resourceVersion"] == version(cluster)


def test_dropped_watches_and_a_server_that_is_away_lose_no_change(cluster: KubeCluster, standin: KubeServer) -> None:
    seen = version(cluster)
    with watching(cluster, resourceVersion=seen) as events:
        cluster.create(config_map("a"))
        next(events)
        assert standin.drop_watches() == 1
        with pytest.raises(requests.RequestException):
            next(events)
    standin.away()
    with pytest.raises(requests.ConnectionError):
        requests.get(standin.url, timeout=5)
    standin.back()
    with watching(cluster, resourceVersion=seen) as events:
        assert told(next(events)) == ("ADDED", "a")


def test_a_write_that_changes_nothing_is_no_change(cluster: KubeCluster, standin: KubeServer) -> None:
    cluster.create(config_map("a", x="1"))
    with watching(cluster, resourceVersion=version(cluster)) as events:
        cluster.patch(MAPS, "a", {"data": {"x": "1"}})
        cluster.create(config_map("b"))
        assert told(next(events)) == ("ADDED", "b")
