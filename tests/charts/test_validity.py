"""Every object that is rendered is one that the API server takes."""

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from fairlead_operator.errors import RenderError
from fairlead_serve.errors import ModelFileError
from fairlead_serve.model import Model, parse
from tests.charts.schemas import check
from tests.charts.workload import model, samples, workload

NAME = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
LABELS = st.dictionaries(
    st.sampled_from(["team", "example.com/a", "app.kubernetes.io/name"]), st.sampled_from(["", "a", "1", "yes"])
)
WORDS = st.one_of(
    st.sampled_from(["yes", "1e3", "0x1", "12:30", "null", "~", "2025-01-01", "{{ .x }}"]),
    st.text(st.characters(exclude_categories=["C"]), max_size=8),
)
SECONDS = st.integers(10, 604_800)
CACHE = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from(["5Gi", "2Ti"]),
        "storageClassName": st.just("fast"),
        "accessModes": st.just(["ReadWriteMany"]),
        "claimName": st.just("weights"),
    },
)
SCALING = st.fixed_dictionaries(
    {"maxReplicas": st.integers(4, 1000)},
    optional={"minReplicas": st.integers(0, 4), "scaleDownDelaySeconds": st.integers(0, 604_800)},
)
ENV = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["HOME", "A", "HF_TOKEN", "RAY_X"]), "value": WORDS}),
    max_size=3,
    unique_by=lambda variable: variable["name"],
)
SPEC = st.fixed_dictionaries(
    {
        "model": st.sampled_from(
            [
                {"uri": "hf://a/b", "accessSecretRef": {"name": "hf", "key": "token"}},
                {"uri": "pvc://a.claim/some/path"},
                {"uri": "s3://bucket/x", "accessSecretRef": {"name": "s3", "key": "credentials"}},
                {"uri": "tiny://chat", "aliases": ["b"]},
            ]
        )
    },
    optional={
        "cluster": st.just("KubeRay"),
        "engine": st.fixed_dictionaries(
            {}, optional={"device": st.just("cpu"), "env": ENV, "envFrom": st.just([{"secretRef": {"name": "s"}}])}
        ),
        "parallelism": st.fixed_dictionaries(
            {"tensor": st.sampled_from([1, 2, 4, 8])}, optional={"pipeline": st.just(2)}
        ),
        "replicas": st.integers(0, 1000),
        "scaling": SCALING,
        "resourceProfile": st.just("nvidia-h100"),
        "cache": CACHE,
        "suspend": st.booleans(),
        "startupTimeoutSeconds": SECONDS,
        "drainTimeoutSeconds": st.integers(0, 604_800),
        "priorityClassName": st.just("high"),
        "rolloutStrategy": st.fixed_dictionaries({"maxSurge": st.integers(0, 3)}),
        "podTemplate": st.fixed_dictionaries(
            {"labels": LABELS, "annotations": LABELS, "nodeSelector": LABELS},
            optional={"runtimeClassName": st.just("nvidia")},
        ),
    },
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Models that are valid; those that break a rule are drawn anew."""
    document = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Model"}
    try:
        return parse({**document, "metadata": {"name": draw(NAME)}, "spec": draw(SPEC)}, source="test")
    except ModelFileError:
        reject()


@pytest.mark.parametrize("of", samples(), ids=lambda of: of.name)
def test_the_objects_of_a_sample_are_valid(of: Model) -> None:
    for manifest in workload(of).manifests:
        check(manifest)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(models())
def test_the_objects_of_any_model_are_valid(of: Model) -> None:
    for manifest in workload(of).manifests:
        check(manifest)
        names = [manifest["metadata"]["name"], *manifest["metadata"]["labels"].values()]
        assert all(len(name) <= 63 for name in names)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(models())
def test_what_users_write_arrives_as_they_wrote_it(of: Model) -> None:
    made = workload(of)
    written = {variable.name: variable.value for variable in of.engine.env}
    assert written.items() <= made.environment.items()
    assert len(made.container["env"]) == len(made.environment), "a variable is there twice"
    assert of.spec.pod_template.annotations.items() <= made.pod["metadata"].get("annotations", {}).items()
    assert of.spec.pod_template.node_selector.items() <= made.pod["spec"].get("nodeSelector", {}).items()


@pytest.mark.parametrize("cluster", ["Standalone", "KubeRay"])
def test_the_longest_name_stays_within_the_limits(cluster: str) -> None:
    longest = "a" * 40
    made = workload(model(longest, cluster=cluster, cache={}))
    for manifest in made.manifests:
        check(manifest)
        assert len(manifest["metadata"]["name"]) <= 63
    if cluster == "KubeRay":
        assert len(made["RayService"]["metadata"]["name"]) <= 47


def test_what_yaml_cannot_hold_is_refused_and_not_dropped() -> None:
    with pytest.raises(RenderError, match="control characters"):
        workload(model(engine={"env": [{"name": "BELL", "value": "\x7f"}]}))


def test_an_unknown_field_would_be_noticed() -> None:
    made = workload(model(cluster="KubeRay"))
    for kind, place in (("Service", "spec"), ("RayService", "spec"), ("PodMonitor", "spec")):
        manifest = made[kind]
        manifest[place]["madeUp"] = 1
        with pytest.raises(jsonschema.ValidationError):
            check(manifest)


def test_the_application_of_a_ray_service_is_one_that_ray_serve_reads() -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="Ray is not installed")
    of = model(cluster="KubeRay", scaling={"minReplicas": 0, "maxReplicas": 3})
    config = schema.ServeDeploySchema.model_validate(
        yaml.safe_load(workload(of)["RayService"]["spec"]["serveConfigV2"])
    )
    (application,) = config.applications
    assert (application.name, application.route_prefix) == ("m", "/engines/m")
