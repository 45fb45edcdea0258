"""What the gateway has to know of a Model."""

from typing import Any

import pytest

from fairlead_serve.errors import ModelFileError
from fairlead_serve.gateway import served
from fairlead_serve.gateway.served import read_listing, what_matters

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


def test_a_model_is_known_by_its_place_and_its_names_and_when_it_was_made() -> None:
    model = {"uri": "tiny://chat", "name": "Qwen/Qwen3", "aliases": ["small"]}
    listing = read_listing(manifest({**TINY, "model": model, "fallback": ["llama"]}))
    assert (listing.key, listing.fallbacks) == ("ns/qwen", ("ns/llama",))
    assert (listing.served.name, listing.served.aliases) == ("Qwen/Qwen3", ("small",))
    assert listing.served.created == 1_767_323_045
    assert listing.refusal == ""


def test_a_field_of_a_later_release_keeps_no_model_from_being_served() -> None:
    assert read_listing(manifest({**TINY, "future": "x"})) == read_listing(manifest())


def test_an_upstream_is_known_by_its_url_and_its_secret() -> None:
    secret = {"name": "hosted", "key": "token"}
    upstream = {"url": "https://api.example.org/v1/", "model": "gpt", "apiKeySecretRef": secret}
    listing = read_listing(manifest({"upstream": upstream}))
    assert (listing.upstream, listing.served.kind, listing.served.upstream_model) == (
        "https://api.example.org",
        "upstream",
        "gpt",
    )
    assert listing.api_key is not None
    assert (listing.api_key.name, listing.api_key.key) == ("hosted", "token")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://ollama:11434/v1", "http://ollama:11434"),
        ("http://ollama:11434/v1/", "http://ollama:11434"),
        ("http://host/proxy/v1", "http://host/proxy"),
        ("http://host/proxy", "http://host/proxy"),
        ("http://v1", "http://v1"),
        ("http://v1/", "http://v1"),
        ("http://v1/v1", "http://v1"),
    ],
)
def test_the_v1_of_an_upstream_is_that_of_its_path_and_not_of_its_host(url: str, base: str) -> None:
    assert read_listing(manifest({"upstream": {"url": url}})).upstream == base


def test_an_upstream_that_no_connection_leads_to_is_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "upstream_url", lambda _: "http://user:geheim@host:port")
    with pytest.raises(ModelFileError, match=r"the Model ns/qwen: spec\.upstream\.url: expected http") as refusal:
        read_listing(manifest({"upstream": {"url": "http://host/v1"}}))
    assert "geheim" not in str(refusal.value)


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
    assert bool(read_listing(manifest(spec)).refusal) is refused


@pytest.mark.parametrize("state", [None, "Pending", "Loading", "Loaded", "Failed"])
def test_every_adapter_can_be_asked_for_whatever_engines_have_of_it_by_now(state: str | None) -> None:
    status = {"adapters": [{"name": "sql", "state": state}]} if state else {}
    adapters = read_listing(manifest({**TINY, "lora": LORA}, **status)).served.adapters
    assert [(one.name, one.uri) for one in adapters] == [("sql", "hf://org/sql"), ("poems", "hf://org/poems")]


def test_the_status_does_not_matter() -> None:
    loaded = [{"name": "sql", "state": "Loaded"}]
    assert what_matters(manifest(phase="Starting")) == what_matters(manifest(phase="Serving", adapters=loaded))
    assert what_matters(manifest({**TINY, "suspend": True})) != what_matters(manifest())


def test_what_this_release_does_not_understand_is_refused_with_its_place() -> None:
    with pytest.raises(ModelFileError, match=r"the Model ns/qwen: spec\.cluster"):
        read_listing(manifest({**TINY, "cluster": "Future"}))
