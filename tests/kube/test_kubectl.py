"""The real kubectl, which must not see that this is no real server."""

import os
import subprocess
import threading

import pytest

from tests.kube.cluster import KubeCluster, kubectl_command
from tests.kube.samples import deployment
from tests.operator.samples import model

MODELS = "fairlead.dev/v1alpha1/models"
READY = {
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Ready",
            "message": "it answers",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ],
    "readyReplicas": 1,
    "desiredReplicas": 1,
    "phase": "Serving",
}


def lines(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """What kubectl printed, in words."""
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_get_shows_the_columns_of_the_definition(cluster: KubeCluster) -> None:
    cluster.create(model())
    cluster.patch(MODELS, "m", {"status": {**READY, "url": "http://gateway/v1"}}, subresource="status")
    head, row = lines(cluster.kubectl("get", "mdl"))
    assert head == ["NAME", "READY", "REASON", "REPLICAS", "DESIRED", "PHASE", "MODEL", "AGE"]
    assert row[:-1] == ["m", "True", "Ready", "1", "1", "Serving", "hf://org/model"]
    assert lines(cluster.kubectl("get", "mdl", "m", "-o", "wide"))[1][-1] == "http://gateway/v1"
    path = "jsonpath={.items[*].status.phase}"
    assert lines(cluster.kubectl("get", "models", "-o", path)) == [["Serving"]]


def test_get_shows_the_columns_of_kubernetes_own_kinds(cluster: KubeCluster) -> None:
    cluster.apply(deployment(replicas=2))
    head, row = lines(cluster.kubectl("get", "deploy", "-o", "wide"))
    assert head == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert row[:4] == ["m", "0/2", "0", "0"]
    assert row[5:] == ["engine", "registry/engine:1", "app=m"]


def test_wait_ends_when_the_condition_is_met(cluster: KubeCluster) -> None:
    cluster.create(model())
    done: list[subprocess.CompletedProcess[str]] = []
    waiting = threading.Thread(
        target=lambda: done.append(cluster.kubectl("wait", "mdl/m", "--for=condition=Ready", "--timeout=15s"))
    )
    waiting.start()
    cluster.patch(MODELS, "m", {"status": READY}, subresource="status")
    waiting.join()
    assert done[0].stdout == "model.fairlead.dev/m condition met\n"
    assert cluster.kubectl("wait", "mdl/m", "--for=jsonpath={.status.phase}=Serving", "--timeout=5s").returncode == 0


def test_delete_waits_until_the_object_is_gone(cluster: KubeCluster) -> None:
    held = model()
    held["metadata"]["finalizers"] = ["fairlead.dev/test"]
    cluster.create(held)
    done: list[subprocess.CompletedProcess[str]] = []
    deleting = threading.Thread(target=lambda: done.append(cluster.kubectl("delete", "mdl", "m", "--timeout=15s")))
    deleting.start()
    cluster.wait_until(MODELS, "m", lambda found: found is not None and "deletionTimestamp" in found["metadata"])
    assert not done
    cluster.patch(MODELS, "m", {"metadata": {"finalizers": None}})
    deleting.join()
    assert 'model.fairlead.dev "m" deleted' in done[0].stdout
    assert cluster.kubectl("wait", "mdl/m", "--for=delete", "--timeout=5s").returncode == 0


def test_describe_shows_the_object_and_its_events(cluster: KubeCluster) -> None:
    made = cluster.create(model())
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "m.1"},
        "involvedObject": {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "Model",
            "name": "m",
            "namespace": cluster.namespace,
            "uid": made["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "ContainerOOMKilled",
        "message": "the engine had too little memory",
        "source": {"component": "fairlead-operator"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 3,
    }
    cluster.create(event)
    shown = cluster.kubectl("describe", "mdl", "m").stdout
    assert "Uri:       hf://org/model" in shown
    assert "ContainerOOMKilled" in shown
    assert "(x3 over" in shown
    assert lines(cluster.kubectl("get", "events"))[1][1:4] == ["Warning", "ContainerOOMKilled", "model/m"]
    cluster.apply(deployment())
    assert "RollingUpdateStrategy:  25% max unavailable" in cluster.kubectl("describe", "deploy", "m").stdout


def test_scale_annotate_label_and_patch_change_the_object(cluster: KubeCluster) -> None:
    cluster.create(model())
    for arguments in (
        ("scale", "mdl/m", "--replicas=3"),
        ("label", "mdl", "m", "team=a"),
        ("annotate", "mdl", "m", "note=b"),
        ("patch", "mdl", "m", "--type=json", '-p=[{"op":"replace","path":"/spec/suspend","value":true}]'),
        ("patch", "mdl", "m", "--type=merge", '-p={"spec":{"drainTimeoutSeconds":7}}'),
    ):
        assert cluster.kubectl(*arguments).returncode == 0, arguments
    found = cluster.get(MODELS, "m")
    assert found is not None
    spec, metadata = found["spec"], found["metadata"]
    assert (spec["replicas"], spec["suspend"], spec["drainTimeoutSeconds"]) == (3, True, 7)
    assert (metadata["labels"], metadata["annotations"]) == ({"team": "a"}, {"note": "b"})


def test_a_strategic_patch_knows_the_keys_of_lists(cluster: KubeCluster) -> None:
    cluster.apply(deployment())
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"engine","image":"registry/engine:2"}]}}}}'
    assert cluster.kubectl("patch", "deploy", "m", "-p", patch).returncode == 0
    assert cluster.kubectl("set", "env", "deploy/m", "A=1").returncode == 0
    found = cluster.get("apps/v1/deployments", "m")
    assert found is not None
    (engine,) = found["spec"]["template"]["spec"]["containers"]
    assert (engine["image"], engine["env"]) == ("registry/engine:2", [{"name": "A", "value": "1"}])


def test_a_trial_says_what_would_be_and_stores_nothing(cluster: KubeCluster) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    done = cluster.kubectl("apply", "--dry-run=server", "-f", "-", text=manifest)
    assert done.stdout == "configmap/a created (server dry run)\n"
    assert cluster.get("v1/configmaps", "a") is None
    assert cluster.kubectl("diff", "-f", "-", text=manifest).returncode == 1


def test_explain_reads_the_schema(cluster: KubeCluster) -> None:
    shown = cluster.kubectl("explain", "mdl.spec.rolloutStrategy").stdout
    assert "maxUnavailable" in shown
    assert "GROUP:      fairlead.dev" in shown
    assert "imagePullPolicy" in cluster.kubectl("explain", "pod.spec.containers").stdout


def test_a_wrong_model_is_refused_in_words_that_say_what_to_change(cluster: KubeCluster) -> None:
    manifest = """
apiVersion: fairlead.dev/v1alpha1
kind: Model
metadata: {name: m}
spec: {model: {uri: hf://org/model}, replicas: 1, scaling: {maxReplicas: 2}}
"""
    done = cluster.kubectl("apply", "-f", "-", text=manifest)
    assert 'The Model "m" is invalid: spec.scaling' in done.stderr
    assert "replicas and scaling exclude each other; keep one" in done.stderr
    unknown = manifest.replace("replicas: 1", "replica: 1")
    assert 'unknown field "spec.replica"' in cluster.kubectl("apply", "-f", "-", text=unknown).stderr


def test_edit_writes_what_the_editor_left(cluster: KubeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.create(model(replicas=1))
    monkeypatch.setenv("KUBE_EDITOR", "sed -i s/replicas:.1/replicas:\\ 4/")
    assert cluster.kubectl("edit", "mdl", "m").stdout == "model.fairlead.dev/m edited\n"
    found = cluster.get(MODELS, "m")
    assert found is not None
    assert found["spec"]["replicas"] == 4


def test_a_watch_prints_every_change_as_a_row(cluster: KubeCluster) -> None:
    cluster.create(model())
    words = [kubectl_command(), "get", "mdl", "-w", "--request-timeout=20s"]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        rows = iter(watching.stdout.readline, "")
        assert next(rows).split()[:2] == ["NAME", "READY"]
        assert next(rows).split()[0] == "m"
        cluster.patch(MODELS, "m", {"status": READY}, subresource="status")
        assert next(rows).split()[:3] == ["m", "True", "Ready"]
        watching.kill()


def test_a_rollout_is_followed_and_begun_anew(cluster: KubeCluster) -> None:
    cluster.apply(deployment())
    done = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    cluster.patch("apps/v1/deployments", "m", {"status": done}, subresource="status")
    assert "successfully rolled out" in cluster.kubectl("rollout", "status", "deploy/m", "--timeout=5s").stdout
    assert cluster.kubectl("rollout", "restart", "deploy/m").returncode == 0
    found = cluster.get("apps/v1/deployments", "m")
    assert found is not None
    annotations = found["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations


def test_the_fields_and_their_managers_are_shown(cluster: KubeCluster) -> None:
    cluster.apply(deployment(), manager="fairlead")
    shown = cluster.kubectl("get", "deploy", "m", "-o", "yaml", "--show-managed-fields").stdout
    assert "manager: fairlead" in shown
    assert "operation: Apply" in shown
