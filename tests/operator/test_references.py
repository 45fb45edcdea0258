"""The Secrets that a Model cannot do without."""

from typing import Any

import pytest

from fairlead_operator.references import SecretReference, secrets_of
from tests.charts.workload import model

HF = {"uri": "hf://org/model"}
KEY = {"name": "s", "key": "k"}


def variable(**source: Any) -> dict[str, Any]:
    return {"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {**KEY, **source}}}]}


@pytest.mark.parametrize(
    ("spec", "references"),
    [
        ({}, []),
        ({"model": {**HF, "accessSecretRef": KEY}}, [SecretReference("spec.model.accessSecretRef", "s", "k")]),
        ({"engine": variable()}, [SecretReference("spec.engine.env[1].valueFrom.secretKeyRef", "s", "k")]),
        ({"engine": variable(optional=True)}, []),
        (
            {"engine": {"envFrom": [{"secretRef": {"name": "s"}}]}},
            [SecretReference("spec.engine.envFrom[0].secretRef", "s")],
        ),
        ({"engine": {"envFrom": [{"secretRef": {"name": "s", "optional": True}}]}}, []),
        ({"engine": {"envFrom": [{"configMapRef": {"name": "c"}}]}}, []),
        (
            {"model": {}, "upstream": {"url": "http://h/v1", "apiKeySecretRef": KEY}},
            [SecretReference("spec.upstream.apiKeySecretRef", "s", "k")],
        ),
    ],
    ids=str,
)
def test_every_secret_that_must_be_there_is_named(spec: dict[str, Any], references: list[SecretReference]) -> None:
    assert list(secrets_of(model(**spec))) == references


def test_a_secret_that_is_missing_is_told_apart_from_one_without_the_key() -> None:
    reference = SecretReference("spec.x", "s", "k")
    assert reference.lacking(None) == "spec.x: the Secret s with the key k is not in this namespace; create it"
    assert reference.lacking({"other"}) == "spec.x: the Secret s has no key k; add it, or name another"
    assert reference.lacking({"k"}) == ""


def test_of_a_secret_that_is_taken_as_a_whole_any_keys_will_do() -> None:
    assert SecretReference("spec.x", "s").lacking(()) == ""
    assert SecretReference("spec.x", "s").lacking(None) == "spec.x: the Secret s is not in this namespace; create it"
