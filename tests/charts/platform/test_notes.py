"""What Helm prints after an install: the next commands, filled in."""

import json
import re
from typing import Any

import pytest

from fairlead_serve.model import parse
from tests.charts.platform.release import ANONYMOUS, LARGE, merged, release


def notes(*values: dict[str, Any]) -> str:
    return release(merged(*values), name="fl").notes


def test_the_next_commands_are_filled_in() -> None:
    said = notes(LARGE)
    for command in (
        "KEY=$(fairlead key create me --file keys.yaml)",
        "kubectl -n platform create secret generic keys --from-file=keys.yaml",
        "kubectl -n platform wait deployment -l app.kubernetes.io/name=fairlead,app.kubernetes.io/instance=fl --for",
        "kubectl -n platform wait model/demo --for=condition=Ready",
        "kubectl -n platform port-forward service/fl-gateway 8000:8443 &",
        '-H "authorization: Bearer $KEY"',
    ):
        assert command in said


def test_a_model_is_applied_where_models_are_looked_for() -> None:
    assert "| kubectl -n team-a apply -f -" in notes(ANONYMOUS, {"namespaces": ["team-a", "team-b"]})
    assert "serves the Models of team-a, team-b." in notes(ANONYMOUS, {"namespaces": ["team-a", "team-b"]})
    assert "serves the Models of all namespaces." in notes(LARGE)


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"operator": {"settings": {"images": {"cpu": "", "cuda": ""}}}}, "There is no image for engines."),
        ({"gateway": {"allowAnonymous": True, "keys": {"existingSecret": ""}}}, "Without keys: whoever reaches"),
        ({"gateway": {"replicas": 1, "database": {"existingSecret": ""}}}, "Conversations are in SQLite, on the claim"),
        ({"gateway": {"limits": {"existingSecret": ""}}}, "Each of 3 gateways counts for itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_for_production_is_said(values: dict[str, Any], warning: str) -> None:
    assert f"! {warning}" in notes(LARGE, values)
    assert "!" not in notes(LARGE)


def test_no_key_is_asked_for_where_none_is_wanted() -> None:
    assert "KEY" not in notes(ANONYMOUS)


@pytest.mark.parametrize(
    ("images", "uri"), [({"cpu": "x"}, "tiny://chat"), ({"cuda": "x"}, "hf://"), ({"cpu": "x", "cuda": "x"}, "hf://")]
)
def test_the_model_that_is_shown_is_one_for_the_images_there_are(images: dict[str, str], uri: str) -> None:
    said = notes(ANONYMOUS, {"operator": {"settings": {"images": images}}})
    (shown,) = re.findall(r"echo '(.*)' \| kubectl", said)
    model = parse(json.loads(shown), source="notes")
    assert model.spec.model.uri.startswith(uri)
    assert f"model/{model.name} " in said
    assert f'"model": "{model.served_names[0]}"' in said
