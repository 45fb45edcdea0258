"""Requests to a Kubernetes API server: who asks, over which connections, and plain JSON.

The official client's own call path builds typed models, which costs several times the request itself and drops every
field that the models do not know. So only what is hard is taken from it: kubeconfig files, with their many ways to log
in. A pod has a service account instead, which is a few files, and never imports it: that takes 25 MB.
"""

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
from pydantic_core import from_json, to_json
from urllib3.exceptions import HTTPError

from fairlead_serve.errors import ConfigurationError

Manifest = dict[str, Any]
"""One object of the Kubernetes API, as plain values."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds who it is: `token`, `ca.crt` and `namespace`."""

_CONNECT_SECONDS = 5.0
_USER_AGENT = "fairlead"
# A token is good for minutes after a new one is there, and so it does no harm to use it a little longer.
_CREDENTIAL_SECONDS = 10.0
_NO_CREDENTIALS: tuple[float, dict[str, str]] = (-float("inf"), {})
# Watches hold a connection each for as long as they live; one that comes back to a full pool is closed with a warning.
_CONNECTIONS = 128
# Kubernetes takes JSON of 10000 levels, which no reader here does: one object must not hide all others.
_LEVELS = 100
# Some ten microseconds an object; what takes longer makes it hardly smaller.
_QUICKLY = 1
_JSON_WORDS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


class Unreachable(Exception):  # noqa: N818 - named for what happened, as the errors of the package
    """The API server gave no answer: no connection, none in time, or one that broke off."""


@dataclass(frozen=True)
class Answer:
    """What the API server answered, whatever the status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Manifest:
        """The body as an object. Raises Unreachable when it is none: something in between has answered."""
        try:
            document = decoded(self.body)
        except ValueError as error:
            raise Unreachable(f"the answer ({self.status}) is not JSON") from error
        if not isinstance(document, dict):
            raise Unreachable(f"the answer ({self.status}) is not an object")
        return document

    @property
    def sentence(self) -> str:
        """The server's own words about what went wrong: the message of its Status object, or the status."""
        try:
            return str(self.json().get("message") or f"status {self.status}")
        except Unreachable:
            return f"status {self.status}"


def decoded(body: bytes) -> Any:
    """The JSON in `body`. Whatever lies deeper than a hundred levels is null. Raises ValueError for what is no JSON."""
    try:
        return from_json(body)
    except ValueError:
        return from_json(_shallow(body))


def _shallow(body: bytes) -> bytes:
    kept: list[bytes] = []
    level = begin = 0
    for word in _JSON_WORDS.finditer(body):
        if word[0] in b"[{":
            level += 1
            if level == _LEVELS + 1:
                kept += body[begin : word.start()], b"null"
        elif word[0] in b"]}":
            level -= 1
            if level == _LEVELS:
                begin = word.end()
    return b"".join((*kept, body[begin:]))


def packed(value: Any) -> bytes:
    """Plain values as deflated JSON: a fifteenth of the memory."""
    return zlib.compress(to_json(value), _QUICKLY)


def unpacked(kept: bytes) -> Any:
    """What `packed` has kept; a new copy each time."""
    return from_json(zlib.decompress(kept))


@dataclass(frozen=True)
class Client:
    """The way to one API server, and as whom. May be shared between threads.

    `credentials` gives the headers that say who asks, as they are now. It raises OSError or Unreachable when it cannot.
    """

    url: str
    pool: urllib3.PoolManager
    credentials: Callable[[], Mapping[str, str]] = dict

    def close(self) -> None:
        """Give up all connections that are not in use."""
        self.pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ApiServer:
    """One API server. May be shared between threads."""

    def __init__(
        self, client: Client, *, answer_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`answer_seconds`: how long an answer may keep silent."""
        self._client = client
        self._clock = clock
        self._credentials = _NO_CREDENTIALS
        self._timeout = urllib3.Timeout(connect=min(_CONNECT_SECONDS, answer_seconds), read=answer_seconds)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Answer:
        """One request and the whole of its answer, whatever its status. Raises Unreachable."""
        try:
            response = self._client.pool.urlopen(
                method,
                self._url(path, query),
                headers=self._headers(content_type if body is not None else ""),
                body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
                timeout=self._timeout,
                # Whoever asks knows better whether and when to ask again.
                retries=False,
            )
        except (HTTPError, OSError) as error:
            raise Unreachable(str(error)) from error
        return self._told(response)

    def open(self, path: str, query: Mapping[str, str], *, silence_seconds: float) -> urllib3.BaseHTTPResponse | Answer:
        """A GET whose body is read as it comes; no read may take longer than `silence_seconds`.

        A whole Answer when the server refuses. Raises Unreachable.
        """
        try:
            response = self._client.pool.urlopen(
                "GET",
                self._url(path, query),
                headers=self._headers(""),
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=silence_seconds),
                retries=False,
                preload_content=False,
            )
            if response.status != 200:
                return self._told(response)
        except (HTTPError, OSError) as error:
            raise Unreachable(str(error)) from error
        return response

    def _told(self, response: urllib3.BaseHTTPResponse) -> Answer:
        if response.status == 401:
            # It may be that the token has been replaced just now.
            self._credentials = _NO_CREDENTIALS
        return Answer(response.status, response.headers, response.data)

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self._client.url}{path}{'?' + urlencode(query) if query else ''}"

    def _headers(self, content_type: str) -> dict[str, str]:
        asked, headers = self._credentials
        if self._clock() - asked > _CREDENTIAL_SECONDS:
            # Kubernetes replaces a token every hour, by another file of the same name.
            headers = {"accept": "application/json", "user-agent": _USER_AGENT, **self._client.credentials()}
            self._credentials = self._clock(), headers
        return {**headers, "content-type": content_type} if content_type else headers


def connect(kubeconfig: Path | None, *, account: Path | None = None) -> Client:
    """A client of the cluster of `kubeconfig`; without one, of the cluster that this process runs in.

    `account`: another place than SERVICE_ACCOUNT. Raises ConfigurationError when the file is wrong, or there is none
    and this is not a pod.
    """
    return _by_service_account(account or SERVICE_ACCOUNT) if kubeconfig is None else _by_kubeconfig(kubeconfig)


def home_namespace(kubeconfig: Path | None, *, account: Path | None = None) -> str:
    """The namespace of the context of `kubeconfig`; without one, of the pod that this process runs in.

    Raises ConfigurationError.
    """
    if kubeconfig is not None:
        return _namespace_of(kubeconfig)
    try:
        return ((account or SERVICE_ACCOUNT) / "namespace").read_text(encoding="utf-8").strip()
    except OSError as error:
        message = f"no namespace can be told ({error}); give --namespace"
        raise ConfigurationError(message) from error


def _by_service_account(account: Path) -> Client:
    """https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/. No proxy: the API server is within."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    authority, token = account / "ca.crt", account / "token"
    if not (host and port and authority.is_file() and token.is_file()):
        message = "there is no cluster to talk to (this is no pod of a cluster; give --kubeconfig)"
        raise ConfigurationError(message)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    pool = urllib3.PoolManager(maxsize=_CONNECTIONS, cert_reqs="CERT_REQUIRED", ca_certs=str(authority))
    return Client(
        f"https://{address}", pool, lambda: {"authorization": f"Bearer {token.read_text(encoding='ascii').strip()}"}
    )


def _by_kubeconfig(file: Path) -> Client:
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415 - no pod needs it
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    configuration = Configuration()
    configuration.connection_pool_maxsize = _CONNECTIONS
    try:
        load_kube_config(config_file=str(file), client_configuration=configuration)
    except (ConfigException, YAMLError) as error:
        message = f"there is no cluster to talk to ({file}): {error}"
        raise ConfigurationError(message) from error
    official = ApiClient(configuration)

    def credentials() -> dict[str, str]:
        headers: dict[str, str] = {}
        try:
            # It knows when a login has to be made anew.
            official.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        except ConfigException as error:
            raise Unreachable(str(error)) from error
        return headers

    return Client(configuration.host, official.rest_client.pool_manager, credentials)


def _namespace_of(kubeconfig: Path) -> str:
    from kubernetes.config import ConfigException, list_kube_config_contexts  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    try:
        _, context = list_kube_config_contexts(config_file=str(kubeconfig))
    except (ConfigException, YAMLError) as error:
        message = f"no namespace can be told ({error}); give --namespace"
        raise ConfigurationError(message) from error
    return str(context["context"].get("namespace") or "default")
