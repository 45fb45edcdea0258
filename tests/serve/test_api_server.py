"""Requests to an API server: credentials, answers, and what is said when there is none."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.api_server import ApiServer, Client, Unreachable, connect, decoded, home_namespace
from fairlead_serve.errors import ConfigurationError
from tests.kube.certificates import identity
from tests.kube.server import KubeServer
from tests.serve.scripted_api import PATH, ScriptedApi, answer, refuse, silence


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def client_with_tokens(url: str, *tokens: str) -> Client:
    """A client whose token is another each time that it is asked for."""
    remaining = list(tokens)
    return Client(url, urllib3.PoolManager(), lambda: {"authorization": f"Bearer {remaining.pop(0)}"})


@given(
    st.recursive(
        st.integers() | st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_read_as_it_is(document: object) -> None:
    text = json.dumps(document).encode()
    assert decoded(text) == document
    # The deep sibling has all of it read by the way that cuts.
    with_sibling = b"[" + text + b"," + b"[" * 5000 + b"]" * 5000 + b"]"
    assert decoded(with_sibling)[0] == document


def test_what_is_nested_deeper_than_any_object_is_null() -> None:
    deep = decoded(b'{"a": ' + b'[{"x": ' * 3000 + b"1" + b"}]" * 3000 + b', "b": "]\\"}"}')
    assert deep["b"] == ']"}'
    levels = 0
    inner = deep["a"]
    while inner is not None:
        inner = inner[0] if isinstance(inner, list) else inner["x"]
        levels += 1
    assert levels == 99
    for wrong in (b"", b"<html>", b"[" * 3000, b'"', b"{]"):
        with pytest.raises(ValueError, match="line 1"):
            decoded(wrong)


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
        assert client.url == "http://127.0.0.1:1"
    assert home_namespace(file) == "models"
    assert home_namespace(kubeconfig(tmp_path)) == "default"


def test_without_a_kubeconfig_this_must_be_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="this is no pod of a cluster; give --kubeconfig"):
        connect(None)


@dataclass(frozen=True)
class Pod:
    """A pod's service account: its files, and where the environment says that the API server is."""

    account: Path
    environment: pytest.MonkeyPatch

    def at(self, url: str) -> None:
        address = urlsplit(url)
        self.environment.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
        self.environment.setenv("KUBERNETES_SERVICE_PORT", str(address.port))

    def write(self, name: str, content: bytes) -> None:
        (self.account / name).write_bytes(content)


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    """This process as if in a pod, of a cluster whose API server does not answer."""
    made = Pod(tmp_path, monkeypatch)
    made.at("https://127.0.0.1:1")
    for name in ("token", "ca.crt"):
        made.write(name, b"never read that far")
    return made


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_pod_asks_the_api_server_of_its_cluster_and_no_proxy(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:2")
    with connect(None, account=pod.account) as client:
        server = ApiServer(client)
        with pytest.raises(Unreachable, match=r"port=1\).*Connection refused"):
            server.request("GET", PATH)


@pytest.fixture(scope="module")
def secured() -> Iterator[KubeServer]:
    """A server that has TLS and asks who it is."""
    with KubeServer(rbac=True) as server:
        yield server


def _credentials(server: KubeServer, directory: Path) -> tuple[bytes, bytes]:
    """Token and authority of the administrator."""
    document = yaml.safe_load(server.kubeconfig(directory / "kubeconfig").read_text(encoding="utf-8"))
    token = str(document["users"][0]["user"]["token"]).encode()
    return token, base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])


def test_a_pod_is_its_service_account_with_the_token_as_it_is_now(
    pod: Pod, secured: KubeServer, tmp_path: Path
) -> None:
    token, authority = _credentials(secured, tmp_path)
    pod.at(secured.url)
    pod.write("token", b"of another cluster")
    pod.write("ca.crt", authority)
    with connect(None, account=pod.account) as client:
        api = ApiServer(client)
        assert api.request("GET", "/api/v1/namespaces").status == 401
        pod.write("token", token + b"\n")
        assert api.request("GET", "/api/v1/namespaces").status == 200


def test_a_pod_believes_no_server_but_its_clusters(pod: Pod, secured: KubeServer) -> None:
    pod.at(secured.url)
    # That of another cluster: made past the cache.
    pod.write("ca.crt", identity.__wrapped__().certificate)
    with connect(None, account=pod.account) as client, pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        ApiServer(client).request("GET", PATH)


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_pod_without_a_service_account_is_told_to_give_a_kubeconfig(pod: Pod, missing: str) -> None:
    (pod.account / missing).unlink()
    with pytest.raises(ConfigurationError, match="this is no pod of a cluster; give --kubeconfig"):
        connect(None, account=pod.account)


def test_a_pod_is_in_the_namespace_of_its_service_account(pod: Pod) -> None:
    pod.write("namespace", b"models\n")
    assert home_namespace(None, account=pod.account) == "models"
    (pod.account / "namespace").unlink()
    with pytest.raises(ConfigurationError, match=r"no namespace can be told.*give --namespace"):
        home_namespace(None, account=pod.account)


def test_a_pod_needs_nothing_of_the_official_client(pod: Pod) -> None:
    program = (
        "import sys; from pathlib import Path; from fairlead_serve.api_server import connect; "
        "connect(None, account=Path(sys.argv[1])); sys.exit('kubernetes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(pod.account)], check=False).returncode == 0


def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path / "none")):
        connect(tmp_path / "none")
    (tmp_path / "broken").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=str(tmp_path / "broken")):
        connect(tmp_path / "broken")
    with pytest.raises(ConfigurationError, match="no namespace can be told"):
        home_namespace(tmp_path / "broken")
