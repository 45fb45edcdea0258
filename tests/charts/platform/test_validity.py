"""Every object of a release is one that the API server takes, for all that values may say."""

import json
from functools import cache
from typing import Any

import helm_python
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from tests.charts.platform.release import ANONYMOUS, CHART, LARGE, merged, release
from tests.charts.schemas import check

WORDS = st.sampled_from(["a", "yes", "1e3", "0x1", "12:30", "null", "{{ .x }}"])
LABELS = st.dictionaries(st.sampled_from(["team", "example.com/a", "app.kubernetes.io/name"]), WORDS, max_size=2)
PEERS = st.just([{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}])
PODS: dict[Any, st.SearchStrategy[Any]] = {
    "replicas": st.integers(1, 5),
    "image": st.fixed_dictionaries({}, optional={"tag": WORDS, "digest": st.just("sha256:" + "0" * 64)}),
    "podLabels": LABELS,
    "podAnnotations": LABELS,
    "nodeSelector": LABELS,
    "tolerations": st.just([{"key": "a", "operator": "Exists"}]),
    "affinity": st.just({"nodeAffinity": {}}),
    "priorityClassName": WORDS,
    "resources": st.just({"limits": {"cpu": 2, "memory": "1Gi"}}),
}
SECRET = st.fixed_dictionaries({"existingSecret": st.sampled_from(["", "secret"])}, optional={"key": st.just("a.b")})
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.sampled_from(["namespace", "cluster"]),
        "namespaces": st.lists(st.sampled_from(["a", "b", "platform"]), unique=True, max_size=3),
        "internalToken": SECRET,
        "imagePullSecrets": st.just([{"name": "registry"}]),
        "operator": st.fixed_dictionaries(
            {},
            optional={
                **PODS,
                "rbac": st.fixed_dictionaries({"readNodes": st.booleans()}),
                "networkPolicy": st.fixed_dictionaries({"enabled": st.booleans()}, optional={"prometheus": PEERS}),
            },
        ),
        "gateway": st.fixed_dictionaries(
            {},
            optional={
                **PODS,
                "keys": SECRET,
                "allowAnonymous": st.booleans(),
                "database": SECRET,
                "limits": SECRET,
                "upstreamSecrets": st.just(["openai"]),
                "networkPolicy": st.fixed_dictionaries(
                    {"enabled": st.booleans()}, optional={"clients": PEERS, "prometheus": PEERS}
                ),
            },
        ),
    },
)
PRESETS = {"anonymous": ANONYMOUS, "large": LARGE, "namespaces": merged(ANONYMOUS, {"namespaces": ["a", "b"]})}


@pytest.mark.parametrize("values", PRESETS.values(), ids=PRESETS.keys())
def test_the_objects_of_a_release_are_valid(values: dict[str, Any]) -> None:
    for manifest in release(values, models=True).manifests:
        check(manifest)


@cache
def check_once(manifest: str) -> None:
    """As `check`, for what is the same in many releases."""
    check(json.loads(manifest))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(VALUES)
def test_the_objects_of_any_values_are_valid_or_refused_in_a_sentence(values: dict[str, Any]) -> None:
    try:
        made = release(values)
    except helm_python.HelmRenderError as error:
        if "validate.yaml" not in str(error):
            raise
        reject()
    places = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in made.manifests]
    assert len(places) == len(set(places)), "an object is there twice"
    for manifest in made.manifests:
        check_once(json.dumps(manifest, sort_keys=True))


def test_the_longest_names_stay_within_the_limits() -> None:
    # Helm allows no longer one for a release.
    for manifest in release(LARGE, name="a" * 53, namespace="n" * 63).manifests:
        check(manifest)
        metadata = manifest["metadata"]
        bound = 253 if manifest["kind"].startswith(("Role", "ClusterRole")) else 63
        assert len(metadata["name"]) <= bound
        assert all(len(label) <= 63 for label in metadata["labels"].values())


def test_helm_finds_nothing_to_criticise() -> None:
    report = helm_python.lint(CHART, LARGE, strict=True)
    assert [message for message in report["messages"] if "icon is recommended" not in message["error"]] == []
    assert report["errors"] == []
