"""What is done for a Model, from what it asks for and what there is. No I/O: every rule is a case."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairlead_operator.conditions import SpecReason, WorkloadReason
from fairlead_operator.drift import differences
from fairlead_operator.observed import Observed, Problem, Rewritten, Wanted
from fairlead_operator.ownership import applied_hash, identity
from fairlead_operator.plan import Plan, make_plan
from fairlead_operator.pods import PodFailure
from fairlead_operator.render import Manifest
from fairlead_operator.values import adapters
from fairlead_serve.model import Model
from tests.charts.workload import KUBERAY, model, workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIVE: dict[str, Any] = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "m", "namespace": "models", "uid": "1", "generation": 1},
}


LORA = {"adapters": [{"name": "sql", "uri": "hf://org/lora"}]}


def wanted(of: Model) -> Wanted:
    rendered = workload(of)
    return Wanted(of, rendered.manifests, rendered.revision, adapters(of))


def plan(of: Model, children: Sequence[Manifest] = (), **seen: Any) -> Plan:
    return make_plan(wanted(of), Observed(model=LIVE, children=children, **seen), now=NOW)


def applied(of: Model, children: Sequence[Manifest] = ()) -> list[Manifest]:
    """The children once everything planned is done, with engines that answer."""
    there = {identity(child): child for child in children}
    for _ in range(3):
        made = plan(of, list(there.values()))
        there |= {identity(manifest): as_stored(manifest) for manifest in made.apply}
        for manifest in made.delete:
            del there[identity(manifest)]
    return list(there.values())


def as_stored(manifest: Manifest, **status: Any) -> Manifest:
    """As the API server and the controllers leave it behind: all engines answer."""
    stored = copy.deepcopy(manifest)
    stored["metadata"] |= {"generation": 1, "uid": manifest["metadata"]["name"], "creationTimestamp": "2026-01-01"}
    if manifest["kind"] == "Deployment":
        count = stored["spec"].setdefault("replicas", 1)
        names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        stored["status"] = {"observedGeneration": 1, **dict.fromkeys(names, count), **status}
    if manifest["kind"] == "RayService":
        ready = {"type": "Ready", "status": "True"}
        running = {"m": {"status": "RUNNING"}}
        active = {"rayClusterName": "m-raycluster", "applicationStatuses": running}
        stored["status"] = {"observedGeneration": 1, "conditions": [ready], "activeServiceStatus": active}
    return stored


def kinds(manifests: Sequence[Manifest]) -> list[str]:
    return [manifest["kind"] for manifest in manifests]


def of_kind(children: Sequence[Manifest], kind: str) -> Manifest:
    (found,) = [child for child in children if child["kind"] == kind]
    return found


def test_a_new_model_gets_everything_and_the_record_goes_first() -> None:
    made = plan(model(cache={}))
    assert kinds(made.apply) == [
        "ControllerRevision", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "Service",
        "PodMonitor", "Deployment",
    ]  # fmt: skip
    assert not made.delete


@pytest.mark.parametrize(
    "spec", [{}, KUBERAY, {"scaling": {"maxReplicas": 3}}, {"suspend": True}, {"cache": {}}, {"lora": LORA}], ids=str
)
def test_where_everything_is_as_it_should_be_nothing_is_done(spec: dict[str, Any]) -> None:
    of = model(**spec)
    assert plan(of, applied(of)).is_empty


def test_engines_stay_when_their_number_becomes_an_autoscalers() -> None:
    children = applied(model(replicas=5))
    for most, kept in ((9, 5), (3, 3)):
        made = plan(model(scaling={"maxReplicas": most}), children)
        (handed_over,) = made.handed_over
        assert handed_over["spec"] == {"replicas": kept}
        assert "replicas" not in of_kind(made.apply, "Deployment")["spec"]
    assert not plan(model(scaling={"maxReplicas": 9}), applied(model(scaling={"maxReplicas": 9}))).handed_over
    assert not plan(model(replicas=2), children).handed_over


def claim_of(children: Sequence[Manifest]) -> Manifest:
    return of_kind(children, "PersistentVolumeClaim")


def test_a_claim_that_cannot_become_so_stays_and_holds_up_nothing() -> None:
    children = applied(model(cache={"size": "50Gi", "storageClassName": "fast"}))
    claim_of(children)["spec"]["resources"]["requests"]["storage"] = "80Gi"
    made = plan(model(cache={"size": "10Gi", "storageClassName": "slow"}, replicas=2), children)
    assert "Deployment" in kinds(made.apply)
    assert claim_of(made.apply)["spec"]["resources"]["requests"]["storage"] == "80Gi"
    assert claim_of(made.apply)["spec"]["storageClassName"] == "fast"
    places = [problem.message.partition(":")[0] for problem in made.problems]
    assert places == ["spec.cache.storageClassName"], "a larger claim does no harm"
    assert not any(problem.blocks for problem in made.problems)


def test_a_service_that_cannot_become_so_is_made_anew() -> None:
    of = model()
    children = applied(of)
    of_kind(children, "Service")["spec"]["clusterIP"] = "10.0.0.1"
    made = plan(of, children)
    assert kinds(made.delete) == ["Service"]
    assert "Service" not in kinds(made.apply)


def test_a_claim_stays_as_long_as_there_may_be_a_way_back_to_it() -> None:
    children = applied(model(cache={"deletionPolicy": "Delete"}))
    update = plan(model(engine={"maxModelLen": 1024}), children)
    assert update.rollout is not None
    assert update.rollout.state == "Running"
    assert "PersistentVolumeClaim" not in kinds(update.delete)


def test_what_a_webhook_made_of_an_object_is_no_drift() -> None:
    of = model()
    children = applied(of)
    deployment = of_kind(children, "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror/e:1"
    places = frozenset({"spec.template.spec.containers[engine].image"})
    known = {deployment["metadata"]["uid"]: Rewritten(applied_hash(deployment), places)}
    assert not plan(of, children).is_empty
    assert plan(of, children, rewritten=known).is_empty
    other = {deployment["metadata"]["uid"]: Rewritten("of something else", places)}
    assert not plan(of, children, rewritten=other).is_empty


def test_a_child_that_is_gone_comes_back() -> None:
    of = model()
    for gone in applied(of):
        left = [child for child in applied(of) if identity(child) != identity(gone)]
        assert identity(gone) in [identity(manifest) for manifest in plan(of, left).apply]


def test_what_was_edited_by_hand_is_put_back() -> None:
    of = model(replicas=2)
    children = applied(of)
    of_kind(children, "Deployment")["spec"]["replicas"] = 7
    made = plan(of, children)
    assert kinds(made.apply) == ["Deployment"]
    assert made.drifted == ["Deployment spec.replicas"]


def test_the_number_of_an_autoscaler_is_left_alone_within_its_bounds() -> None:
    of = model(scaling={"minReplicas": 2, "maxReplicas": 4})
    children = applied(of)
    assert "replicas" not in of_kind(plan(of).apply, "Deployment")["spec"]
    for there, expected in ((1, [2]), (2, []), (4, []), (5, [4])):
        of_kind(children, "Deployment")["spec"]["replicas"] = there
        assert [size.spec["replicas"] for size in plan(of, children).sizes] == expected


def test_a_field_that_is_no_longer_rendered_is_applied_away() -> None:
    children = applied(model(priorityClassName="high"))
    assert "Deployment" in kinds(plan(model(), children).apply)


def test_what_is_no_longer_wanted_is_deleted() -> None:
    children = applied(model(replicas=2, disruption={"minAvailable": 1}))
    assert kinds(plan(model(replicas=1), children).delete) == ["PodDisruptionBudget"]
    upstream = model(model={}, upstream={"url": "http://h/v1"})
    assert {"Deployment", "Service", "ConfigMap"} <= set(kinds(plan(upstream, children).delete))


def test_a_claim_is_kept_unless_the_model_says_otherwise() -> None:
    assert not plan(model(), applied(model(cache={}))).delete
    of = model(cache={"deletionPolicy": "Delete"})
    unused = [one for one in applied(of) if one["kind"] != "ControllerRevision"]
    assert "PersistentVolumeClaim" in kinds(plan(model(), unused).delete)


def test_the_file_of_engines_of_before_stays_as_long_as_one_is_left() -> None:
    before, after = model(), model(engine={"maxModelLen": 1024})
    children = [child for child in applied(before) if child["kind"] != "ControllerRevision"]
    old = of_kind(children, "ConfigMap")
    volumes = [{"name": "config", "configMap": {"name": old["metadata"]["name"]}}]
    pod = {"kind": "Pod", "metadata": {"name": "m-1"}, "spec": {"volumes": volumes}, "status": {}}
    assert identity(old) not in map(identity, plan(after, [*children, pod]).delete)
    assert identity(old) in map(identity, plan(after, children).delete)


def test_the_file_of_the_last_good_engines_stays_for_the_way_back() -> None:
    before, after = model(), model(engine={"maxModelLen": 1024})
    children = applied(before)
    assert identity(of_kind(children, "ConfigMap")) not in map(identity, plan(after, children).delete)


def test_an_object_of_somebody_else_is_refused_and_nothing_is_done() -> None:
    foreign = {"kind": "Service", "metadata": {"name": "m", "labels": {"app.kubernetes.io/managed-by": "Helm"}}}
    for seen in ({"strangers": [foreign]}, {"children": [foreign]}):
        made = make_plan(wanted(model()), Observed(model=LIVE, **seen), now=NOW)  # type: ignore[arg-type]
        assert made.is_empty
        (problem,) = made.problems
        assert problem.reason == SpecReason.NAME_CONFLICT
        assert "the Service m is there already and belongs to somebody else (managed by Helm)" in problem.message


def test_a_claim_of_somebody_else_is_to_be_named_and_not_deleted() -> None:
    foreign = {"kind": "PersistentVolumeClaim", "metadata": {"name": "m-cache"}}
    made = make_plan(wanted(model(cache={})), Observed(model=LIVE, strangers=[foreign]), now=NOW)
    assert "; use it by spec.cache.claimName: m-cache, or give" in made.problems[0].message
    assert "delete" not in made.problems[0].message


def test_what_belongs_to_a_model_of_the_same_name_that_is_gone_is_refused() -> None:
    of = model()
    children = applied(of)
    later = {**LIVE, "metadata": {**LIVE["metadata"], "uid": "2"}}
    made = make_plan(wanted(of), Observed(model=later, children=children), now=NOW)
    assert made.is_empty
    assert "belongs to Model m" in made.problems[0].message


def test_a_specification_that_cannot_be_rendered_touches_nothing() -> None:
    children = applied(model())
    problem = Problem(SpecReason.UNKNOWN_IMAGE, "x")
    made = make_plan(None, Observed(model=LIVE, children=children, problems=[problem]), now=NOW)
    assert made.is_empty
    assert made.workload.ready == 1


def test_a_problem_that_does_not_block_lets_the_engines_be_made() -> None:
    for blocks in (True, False):
        problem = Problem(SpecReason.UNKNOWN_FALLBACK, "x", blocks=blocks)
        assert plan(model(), problems=[problem]).is_empty is blocks


def test_a_change_of_only_the_surroundings_makes_no_other_engines() -> None:
    before, after = model(), model(limits={"maxOngoing": 1}, fallback=["other"], routing={"strategy": "LeastLoad"})
    assert plan(after, applied(before)).is_empty
    more = plan(model(replicas=3), applied(before))
    assert kinds(more.apply) == ["PodDisruptionBudget", "Deployment"]
    assert more.rollout is not None
    assert more.rollout.state == "Complete"


def pod(name: str, revision: str, restarts: int = 0) -> Manifest:
    labels = {"fairlead.dev/model": "m", "fairlead.dev/revision": revision}
    status = {"phase": "Running", "containerStatuses": [{"name": "engine", "restartCount": restarts}]}
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def failing_update() -> tuple[Model, list[Manifest]]:
    """A Model whose change was applied, and whose new engine crashes."""
    before, after = model(), model(engine={"maxModelLen": 1024})
    children = {identity(child): child for child in applied(before)}
    for manifest in plan(after, list(children.values())).apply:
        children[identity(manifest)] = as_stored(manifest, readyReplicas=0, availableReplicas=0)
    crashing = pod("m-2", workload(after).revision, restarts=3)
    return after, [*children.values(), crashing]


CRASH = PodFailure(WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF, "exit status 1", pod="m-2", exit_code=1)


def test_an_update_that_fails_goes_back_to_the_engines_of_before() -> None:
    after, children = failing_update()
    made = plan(after, children, failures=[CRASH])
    deployment = of_kind(made.apply, "Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"]["fairlead.dev/revision"] == workload(model()).revision
    before = workload(model())["ConfigMap"]["metadata"]["name"]
    (volume,) = [one for one in deployment["spec"]["template"]["spec"]["volumes"] if one["name"] == "config"]
    assert volume["configMap"]["name"] == before
    assert ("ConfigMap", before) not in map(identity, made.delete)
    assert made.rollout is not None
    assert made.rollout.state == "RolledBack"


NO_IMAGE = PodFailure(WorkloadReason.IMAGE_PULL_ERROR, "no such image", pod="m-2")
NO_VOLUME = PodFailure(WorkloadReason.CONTAINER_START_ERROR, "no volume yet", pod="m-2", passing=True)
REFUSED = PodFailure(WorkloadReason.CONTAINER_START_ERROR, "no PriorityClass", pod="", told_by="Deployment")
AWAY = replace(REFUSED, message="the webhook does not answer", passing=True)


@pytest.mark.parametrize(
    ("failures", "fails"),
    [
        ([NO_IMAGE], True),
        ([NO_IMAGE, replace(NO_IMAGE, pod="m-1")], False),
        ([NO_IMAGE, replace(NO_VOLUME, pod="m-1")], True),
        ([NO_VOLUME], False),
        ([REFUSED], False),
    ],
    ids=["no image", "no registry", "another reason before", "a volume that is late", "others are refused"],
)
def test_engines_that_never_ran_fail_within_minutes_unless_those_of_before_fare_no_better(
    failures: list[PodFailure], fails: bool
) -> None:
    after, children = failing_update()
    children[-1]["status"]["containerStatuses"] = []
    old = pod("m-1", workload(model()).revision)
    assert ends_within_minutes(after, [*children, old], failures) is fails


@pytest.mark.parametrize(("refused", "fails"), [(REFUSED, True), (AWAY, False)], ids=["the pod", "any pod"])
def test_pods_that_the_api_server_refuses_fail_within_minutes_for_what_they_are(
    refused: PodFailure, fails: bool
) -> None:
    after, children = failing_update()
    assert ends_within_minutes(after, children[:-1], [refused]) is fails


def test_engines_that_never_ran_are_no_matter_where_another_one_answers() -> None:
    after, children = failing_update()
    children[-1]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert not ends_within_minutes(after, [*children, pod("m-3", workload(after).revision)], [NO_IMAGE])


def ends_within_minutes(of: Model, children: Sequence[Manifest], failures: Sequence[PodFailure]) -> bool:
    """Whether an update has failed when it has been like this for five minutes."""
    there = {identity(child): child for child in children}
    seen = Observed(model=LIVE, children=children, failures=failures)
    there |= {identity(one): as_stored(one) for one in make_plan(wanted(of), seen, now=NOW).apply}
    seen = replace(seen, children=list(there.values()))
    rollout = make_plan(wanted(of), seen, now=NOW + timedelta(minutes=5)).rollout
    assert rollout is not None
    return rollout.state == "RolledBack"


def test_once_back_it_stays_so_until_the_model_changes() -> None:
    after, children = failing_update()
    back = {identity(child): child for child in children}
    for manifest in plan(after, children, failures=[CRASH]).apply:
        back[identity(manifest)] = as_stored(manifest)
    settled = [child for child in back.values() if child["kind"] != "Pod"]
    made = plan(after, settled)
    assert made.rollout is not None
    assert (made.rollout.state, kinds(made.apply)) == ("RolledBack", [])
    other = plan(model(engine={"maxModelLen": 4096}), settled)
    assert other.rollout is not None
    assert other.rollout.state == "Running"


def listed(children: Sequence[Manifest]) -> list[str]:
    """The adapters that engines start with."""
    lists = [one["data"]["adapters.json"] for one in children if one["metadata"]["name"] == "m-adapters"]
    return [adapter["name"] for text in lists for adapter in json.loads(text)["adapters"]]


def test_another_adapter_changes_the_list_and_nothing_else() -> None:
    more = {"adapters": [*LORA["adapters"], {"name": "law", "uri": "hf://org/law"}]}
    made = plan(model(lora=more), applied(model(lora=LORA)))
    assert listed(made.apply) == ["sql", "law"]
    assert (kinds(made.apply), kinds(made.delete)) == (["ConfigMap"], [])


def test_a_list_that_was_edited_by_hand_is_put_back() -> None:
    children = applied(model(lora=LORA))
    (found,) = [one for one in children if one["metadata"]["name"] == "m-adapters"]
    found["data"]["adapters.json"] = "{}"
    made = plan(model(lora=LORA), children)
    assert (listed(made.apply), made.drifted) == (["sql"], ["ConfigMap data.adapters.json"])


def test_the_list_goes_with_the_last_adapter_though_it_is_mounted() -> None:
    children = applied(model(lora=LORA))
    running = {**pod("m-1", ""), "spec": of_kind(children, "Deployment")["spec"]["template"]["spec"]}
    made = plan(model(lora={}), [*children, running])
    assert [identity(one) for one in made.delete] == [("ConfigMap", "m-adapters")]


def test_going_back_keeps_the_adapters_that_are_asked_for_now() -> None:
    before, after = model(lora=LORA), model(lora={"adapters": []}, engine={"maxModelLen": 1024})
    children = {identity(child): child for child in applied(before)}
    update = plan(after, list(children.values()))
    for manifest in update.apply:
        children[identity(manifest)] = as_stored(manifest, readyReplicas=0, availableReplicas=0)
    crashing = pod("m-2", workload(after).revision, restarts=3)
    made = plan(after, [*children.values(), crashing], failures=[CRASH])
    assert made.rollout is not None
    assert made.rollout.state == "RolledBack"
    assert listed(made.apply) == []
    assert ("ConfigMap", "m-adapters") in map(identity, made.delete)


def ray_children(of: Model) -> list[Manifest]:
    children = applied(of)
    spec = copy.deepcopy(of_kind(children, "RayService")["spec"]["rayClusterConfig"])
    cluster = {"kind": "RayCluster", "metadata": {"name": "m-raycluster"}, "spec": spec}
    return [*children, cluster]


def test_a_ray_cluster_with_other_pods_is_deleted_once_kuberay_knows_better() -> None:
    before, after = model(**KUBERAY), model(**KUBERAY, engine={"image": "e:2"})
    children = ray_children(before)
    assert not plan(before, children).delete
    first = plan(after, children)
    assert "RayCluster" not in kinds(first.delete)
    told = {identity(child): child for child in children}
    told |= {identity(manifest): as_stored(manifest) for manifest in first.apply}
    assert "RayCluster" in kinds(plan(after, list(told.values())).delete)


def test_a_ray_service_that_a_webhook_changes_keeps_no_ray_cluster_with_other_pods() -> None:
    before, after = model(**KUBERAY), model(**KUBERAY, engine={"image": "e:2"})
    told = {identity(child): child for child in ray_children(before)}
    told |= {identity(manifest): as_stored(manifest) for manifest in plan(after, list(told.values())).apply}
    children = list(told.values())
    service = of_kind(children, "RayService")
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = "mirror/e:2"
    changed = plan(after, children)
    assert "RayCluster" not in kinds(changed.delete), "as long as it may have been somebody who is put right"
    places = frozenset(differences(of_kind(changed.apply, "RayService"), service))
    known = {service["metadata"]["uid"]: Rewritten(applied_hash(service), places)}
    assert kinds(plan(after, children, rewritten=known).delete) == ["RayCluster"]


def test_kuberay_replaces_a_cluster_by_itself_where_there_is_room_for_two() -> None:
    surge = {"rolloutStrategy": {"maxSurge": 1}}
    before, after = model(**KUBERAY, **surge), model(**KUBERAY, **surge, engine={"image": "e:2"})
    told = {identity(child): child for child in ray_children(before)}
    told |= {identity(manifest): as_stored(manifest) for manifest in plan(after, list(told.values())).apply}
    assert "RayCluster" not in kinds(plan(after, list(told.values())).delete)


def test_a_ray_cluster_of_another_size_is_resized_since_kuberay_does_not() -> None:
    children = ray_children(model(**KUBERAY))
    assert not plan(model(**KUBERAY), children).sizes
    (size,) = plan(model(**KUBERAY, replicas=3), children).sizes
    (group,) = size.spec["workerGroupSpecs"]
    assert (size.target["kind"], group["replicas"], group["maxReplicas"]) == ("RayCluster", 3, 3)
    assert group["template"] == workload(model(**KUBERAY)).pod
    scaled = model(**KUBERAY, scaling={"maxReplicas": 3})
    assert not plan(scaled, ray_children(scaled)).sizes


def test_a_change_of_only_the_model_file_leaves_a_ray_cluster_alone() -> None:
    before, after = model(**KUBERAY), model(**KUBERAY, engine={"maxModelLen": 1024})
    told = {identity(child): child for child in ray_children(before)}
    told |= {identity(manifest): as_stored(manifest) for manifest in plan(after, list(told.values())).apply}
    assert "RayCluster" not in kinds(plan(after, list(told.values())).delete)


def test_a_move_to_kuberay_leaves_no_deployment_behind() -> None:
    made = plan(model(**KUBERAY), applied(model()))
    assert "RayService" in kinds(made.apply)
    assert "Deployment" in kinds(made.delete)


ROOM = {"rolloutStrategy": {"maxSurge": 1}}
MOVES = [({}, KUBERAY), (KUBERAY, {})]


def moved(before: dict[str, Any], after: dict[str, Any]) -> tuple[Model, list[Manifest]]:
    """A Model that is to run in the other kind of workload, whose engines do not answer yet."""
    was, of = model(**before, **ROOM), model(**after, **ROOM)
    children = {identity(child): child for child in applied(was)}
    children |= {identity(manifest): as_stored(manifest) for manifest in plan(was, [*children.values(), *IN_RAY]).apply}
    for manifest in plan(of, list(children.values())).apply:
        made = as_stored(manifest, readyReplicas=0, availableReplicas=0)
        if manifest["kind"] == "RayService":
            made["status"]["conditions"] = []
        children[identity(manifest)] = made
    return of, list(children.values())


def answering(name: str) -> Manifest:
    """An engine in a Ray cluster that is ready."""
    made = pod(name, "")
    made["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return made


IN_RAY = [answering("m-ray")]


def workloads(manifests: Sequence[Manifest]) -> set[str]:
    return {"Deployment", "RayService"} & set(kinds(manifests))


def kind_of(spec: dict[str, Any]) -> str:
    return "RayService" if spec else "Deployment"


@pytest.mark.parametrize(("before", "after"), MOVES, ids=["to KubeRay", "to Standalone"])
def test_where_there_is_room_what_was_there_serves_until_what_is_new_has_come_up(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    first = plan(model(**after, **ROOM), applied(model(**before, **ROOM)))
    assert workloads(first.apply) == {kind_of(after)}
    of, children = moved(before, after)
    assert not workloads(plan(of, children).delete)
    up = [as_stored(child) if child["kind"] == kind_of(after) else child for child in children]
    assert workloads(plan(of, [*up, *IN_RAY]).delete) == {kind_of(before)}


@pytest.mark.parametrize(("before", "after"), MOVES, ids=["to KubeRay", "to Standalone"])
def test_a_move_that_fails_ends_with_what_was_there_and_stays_so(before: dict[str, Any], after: dict[str, Any]) -> None:
    of, children = moved(before, after)
    crashing = pod("m-2", "" if after else workload(of).revision, restarts=3)
    made = plan(of, [*children, crashing], failures=[CRASH])
    assert made.rollout is not None
    assert (made.rollout.state, workloads(made.delete)) == ("RolledBack", {kind_of(after)})
    assert made.rollout.target.name == workload(model(**before, **ROOM)).revision
    left = {identity(child): child for child in children if child["kind"] != kind_of(after)}
    left |= {identity(manifest): as_stored(manifest) for manifest in made.apply}
    for strategy in (ROOM, {"rolloutStrategy": {"onFailure": "Hold"}}):
        later = plan(model(**after, **strategy), list(left.values()))
        assert later.is_empty
        assert later.rollout is not None
        assert later.rollout.state == "RolledBack"


@pytest.mark.parametrize(("before", "after"), MOVES, ids=["to KubeRay", "to Standalone"])
def test_a_move_that_failed_is_tried_again_once_suspending_took_what_was_there(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    of, children = moved(before, after)
    crashing = pod("m-2", "" if after else workload(of).revision, restarts=3)
    made = plan(of, [*children, crashing], failures=[CRASH])
    left = {identity(child): child for child in children if child["kind"] != kind_of(after)}
    left |= {identity(manifest): as_stored(manifest) for manifest in made.apply}
    suspended = plan(model(**after, **ROOM, suspend=True), list(left.values()))
    assert workloads(suspended.delete) == {kind_of(before)}
    resumed = plan(of, [child for child in left.values() if child["kind"] != kind_of(before)])
    assert resumed.rollout is not None
    assert (resumed.rollout.state, resumed.rollout.target.outcome) == ("Running", "")
    assert workloads(resumed.apply) == {kind_of(after)}


def test_the_engines_of_before_are_counted_during_a_move() -> None:
    of, children = moved({}, KUBERAY)
    made = plan(of, children)
    assert (made.workload.ready, made.workload.complete) == (1, False)


def test_the_failures_of_the_engines_of_before_are_not_those_of_the_new_ones() -> None:
    of, children = moved(KUBERAY, {})
    crashing = pod("m-2", "", restarts=3)
    gave_up = PodFailure(WorkloadReason.CONTAINER_START_ERROR, "Ray Serve gave up", pod="", told_by="RayService")
    made = plan(of, [*children, crashing], failures=[CRASH, gave_up])
    assert made.rollout is not None
    assert made.rollout.state == "Running"


def test_the_adapters_of_engines_of_before_stay_as_long_as_they_serve() -> None:
    children = applied(model(lora=LORA, **ROOM))
    assert ("ConfigMap", "m-adapters") not in map(identity, plan(model(**KUBERAY, lora=LORA, **ROOM), children).delete)
    assert ("ConfigMap", "m-adapters") in map(identity, plan(model(**KUBERAY, lora=LORA), children).delete)


def test_suspending_during_a_move_leaves_nothing_of_before() -> None:
    _, children = moved({}, KUBERAY)
    assert workloads(plan(model(**KUBERAY, **ROOM, suspend=True), children).delete) == {"Deployment"}


def test_moving_back_waits_for_the_engines_of_before_as_well() -> None:
    of, children = moved({}, KUBERAY)
    serving = [child for child in children if child["kind"] != "Deployment"]
    back = {identity(child): child for child in serving}
    for manifest in plan(model(**ROOM), serving).apply:
        back[identity(manifest)] = as_stored(manifest, readyReplicas=0, availableReplicas=0)
    made = plan(model(**ROOM), list(back.values()))
    assert made.rollout is not None
    assert (made.rollout.state, workloads(made.delete)) == ("Running", set())
    assert of.spec.cluster == "KubeRay"


def test_a_retained_claim_without_its_model_is_taken_over() -> None:
    of = model(cache={})
    claim = of_kind(applied(of), "PersistentVolumeClaim")
    later = {**LIVE, "metadata": {**LIVE["metadata"], "uid": "2"}}
    made = make_plan(wanted(of), Observed(model=later, children=[claim]), now=NOW)
    assert not made.problems
    assert "PersistentVolumeClaim" not in kinds(made.apply)


def test_a_model_without_engines_has_no_rollout() -> None:
    made = plan(model(model={}, upstream={"url": "http://h/v1"}))
    assert (made.rollout, made.is_empty) == (None, True)
    assert replace(made, problems=()).workload.desired == 0
