"""Settings of the processes, as opposed to the Models: read once, by the command line, and passed on.

A value comes from, first found wins: the command line, the environment (`FAIRLEAD_` and the path joined by
`__`, as in `FAIRLEAD_TIMES__REQUEST_SECONDS=300`), a YAML file, the default.
"""

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AliasChoices, AliasGenerator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel, to_snake
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from fairlead_serve.errors import ConfigurationError


class _Group(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=to_camel),
        populate_by_name=True,
    )


def _default_database() -> SecretStr:
    return SecretStr(f"sqlite:///{Path.home() / '.local' / 'share' / 'fairlead' / 'conversations.db'}")


class Times(_Group):
    """How long things may take, in seconds."""

    request_seconds: float = Field(
        default=600,
        gt=0,
        description="Longest a request may take, its stream included. Clients exist that wait 360 s.",
    )
    connect_seconds: float = Field(
        default=5, gt=0, description="Longest that making a connection to a backend may take."
    )
    keep_alive_comment_seconds: float = Field(
        default=15,
        gt=0,
        description="Silence on a stream after which a comment is sent. Proxies cut after 30 to 60 s.",
    )
    idle_connection_seconds: int = Field(
        default=75,
        gt=0,
        description="How long a client's unused connection is kept. Longer than a load balancer's 60 s.",
    )
    drain_seconds: int = Field(
        default=120,
        ge=0,
        description="How long requests in flight may go on after SIGTERM. At least the Models' own.",
    )
    drain_delay_seconds: float = Field(
        default=0, ge=0, description="How long new requests are still taken after SIGTERM while /readyz says 503."
    )
    probe_seconds: float = Field(
        default=1,
        gt=0,
        description="How often a backend that does not answer is asked again. Decides how fast it is back.",
    )


class Sizes(_Group):
    """How large things may be."""

    body_bytes: int = Field(default=8 * 1024 * 1024, gt=0, description="Largest request body; beyond it 413.")
    answer_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="Largest answer that is not a stream; it is held in memory once."
    )
    idle_connections: int = Field(default=256, ge=0, description="Unused connections kept to one backend address.")


class ColdStartSettings(_Group):
    """What happens to requests while no engine of a Model is ready."""

    max_queued: int = Field(default=100, ge=0, description="Requests that may wait; more are answered 503.")
    timeout_seconds: float = Field(default=600, ge=0, description="Longest that one waits, in seconds; then 503.")


class AdapterSettings(_Group):
    """A LoRA adapter that the engines of a Model have."""

    name: str = Field(min_length=1, description="The name that clients send as `model` to use it.")
    uri: str = Field(default="", description="Where it is from, for /v1/models.")


class ServedModel(_Group):
    """One Model as the gateway knows it: its names and its bounds. Where it is served is another matter."""

    name: str = Field(min_length=1, description="The name that clients send as `model`.")
    aliases: tuple[str, ...] = Field(default=(), description="More names for it.")
    adapters: tuple[AdapterSettings, ...] = Field(default=(), description="LoRA adapters that its engines have.")
    kind: Literal["engine", "upstream"] = Field(
        default="engine",
        description="`engine`: Fairlead's own, which gets the internal token. `upstream`: any other server.",
    )
    upstream_model: str = Field(
        default="", description="The name that the upstream knows the model by; empty: as sent."
    )
    created: int = Field(default=0, ge=0, description="`created` in /v1/models, seconds since 1970; 0: the start.")
    max_ongoing: int = Field(default=256, gt=0, description="Requests at the backend at once; more wait.")
    max_queued: int = Field(default=256, ge=0, description="Requests that may wait for a place; more are answered 429.")
    request_seconds: float | None = Field(
        default=None, gt=0, description="Overrides times.requestSeconds for this Model."
    )
    cold_start: ColdStartSettings = ColdStartSettings()
    strategy: Literal["LeastLoad", "PrefixHash"] = Field(
        default="PrefixHash",
        description="Which endpoint gets a request: the one that knows its beginning, or the least loaded one.",
    )


class BackendSettings(ServedModel):
    """One Model and where it is served."""

    endpoints: tuple[str, ...] = Field(
        min_length=1, description="Base URLs that `/v1/chat/completions` is appended to, without the `/v1`."
    )
    api_key_env: str = Field(default="", description="The environment variable that holds the upstream's API key.")
    fallback: tuple[str, ...] = Field(
        default=(),
        description="Models that answer instead, in this order, when this one has no ready engine, is full or fails.",
    )


class ClusterSettings(_Group):
    """The Models of a Kubernetes cluster, whose comings and goings the gateway follows."""

    namespaces: tuple[str, ...] = Field(
        default=(), description="Whose Models are served. Empty: the gateway's own, or the kubeconfig's."
    )
    all_namespaces: bool = Field(
        default=False, description="Serve the Models of every namespace. Takes a ClusterRole. Excludes namespaces."
    )
    kubeconfig: Path | None = Field(
        default=None, description="How to reach the cluster. None: as a pod of it, by its service account."
    )


class _CamelCaseEnvironment(EnvSettingsSource):
    """The environment's variables under the names that files have for them."""

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = _in_camel_case(super().__call__())
        return values


class GatewaySettings(BaseSettings):
    """The gateway: `configs/gateway.yaml` shows every key."""

    model_config = SettingsConfigDict(
        env_prefix="FAIRLEAD_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=to_camel),
        populate_by_name=True,
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    default_model: str = Field(
        default="",
        description="The model of requests that name none. Empty: the only one there is, if there is only one.",
    )
    backends: tuple[BackendSettings, ...] = Field(default=(), description="The Models and where each is served.")
    cluster: ClusterSettings | None = Field(
        default=None, description="Serve the Models of a cluster instead of `backends`. None: do not."
    )
    internal_token: SecretStr = Field(
        default=SecretStr(""),
        description="What engines want to see. Best given as FAIRLEAD_INTERNAL_TOKEN, not in a file.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Origins whose pages may call; `*`: all. Empty: none."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Serve without keys on an address other than loopback. Anybody who reaches it may use it.",
    )
    key_file: Path | None = Field(
        default=None,
        description="The file of keys that `fairlead key` edits; read again whenever it changes. None: no keys.",
    )
    limits_url: SecretStr = Field(
        default=SecretStr("memory://"),
        description="Where the keys' limits are counted: `memory://`, or a Redis (`redis://...`) that gateways share.",
    )
    database_url: SecretStr = Field(
        default_factory=_default_database,
        description="Where conversations are kept: `sqlite:///path/to/file`, or `postgresql://user:password@host/name`.",
    )
    conversation_ttl_days: float | None = Field(
        default=None,
        gt=0,
        description="Conversations and responses unused for this long are deleted. None: they are kept.",
    )
    times: Times = Times()
    sizes: Sizes = Sizes()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file is handed to the constructor, and the environment goes before it. Both have to name things
        # alike: they are merged by key, and a field under its two names would be there twice.
        return _CamelCaseEnvironment(settings_cls), init_settings


class EngineSettings(BaseSettings):
    """The process that runs engines: `fairlead engine`, and the child of `fairlead serve`."""

    model_config = SettingsConfigDict(env_prefix="FAIRLEAD_", extra="ignore", frozen=True)

    internal_token: SecretStr = Field(
        default=SecretStr(""), description="What a request must bring. Empty: one is made up and nobody can call."
    )
    cache_dir: Path = Field(
        default_factory=lambda: Path.home() / ".cache" / "fairlead",
        description="Where weights are kept. A volume in a cluster, or every start downloads them again.",
    )
    claims_dir: Path = Field(
        default=Path("/var/lib/fairlead/claims"),
        description="Where the claims of pvc:// are mounted, one folder each.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port of Ray's Prometheus exporter, which answers on all addresses; 0: any free one.",
    )
    status_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port at which the operator reads the engine's status and says its LoRA adapters. None: no such.",
    )
    adapters_file: Path | None = Field(
        default=None,
        description="The LoRA adapters to begin with, as `PUT /adapters` says them; with a status port only. None, or "
        "not there: those of the Model file.",
    )
    termination_log: Path | None = Field(
        default=None, description="The file that gets one line on what the process dies of. None: nothing is written."
    )


class SourceSettings(BaseSettings):
    """Where weights come from, under the names that their own tools read."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    hf_endpoint: str | None = Field(default=None, description="A hub other than huggingface.co, such as a mirror.")
    hf_token: SecretStr | None = Field(default=None, description="The token for private and gated repositories.")
    aws_endpoint_url: str | None = Field(default=None, description="An S3 other than Amazon's.")


class ChatSettings(BaseSettings):
    """What `fairlead chat` takes from its environment, under the names that other programs read."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    api_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("FAIRLEAD_API_KEY", "OPENAI_API_KEY"),
        description="The key that the server wants to see. No option: everybody on a machine can read those.",
    )
    state_home: Path = Field(
        default_factory=lambda: Path.home() / ".local" / "state",
        validation_alias="XDG_STATE_HOME",
        description="Where what was typed is remembered, in fairlead/chat_history.",
    )


def load_engine_settings() -> EngineSettings:
    """Settings from the environment. Raises ConfigurationError, one line for every wrong variable."""
    try:
        return EngineSettings()
    except ValidationError as error:
        lines = [f"{_source(one['loc'], None)}: {one['msg']}" for one in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


def load_gateway_settings(file: Path | None, **overrides: Any) -> GatewaySettings:
    """Settings from `file` (YAML; None: no file), the environment and `overrides`, which win.

    Raises ConfigurationError, one line for every wrong key.
    """
    values: dict[str, Any] = {} if file is None else _in_camel_case(_read_mapping(file))
    try:
        settings = GatewaySettings(**values)
    except SettingsError as error:
        message = f"the environment: {error}; lists and mappings are written as JSON there"
        raise ConfigurationError(message) from None
    except ValidationError as error:
        lines = [
            f"{_source(one['loc'], file)}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        ]
        raise ConfigurationError("\n".join(lines)) from None
    return settings.model_copy(update=overrides) if overrides else settings


def with_cluster(settings: GatewaySettings, *, wanted: bool, **given: Any) -> GatewaySettings:
    """`settings` with the cluster that they name, or a `wanted` one, and what is `given` of it, which wins.

    Raises ConfigurationError where something is given of a cluster that nobody wants.
    """
    more = {name: value for name, value in given.items() if value}
    if settings.cluster is None and not wanted:
        if more:
            message = "which Models of a cluster to serve is said, but not to serve them; add --from-cluster"
            raise ConfigurationError(message)
        return settings
    cluster = settings.cluster or ClusterSettings()
    return settings.model_copy(update={"cluster": cluster.model_copy(update=more)})


def _source(place: tuple[int | str, ...], file: Path | None) -> str:
    """Where the value at `place` came from: the file, or the environment variable that went before it."""
    variable = "FAIRLEAD"
    for separator, part in zip(("_", *["__"] * len(place)), place, strict=False):
        variable += separator + to_snake(str(part)).upper()
        if variable in os.environ:
            return variable
    return "the environment" if file is None else str(file)


def _in_camel_case(values: Any) -> Any:
    """`values` with every key as files write it."""
    if isinstance(values, dict):
        return {to_camel(key) if isinstance(key, str) else key: _in_camel_case(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_in_camel_case(value) for value in values]
    return values


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise ConfigurationError(message) from error
    except yaml.YAMLError as error:
        message = f"{file} is not YAML: {error}"
        raise ConfigurationError(message) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        message = f"{file} must hold a mapping of settings, not a {type(values).__name__}"
        raise ConfigurationError(message)
    return values
