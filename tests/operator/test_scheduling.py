"""What the scheduler says, for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.capacity import Capacity
from fairlead_operator.scheduling import Clause, clauses, own_words, sentence
from tests.operator.pod_samples import GPU, unschedulable

NO_VICTIMS = "preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod."
NO_HELP = "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."


def capacity(*, nodes: int = 1, total: int = 2, free: int = 0, node: int = 2, most: int = 0) -> Capacity:
    return Capacity(GPU, nodes=nodes, total=total, free=free, largest_node=node, largest_free=most, room=0)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        # 1.27, with its two full stops; 1.33 and later; no node looked at; cut short by nobody.
        (
            f"0/4 nodes are available: 4 Insufficient {GPU}. {NO_VICTIMS}.",
            f"0/4 nodes are available: 4 Insufficient {GPU}",
        ),
        (
            f"0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu. no new claims to "
            f"deallocate, {NO_HELP}",
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu",
        ),
        (f"0/4 nodes are available: 4 Insufficient {GPU}.", f"0/4 nodes are available: 4 Insufficient {GPU}"),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
        ("", ""),
    ],
)
def test_what_is_said_of_preemption_is_left_out(message: str, words: str) -> None:
    assert own_words(message) == words


def test_each_reason_is_told_with_its_nodes() -> None:
    words = (
        "0/9 nodes are available: 1 Too many pods, 2 node(s) had untolerated taint {node-role.kubernetes.io/"
        "control-plane: }, 2 node(s) didn't match Pod's node affinity/selector, 4 Insufficient nvidia.com/gpu"
    )
    assert clauses(words) == [
        Clause(1, "Too many pods"),
        Clause(2, "node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"),
        Clause(2, "node(s) didn't match Pod's node affinity/selector"),
        Clause(4, "Insufficient nvidia.com/gpu"),
    ]


def test_a_reason_of_the_pod_alone_has_no_nodes() -> None:
    words = "pod has unbound immediate PersistentVolumeClaims"
    assert clauses(f"0/4 nodes are available: {words}") == [Clause(0, words)]


@pytest.mark.parametrize(
    ("message", "gpus", "known", "told"),
    [
        (
            f"0/1 nodes are available: 1 Insufficient {GPU}. {NO_VICTIMS}",
            1,
            capacity(),
            f"needs 1 more {GPU}: 2 of 2 are in use on the 1 node it may run on "
            f"(scheduler: 0/1 nodes are available: 1 Insufficient {GPU})",
        ),
        (
            f"0/8 nodes are available: 8 Insufficient {GPU}.",
            4,
            capacity(nodes=8, total=64, free=10, node=8, most=3),
            f"needs 1 more {GPU} on one node: 54 of 64 are in use on the 8 nodes it may run on (scheduler: ",
        ),
        (
            f"0/2 nodes are available: 2 Insufficient {GPU}.",
            8,
            capacity(nodes=2, total=8, free=8, node=4, most=4),
            f"needs 8 {GPU}, and no node that it may run on has more than 4 (scheduler: ",
        ),
        (
            f"0/2 nodes are available: 2 Insufficient {GPU}.",
            1,
            capacity(nodes=2, total=2, free=1, node=1, most=1),
            f"needs 1 {GPU}, and the scheduler finds no node with as many free (scheduler: ",
        ),
        (
            f"0/4 nodes are available: 1 node(s) had untolerated taint {{{GPU}: present}}, 3 Insufficient {GPU}.",
            1,
            capacity(nodes=3, total=0, node=0),
            f"needs 1 {GPU}, and no node that it may run on has any; 1 node with the taint {GPU}: present "
            "(tolerate it in spec.podTemplate.tolerations if the model belongs there) (scheduler: 0/4 nodes",
        ),
        (
            f"0/4 nodes are available: 1 node(s) had untolerated taint {{{GPU}: present}}, 3 Insufficient {GPU}.",
            1,
            None,
            f"needs 1 {GPU}, which no node has free; 1 node with the taint {GPU}: present (tolerate it",
        ),
        (
            f"0/4 nodes are available: 1 Insufficient {GPU}, 3 node(s) didn't match Pod's node affinity/selector.",
            1,
            capacity(),
            f"needs 1 more {GPU}: 2 of 2 are in use on the 1 node it may run on (scheduler: ",
        ),
        (
            "0/4 nodes are available: 4 Insufficient memory.",
            1,
            None,
            "needs 32Gi memory, which no node that it may run on has free (ask for less in spec.resources",
        ),
        (
            f"0/4 nodes are available: 4 Insufficient memory, 4 Insufficient {GPU}.",
            1,
            None,
            f"needs 1 {GPU}, which no node has free; needs 32Gi memory, which no node",
        ),
        (
            "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector.",
            1,
            None,
            "4 nodes without a label that the pod wants (correct the resource profile, or nodeSelector and affinity",
        ),
        (
            "0/4 nodes are available: 4 node(s) had untolerated taint(s).",
            1,
            None,
            "4 nodes with a taint (tolerate it in spec.podTemplate.tolerations",
        ),
        (
            "0/2 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
            "1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.",
            1,
            None,
            "1 node kept for control-plane; 1 node with disk pressure (scheduler: ",
        ),
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, "
            "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 1 node(s) were unschedulable.",
            1,
            None,
            "1 node not ready; 1 node out of reach; 1 node cordoned (uncordon, or add nodes) (scheduler: ",
        ),
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint {node.kubernetes.io/unschedulable: }.",
            1,
            None,
            "2 nodes cordoned (uncordon, or add nodes) (scheduler: ",
        ),
        (
            "0/3 nodes are available: 3 node(s) had volume node affinity conflict.",
            1,
            None,
            "3 nodes out of reach of the claim's volume (free a node where the volume is, or name another claim)",
        ),
        (
            "0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity.",
            1,
            None,
            "3 nodes out of reach of the claim's volume",
        ),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3 nodes are "
            "available: 3 Preemption is not helpful for scheduling.",
            1,
            None,
            "a claim of the pod has no volume (see its events, and whether spec.cache.storageClassName exists) (sche",
        ),
        (
            "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.",
            1,
            None,
            "3 nodes without a volume for the claim (see spec.cache.storageClassName and spec.cache.size)",
        ),
        (
            '0/3 nodes are available: persistentvolumeclaim "weights" not found.',
            1,
            None,
            "there is no claim weights (create it, or name another in spec.cache.claimName)",
        ),
        (
            'persistentvolumeclaim "weights" is being deleted',
            1,
            None,
            "the claim weights is being deleted (wait until it is gone, or name another",
        ),
        (
            "0/3 nodes are available: 3 Too many pods.",
            1,
            None,
            "3 nodes with as many pods as a node can have (add nodes)",
        ),
        (
            "0/3 nodes are available: 3 node(s) exceed max volume count.",
            1,
            None,
            "3 nodes with as many volumes as a node can have (add nodes)",
        ),
        (
            "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.",
            1,
            None,
            "2 nodes ruled out by the pods that run there (correct spec.podTemplate.affinity, or add nodes)",
        ),
        (
            "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.",
            1,
            None,
            "2 nodes ruled out by the pods that run there",
        ),
        ("no nodes available to schedule pods", 1, None, "the cluster has no nodes (scheduler: no nodes available"),
        (
            "0/2 nodes are available: 2 node(s) have the wrong phase of the moon.",
            1,
            None,
            "no node takes it (scheduler: 0/2 nodes are available: 2 node(s) have the wrong phase of the moon)",
        ),
        ("", 1, None, "no node takes it"),
    ],
)
def test_the_sentence_says_what_is_missing(message: str, gpus: int, known: Capacity | None, told: str) -> None:
    assert sentence(unschedulable(message, gpus=gpus), known).startswith(told)


def test_a_pod_that_may_run_nowhere_is_told_so() -> None:
    words = f"0/4 nodes are available: 1 Insufficient {GPU}, 3 node(s) were unschedulable."
    told = sentence(unschedulable(words), capacity(nodes=0, total=0, node=0))
    assert told.startswith(f"needs 1 {GPU}, and there is no node that it may run on; 3 nodes cordoned")


def test_what_is_known_of_another_device_is_not_told() -> None:
    other = "amd.com/gpu"
    told = sentence(unschedulable(f"0/1 nodes are available: 1 Insufficient {other}."), capacity())
    assert told.startswith(f"needs 1 {other}, which no node has free")


def test_a_pod_that_is_held_back_names_what_holds_it() -> None:
    held = unschedulable("Scheduling is blocked due to non-empty scheduling gates", reason="SchedulingGated")
    held["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    assert sentence(held, None).startswith("held back by its scheduling gates (kueue.x-k8s.io/admission)")


def test_many_taints_are_not_all_told() -> None:
    taints = ", ".join(f"1 node(s) had untolerated taint {{team-{number}: a}}" for number in range(200))
    told = sentence(unschedulable(f"0/200 nodes are available: {taints}."), None)
    assert told.count("tolerate it") == 4
    assert len(told) < 2048


@given(st.text(), st.booleans())
def test_whatever_the_scheduler_says_a_sentence_comes_of_it(message: str, known: bool) -> None:
    assert sentence(unschedulable(f"0/1 nodes are available: {message}"), capacity() if known else None)
