"""The objects around the engines' pods, and the RayService."""

import pytest

from fairlead_operator.settings import Access, OperatorSettings, Ray, SecretKey
from fairlead_operator.values import engine_file
from tests.charts.workload import CPU, KUBERAY, SETTINGS, model, workload

UPSTREAM = {"model": {}, "upstream": {"url": "http://ollama:11434/v1"}}


def with_settings(**changes: object) -> OperatorSettings:
    return SETTINGS.model_copy(update=changes)


def test_an_upstream_has_no_objects_at_all() -> None:
    assert workload(model(**UPSTREAM)).manifests == []


def test_what_a_pod_needs_is_there_before_it() -> None:
    assert workload(model(cache={}, replicas=2)).kinds == [
        "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "Service", "PodDisruptionBudget",
        "PodMonitor", "Deployment",
    ]  # fmt: skip


def test_every_object_says_whose_it_is() -> None:
    for manifest in workload(model("qwen", cache={}, replicas=2)).manifests:
        labels = manifest["metadata"]["labels"]
        assert manifest["metadata"]["namespace"] == "models"
        assert (labels["fairlead.dev/model"], labels["app.kubernetes.io/instance"]) == ("qwen", "qwen")
        assert labels["app.kubernetes.io/part-of"] == "fairlead"


def test_the_service_leads_to_the_pods_and_not_to_a_virtual_address() -> None:
    made = workload(model())
    assert made["Service"]["spec"]["clusterIP"] == "None"
    assert made["Service"]["spec"]["selector"].items() <= made.pod["metadata"]["labels"].items()
    (port,) = made["Service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (8000, "http")
    assert "clusterIP" not in workload(model(), with_settings(headless_services=False))["Service"]["spec"]


def test_the_number_of_engines_is_left_out_where_scaling_owns_it() -> None:
    assert workload(model())["Deployment"]["spec"]["replicas"] == 1
    assert workload(model(replicas=0))["Deployment"]["spec"]["replicas"] == 0
    assert "replicas" not in workload(model(scaling={"maxReplicas": 4}))["Deployment"]["spec"]


def test_a_suspended_model_has_no_pods_but_everything_else() -> None:
    made = workload(model(scaling={"maxReplicas": 4}, cache={}, suspend=True))
    assert made["Deployment"]["spec"]["replicas"] == 0
    assert "PersistentVolumeClaim" in made
    assert workload(model(**KUBERAY, suspend=True))["RayService"]["spec"]["suspend"] is True


def test_an_update_needs_no_spare_gpu_unless_told_to() -> None:
    spec = workload(model())["Deployment"]["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    # No shorter than an engine may take to start.
    assert spec["progressDeadlineSeconds"] == 3600


def test_a_retained_cache_outlives_the_release() -> None:
    kept, gone = (workload(model(cache={"deletionPolicy": policy})) for policy in ("Retain", "Delete"))
    assert kept["PersistentVolumeClaim"]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in gone["PersistentVolumeClaim"]["metadata"]


def test_a_claim_is_as_the_cache_says() -> None:
    cache = {"size": "2Ti", "accessModes": ["ReadWriteMany"], "storageClassName": "fast"}
    claim = workload(model(cache=cache))["PersistentVolumeClaim"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "2Ti"}},
    }


def test_an_existing_claim_is_used_and_not_made() -> None:
    made = workload(model(cache={"claimName": "weights"}))
    assert "PersistentVolumeClaim" not in made
    (cache,) = [volume for volume in made.pod["spec"]["volumes"] if volume["name"] == "cache"]
    assert cache["persistentVolumeClaim"] == {"claimName": "weights"}


def test_without_a_cache_weights_live_as_long_as_the_pod() -> None:
    (cache,) = [volume for volume in workload(model()).pod["spec"]["volumes"] if volume["name"] == "cache"]
    assert cache == {"name": "cache", "emptyDir": {}}


@pytest.mark.parametrize(
    ("spec", "there"),
    [
        ({"replicas": 1}, False),
        ({"replicas": 2}, True),
        ({"replicas": 2, "disruption": {"minAvailable": 0}}, False),
        ({"scaling": {"minReplicas": 1, "maxReplicas": 4}}, False),
        ({"scaling": {"minReplicas": 2, "maxReplicas": 4}}, True),
        ({"replicas": 2, "cluster": "KubeRay"}, True),
        ({"replicas": 2, "cluster": "KubeRay", "parallelism": {"pipeline": 2}}, False),
    ],
    ids=str,
)
def test_a_drain_waits_for_engines_only_where_there_are_more(spec: dict[str, object], there: bool) -> None:
    assert ("PodDisruptionBudget" in workload(model(**spec))) is there


def test_a_drain_does_not_wait_for_an_engine_that_does_not_answer() -> None:
    spec = workload(model(replicas=3, disruption={"minAvailable": 2}))["PodDisruptionBudget"]["spec"]
    assert (spec["minAvailable"], spec["unhealthyPodEvictionPolicy"]) == (2, "AlwaysAllow")


def test_engines_answer_the_gateway_the_operator_and_prometheus_alone() -> None:
    spec = workload(model())["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    own, *others = spec["ingress"]
    assert own == {"from": [{"podSelector": spec["podSelector"]}]}
    for rule, component, port in zip(others[:2], ("gateway", "operator"), ("http", "status"), strict=True):
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
        assert rule["ports"] == [{"port": port, "protocol": "TCP"}]
    (prometheus,) = others[2:]
    assert [port["port"] for port in prometheus["ports"]] == ["metrics"]


def test_whoever_is_not_named_does_not_reach_an_engine() -> None:
    nobody = Access(gateway=(), operator=())
    (own,) = workload(model(), with_settings(access=nobody))["NetworkPolicy"]["spec"]["ingress"]
    assert list(own) == ["from"]
    assert "NetworkPolicy" not in workload(model(), with_settings(access=Access(enabled=False)))


def test_only_kuberay_reaches_the_dashboard_of_a_head_which_may_be_there_during_a_move() -> None:
    access = Access.model_validate({"kuberay": [{"namespaceSelector": {"matchLabels": {"name": "kuberay"}}}]})
    alone, in_ray = (
        workload(model(cluster=cluster), with_settings(access=access))["NetworkPolicy"]["spec"]
        for cluster in ("Standalone", "KubeRay")
    )
    assert alone == in_ray
    ports = [[one["port"] for one in rule.get("ports", ())] for rule in alone["ingress"]]
    assert ports == [[], ["http"], ["status"], ["dashboard"]]
    assert alone["ingress"][-1]["from"] == [{"namespaceSelector": {"matchLabels": {"name": "kuberay"}}}]


def test_metrics_are_scraped_where_prometheus_looks() -> None:
    monitor = workload(model())["PodMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= workload(model()).pod["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for port in workload(model()).container["ports"]]
    assert "PodMonitor" not in workload(model(), OperatorSettings(images=SETTINGS.images))


def test_an_engine_over_two_machines_is_two_pods_of_a_group() -> None:
    made = workload(model(**KUBERAY, parallelism={"tensor": 8, "pipeline": 2}, replicas=3))
    (group,) = made["RayService"]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["numOfHosts"], group["replicas"], group["maxReplicas"]) == (2, 3, 3)
    assert made.container["resources"]["limits"] == {"nvidia.com/gpu": "8"}


def test_a_stage_wider_than_a_machine_of_the_profile_takes_several_pods() -> None:
    made = workload(model(**KUBERAY, parallelism={"tensor": 8}, resourceProfile="nvidia-l4"))
    (group,) = made["RayService"]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["numOfHosts"], made.container["resources"]["limits"]["nvidia.com/gpu"]) == (2, "4")


def test_the_head_has_no_gpu_and_no_engine() -> None:
    made = workload(model(**KUBERAY))
    (container,) = made.head["spec"]["containers"]
    assert not any("gpu" in name for name in container["resources"].get("limits", {}))
    assert made["RayService"]["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert made["Service"]["spec"]["selector"]["app.kubernetes.io/component"] == "engine"
    assert made.head["metadata"]["labels"]["app.kubernetes.io/component"] == "head"


def test_ray_serve_gets_the_same_model_file_and_route() -> None:
    of = model("qwen", **KUBERAY, replicas=2)
    application = workload(of).application
    assert application["import_path"] == "fairlead_serve.engine.replica:build"
    assert application["route_prefix"] == "/engines/qwen"
    assert application["args"] == {"model": engine_file(of)}
    assert application["deployments"] == [{"name": "engine", "num_replicas": 2}]


def test_ray_scales_where_the_model_says_so() -> None:
    made = workload(model(**KUBERAY, scaling={"minReplicas": 0, "maxReplicas": 3, "scaleDownDelaySeconds": 60}))
    (engine,) = made.application["deployments"]
    assert engine["autoscaling_config"] == {
        "min_replicas": 0,
        "initial_replicas": 1,
        "max_replicas": 3,
        "target_ongoing_requests": 16,
        "upscale_delay_s": 5,
        "downscale_delay_s": 60,
        "downscale_to_zero_delay_s": 1800,
    }
    cluster = made["RayService"]["spec"]["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert (group["minReplicas"], group["maxReplicas"], "replicas" in group) == (0, 3, False)
    # The autoscaler asks the API server, with the account that KubeRay makes for it.
    assert not {"serviceAccountName", "automountServiceAccountToken"} & made.head["spec"].keys()


@pytest.mark.parametrize(("surge", "strategy"), [(0, "None"), (1, "NewCluster")])
def test_a_second_ray_cluster_is_made_only_where_a_surge_is_allowed(surge: int, strategy: str) -> None:
    made = workload(model(**KUBERAY, rolloutStrategy={"maxSurge": surge}))
    assert made["RayService"]["spec"]["upgradeStrategy"] == {"type": strategy}
    assert made["RayService"]["spec"]["rayClusterDeletionDelaySeconds"] > 120


def test_a_redis_keeps_the_state_of_the_head() -> None:
    ray = Ray(redis_address="redis:6379", redis_password=SecretKey(name="redis", key="password"))
    cluster = workload(model(**KUBERAY), with_settings(ray=ray))["RayService"]["spec"]["rayClusterConfig"]
    assert cluster["gcsFaultToleranceOptions"] == {
        "redisAddress": "redis:6379",
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}},
    }
    assert "gcsFaultToleranceOptions" not in workload(model(**KUBERAY))["RayService"]["spec"]["rayClusterConfig"]


def test_an_engine_on_cpu_may_run_in_kuberay_too() -> None:
    made = workload(model(**KUBERAY, engine=CPU))
    (group,) = made["RayService"]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert group["numOfHosts"] == 1
