"""What is written on each object, and whose an object is."""

from typing import Any

from fairlead_operator.ownership import applied_hash, is_owned, owner_of, stamped

MODEL: dict[str, Any] = {"metadata": {"name": "m", "namespace": "models", "uid": "1"}}
CLAIM = {
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "m-cache", "labels": {"fairlead.dev/model": "m"}, "annotations": {}},
}
KEPT = {**CLAIM, "metadata": {**CLAIM["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}  # type: ignore[dict-item]


def service(**metadata: Any) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"name": "m", **metadata}, "spec": {"clusterIP": "None"}}


def test_an_object_goes_with_its_model() -> None:
    (owner,) = stamped(service(), MODEL)["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "name": "m",
        "uid": "1",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_a_claim_that_is_kept_has_no_owner_and_is_known_again() -> None:
    kept = stamped(KEPT, MODEL)
    assert "ownerReferences" not in kept["metadata"]
    assert is_owned(kept, MODEL)
    assert is_owned(kept, {"metadata": {**MODEL["metadata"], "uid": "2"}})
    assert not is_owned(kept, {"metadata": {**MODEL["metadata"], "name": "other"}})
    assert "ownerReferences" in stamped(CLAIM, MODEL)["metadata"]


def test_only_the_model_with_the_same_uid_owns_an_object() -> None:
    mine = stamped(service(), MODEL)
    assert is_owned(mine, MODEL)
    assert not is_owned(mine, {"metadata": {**MODEL["metadata"], "uid": "2"}})
    assert not is_owned(service(labels={"fairlead.dev/model": "m", "app.kubernetes.io/managed-by": "fairlead"}), MODEL)


def test_another_object_has_another_hash_and_the_same_one_the_same() -> None:
    first, again = stamped(service(), MODEL), stamped(service(), MODEL)
    other = stamped({**service(), "spec": {}}, MODEL)
    assert applied_hash(first) == applied_hash(again) != applied_hash(other)
    assert applied_hash(service()) == ""


def test_a_stranger_is_called_by_its_owner() -> None:
    assert owner_of(service(ownerReferences=[{"kind": "HelmRelease", "name": "x"}])) == "HelmRelease x"
    assert owner_of(service(labels={"app.kubernetes.io/managed-by": "Helm"})) == "somebody else (managed by Helm)"
    assert owner_of(service()) == "somebody else"
