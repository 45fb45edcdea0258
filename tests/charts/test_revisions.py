"""The revisions of the sample Models: as long as they stay, an upgrade of the operator replaces no engine."""

import pytest

from tests.charts.workload import KUBERAY, model, samples, workload

MODELS = {one.name: one for one in (*samples(), model("ray", **KUBERAY)) if one.spec.upstream is None}
# What the values, the chart and the hash make of each, with the settings of the tests.
PINNED = {
    "embeddings": "5d0689fa126ffacb",
    "llama-405b": "0e2e386966a54f06",
    "qwen-coder": "2bb1017427725414",
    "qwen3-coder": "c5dfb092e9c75342",
    "tiny-chat": "9c57f6a1a196bfbc",
    "tiny-embed": "3af382297433de97",
    "ray": "710f539567d15503",
}


@pytest.mark.parametrize("name", MODELS)
def test_an_upgrade_of_the_operator_replaces_no_engine(name: str) -> None:
    now = workload(MODELS[name]).revision
    assert now == PINNED.get(name), (
        f"an upgrade of the operator to this would replace every engine that is like {name}. Where that is not meant, "
        f"leave the pods' template and the engines' Model file as they were; where it is, or where the sample itself "
        f"has changed, write {now} into PINNED, and for the former a line into CHANGELOG.md"
    )
