"""What an engine's pod looks like, and what makes a new one."""

import json
from typing import Any

import pytest
import typer

from fairlead_operator.values import adapters
from fairlead_serve import cli
from fairlead_serve.internal import TOKEN_VARIABLE
from fairlead_serve.model import Model, ModelSpec
from fairlead_serve.settings import EngineSettings
from tests.charts.workload import CPU, KUBERAY, SETTINGS, model, workload

HF = {"uri": "hf://org/model"}
BASE: dict[str, Any] = {"resources": {"limits": {"memory": "8Gi"}}}
SQL = {"name": "sql", "uri": "hf://org/lora"}
GROUPS = ["Standalone", "KubeRay"]


def changed(**spec: Any) -> Model:
    return model(**{**BASE, **spec})


# Every field of a specification, changed, and whether the engines have to be replaced.
NEW_PODS: list[tuple[str, Any]] = [
    ("model", {**HF, "revision": "v2"}),
    ("model", {**HF, "aliases": ["b"]}),
    ("model", {**HF, "accessSecretRef": {"name": "hf", "key": "token"}}),
    ("engine", {"maxModelLen": 4096}),
    ("engine", {"args": {"seed": 1}}),
    ("engine", {"image": "other/engine:2"}),
    ("engine", {"env": [{"name": "A", "value": "b"}]}),
    ("engine", {"envFrom": [{"secretRef": {"name": "s"}}]}),
    ("resources", {"limits": {"memory": "16Gi"}}),
    ("parallelism", {"tensor": 2}),
    ("cache", {}),
    ("cache", {"claimName": "weights"}),
    ("lora", {"maxRank": 64}),
    ("startup_timeout_seconds", 60),
    ("drain_timeout_seconds", 60),
    ("priority_class_name", "high"),
    ("pod_template", {"nodeSelector": {"a": "b"}}),
    ("pod_template", {"annotations": {"a": "b"}}),
]
SAME_PODS: list[tuple[str, Any]] = [
    ("model", {**HF, "revision": "main", "name": ""}),
    ("engine", {"dtype": "auto"}),
    ("replicas", 3),
    ("routing", {"strategy": "LeastLoad"}),
    ("rollout_strategy", {"maxSurge": 1, "progressDeadlineSeconds": 60}),
    ("fallback", ["other"]),
    ("limits", {"maxOngoing": 8, "maxQueued": 1, "requestTimeoutSeconds": 1}),
    ("suspend", True),
    ("disruption", {"minAvailable": 0}),
]
# Elsewhere in this file, because they are other pods or no pods at all.
APART = {"scaling", "cluster", "resource_profile", "upstream"}


def test_the_tables_know_every_field_of_a_specification() -> None:
    told = {field for field, _ in (*NEW_PODS, *SAME_PODS)} | APART
    assert told == set(ModelSpec.model_fields)


def camel(field: str) -> str:
    return str(ModelSpec.model_fields[field].alias)


@pytest.mark.parametrize("cluster", GROUPS)
@pytest.mark.parametrize(("field", "value"), NEW_PODS, ids=str)
def test_what_an_engine_is_made_of_makes_new_pods(cluster: str, field: str, value: Any) -> None:
    before, after = changed(cluster=cluster), changed(cluster=cluster, **{camel(field): value})
    assert workload(before).revision != workload(after).revision


@pytest.mark.parametrize("cluster", GROUPS)
@pytest.mark.parametrize(("field", "value"), SAME_PODS, ids=str)
def test_what_surrounds_an_engine_makes_no_new_pods(cluster: str, field: str, value: Any) -> None:
    before, after = workload(changed(cluster=cluster)), workload(changed(cluster=cluster, **{camel(field): value}))
    assert before.pod == after.pod
    assert before.revision == after.revision


@pytest.mark.parametrize("cluster", GROUPS)
def test_other_bounds_of_the_scaling_make_no_new_pods(cluster: str) -> None:
    few, many = (
        workload(changed(cluster=cluster, scaling={"maxReplicas": most, "targetOngoingRequests": most}))
        for most in (2, 4)
    )
    assert few.revision == many.revision


def test_scaling_makes_no_new_pods_of_a_deployment() -> None:
    assert workload(changed()).revision == workload(changed(scaling={"maxReplicas": 4})).revision


def test_adapters_come_and_go_on_running_engines_of_a_deployment() -> None:
    lora = {"adapters": [SQL]}
    assert workload(changed(lora={})).revision == workload(changed(lora=lora)).revision
    assert workload(changed(**KUBERAY, lora={})).revision != workload(changed(**KUBERAY, lora=lora)).revision


def test_adapters_are_in_a_list_of_their_own_that_may_change() -> None:
    lora = {"adapters": [{"name": "sql", "uri": "pvc://adapters/sql"}]}
    made = workload(changed(lora=lora))
    (listed,) = [one for one in made.manifests if one["metadata"]["name"] == "m-adapters"]
    assert json.loads(listed["data"]["adapters.json"]) == {"adapters": adapters(changed(lora=lora))}
    assert "immutable" not in listed
    (volume,) = [volume for volume in made.pod["spec"]["volumes"] if volume["name"] == "adapters"]
    assert volume["configMap"] == {"name": "m-adapters", "optional": True}
    (mount,) = [mount for mount in made.container["volumeMounts"] if mount["name"] == "adapters"]
    assert made.environment["FAIRLEAD_ADAPTERS_FILE"] == f"{mount['mountPath']}/adapters.json"


@pytest.mark.parametrize("of", [{}, {"lora": {}}, {**KUBERAY, "lora": {"adapters": [SQL]}}], ids=str)
def test_where_there_are_no_adapters_to_tell_there_is_no_list(of: dict[str, Any]) -> None:
    assert workload(changed(**of)).kinds.count("ConfigMap") == 1


def test_another_model_file_is_another_config_map_that_nobody_changes() -> None:
    before, after = workload(changed()), workload(changed(engine={"maxModelLen": 4096}))
    names = {made["ConfigMap"]["metadata"]["name"] for made in (before, after)}
    assert len(names) == 2
    for made in (before, after):
        (volume,) = [volume for volume in made.pod["spec"]["volumes"] if volume["name"] == "config"]
        assert volume["configMap"]["name"] == made["ConfigMap"]["metadata"]["name"]
        assert made["ConfigMap"]["immutable"] is True


def test_a_larger_cache_makes_no_new_pods() -> None:
    small, large = (workload(changed(cache={"size": size})) for size in ("5Gi", "50Gi"))
    assert small.revision == large.revision


def test_a_profile_changes_the_pods() -> None:
    assert workload(model()).revision != workload(model(resourceProfile="nvidia-l4")).revision


def test_neither_the_chart_nor_its_version_is_on_a_pod() -> None:
    for template in (workload(model()).pod, workload(model(**KUBERAY)).pod, workload(model(**KUBERAY)).head):
        labels = template["metadata"]["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"} & labels.keys()


def test_an_engine_is_started_by_options_that_the_command_has() -> None:
    command, name, *words = workload(model()).container["command"]
    assert (command, name) == ("fairlead", "engine")
    group = typer.main.get_command(cli.app)
    engine = group.commands[name]  # type: ignore[attr-defined]
    known = {option for parameter in engine.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert words == ["--model", "/etc/fairlead/model.yaml", "--host", "0.0.0.0", "--port", "8000"]


def test_the_engine_finds_its_directories_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made = workload(model(model={"uri": "pvc://weights/llama"}))
    for name, value in made.environment.items():
        if isinstance(value, str):
            monkeypatch.setenv(name, value)
    settings = EngineSettings()
    mounts = {mount["mountPath"] for mount in made.container["volumeMounts"]}
    assert {str(settings.cache_dir), f"{settings.claims_dir}/weights"} <= mounts
    assert "uri: file:///var/lib/fairlead/claims/weights/llama" in made["ConfigMap"]["data"]["model.yaml"]


def test_secrets_are_referred_to_and_never_shown() -> None:
    of = model(model={**HF, "accessSecretRef": {"name": "hf", "key": "token"}})
    environment = workload(of).environment
    assert environment["HF_TOKEN"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
    assert environment[TOKEN_VARIABLE] == {"secretKeyRef": {"name": "fairlead-internal-token", "key": "token"}}


def test_credentials_of_s3_are_a_file() -> None:
    of = model(model={"uri": "s3://bucket/model", "accessSecretRef": {"name": "s3", "key": "aws"}})
    made = workload(of)
    path = made.environment["AWS_SHARED_CREDENTIALS_FILE"]
    (volume,) = [volume for volume in made.pod["spec"]["volumes"] if volume["name"] == "s3"]
    (mount,) = [mount for mount in made.container["volumeMounts"] if mount["name"] == "s3"]
    assert volume["secret"] == {"secretName": "s3", "items": [{"key": "aws", "path": "credentials"}]}
    assert path == f"{mount['mountPath']}/credentials"
    assert "HF_TOKEN" not in made.environment


def test_a_users_variable_goes_before_ours() -> None:
    made = workload(model(engine={"env": [{"name": "HOME", "value": "/elsewhere"}]}))
    assert made.environment["HOME"] == "/elsewhere"


@pytest.mark.parametrize(
    "template",
    [workload(model()).pod, workload(model(**KUBERAY)).pod, workload(model(**KUBERAY)).head],
    ids=["deployment", "worker", "head"],
)
def test_a_pod_has_no_more_rights_than_it_needs(template: dict[str, Any]) -> None:
    pod, (container,) = template["spec"], template["spec"]["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == SETTINGS.run_as_user
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # What Ray and vLLM write, they write here.
    assert {"/tmp", "/dev/shm"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_an_engine_may_take_as_long_to_start_as_the_model_says() -> None:
    container = workload(model(startupTimeoutSeconds=14_405)).container
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 14_410
    assert probe["exec"] == container["livenessProbe"]["exec"] == container["readinessProbe"]["exec"]


def test_an_engine_that_died_is_noticed_within_minutes() -> None:
    container = workload(model()).container
    for name, seconds in (("readinessProbe", 30), ("livenessProbe", 300)):
        probe = container[name]
        assert probe["failureThreshold"] * probe["periodSeconds"] + probe["timeoutSeconds"] <= seconds


@pytest.mark.parametrize("cluster", GROUPS)
@pytest.mark.parametrize("drain", [0, 120, 600])
def test_a_pod_is_given_the_time_to_finish_its_requests(cluster: str, drain: int) -> None:
    made = workload(model(cluster=cluster, drainTimeoutSeconds=drain))
    leave = made.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    # Ray's HAProxy lets streams go on for up to 30 s more, and Ray itself takes a while to end.
    assert made.pod["spec"]["terminationGracePeriodSeconds"] >= leave + drain + 30 + 15


def test_gpus_come_from_the_parallelism() -> None:
    made = workload(model(parallelism={"tensor": 4}))
    assert made.container["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    (shm,) = [volume for volume in made.pod["spec"]["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "5Gi"}


def test_an_engine_on_cpu_asks_for_no_gpu() -> None:
    assert workload(model(engine=CPU)).container["resources"].get("limits", {}) == {}


def test_a_profile_counts_for_each_gpu_and_gives_way_to_the_pod_template() -> None:
    of = model(
        resourceProfile="nvidia-l4",
        parallelism={"tensor": 2},
        podTemplate={"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "mine", "operator": "Exists"}]},
    )
    made = workload(of)
    assert made.container["resources"] == {
        "requests": {"cpu": "8", "memory": "32Gi"},
        "limits": {"memory": "64Gi", "nvidia.com/gpu": "2"},
    }
    assert made.pod["spec"]["nodeSelector"] == {"gpu": "l4", "zone": "a"}
    assert [toleration["key"] for toleration in made.pod["spec"]["tolerations"]] == ["nvidia.com/gpu", "mine"]


def test_labels_of_a_user_do_not_take_a_pod_from_its_service() -> None:
    of = model(podTemplate={"labels": {"app.kubernetes.io/component": "mine", "team": "a"}})
    made = workload(of)
    labels = made.pod["metadata"]["labels"]
    assert made["Service"]["spec"]["selector"].items() <= labels.items()
    assert labels["team"] == "a"
