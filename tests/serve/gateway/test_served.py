"""What the gateway has to know of a Model."""

from typing import Any

import pytest

from fairlead_serve.errors import ModelFileError
from fairlead_serve.gateway.served import Listing, read_listing, what_matters

TINY: dict[str, Any] = {"model": {"uri": "tiny://chat"}, "engine": {"device": "cpu"}}
LORA = {"adapters": [{"name": "sql", "uri": "hf://org/sql"}, {"name": "poems", "uri": "hf://org/poems"}]}


def manifest(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "qwen", "namespace": "ns", "creationTimestamp": "2026-01-02T03:04:05Z", "uid": "u"},
        "spec": TINY if spec is None else spec,
        "status": status,
    }


def adapters_after(*states: dict[str, str]) -> list[str]:
    """The adapters that can be asked for when the status has named them in these states, one after the other."""
    listing: Listing | None = None
    for one in states:
        adapters = [{"name": name, "state": state} for name, state in one.items()]
        listing = read_listing(manifest({**TINY, "lora": LORA}, adapters=adapters), listing)
    assert listing is not None
    return [adapter.name for adapter in listing.served.adapters]


def test_a_model_is_known_by_its_place_and_its_names_and_when_it_was_made() -> None:
    model = {"uri": "tiny://chat", "name": "Qwen/Qwen3", "aliases": ["small"]}
    listing = read_listing(manifest({**TINY, "model": model, "fallback": ["llama"], "lora": LORA}), None)
    assert (listing.key, listing.fallbacks, listing.reserved) == ("ns/qwen", ("ns/llama",), ("sql", "poems"))
    assert (listing.served.name, listing.served.aliases) == ("Qwen/Qwen3", ("small",))
    assert listing.served.created == 1_767_323_045
    assert listing.refusal == ""


def test_an_upstream_is_known_by_its_url_and_its_secret() -> None:
    secret = {"name": "hosted", "key": "token"}
    upstream = {"url": "https://api.example.org/v1/", "model": "gpt", "apiKeySecretRef": secret}
    listing = read_listing(manifest({"upstream": upstream}), None)
    assert (listing.upstream, listing.served.kind, listing.served.upstream_model) == (
        "https://api.example.org",
        "upstream",
        "gpt",
    )
    assert listing.api_key is not None
    assert (listing.api_key.name, listing.api_key.key) == ("hosted", "token")


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        (TINY, False),
        ({**TINY, "suspend": True}, True),
        ({**TINY, "replicas": 0}, True),
        ({**TINY, "scaling": {"minReplicas": 0, "maxReplicas": 1}}, False),
        ({"upstream": {"url": "http://ollama:11434/v1"}}, False),
        ({"upstream": {"url": "http://ollama:11434/v1"}, "suspend": True}, True),
    ],
)
def test_what_nothing_will_ever_start_is_refused_and_what_waits_for_an_engine_is_not(
    spec: dict[str, Any], refused: bool
) -> None:
    assert bool(read_listing(manifest(spec), None).refusal) is refused


def test_an_adapter_can_be_asked_for_when_it_is_loaded() -> None:
    assert adapters_after({"sql": "Loaded", "poems": "Loading"}) == ["sql"]


def test_an_adapter_that_new_engines_are_still_loading_stays() -> None:
    assert adapters_after({"sql": "Loaded"}, {"sql": "Loading"}) == ["sql"]


@pytest.mark.parametrize("then", [{"sql": "Failed"}, {}])
def test_an_adapter_that_failed_or_is_no_more_goes(then: dict[str, str]) -> None:
    assert adapters_after({"sql": "Loaded"}, then) == []


def test_the_rest_of_the_status_does_not_matter() -> None:
    loaded = [{"name": "sql", "state": "Loaded"}]
    assert what_matters(manifest(phase="Starting")) == what_matters(manifest(phase="Serving", replicas=3))
    assert what_matters(manifest(adapters=loaded)) != what_matters(manifest())
    assert what_matters(manifest({**TINY, "suspend": True})) != what_matters(manifest())


def test_what_this_release_does_not_know_is_refused_with_its_place() -> None:
    with pytest.raises(ModelFileError, match=r"the Model ns/qwen: spec\.future"):
        read_listing(manifest({**TINY, "future": 1}), None)
