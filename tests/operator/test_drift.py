"""What counts as a difference between what was applied and what is there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.drift import differences

OURS = {"podSelector": {"matchLabels": {"a": "b"}}}
CONTAINER = {"name": "engine", "image": "e:1", "env": [{"name": "A", "value": "1"}]}

SAME: list[tuple[str, Any, Any]] = [
    ("a default of the server", {"spec": {"replicas": 1}}, {"spec": {"replicas": 1, "paused": False}}),
    ("a quantity in its own form", {"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
    ("an empty list that is not stored", {"tolerations": []}, {}),
    ("an empty text that is not stored", {"value": ""}, {"value": None}),
    ("an empty part of a selector", {"selector": {"a": "b"}}, {"selector": {"a": "b", "matchExpressions": None}}),
    ("a container of somebody else's", {"containers": [CONTAINER]}, {"containers": [{"name": "proxy"}, CONTAINER]}),
    ("a variable of somebody else's", {"env": [{"name": "A"}]}, {"env": [{"name": "B"}, {"name": "A"}]}),
    (
        "a port without the protocol that is the default",
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 81}]}},
    ),
    (
        "the default protocol of a port that is let in",
        {"ingress": [{"from": [OURS], "ports": [{"port": "a"}]}]},
        {"ingress": [{"from": [OURS], "ports": [{"port": "a", "protocol": "TCP"}]}]},
    ),
    ("a part of a peer that is not stored", {"from": [{**OURS, "ipBlock": None}]}, {"from": [OURS]}),
]
DIFFERENT: list[tuple[Any, Any, list[str]]] = [
    ({"spec": {"replicas": 1}}, {"spec": {"replicas": 3}}, ["spec.replicas"]),
    ({"spec": {"replicas": 1}}, {"spec": {}}, ["spec.replicas"]),
    ({"a": True}, {"a": 1}, ["a"]),
    ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, ["limits.cpu"]),
    ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "x"}}, ["limits.cpu"]),
    ({"containers": [CONTAINER]}, {"containers": [{**CONTAINER, "image": "e:2"}]}, ["containers[engine].image"]),
    ({"containers": [CONTAINER]}, {"containers": []}, ["containers[engine]"]),
    ({"containers": [CONTAINER]}, {"containers": [{"name": "other"}]}, ["containers[engine]"]),
    ({"args": ["a"]}, {"args": ["a", "b"]}, ["args"]),
    ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a"}, {"key": "b"}]}, ["tolerations"]),
    ({"args": ["a", "b"]}, {"args": ["a", "c"]}, ["args[1]"]),
    ({"spec": {"selector": {"a": "b"}}}, {"spec": {"selector": {"a": "b", "c.d/e": "f"}}}, ["spec.selector.c.d/e"]),
    ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}, ["nodeSelector.c"]),
    (
        {"selector": {"matchLabels": {"a": "b"}}},
        {"selector": {"matchLabels": {"a": "b", "c": "d"}}},
        ["selector.matchLabels.c"],
    ),
    (
        {"podSelector": {"matchLabels": {"a": "b"}}},
        {"podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}},
        ["podSelector.matchExpressions"],
    ),
    (
        {"ingress": [{"ports": [{"port": "a"}]}]},
        {"ingress": [{"ports": [{"port": "a"}, {"port": "b"}]}]},
        ["ingress[0].ports"],
    ),
    (
        {"ingress": [{"ports": [{"port": 80}]}]},
        {"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]},
        ["ingress[0].ports[0].endPort"],
    ),
    ({"ingress": [{"from": [OURS]}]}, {"ingress": [{"from": [OURS], "ports": [{"port": 1}]}]}, ["ingress[0].ports"]),
    ({"from": [OURS]}, {"from": [{**OURS, "namespaceSelector": {}}]}, ["from[0]"]),
    ({"from": [{**OURS, "namespaceSelector": {}}]}, {"from": [OURS]}, ["from[0]"]),
    (
        {"from": [{"namespaceSelector": {}}]},
        {"from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]},
        ["from[0].namespaceSelector.matchLabels"],
    ),
]


@pytest.mark.parametrize(("applied", "found"), [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_what_others_add_is_no_difference(applied: Any, found: Any) -> None:
    assert list(differences(applied, found)) == []


@pytest.mark.parametrize(("applied", "found", "places"), DIFFERENT, ids=str)
def test_what_was_applied_and_reads_otherwise_is_named(applied: Any, found: Any, places: list[str]) -> None:
    assert list(differences(applied, found)) == places


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "1Gi"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "env", "limits"]), inner),
    max_leaves=8,
)


@given(VALUES)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert list(differences(value, value)) == []


@given(VALUES, VALUES)
def test_anything_can_be_compared(one: Any, other: Any) -> None:
    list(differences(one, other))
