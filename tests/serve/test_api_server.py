"""Requests to an API server: credentials, answers, and what is said when there is none."""

import base64
from pathlib import Path

import pytest
import yaml
from kubernetes.client import ApiClient, Configuration

from fairlead_serve.api_server import ApiServer, Unreachable, connect, home_namespace
from fairlead_serve.errors import ConfigurationError
from tests.serve.scripted_api import PATH, ScriptedApi, answer, refuse, silence


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def client_with_tokens(url: str, *tokens: str) -> ApiClient:
    """A client whose token is another each time that it is asked for."""
    remaining = list(tokens)
    configuration = Configuration()
    configuration.host = url

    def refresh(of: Configuration) -> None:
        of.api_key["BearerToken"] = f"Bearer {remaining.pop(0)}"

    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]
    configuration.api_key["BearerToken"] = "unused"
    return ApiClient(configuration)


def test_a_token_is_asked_for_again_after_some_seconds_and_not_for_every_request() -> None:
    clock = Clock()
    with ScriptedApi(*[answer(200, {})] * 3) as api:
        server = ApiServer(client_with_tokens(api.url, "first", "second"), clock=clock)
        for seconds in (0, 9, 2):
            clock.now += seconds
            server.request("GET", PATH)
        assert api.tokens == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_token_that_is_refused_is_asked_for_again_at_once() -> None:
    with ScriptedApi(refuse(401), answer(200, {})) as api:
        server = ApiServer(client_with_tokens(api.url, "first", "second"))
        assert server.request("GET", PATH).status == 401
        assert server.request("GET", PATH).status == 200
        assert api.tokens == ["Bearer first", "Bearer second"]


def test_a_refusal_is_an_answer_with_the_servers_own_sentence() -> None:
    with ScriptedApi(refuse(403, "things is forbidden")) as api:
        given = ApiServer(api.client()).request("GET", PATH)
        assert (given.status, given.sentence) == (403, "things is forbidden")


def test_an_answer_of_something_in_between_is_named_by_its_status() -> None:
    with ScriptedApi(lambda exchange: exchange.send(502, b"<html>")) as api:
        given = ApiServer(api.client()).request("GET", PATH)
        assert given.sentence == "status 502"
        with pytest.raises(Unreachable, match=r"the answer \(502\) is not JSON"):
            given.json()


def test_a_server_that_keeps_silent_is_unreachable_in_time() -> None:
    with ScriptedApi(silence) as api:
        server = ApiServer(api.client(), answer_seconds=0.1)
        with pytest.raises(Unreachable, match="Read timed out"):
            server.request("GET", PATH)


def test_no_server_is_unreachable() -> None:
    with ScriptedApi() as api:
        server = ApiServer(api.client())
    with pytest.raises(Unreachable, match="Connection refused"):
        server.request("GET", PATH)


def kubeconfig(directory: Path, **context: str) -> Path:
    file = directory / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": base64.b64encode(b"t").decode()}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", **context}}],
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def test_a_kubeconfig_says_where_the_cluster_is_and_which_namespace(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, namespace="models")
    with connect(file) as client:
        assert client.configuration.host == "http://127.0.0.1:1"
    assert home_namespace(file) == "models"
    assert home_namespace(kubeconfig(tmp_path)) == "default"


def test_without_a_kubeconfig_this_must_be_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="this is no pod of a cluster; give --kubeconfig"):
        connect(None)


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as if in a pod, of a cluster whose API server does not answer."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    for variable, file in (("SERVICE_TOKEN_FILENAME", "token"), ("SERVICE_CERT_FILENAME", "ca.crt")):
        (tmp_path / file).write_text("never read that far", encoding="utf-8")
        monkeypatch.setattr(f"kubernetes.config.incluster_config.{variable}", str(tmp_path / file))


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_pod_asks_the_api_server_of_its_cluster_and_no_proxy(
    pod: None, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:2")
    with connect(None) as client, pytest.raises(Unreachable, match=r"port=1\).*Connection refused"):
        ApiServer(client).request("GET", PATH)


def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path / "none")):
        connect(tmp_path / "none")
