"""The sample settings of the gateway show every key, and mean what the program's defaults mean."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from fairlead_serve.settings import BackendSettings, GatewaySettings, load_gateway_settings

SAMPLE = Path(__file__).parents[2] / "configs" / "gateway.yaml"


def keys_of(settings: type[BaseModel]) -> set[str]:
    return {to_camel(name) for name in settings.model_fields}


def test_the_sample_is_valid_and_equals_the_defaults_but_for_its_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRLEAD_INTERNAL_TOKEN", raising=False)
    sample, defaults = load_gateway_settings(SAMPLE), load_gateway_settings(None)
    assert sample.model_copy(update={"backends": ()}) == defaults
    assert len(sample.backends) == 2


def test_the_sample_shows_every_key() -> None:
    document = yaml.safe_load(SAMPLE.read_text())
    shown = set(document)
    # Shown as comments: secrets do not belong in a file.
    assert shown == keys_of(GatewaySettings) - {"internalToken", "databaseUrl"}
    for group in ("times", "sizes"):
        annotation = GatewaySettings.model_fields[group].annotation
        assert isinstance(annotation, type)
        assert set(document[group]) == keys_of(annotation)
    backend = set(document["backends"][0]) | set(document["backends"][1])
    rarely_set = {"created"}
    assert backend == keys_of(BackendSettings) - rarely_set
