import time, json
import pytest


from tests.operator.world import World, condition
from tests.kube.simulation.script import *
from tests.kube.simulation.simulation import node
GPU = {"engine": {"device": "cuda"}, "cluster": "KubeRay"}
def show(w):
    s=w.status(); print(json.dumps({k:s.get(k) for k in ("phase","replicas","readyReplicas","desiredReplicas","currentRevision","updatedRevision")}), [(c["type"],c["status"],c["reason"],c["message"][:90]) for c in s.get("conditions",[])])
@pytest.fixture
def sim(tried, standin):
    with tried.simulated(nodes=[node("n1", gpus=4)]) as s, tried.operator():
        yield s
def test_plain(tried, sim):
    tried.model(**GPU, replicas=2)
    time.sleep(2); show(tried)
    tried.model(**GPU, replicas=3)
    time.sleep(2); show(tried)
    print([p["metadata"]["name"] for p in tried.cluster.list("v1/pods")])
    tried.model(engine={"device":"cuda","image":"x:2"}, cluster="KubeRay", replicas=3)
    time.sleep(3); show(tried)
    print([(p["metadata"]["name"],p["spec"]["containers"][0]["image"]) for p in tried.cluster.list("v1/pods")])
    tried.model(engine={"device":"cuda","image":"x:2"}, cluster="KubeRay", replicas=3, suspend=True)
    time.sleep(2); show(tried)
    assert 0
def test_scaled(tried, sim):
    tried.model(**GPU, scaling={"minReplicas":1,"maxReplicas":3})
    time.sleep(2); show(tried)
    assert 0
@pytest.fixture
def tried(cluster):
    return World(cluster)
